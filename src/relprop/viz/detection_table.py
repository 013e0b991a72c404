"""Relevance layer by layer, as tables on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relprop.viz.canvas import Canvas
from relprop.viz.labels import number
from relprop.viz.text import clean, fit, style, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LayerTable", "layers_figure"]

_SIZE = 6.5  # points
_LINE = 17  # pixels from line to line at 144 dots an inch
_HEADS = ("max", "95 %", "median", "5 %", "min", "Σ|R|")
_LAYER, _NUMBER, _GAP = 180, 70, 26  # widths of columns and of the space between tables, in pixels
_MARGIN = 24  # the canvas's own
_WHOLE = _LAYER + len(_HEADS) * _NUMBER
_ACROSS = 2  # side by side
_LONG = 16  # a table alone on the page that has more rows is broken into two


@dataclass(frozen=True)
class LayerTable:
    """A table of one target.

    Attributes:
        title: stands above it.
        rows: a layer's name, with the maximum, the percentiles 95, 50 and 5, the minimum and the sum of magnitudes
            of the relevance there.
    """

    title: str
    rows: Sequence[tuple[str, Sequence[float]]]


def layers_figure(tables: Sequence[LayerTable], title: str, notes: Sequence[str] = ()) -> Figure:
    """A page of tables, two side by side.

    Args:
        tables: at least one.
        title: line on top.
        notes: sentences at the foot.
    """
    lines = _lines(tables)
    across = max(map(len, lines))
    canvas = Canvas(2 * _MARGIN + across * _WHOLE + (across - 1) * _GAP, title)
    start = canvas.top
    canvas.top += sum(map(_height, lines))
    canvas.caption(notes)
    figure = canvas.figure()
    top = start
    for line in lines:
        for c, table in enumerate(line):
            _draw(figure, table, _MARGIN + c * (_WHOLE + _GAP), top, canvas.wide, canvas.top)
        top += _height(line)
    return figure


def _lines(tables: Sequence[LayerTable]) -> list[Sequence[LayerTable]]:
    if len(tables) == 1 and len(tables[0].rows) > _LONG:
        (whole,) = tables
        half = (len(whole.rows) + 1) // 2
        return [[LayerTable(whole.title, whole.rows[:half]), LayerTable("", whole.rows[half:])]]
    return [tables[i : i + _ACROSS] for i in range(0, len(tables), _ACROSS)]


def _height(line: Sequence[LayerTable]) -> int:
    return _LINE * (2 + max(len(table.rows) for table in line)) + _MARGIN


def _draw(figure: Figure, table: LayerTable, left: int, top: int, page_width: int, page_height: int) -> None:
    def put(text: str, x: float, line: int, weight: str, align: str) -> None:
        y = top + line * _LINE + _SIZE * 2
        words = style(_SIZE, weight)
        figure.text(x / page_width, 1 - y / page_height, text, ha=align, va="baseline", **words)

    right = [left + _LAYER + (c + 1) * _NUMBER for c in range(len(_HEADS))]
    put(fit([table.title], _WHOLE / 2, _SIZE, "bold")[0][0], left, 0, "bold", "left")
    put("layer just crossed", left, 1, "normal", "left")
    for x, head in zip(right, _HEADS, strict=True):
        put(head, x, 1, "normal", "right")
    for line, (layer, values) in enumerate(table.rows, start=2):
        put(_short(layer), left, line, "normal", "left")
        for x, value in zip(right, values, strict=True):
            put(number(value).replace("-", "−"), x, line, "normal", "right")


def _short(layer: str) -> str:
    """A layer's name that fits: its end says more than its beginning."""
    text, room = clean(layer), _LAYER / 2 - 4
    if width(text, _SIZE) <= room:
        return text
    for start in range(1, len(text)):
        if width("…" + text[start:], _SIZE) <= room:
            return "…" + text[start:].lstrip(".")
    return text[-1:]
