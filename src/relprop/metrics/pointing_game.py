"""Pointing Game: does the map's highest pixel lie on the object?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome, as_heat, as_region
from relprop.metrics.region import Truth, check_truth, truth_of

__all__ = ["PointingGame", "point", "pointing_game"]


def point(heat: Any) -> tuple[int, int]:
    """The highest pixel as (x, y); among equals the first in reading order (row by row).

    Args:
        heat: (H, W), finite.

    Raises:
        InputError: another shape, NaN or infinity.

    >>> point([[0.0, 3.0], [3.0, 1.0]])
    (1, 0)
    """
    values = as_heat(heat)
    y, x = divmod(int(values.argmax()), values.shape[1])
    return x, y


def pointing_game(heat: Any, region: Any, tolerance: float = 15) -> bool | None:
    r"""Whether the highest pixel is less than `tolerance` away from a pixel of the region.

    .. math:: \text{hit} \iff \min_{q \in \text{region}} \lVert p - q \rVert^2 < \text{tolerance}^2
        \;\text{ or }\; p \in \text{region}

    Exactly `tolerance` away is a miss. With `tolerance` 0 the pixel itself has to be in the region.
    Source: Zhang et al. 2016 (excitation backprop), as TorchRay computes it (its text says "at most", its code
    "less").

    Args:
        heat: (H, W), finite, at the picture's own size.
        region: (H, W), booleans or 0 and 1.
        tolerance: in pixels.

    Returns:
        None if the region is empty: then there is nothing to hit or to miss. False if the map is constant:
        it points nowhere, and its first pixel is the corner only by convention.

    Raises:
        InputError: shapes that differ, NaN or infinity, a negative tolerance.

    >>> heat, region = np.zeros((1, 20)), np.zeros((1, 20), bool)
    >>> heat[0, 0], region[0, 15:] = 1.0, True
    >>> pointing_game(heat, region), pointing_game(heat, region, tolerance=15.1)
    (False, True)
    """
    check_tolerance(tolerance)
    values = as_heat(heat)
    inside = as_region(region, values)
    if not inside.any():
        return None
    if values.max() == values.min():
        return False
    x, y = point(values)
    reach = math.ceil(tolerance)
    top, left = max(0, y - reach), max(0, x - reach)
    near = inside[top : y + reach + 1, left : x + reach + 1]
    rows, columns = np.nonzero(near)
    squared = (rows + top - y) ** 2 + (columns + left - x) ** 2
    return bool(((squared < tolerance**2) | (squared == 0)).any())


def check_tolerance(tolerance: Any) -> None:
    """Refuse what is no distance.

    Raises:
        InputError: with what came.
    """
    if (
        isinstance(tolerance, bool)
        or not isinstance(tolerance, (int, float))
        or not 0 <= tolerance < math.inf
    ):
        raise InputError(f"Expected tolerance to be a number of pixels >= 0 but got {tolerance!r}.")


class PointingGame(Metric):
    """Share of pairs whose highest pixel hits the object, averaged per class, then over classes.

    Source: Zhang et al. 2016 (excitation backprop); see `pointing_game` for ties, constant maps and empty
    regions. VOC is played on boxes, COCO on masks.

    Args:
        tolerance: in pixels of the picture; a hit is strictly nearer.
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).

    Raises:
        InputError: a negative tolerance, another region.
    """

    name = "pointing-game"
    needs = "heat"
    summary = "Pointing Game: share of maps whose highest pixel lies on the object (15 px tolerance)"
    outcomes = (Outcome("hit", "Pointing Game", subsets=True),)

    def __init__(self, *, tolerance: float = 15, region: Truth = "boxes") -> None:
        check_tolerance(tolerance)
        check_truth(region)
        self.tolerance, self.region = tolerance, region

    def measure(self, case: Case) -> dict[str, float]:
        region, _ = truth_of(case, self.region)
        hit = None if region is None else pointing_game(case.heat, region, self.tolerance)
        return {} if hit is None else {"hit": float(hit)}
