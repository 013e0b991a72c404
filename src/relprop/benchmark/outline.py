"""Outline: the border of a region as a line over a picture, which nobody takes for a part of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["OUTLINE", "border", "draw_outline", "outline_note"]

OUTLINE = "#ff00c8"
"""A magenta that few pictures hold, in dashes on white, which none does."""


def outline_note(kind: str) -> str:
    """The sentence that says what the line is.

    Args:
        kind: "box", "mask" or "region".
    """
    return (
        f"Magenta dashes on white: the {kind} that was annotated for the class and that maps are judged by; drawn "
        "over the picture, no part of it and not seen by the network."
    )


def border(region: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed lines along the pixels' edges between a region and what is outside it.

    Args:
        region: (H, W) bool; outside of it nothing belongs to it.

    Returns:
        Corners (n, 2) as (x, y), the first again at the end; (0, 0) is the picture's upper left corner.

    >>> border(np.array([[False, True, True]]))[0].astype(int).tolist()
    [[1, 0], [3, 0], [3, 1], [1, 1], [1, 0]]
    """
    wide = np.pad(np.asarray(region, dtype=bool), 1)
    inside = wide[1:-1, 1:-1]
    after: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Every edge of a pixel that has nothing beyond it, clockwise round the pixel: (from, to).
    for beyond, begin, end in (
        (wide[:-2, 1:-1], (0, 0), (1, 0)),
        (wide[1:-1, 2:], (1, 0), (1, 1)),
        (wide[2:, 1:-1], (1, 1), (0, 1)),
        (wide[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inside & ~beyond).tolist():
            after.setdefault((x + begin[0], y + begin[1]), []).append((x + end[0], y + end[1]))
    lines = []
    for first in sorted(after, key=lambda corner: (corner[1], corner[0])):
        while after[first]:
            line = [first, after[first].pop()]
            while line[-1] != first:
                line.append(after[line[-1]].pop())
            corners = np.array(line, dtype=np.float64)
            steps = np.diff(corners, axis=0)
            turns = (steps[1:] != steps[:-1]).any(axis=1)
            lines.append(corners[np.concatenate([[True], turns, [True]])])
    return lines


def draw_outline(axes: Axes, region: NDArray[np.bool_], points: float = 1.3) -> None:
    """Draw the border of a region over the picture that the axes show, a line of so many points.

    Raises:
        InputError: axes without a picture, or a picture of other proportions.
    """
    if not axes.images:
        raise InputError("Expected axes that show a picture but got none.")
    height, width = axes.images[0].get_shape()[:2]
    across, down = width / region.shape[1], height / region.shape[0]
    if abs(across / down - 1) > max(1 / min(height, width), 1 / min(region.shape)):
        raise InputError(
            f"Expected a region of the picture's proportions {(height, width)} but got {region.shape}."
        )
    for line in border(region):
        x, y = line[:, 0] * across - 0.5, line[:, 1] * down - 0.5
        how: dict[str, Any] = {"linewidth": points, "clip_on": False, "scalex": False, "scaley": False}
        axes.plot(x, y, color="white", zorder=4, gid="outline", **how)
        axes.plot(x, y, color=OUTLINE, linestyle=(0, (2.5, 1.5)), zorder=5, gid="outline", **how)
