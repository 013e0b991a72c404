"""Rank accuracy: how many of the strongest pixels lie on the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from relprop.metrics.metric import Case, Outcome
from relprop.metrics.region import RegionMetric, masked

__all__ = ["RankAccuracy", "rank_accuracy"]


def rank_accuracy(heat: Any, region: Any, ignore: Any = None) -> float | None:
    r"""Of the n strongest pixels, the share that lies in the region of n pixels.

    .. math:: A = \frac{|\text{top}_n(R) \cap \text{region}|}{n}, \qquad n = |\text{region}|

    Only the order of the values counts: a map and its square, sign kept, have the same. Where values tie at the
    n-th place, the pixels there count by their share of the places that are left.

    Source: Arras et al. 2022 (CLEVR-XAI, Information Fusion 81), eq. 1, "relevance rank accuracy"; ties are ours.

    Args:
        heat: (H, W), finite.
        region: (H, W), booleans or 0 and 1.
        ignore: (H, W), pixels that are neither counted nor ranked, or None.

    Returns:
        From 0 to 1; None if the region is empty.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> rank_accuracy([[3.0, 1.0], [2.0, -5.0]], [[1, 1], [0, 0]])
    0.5
    >>> rank_accuracy([[0.0, 0.0], [0.0, 0.0]], [[1, 0], [0, 0]])  # no order: what a draw would give
    0.25
    """
    values, inside = masked(heat, region, ignore)
    count = int(inside.sum())
    if not count:
        return None
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, level = values > least, values == least
    share = (count - above.sum()) / level.sum()
    return float((inside[above].sum() + share * inside[level].sum()) / count)


class RankAccuracy(RegionMetric):
    """Share of the strongest pixels that lie on the object, averaged per class, then over classes.

    Source: Arras et al. 2022 (CLEVR-XAI). See `rank_accuracy` for ties and empty regions.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).
        ignore: leave pixels without truth out (masks only).
    """

    name = "rank-accuracy"
    needs = "heat"
    summary = "Rank accuracy: share of the n strongest pixels that lie on the object of n pixels"
    outcomes = (
        Outcome("share", "Rank accuracy"),
        Outcome("share-pair", "Rank accuracy (pairs)", average="pair", detail=True),
    )

    def measure(self, case: Case) -> dict[str, float]:
        region, ignore = self.truth(case)
        if region is None:
            return {}
        share = rank_accuracy(case.heat, region, ignore)
        return {} if share is None else {"share": share, "share-pair": share}
