"""Maps sheet: pictures × methods, as papers show them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.benchmark.outline import draw_outline, outline_note
from relprop.errors import InputError
from relprop.viz.canvas import POINT, SMALL, Canvas, height
from relprop.viz.page import DPI
from relprop.viz.panels import Panel, panel_pixels
from relprop.viz.scale import CLIP, limits
from relprop.viz.text import clean, fit, width, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMN", "PAGE", "ShownMaps", "maps_sheet"]

PAGE, COLUMN = 6.9, 3.35
"""Inches: about the width of a page's text, and of one of its two columns."""

_SIDE = 112  # least pixels of a panel, 0.78 inches
_SHARP = 224  # pixels that a panel is drawn with at least, so that print shows no coarse edges
_EDGE, _GAP = 4, 6  # pixels
_MOST_LINES = 3  # of a method's name


@dataclass(frozen=True, eq=False)
class ShownMaps:
    """One class in one picture, explained by several methods.

    Attributes:
        title: below the picture, say its class.
        picture: (H, W, 3) float in 0-1.
        maps: by method, (H, W) at the picture's size.
        unsigned: methods whose maps hold no negative values by construction.
        region: (H, W) bool, the class's region, or None.
        kind: what the region is, in a word: "box" or "mask".
    """

    title: str
    picture: NDArray[np.floating]
    maps: Mapping[str, NDArray[np.floating]]
    unsigned: frozenset[str] = field(default_factory=frozenset)
    region: NDArray[np.bool_] | None = None
    kind: str = "region"


def maps_sheet(
    rows: Sequence[ShownMaps],
    methods: Sequence[str] | None = None,
    *,
    inches: float = PAGE,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw a row per picture and a column per method, the picture with its class's outline first.

    The page is as wide as it will be printed, words are 6.5 points. Methods that don't fit side by side follow in
    further blocks, below the same pictures.

    Args:
        rows: what to draw.
        methods: which, in their order; all that the first row has by default.
        inches: width of the page: `PAGE`, `COLUMN`, or another.
        notes: sentences for the caption.

    Raises:
        InputError: nothing to draw, a width without room for a picture and a map, a method that some row lacks,
            shapes that differ, or a value that is NaN or infinite.
    """
    if not rows:
        raise InputError("Expected at least one picture to draw but got none.")
    chosen = list(rows[0].maps if methods is None else methods)
    if not chosen:
        raise InputError("Expected at least one method to draw but got none.")
    for row in rows:
        _check(row, chosen)
    page = Canvas(round(inches * DPI), "", _EDGE)
    inner = page.wide - 2 * _EDGE
    across = min(1 + len(chosen), (inner + _GAP) // (_SIDE + _GAP))
    if across < 2:
        least = (2 * _SIDE + _GAP + 2 * _EDGE) / DPI
        raise InputError(
            f"Expected a page with room for a picture and a map, {least:.2g} inches, but got {inches:g}."
        )
    side = min(2 * _SIDE, (inner + _GAP) // across - _GAP)
    placed: list[tuple[int, int, int, int, ShownMaps, str]] = []
    for block in _blocks(chosen, across - 1):
        heads = [["input"], *(_broken(name, side / POINT) for name in block)]
        tall = max(map(len, heads))
        for k, head in enumerate(heads):
            left = _EDGE + k * (side + _GAP)
            for n, line in enumerate(head):
                page.words(
                    left + max(0.0, (side - width(line, SMALL) * POINT) / 2),
                    page.top + (tall - len(head) + n) * height(SMALL),
                    [line],
                    SMALL,
                )
        page.top += tall * height(SMALL) + 4
        for row in rows:
            high = round(side * min(1.5, row.picture.shape[0] / row.picture.shape[1]))
            wide = round(high * row.picture.shape[1] / row.picture.shape[0])
            for k, name in enumerate(["", *block]):
                placed.append(
                    (_EDGE + k * (side + _GAP) + (side - wide) // 2, page.top, wide, high, row, name)
                )
            (title,), size = fit([row.title], side / POINT, SMALL)
            page.words(_EDGE, page.top + high + 2, [title], size)
            page.top += high + 2 + height(SMALL) + 3
        page.top += 8
    kinds = dict.fromkeys(row.kind for row in rows if row.region is not None)
    said = [
        "Red: for the class; blue: against it; white: none.",
        f"Every map has its own scale, the {CLIP:g}th percentile of its non-zero magnitudes.",
        "Grey lines: outlines of the input.",
        outline_note(" or ".join(kinds)) if kinds else "",
    ]
    lines = wrap(" ".join(filter(None, [*said, *notes])), inner / POINT, SMALL, 60)
    page.words(_EDGE, page.top, lines, SMALL)
    page.top += len(lines) * height(SMALL) + _EDGE
    figure = page.figure()
    for number, (left, top, wide, high, row, name) in enumerate(placed):
        axes = page.axes(figure, left, top, wide, high, f"{'map' if name else 'picture'}-{number}")
        axes.imshow(_pixels(row, name), interpolation="antialiased", aspect="auto", origin="upper")
        for spine in axes.spines.values():
            spine.set(visible=True, color="#b8b8b8", linewidth=0.5)
        if not name and row.region is not None:
            draw_outline(axes, row.region, 0.8)
    return figure


def _pixels(row: ShownMaps, name: str) -> NDArray[np.uint8]:
    picture = np.asarray(row.picture, dtype=np.float64)
    if not name:
        return panel_pixels(Panel(picture=picture), 0.0, "outlines", _SHARP)
    signed = name not in row.unsigned
    heat = np.asarray(row.maps[name], dtype=np.float64)
    (limit,) = limits([heat], "symmetric", CLIP, signed=[signed])
    return panel_pixels(Panel(heat, picture, signed=signed), limit.value, "outlines", _SHARP)


def _blocks(methods: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Methods in blocks of about one length, none longer than `most`."""
    count = math.ceil(len(methods) / most)
    size = math.ceil(len(methods) / count)
    for first in range(0, len(methods), size):
        yield methods[first : first + size]


def _broken(name: str, room: float) -> list[str]:
    """A method's name in lines of at most `room` points, broken behind spaces, hyphens, colons and commas.

    >>> _broken("integrated-gradients:steps=20", 57)
    ['integrated-', 'gradients:', 'steps=20']
    """
    lines = [""]
    for part in re.findall(r"[^-:, ]*[-:, ]?", clean(name)):
        if lines[-1] and width((lines[-1] + part).rstrip(), SMALL) > room:
            lines.append("")
        lines[-1] += part
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], "".join(lines[_MOST_LINES - 1 :])]
    return fit([line.strip() for line in lines], room, SMALL)[0]


def _check(row: ShownMaps, methods: Sequence[str]) -> None:
    shape = np.shape(row.picture)
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"Expected a picture (H, W, 3) for {row.title!r} but got shape {shape}.")
    for name in methods:
        if name not in row.maps:
            raise InputError(
                f"Expected a map of {name!r} for {row.title!r} but got {', '.join(row.maps) or 'none'}."
            )
        if np.shape(row.maps[name]) != shape[:2]:
            raise InputError(
                f"Expected maps of the picture's size {shape[:2]} for {row.title!r} but {name!r} has "
                f"{np.shape(row.maps[name])}."
            )
