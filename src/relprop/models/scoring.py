"""Average precision of multi-label scores, the figure that the cards of the bundled models state."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from relprop.errors import InputError

__all__ = ["average_precision", "mean_average_precision"]


def average_precision(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the precision-recall steps: the mean, over the positives, of the precision at their rank.

    Not interpolated. Equal scores share one threshold, so their order can't matter.

    Args:
        scores: (N,) higher is more likely.
        truth: (N,) 0/1 or bool.

    Raises:
        InputError: shapes differ, or there is no positive.

    >>> round(average_precision([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0]), 4)
    0.8333
    """
    score, positive = np.asarray(scores, dtype=np.float64), np.asarray(truth).astype(bool)
    if score.shape != positive.shape or score.ndim != 1:
        raise InputError(
            f"Expected scores and truth of one shape (N,) but got {score.shape} and {positive.shape}; "
            "pass one class at a time."
        )
    if not positive.any():
        raise InputError("Expected at least one positive but got none; average precision is undefined there.")
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # last row of each distinct score
    hits = np.cumsum(positive)[last]
    precision = hits / (last + 1)
    gained = np.diff(hits, prepend=0)
    return float((precision * gained).sum() / hits[-1])


def mean_average_precision(scores: ArrayLike, truth: ArrayLike) -> tuple[float, list[float]]:
    """Mean over classes of `average_precision`, and the list per class.

    Args:
        scores: (N, classes).
        truth: (N, classes) 0/1 or bool.

    >>> mean_average_precision([[0.9, 0.1], [0.2, 0.8]], [[1, 0], [0, 1]])
    (1.0, [1.0, 1.0])
    """
    score, positive = np.asarray(scores), np.asarray(truth)
    if score.shape != positive.shape or score.ndim != 2:
        raise InputError(
            f"Expected scores and truth of one shape (N, classes) but got {score.shape} and {positive.shape}."
        )
    each = [average_precision(score[:, k], positive[:, k]) for k in range(score.shape[1])]
    return float(np.mean(each)), each
