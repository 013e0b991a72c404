"""Moves: what an edge or an offset of a detection did to the default box, in pixels and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["direction", "edge_of", "moved", "moved_words", "part_title", "pixels"]

_EDGES = {"x1": ("left", 0), "y1": ("top", 1), "x2": ("right", 2), "y2": ("bottom", 3)}
#: Edges and distances to them: the side, and its column of a box.
_SIDES = _EDGES | {side: (side, column) for side, column in _EDGES.values()}
_TITLES = {"cx": "centre across (cx)", "cy": "centre down (cy)", "w": "width (w)", "h": "height (h)"}


def edge_of(of: str) -> str | None:
    """The edge that an offset is about by its name; None for others.

    >>> edge_of("left"), edge_of("cx")
    ('x1', None)
    """
    return next((edge for edge, (side, _) in _EDGES.items() if side == of), None)


def part_title(of: str) -> str:
    """What an edge or offset is called above its map.

    >>> part_title("x1"), part_title("w"), part_title("theta")
    ('left edge', 'width (w)', 'theta')
    """
    if of in _SIDES:
        side, _ = _SIDES[of]
        return f"{side} edge" if of in _EDGES else f"{side} edge ({of})"
    return _TITLES.get(of, of)


def moved(of: str, before: Sequence[float], after: Sequence[float]) -> float:
    """How far an edge, the centre or a side went from the default box: right, down and larger are positive.

    Args:
        of: x1, y1, x2, y2, left, top, right, bottom, cx, cy, w, h; NaN for other names, of which nothing is known.
        before: the default box, x0, y0, x1, y1 in pixels.
        after: the box after localisation.

    >>> moved("x1", (0, 0, 40, 40), (-12, 0, 28, 20)), moved("h", (0, 0, 40, 40), (-12, 0, 28, 20))
    (-12.0, -20.0)
    """
    if of in _SIDES:
        _, column = _SIDES[of]
        return float(after[column] - before[column])
    if of not in _TITLES:
        return math.nan
    axis = {"cx": 0, "cy": 1, "w": 0, "h": 1}[of]
    (low, high), (new_low, new_high) = ((box[axis], box[axis + 2]) for box in (before, after))
    if of in ("cx", "cy"):
        return float((new_low + new_high - low - high) / 2)
    return float((new_high - new_low) - (high - low))


def moved_words(of: str, before: Sequence[float], after: Sequence[float]) -> str:
    """What an edge or an offset did to the default box, in words; "" for names of which nothing is known.

    Args:
        of, before, after: as for `moved`.

    >>> moved_words("x1", (0, 0, 40, 40), (-12, 0, 28, 20))
    'moved 12 px left'
    >>> moved_words("h", (0, 0, 40, 40), (-12, 0, 28, 20))
    'height 40 → 20 px (× 0.50)'
    """
    way = moved(of, before, after)
    if math.isnan(way):
        return ""
    if of in ("w", "h"):
        what, axis = ("width", 0) if of == "w" else ("height", 1)
        old, new = (box[axis + 2] - box[axis] for box in (before, after))
        ratio = f" (× {new / old:.2f})" if old > 0 else ""
        return f"{what} {pixels(old)} → {pixels(new)} px{ratio}"
    lead = "centre " if of in ("cx", "cy") else ""
    if round(way, 1) == 0:
        return f"{lead}stayed"
    across = _SIDES[of][1] % 2 == 0 if of in _SIDES else of == "cx"
    ways = ("left", "right") if across else ("up", "down")
    return f"{lead}moved {pixels(abs(way))} px {ways[way > 0]}"


def direction(of: str, more: bool) -> str:
    """Which way an edge, the centre or a side goes where it is larger, or smaller: up is to the picture's top.

    >>> direction("cy", more=False), direction("x1", more=True), direction("theta", more=True)
    ('up', 'right', 'larger')
    """
    less_more = {
        "cx": ("left", "right"),
        "cy": ("up", "down"),
        "w": ("narrower", "wider"),
        "h": ("shorter", "taller"),
        "x1": ("left", "right"),
        "y1": ("up", "down"),
        "x2": ("left", "right"),
        "y2": ("up", "down"),
    }
    return less_more.get(of, ("smaller", "larger"))[more]


def pixels(length: float) -> str:
    """A length in pixels, as sentences have it.

    >>> pixels(12.3), pixels(3.04)
    ('12', '3.0')
    """
    return f"{length:.0f}" if length >= 10 else f"{length:.1f}"
