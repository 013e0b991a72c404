"""Paired: what methods differ by in one column, draw by draw on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from relprop.benchmark.bootstrap import Average, Estimate, Pairs, Resampling, interval

__all__ = ["Paired"]

_NOISE = 1e-12  # what two ways of adding up the same numbers differ by at most, as a share of them

_Key = tuple[str, str]  # a method, and the other one whose pairs it is reduced to


class Paired:
    """Means of several methods in the same draws, two by two over the pairs that both have.

    Methods of the same pairs share their draws' means, so that k methods cost k of them and not k².

    Args:
        pairs: by method.
        average: of the column.
        compared: which two are to be compared, (one, two).
    """

    def __init__(
        self, pairs: Mapping[str, Pairs], average: Average, compared: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._average: Average = average
        self._pairs: dict[_Key, Pairs] = {(m, m): p for m, p in pairs.items()}
        self._keys: dict[tuple[str, str], tuple[_Key, _Key]] = {}
        for one, two in compared:
            if _same_places(pairs[one], pairs[two]):
                self._keys[one, two] = (one, one), (two, two)
                continue
            self._keys[one, two] = (one, two), (two, one)
            self._pairs[one, two], self._pairs[two, one] = pairs[one].shared(pairs[two])
        self._means: dict[_Key, list[NDArray[np.float64]]] = {key: [] for key in self._pairs}
        self._exact: dict[_Key, float] = {}

    def draw(self, draws: Resampling) -> None:
        """Take further draws in; `Resampling.parts` gives many of them a few at a time."""
        for key, pairs in self._pairs.items():
            self._means[key].append(draws.means(pairs, self._average))

    def estimate(self, method: str, level: float = 0.95) -> Estimate:
        """The mean of a method over all its pairs."""
        key = method, method
        return self._told(self._mean(key), self._drawn(key), self._pairs[key], level)

    def gaps(self, one: str, two: str) -> NDArray[np.float64]:
        """The mean of `one` less that of `two` in each draw; exactly 0 where they differ by rounding alone."""
        a, b = (self._drawn(key) for key in self._keys[one, two])
        found = a - b
        return np.where(np.abs(found) <= _NOISE * np.maximum(np.abs(a), np.abs(b)), 0.0, found)

    def difference(self, one: str, two: str, level: float = 0.95) -> Estimate:
        """How much `one` lies above `two`; see `Resampling.difference`."""
        a, b = self._keys[one, two]
        return self._told(self._mean(a) - self._mean(b), self.gaps(one, two), self._pairs[a], level)

    def ratio(self, one: str, two: str, level: float = 0.95) -> Estimate:
        """The mean of `one` as a share of that of `two`; NaN where the latter is not above 0."""
        a, b = self._keys[one, two]
        above, below = self._drawn(a), self._drawn(b)
        drawn = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        whole = self._mean(b)
        value = self._mean(a) / whole if whole > 0 else math.nan
        return self._told(value, drawn, self._pairs[a], level)

    def differing(self, one: str, two: str) -> int:
        """Number of pictures on which the two differ at all, beyond rounding."""
        a, b = (self._pairs[key] for key in self._keys[one, two])
        apart = np.abs(a.values - b.values) > _NOISE * np.maximum(np.abs(a.values), np.abs(b.values))
        return len(np.unique(a.images[apart]))

    def _mean(self, key: _Key) -> float:
        if key not in self._exact:
            self._exact[key] = self._pairs[key].mean(self._average)
        return self._exact[key]

    def _drawn(self, key: _Key) -> NDArray[np.float64]:
        return np.concatenate(self._means[key])

    def _told(self, value: float, drawn: NDArray[np.float64], pairs: Pairs, level: float) -> Estimate:
        images = len(np.unique(pairs.images))
        low, high = interval(drawn, level) if images > 1 else (math.nan, math.nan)
        return Estimate(value, low, high, len(pairs.values), images)


def _same_places(one: Pairs, two: Pairs) -> bool:
    return np.array_equal(one.images, two.images) and np.array_equal(one.labels, two.labels)
