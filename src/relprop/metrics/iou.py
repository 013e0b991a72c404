"""IoU: how well the positive part of a map covers the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from relprop.metrics.metric import Case, Outcome, as_heat
from relprop.metrics.region import RegionMetric, masked

__all__ = ["MeanIoU", "iou", "mean_of_positives"]

_UNSIGNED = "the maps have no negative values, so 0 is no threshold"


def iou(heat: Any, region: Any, threshold: float = 0.0, ignore: Any = None) -> float | None:
    r"""Intersection over union of the pixels above a threshold and the region.

    .. math:: \text{IoU} = \frac{|\{p : R_p > t\} \cap \text{region}|}{|\{p : R_p > t\} \cup \text{region}|}

    Args:
        heat: (H, W), finite.
        region: (H, W), booleans or 0 and 1.
        threshold: t; equal to it is not above it.
        ignore: (H, W), pixels that count for neither side, or None.

    Returns:
        From 0 to 1; 0 where nothing is above the threshold; None if the region is empty (after `ignore`).

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> iou([[2.0, 1.0], [0.0, -1.0]], [[1, 0], [1, 0]])  # one of three
    0.3333333333333333
    >>> iou([[2.0, 1.0], [0.0, -1.0]], [[1, 0], [1, 0]], threshold=1.0)
    0.5
    """
    values, inside = masked(heat, region, ignore)
    if not inside.any():
        return None
    above = values > threshold
    return int((above & inside).sum()) / int((above | inside).sum())


def mean_of_positives(heat: Any) -> float:
    """Mean of the map's values above 0; 0 where there are none.

    >>> mean_of_positives([[4.0, 2.0], [0.0, -6.0]])
    3.0
    """
    values = as_heat(heat)
    positive = values[values > 0]
    if not positive.size:
        return 0.0
    # Rounding must not put the mean of equal values next to them: none would be above it, or all.
    scale = positive.max()
    mean = float((positive / scale).mean() * scale)
    return float(np.clip(mean, positive.min(), scale))


class MeanIoU(RegionMetric):
    """IoU of the positive pixels and the object, at threshold 0 and at the mean of the positive values.

    "zero" and "mean" are averaged per class, then over classes, as the Pointing Game is; "zero-pair" and
    "mean-pair" are the plain means over pairs. Threshold 0 is left out for methods without negative values:
    there it measures how large the object is. A map without positive values claims nothing: 0 at both
    thresholds. Pairs with an empty region are left out.

    Source: Nam et al. 2021 (RSP), Table 1; the averaging is ours, they state none.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).
        ignore: leave pixels without truth out (masks only).
    """

    name = "miou"
    needs = "heat"
    summary = "mIoU: overlap of the map's positive part with the object, at threshold 0 and at the mean"
    outcomes = (
        Outcome("zero", "mIoU > 0", absent=_UNSIGNED),
        Outcome("mean", "mIoU > mean"),
        Outcome("zero-pair", "mIoU > 0 (pairs)", average="pair", detail=True, absent=_UNSIGNED),
        Outcome("mean-pair", "mIoU > mean (pairs)", average="pair", detail=True),
    )

    def measure(self, case: Case) -> dict[str, float]:
        region, ignore = self.truth(case)
        if region is None:
            return {}
        found: dict[str, float] = {}
        thresholds = {"zero": 0.0} if case.signed else {}
        for key, threshold in {**thresholds, "mean": mean_of_positives(case.heat)}.items():
            value = iou(case.heat, region, threshold, ignore)
            if value is not None:
                found[key] = found[f"{key}-pair"] = value
        return found
