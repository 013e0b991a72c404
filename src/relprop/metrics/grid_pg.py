"""GridPG: the share of positive relevance that lies in the asked class's cell of a grid."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from relprop.datasets.sample import fill_boxes
from relprop.errors import InputError
from relprop.metrics.energy import energy
from relprop.metrics.metric import Case, Metric, Outcome, as_heat
from relprop.metrics.region import Truth

__all__ = ["GridPG", "grid_pg"]


def grid_pg(heat: Any, cell: int, side: int) -> float:
    r"""Positive relevance in one cell of a grid, as a share of all of it.

    .. math:: L_i = \frac{\sum_{p \in \text{cell } i} \max(0, R_p)}
        {\sum_{j=1}^{n^2} \sum_{p \in \text{cell } j} \max(0, R_p)}

    Source: Böhle et al. 2021 (CVPR), localisation metric; Rao et al. 2022 (CVPR), eq. 1.

    Args:
        heat: (H, W), finite; H and W are multiples of `side`.
        cell: the asked class's, counted row by row from 0.
        side: n, cells a side.

    Returns:
        From 0 to 1; 1 / n² for a map that knows nothing, 0 for a map without positive values.

    Raises:
        InputError: a map that isn't cut evenly, or no such cell; NaN or infinity.

    >>> grid_pg([[3.0, 1.0], [0.0, -5.0]], cell=0, side=2)
    0.75
    """
    values = as_heat(heat)
    height, width = values.shape
    if side < 1 or height % side or width % side:
        raise InputError(f"Expected a map of {side} × {side} equal cells but got shape {values.shape}.")
    if not 0 <= cell < side**2:
        raise InputError(f"Expected a cell from 0 to {side**2 - 1} but got {cell}.")
    high, wide = height // side, width // side
    region = np.zeros(values.shape, dtype=bool)
    top, left = cell // side * high, cell % side * wide
    region[top : top + high, left : left + wide] = True
    share = energy(values, region)
    assert share is not None  # a cell has pixels
    return share


class GridPG(Metric):
    """Share of positive relevance in the class's cell, averaged over all cells that were asked.

    The cells are the boxes of the picture (data set `grids`). Beside the share: how often every other cell
    holds less than the class's own.

    Source: see `grid_pg`.
    """

    name = "grid-pg"
    needs = "heat"
    region: ClassVar[Truth] = "boxes"
    summary = "GridPG: share of positive relevance in the class's cell of a grid of pictures"
    outcomes = (
        Outcome("share", "GridPG", average="pair"),
        Outcome("most", "Own cell has most", average="pair", detail=True),
    )

    def measure(self, case: Case) -> dict[str, float]:
        boxes, own = case.sample.boxes, case.sample.box_labels == case.label
        if own.sum() != 1:
            return {}  # no grid: a class has one cell there
        heat = as_heat(case.heat)
        shares = [energy(heat, fill_boxes(box[None], heat.shape)) or 0.0 for box in boxes]
        share = shares[int(own.argmax())]
        others = [s for s, mine in zip(shares, own, strict=True) if not mine]
        return {"share": share, "most": float(share > max(others, default=0.0))}
