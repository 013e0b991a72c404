"""Region of a metric: which truth it looks at, and which pixels have none."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_choice
from relprop.metrics.metric import Case, Metric, as_heat, as_region

__all__ = ["RegionMetric", "Truth", "check_truth", "grown", "masked", "of_whole_parts", "truth_of"]

Truth = Literal["boxes", "masks", "auto"]
"""The union of a class's boxes, of its masks, or boxes where the picture has some for it and else masks."""


def check_truth(region: str) -> None:
    """Refuse another word than boxes, masks or auto.

    Raises:
        InputError: with what came.
    """
    check_choice("region", region, ("boxes", "masks", "auto"))


def truth_of(case: Case, region: Truth) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """The class's pixels and those without truth, (H, W) bool each; None where there are none.

    Pixels without truth (VOC's white borders) belong to masks: a box says of every pixel whether it is
    inside.
    """
    found = case.region("boxes") if region in ("boxes", "auto") else None
    if found is not None or region == "boxes":
        return found, None
    return case.region("masks"), case.sample.ignore


def masked(heat: Any, region: Any, ignore: Any = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Map and region as checked vectors (n,) of the pixels that have truth.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> masked([[1.0, 2.0]], [[1, 0]], ignore=[[0, 1]])
    (array([1.]), array([ True]))
    """
    values = as_heat(heat)
    inside = as_region(region, values)
    valid = np.ones_like(inside) if ignore is None else ~as_region(ignore, values)
    return values[valid], inside[valid]


def grown(region: Any, pixels: float) -> NDArray[np.bool_]:
    """The region and all pixels at most so far from one of its own, centre to centre, (H, W) bool.

    >>> grown([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], 1.5).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    """
    inside = np.asarray(region, dtype=bool)
    height, width = inside.shape
    found = np.zeros_like(inside)
    counted = np.concatenate([np.zeros((height, 1), int), inside.cumsum(1)], axis=1)
    for down in range(-min(math.floor(pixels), height - 1), min(math.floor(pixels), height - 1) + 1):
        # So many rows away, a pixel is near enough to those that are at most `reach` columns away.
        reach = math.floor(math.sqrt(pixels**2 - down**2))
        columns = np.arange(width)
        left, right = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, width)
        near = counted[:, right] > counted[:, left]
        here = slice(max(0, down), height + min(0, down))
        there = slice(max(0, -down), height + min(0, -down))
        found[here] |= near[there]
    return found


def of_whole_parts(case: Case, region: NDArray[np.bool_]) -> bool:
    """Whether a region (H, W) is made of whole parts of the case's world, so that the world says what it holds."""
    world = case.sample.world
    return world is not None and all(
        inside.all() or not inside.any() for inside in (region[part.pixels] for part in world.parts)
    )


class RegionMetric(Metric):
    """A metric that holds a map against the pixels of a class.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).
        ignore: leave pixels without truth out (masks only).

    Raises:
        InputError: another word.
    """

    def __init__(self, *, region: Truth = "boxes", ignore: bool = True) -> None:
        check_truth(region)
        self.region, self.ignore = region, ignore

    def truth(self, case: Case) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """The class's pixels, None where there are none, and those to leave out, None where all count."""
        region, ignore = truth_of(case, self.region)
        return region, ignore if self.ignore else None
