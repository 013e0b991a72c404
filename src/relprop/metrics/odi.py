"""ODI: of the positive relevance that lies on objects, the share on other ones than the explained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.datasets.sample import Region
from relprop.metrics.metric import Case, Outcome, as_heat, as_region
from relprop.metrics.region import RegionMetric, of_whole_parts

__all__ = ["ObjectDiscrimination", "object_discrimination"]


def object_discrimination(heat: Any, own: Any, others: Any, ignore: Any = None) -> float | None:
    r"""Positive relevance on other objects, as a share of what lies on any object.

    .. math:: ODI = \frac{\sum_{p \in \text{others}} \max(0, R_p)}
        {\sum_{p \in \text{own} \cup \text{others}} \max(0, R_p)}

    A pixel of both regions counts as the others', as in the authors' code.

    Source: Zhao and Chan 2023 (ODAM, ICLR), "object discrimination index". Their maps have no negative values.

    Args:
        heat: (H, W), finite.
        own: (H, W), booleans or 0 and 1: the explained object.
        others: (H, W), booleans or 0 and 1: all others.
        ignore: (H, W), pixels that count for neither sum, or None.

    Returns:
        From 0 to 1, less is better; 1 for a map with nothing positive on any object (nothing is told apart); None
        if either region is empty.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> object_discrimination([[3.0, 1.0], [9.0, -5.0]], [[1, 0], [0, 0]], [[0, 1], [0, 1]])
    0.25
    """
    values = as_heat(heat)
    mine, theirs = as_region(own, values), as_region(others, values)
    valid = np.ones_like(mine) if ignore is None else ~as_region(ignore, values)
    mine, theirs = mine & valid, theirs & valid
    if not mine.any() or not theirs.any():
        return None
    positive = np.where(mine | theirs, np.maximum(values, 0.0), 0.0)
    if positive.max() == 0:
        return 1.0
    positive = positive / positive.max()  # sums of very large values stay finite
    return float(np.where(theirs, positive, 0.0).sum() / positive.sum())


class ObjectDiscrimination(RegionMetric):
    """Share of the objects' positive relevance that lies on objects of other classes.

    Pairs without such objects are left out. Beside it the other objects' share of all objects' pixels: what an
    even map would get.

    Source: Zhao and Chan 2023 (ODAM); see `object_discrimination`. Theirs tells single objects apart, this one
    classes, as a classifier's question does.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some for the class, else masks); the
            other classes' regions are of the same kind.
        ignore: leave pixels without truth out (masks only).
    """

    name = "odi"
    needs = "heat"
    summary = (
        "ODI: of the positive relevance on objects, the share on objects of other classes (less is better)"
    )
    outcomes = (
        Outcome("share", "ODI", better="lower"),
        Outcome("share-pair", "ODI (pairs)", better="lower", average="pair", detail=True),
        Outcome("even", "ODI of an even map", better=""),
    )

    def measure(self, case: Case) -> dict[str, float]:
        own, others, ignore = self._regions(case)
        if own is None or others is None:
            return {}
        share = object_discrimination(case.heat, own, others, ignore)
        even = object_discrimination(np.ones(own.shape), own, others, ignore)
        return {} if share is None or even is None else {"share": share, "share-pair": share, "even": even}

    def ceiling(self, case: Case) -> dict[str, float]:
        """The other objects' share of what all objects hold; by masks alone."""
        own, others, _ = self._regions(case)
        if own is None or others is None or not of_whole_parts(case, own | others):
            return {}
        return {key: value for key, value in self.measure(case).items() if key != "even"}

    def _regions(
        self, case: Case
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """The class's pixels, those of other classes, and those to leave out."""
        kinds: tuple[Region, ...] = ("boxes", "masks") if self.region == "auto" else (self.region,)
        for kind in kinds:
            own = case.region(kind) if case.label >= 0 else None
            if own is None:
                continue
            found = [case.sample.region(label, kind) for label in case.sample.labels if label != case.label]
            regions = [other for other in found if other is not None]
            ignore = case.sample.ignore if kind == "masks" and self.ignore else None
            return own, np.any(regions, axis=0) if regions else None, ignore
        return None, None, None
