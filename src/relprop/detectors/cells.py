"""Cells: the anchors of detectors without anchor boxes, which measure a box from the places of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["cells", "from_sides"]


def cells(x: Tensor, strides: Sequence[float], middle: float = 0.5, side: float = 1.0) -> list[Tensor]:
    """Squares around the places of each level's grid, row by row.

    Args:
        x: the input (1, 3, h, w).
        strides: input pixels a cell, one a level.
        middle: where in its cell a place lies: 0.5 in its middle, 0 in its upper left corner.
        side: of the squares, in cells.

    Returns:
        A table (⌈h / stride⌉ · ⌈w / stride⌉, 4) a level: x0, y0, x1, y1 in input pixels.

    >>> [level.tolist() for level in cells(torch.zeros(1, 3, 8, 16), [8])]
    [[[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]]
    """
    levels = []
    for stride in strides:
        rows, columns = (
            (torch.arange(-(-side // stride), device=x.device, dtype=x.dtype) + middle) * stride
            for side in x.shape[2:]
        )
        y, x_ = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([x_, y], -1).reshape(-1, 2)
        half = side * stride / 2
        levels.append(torch.cat([places - half, places + half], 1))
    return levels


def from_sides(offsets: Tensor, anchors: Tensor, side: float = 1.0) -> Tensor:
    """Boxes of distances from a cell's middle to the left, top, right and bottom edge, in cells.

    Args:
        offsets: (..., 4) left, top, right, bottom.
        anchors: (..., 4) squares, in input pixels.
        side: of the squares, in cells.

    Returns:
        (..., 4) x0, y0, x1, y1 in input pixels.

    Source: Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019, equation 1.

    >>> from_sides(torch.tensor([1.0, 2.0, 3.0, 0.5]), torch.tensor([0.0, 0.0, 8.0, 8.0])).tolist()
    [-4.0, -12.0, 28.0, 8.0]
    """
    low, high = anchors[..., :2], anchors[..., 2:]
    middle, cell = (low + high) / 2, (high - low) / side
    return torch.cat([middle - offsets[..., :2] * cell, middle + offsets[..., 2:] * cell], -1)
