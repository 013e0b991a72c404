"""Opposition: the share of negative relevance that lies on objects of other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.datasets.sample import Region
from relprop.metrics.metric import Case, Outcome
from relprop.metrics.region import RegionMetric, Truth, masked

__all__ = ["Opposition", "opposition"]


def opposition(heat: Any, others: Any, ignore: Any = None) -> float | None:
    r"""Negative relevance on objects of other classes, as a share of all of it.

    .. math:: O = \frac{\sum_{p \in \text{others}} \max(0, -R_p)}{\sum_p \max(0, -R_p)}

    Source: ours. It puts a number on how Nam et al. 2021 (RSP) read signed maps: negative relevance marks what
    other classes claim.

    Args:
        heat: (H, W), finite.
        others: (H, W), booleans or 0 and 1; pixels of other classes and not of the map's own.
        ignore: (H, W), pixels that count for neither sum, or None.

    Returns:
        From 0 to 1; None if the region is empty, or the map has no negative value to place.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> opposition([[5.0, -3.0], [0.0, -1.0]], [[0, 1], [1, 0]])
    0.75
    """
    values, inside = masked(heat, others, ignore)
    if not inside.any():
        return None
    negative = np.maximum(-values, 0.0)
    if negative.max() == 0:
        return None
    negative = negative / negative.max()  # sums of very large values stay finite
    # Both sums run over the same terms in the same order: a region of everything gives exactly 1.
    return float(np.where(inside, negative, 0.0).sum() / negative.sum())


_NONE = "the maps have no negative values, or the pictures no object of another class"


class Opposition(RegionMetric):
    """Share of negative relevance on objects of other classes, averaged per class, then over classes.

    Beside it the area of those objects, as a share of the pixels counted: what blue spread evenly would get.
    Both are left out, together, where nothing can be said: the picture shows no other class, what it shows
    lies within the class's own region, the class has no region or stands for all objects, or the map has no
    negative value.

    Source: ours; see `opposition`.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some for the class, else masks); the
            other classes' regions are of the same kind.
        ignore: leave pixels without truth out (masks only).
    """

    name = "opposition"
    needs = "heat"
    summary = "Opposition: share of negative relevance that lies on objects of other classes"
    outcomes = (
        Outcome("share", "Blue on others", absent=_NONE),
        Outcome("area", "Area of others", better="", absent=_NONE),
    )

    def measure(self, case: Case) -> dict[str, float]:
        if case.label < 0 or not case.signed:
            return {}
        others, ignore = _others(case, self.region)
        if others is None:
            return {}
        ignore = ignore if self.ignore else None
        share = opposition(case.heat, others, ignore)
        if share is None:
            return {}
        counted = others if ignore is None else others[~ignore]
        return {"share": share, "area": float(counted.mean())}


def _others(case: Case, region: Truth) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Pixels of the other classes outside the class's own, and those without truth, (H, W) bool or None."""
    kinds: tuple[Region, ...] = ("boxes", "masks") if region == "auto" else (region,)
    for kind in kinds:
        own = case.region(kind)
        if own is None:
            continue
        found = [case.sample.region(label, kind) for label in case.sample.labels if label != case.label]
        regions = [other for other in found if other is not None]
        others = np.any(regions, axis=0) & ~own if regions else None
        return others, case.sample.ignore if kind == "masks" else None
    return None, None
