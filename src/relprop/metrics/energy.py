"""Energy: the share of positive relevance that lies on the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from relprop.metrics.metric import Case, Outcome
from relprop.metrics.region import RegionMetric, masked

__all__ = ["Energy", "energy"]


def energy(heat: Any, region: Any, ignore: Any = None) -> float | None:
    r"""Positive relevance inside the region, as a share of all of it.

    .. math:: E = \frac{\sum_{p \in \text{region}} \max(0, R_p)}{\sum_p \max(0, R_p)}

    Source: Wang et al. 2020 (Score-CAM), "energy-based pointing game".

    Args:
        heat: (H, W), finite.
        region: (H, W), booleans or 0 and 1.
        ignore: (H, W), pixels that count for neither sum, or None.

    Returns:
        From 0 to 1; 0 for a map without positive values (nothing is claimed, so nothing inside); None if
        the region is empty.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> energy([[3.0, 1.0], [0.0, -5.0]], [[1, 0], [0, 1]])
    0.75
    """
    values, inside = masked(heat, region, ignore)
    if not inside.any():
        return None
    positive = np.maximum(values, 0.0)
    if positive.max() == 0:
        return 0.0
    positive = positive / positive.max()  # sums of very large values stay finite
    # Both sums run over the same terms in the same order: a region of everything gives exactly 1.
    return float(np.where(inside, positive, 0.0).sum() / positive.sum())


class Energy(RegionMetric):
    """Share of positive relevance on the object, averaged per class, then over classes.

    Source: Wang et al. 2020 (Score-CAM). See `energy` for maps without positive values and empty regions.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).
        ignore: leave pixels without truth out (masks only).
    """

    name = "energy"
    summary = "Energy: share of positive relevance that lies on the object"
    outcomes = (
        Outcome("inside", "Energy inside"),
        Outcome("inside-pair", "Energy inside (pairs)", average="pair", detail=True),
    )

    def measure(self, case: Case) -> dict[str, float]:
        region, ignore = self.truth(case)
        if region is None:
            return {}
        share = energy(case.heat, region, ignore)
        return {} if share is None else {"inside": share, "inside-pair": share}
