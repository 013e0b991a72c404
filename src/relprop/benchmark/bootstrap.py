"""Bootstrap: how far a mean would move had the pictures been others of the same kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.metrics.metric import Tally

__all__ = ["Average", "Estimate", "Pairs", "Resampling", "interval"]

Average = Literal["class", "pair"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """One number per pair (picture, class), in a fixed order.

    Attributes:
        images: (n,) int64, which picture, an index into `Resampling.images`.
        labels: (n,) int64, the class.
        values: (n,) float64, what was measured.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    values: NDArray[np.float64]

    @staticmethod
    def of(rows: Sequence[tuple[int, int, float]]) -> Pairs:
        """From (picture, class, value) in any order; sorted here.

        Raises:
            InputError: NaN or infinity.
        """
        rows = sorted(rows)
        values = np.array([value for _, _, value in rows], dtype=np.float64)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise InputError(f"Expected finite values to average but {bad} of {len(values)} are not.")
        images = np.array([image for image, _, _ in rows], dtype=np.int64)
        return Pairs(images, np.array([label for _, label, _ in rows], dtype=np.int64), values)

    def mean(self, average: Average) -> float:
        """The exact mean, as `relprop.metrics.metric.Tally` gives it; NaN without pairs."""
        tally = Tally()
        for label, value in zip(self.labels.tolist(), self.values.tolist(), strict=True):
            tally.add(label, value)
        return tally.mean(average)

    def shared(self, other: Pairs) -> tuple[Pairs, Pairs]:
        """Both reduced to the pairs that the two have in common."""
        one = list(zip(self.images.tolist(), self.labels.tolist(), strict=True))
        two = list(zip(other.images.tolist(), other.labels.tolist(), strict=True))
        both = set(one) & set(two)
        return self._only([key in both for key in one]), other._only([key in both for key in two])

    def _only(self, kept: Sequence[bool]) -> Pairs:
        own = np.array(kept, dtype=bool)
        return Pairs(self.images[own], self.labels[own], self.values[own])


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: the mean; NaN where nothing was counted.
        low: lower end of the interval; NaN where fewer than two pictures were counted.
        high: upper end.
        pairs: how many pairs (picture, class) were averaged.
        images: how many pictures they come from.
    """

    value: float
    low: float
    high: float
    pairs: int
    images: int


class Resampling:
    r"""Draws of n pictures out of n with replacement, the same draws for whatever is compared.

    Pairs of one picture are not independent (they share the picture and often the object), so pictures are
    drawn, not pairs. With :math:`w_{bi}` the times that draw b took picture i, and pairs (i, c) of value
    :math:`v_{ic}`, the mean of draw b is

    .. math:: m_b = \frac{1}{|C_b|} \sum_{c \in C_b} \frac{\sum_i w_{bi} v_{ic}}{\sum_i w_{bi}}
        \qquad\text{or}\qquad m_b = \frac{\sum_{ic} w_{bi} v_{ic}}{\sum_{ic} w_{bi}}

    (sums over pairs that exist) with :math:`C_b` the classes that the draw holds at all: a class that vanishes
    from a draw is left out of that draw's mean. The interval reaches from the (1 − level)/2 to the
    (1 + level)/2 quantile of the :math:`m_b` (Efron & Tibshirani 1993, sec. 13.3, the percentile interval).
    It says nothing about other models or other labels, and with few pictures it is somewhat too short.

    Two pictures of values 0 and 1; a quarter of the draws takes the first twice, a quarter the second:

    >>> pairs = Pairs.of([(0, 0, 0.0), (1, 0, 1.0)])
    >>> Resampling(["a", "b"], replicates=100).estimate(pairs, "class")
    Estimate(value=0.5, low=0.0, high=1.0, pairs=2, images=2)
    """

    def __init__(self, images: Sequence[str], replicates: int = 1000, seed: int = 0) -> None:
        """Draw.

        Args:
            images: names of the pictures; sorted here, so their order doesn't matter.
            replicates: number of draws.
            seed: of the generator; the same names, number and seed give the same draws.

        Raises:
            InputError: fewer than one replicate, or a name that occurs twice.
        """
        if replicates < 1:
            raise InputError(f"Expected at least 1 replicate but got {replicates}.")
        self.images = tuple(sorted(images))
        if len(set(self.images)) < len(self.images):
            raise InputError("Expected the name of each picture once but some occur twice.")
        self.index = {name: k for k, name in enumerate(self.images)}
        self.weights = _drawn(np.random.default_rng(seed), len(self.images), replicates)

    @classmethod
    def parts(
        cls, images: Sequence[str], replicates: int, seed: int = 0, size: int = 2000
    ) -> Iterator[Resampling]:
        """The draws of `Resampling(images, replicates, seed)`, at most `size` of them at a time.

        >>> whole = Resampling("ab", 5)
        >>> parts = list(Resampling.parts("ab", 5, size=2))
        >>> np.array_equal(np.concatenate([p.weights for p in parts], axis=1), whole.weights)
        True
        """
        generator = np.random.default_rng(seed)
        for first in range(0, replicates, size):
            part = cls(images, 1, seed)
            part.weights = _drawn(generator, len(part.images), min(size, replicates - first))
            yield part

    def means(self, pairs: Pairs, average: Average) -> NDArray[np.float64]:
        """The mean in each draw, (replicates,); NaN in draws that hold no pair."""
        sums, counts = [], []
        for label in np.unique(pairs.labels):
            own = pairs.labels == label
            drawn = self.weights[pairs.images[own]]
            # einsum adds up in order, whatever the number of threads: a rerun gives the same digits.
            sums.append(np.einsum("ib,i->b", drawn, pairs.values[own]))
            counts.append(drawn.sum(axis=0, dtype=np.int64))
        total, number = np.zeros(self.weights.shape[1]), np.zeros(self.weights.shape[1])
        for value, count in zip(sums, counts, strict=True):
            if average == "pair":
                total, number = total + value, number + count
            else:
                total = total + np.divide(value, count, out=np.zeros_like(value), where=count > 0)
                number = number + (count > 0)
        return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)

    def estimate(self, pairs: Pairs, average: Average, level: float = 0.95) -> Estimate:
        """The mean of the pairs and its interval.

        Raises:
            InputError: a level outside (0, 1).
        """
        images = len(np.unique(pairs.images))
        low, high = interval(self.means(pairs, average), level) if images > 1 else (math.nan, math.nan)
        return Estimate(pairs.mean(average), low, high, len(pairs.values), images)

    def difference(self, one: Pairs, two: Pairs, average: Average, level: float = 0.95) -> Estimate:
        """The mean of `one` less that of `two`, over the pairs that both have, draw by draw the same pictures.

        An interval without 0 is evidence for a difference even where the two means' own intervals overlap:
        pictures that are hard for both cancel.

        >>> one = Pairs.of([(0, 0, 0.2), (1, 0, 0.7)])
        >>> two = Pairs.of([(0, 0, 0.1), (1, 0, 0.6)])
        >>> found = Resampling(["a", "b"]).difference(one, two, "class")
        >>> round(found.low, 9), round(found.high, 9)
        (0.1, 0.1)

        Raises:
            InputError: a level outside (0, 1).
        """
        one, two = one.shared(two)
        images = len(np.unique(one.images))
        gaps = self.means(one, average) - self.means(two, average)
        low, high = interval(gaps, level) if images > 1 else (math.nan, math.nan)
        return Estimate(one.mean(average) - two.mean(average), low, high, len(one.values), images)


def _drawn(generator: np.random.Generator, count: int, replicates: int) -> NDArray[np.uint16]:
    """How often each draw took each picture, (count, replicates)."""
    # The rows of a class's pictures lie together in memory.
    weights = np.zeros((count, replicates), dtype=np.uint16)
    for b in range(replicates if count else 0):
        weights[:, b] = np.bincount(generator.integers(0, count, count), minlength=count)
    return weights


def interval(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The percentile interval of what draws gave; NaN ones are passed over.

    Raises:
        InputError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise InputError(f"Expected a level between 0 and 1 but got {level}.")
    counted = means[~np.isnan(means)]
    if not counted.size:
        return math.nan, math.nan
    low, high = np.quantile(counted, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
