"""Where the labels of boxes stand: beside their boxes, off each other, inside the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["place_labels"]

_GAP = 3.0  # pixels between two labels
_HIDES = 60.0  # what hiding a small box costs, in pixels of distance
_CORNER = 0.2  # what a pixel away from the upper left corner costs, against one away from the box
_STEP = 6.0  # of the places tried away from the box, in pixels


def place_labels(
    boxes: Sequence[Sequence[float]], sizes: Sequence[tuple[float, float]], room: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """Upper left corners of the boxes' labels, none over another and none over the edge.

    Greedy: smaller boxes choose first, as larger ones have more places. A label stands at its box's upper left
    corner where it can, else at another place along the box, else as near as there is room.

    Args:
        boxes: x0, y0, x1, y1 in pixels.
        sizes: (width, height) of each label.
        room: (width, height) of the picture.

    Returns:
        A corner (x, y) a box, or None where no room is left.

    >>> place_labels([(10, 30, 50, 60), (10, 30, 50, 61)], [(30, 12), (30, 12)], (100, 100))
    [(10.0, 18.0), (10.0, 61.0)]
    """
    edges = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    areas = np.prod(np.maximum(edges[:, 2:] - edges[:, :2], 1), axis=1)
    found: list[tuple[float, float] | None] = [None] * len(edges)
    taken = np.zeros((0, 4))
    for i in np.argsort(areas, kind="stable"):
        width, height = sizes[i]
        if width > room[0] or height > room[1]:
            continue
        for corners in (_along(edges[i], width, height), _anywhere(width, height, room)):
            corners = corners.clip(0, np.array(room) - np.array([width, height]))
            labels = np.hstack([corners, corners + np.array([width, height])])
            free = (_overlaps(labels + np.array([-_GAP, -_GAP, _GAP, _GAP]), taken) == 0).all(1)
            if not free.any():
                continue
            others = np.arange(len(edges)) != i
            hidden = (_overlaps(labels, edges[others]) / areas[others]).clip(0, 1).sum(1)
            cost = _away(labels, edges[i]) + _HIDES * hidden
            cost += _CORNER * np.abs(corners - (edges[i, 0], edges[i, 1] - height)).sum(1)
            best = int(np.where(free, cost, np.inf).argmin())
            found[i] = (float(corners[best, 0]), float(corners[best, 1]))
            taken = np.concatenate([taken, labels[best][None]])
            break
    return found


def _along(box: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Corners of labels that touch the box: over and under its upper and lower edge, left and right of it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    across = np.linspace(x0, max(x0, x1 - width), 6)
    rows = [(x, y) for y in (y0 - height, y0, y1, y1 - height) for x in across]
    sides = [(x, y) for x in (x0 - width, x1) for y in (y0, y1 - height)]
    return np.array(rows + sides)


def _anywhere(width: float, height: float, room: tuple[float, float]) -> NDArray[np.float64]:
    """Corners on a grid over the picture."""
    x = np.arange(0, room[0] - width + 1e-9, _STEP)
    y = np.arange(0, room[1] - height + 1e-9, _STEP)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas that rectangles (n, 4) and (m, 4) share, (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(-1))


def _away(labels: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels between labels (n, 4) and a box, (n,); 0 where they touch."""
    apart = np.maximum(labels[:, :2] - box[2:], box[:2] - labels[:, 2:]).clip(0)
    return np.asarray(np.hypot(apart[:, 0], apart[:, 1]))
