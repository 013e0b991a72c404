"""Significance: p values of paired differences, and what many comparisons do to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["enough", "holm", "least_draws", "p_value"]

_FINEST = 0.5  # of 1 - level: where the smallest p that the draws can give shall lie after the correction


def p_value(gaps: NDArray[np.float64], pictures: int) -> float:
    r"""Two-sided p value of a difference from its bootstrap draws.

    The percentile interval turned around: the largest 1 − level at which it still holds 0,

    .. math:: p = \min\left(1, 2\,\frac{1 + \min(|\{b : d_b \le 0\}|, |\{b : d_b \ge 0\}|)}{B + 1}\right)

    (Efron & Tibshirani 1993, sec. 13.3 and 16.4). B draws can't give less than 2 / (B + 1), whatever the data.
    Nor can few pictures: on n that differ at all, a test that flips their signs has :math:`2^n` outcomes and no
    p below :math:`2^{1-n}`, so neither has this one. Resampling alone would call three pictures of one mind
    certain. Like the interval it is approximate, and a little too small for few pictures.

    Args:
        gaps: the difference in each draw, (B,); NaN ones are passed over.
        pictures: n, how many pictures differ.

    >>> p_value(np.full(999, 0.1), 100), p_value(np.full(999, 0.1), 3), p_value(np.zeros(999), 0)
    (0.002, 0.25, 1.0)
    """
    drawn = gaps[~np.isnan(gaps)]
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, max(2 * (rarer + 1) / (len(drawn) + 1), 2.0 ** (1 - pictures)))


def enough(pictures: int, level: float) -> bool:
    """Whether so many pictures that differ could show a difference at all: see `p_value`.

    >>> enough(5, 0.95), enough(6, 0.95)
    (False, True)
    """
    return 2.0 ** (1 - pictures) <= 1 - level


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected for being several: Holm's step-down, which no dependence between them breaks.

    The k-th smallest of m (from 0) is multiplied by m − k and never falls below those before it (Holm 1979,
    Scand. J. Stat. 6). Rejecting what is at most α keeps the chance of a single false rejection at α.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    count, running = len(values), 0.0
    found = [0.0] * count
    for k, place in enumerate(sorted(range(count), key=lambda i: values[i])):
        running = max(running, min(1.0, (count - k) * values[place]))
        found[place] = running
    return found


def least_draws(comparisons: int, level: float = 0.95) -> int:
    """So many draws that the smallest p value survives the correction with room to spare.

    >>> least_draws(1), least_draws(171)
    (80, 13680)
    """
    return round(2 * comparisons / (_FINEST * (1 - level)))
