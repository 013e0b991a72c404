"""Bars: a column of a table, method by method, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relprop.benchmark.columns import Column
from relprop.benchmark.legend import UNBEATEN, gaps, legend, published_heading, share, shown
from relprop.benchmark.table import Table
from relprop.errors import InputError
from relprop.viz.canvas import FAINT, MARGIN, NAME, POINT, RULE, SMALL, WORDS, Canvas, height, value_axis
from relprop.viz.text import fit, width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars", "bars_page"]

_GAP = 44  # pixels between panels
_PANEL = 640  # width of a panel in pixels
_BAR = 27  # height of a bar with its gap
_APART = 0.5  # bars' heights between methods, controls and the ceiling
_TICKS = 26
_COLOURS = {"method": "#56b4e9", "control": "#bbbbbb", "oracle": "#dddddd", "ceiling": "#009e73"}
_PAPER = "#d55e00"


@dataclass(frozen=True)
class _Panel:
    """A column as it was measured here, or as others published it."""

    column: Column
    published: bool
    head: tuple[str, ...]
    below: str
    rows: tuple[tuple[str, float], ...]  # name and place, in bars' heights

    @property
    def tall(self) -> int:
        """Pixels of all bars."""
        return math.ceil((self.rows[-1][1] + 1) * _BAR)


def bars(table: Table, column: Column | str) -> Figure:
    """Draw one column; see `bars_page`."""
    return bars_page(table, [column])


def bars_page(table: Table, columns: Sequence[Column | str] | None = None, *, across: int = 2) -> Figure:
    """Draw a panel per column: a bar per method from the best down, its interval; controls and the ceiling below.

    What others published follows in panels of its own. Axes start at 0 and shares end at 100 % at the latest.
    Methods without a number stand last, as n/a.

    Args:
        table: what to draw.
        columns: columns or their ids; all but details by default.
        across: panels side by side.

    Returns:
        A matplotlib figure that belongs to no pyplot state and needs no display.

    Raises:
        InputError: if there is no column to draw, or `across` is below 1.
        UnknownNameError: an id that no column has.
    """
    chosen = [
        table.column(c) if isinstance(c, str) else c for c in (table.main if columns is None else columns)
    ]
    if not chosen:
        raise InputError("Expected a table with at least one column to draw but got none.")
    if across < 1:
        raise InputError(f"Expected at least 1 panel across but got {across}.")
    across = min(across, len(chosen))
    page = Canvas(2 * MARGIN + across * _PANEL + (across - 1) * _GAP, table.title)
    papers = [_panel(table, c, True) for c in chosen if c in table.published]
    placed: list[tuple[_Panel, int, int]] = []
    for panels in ([_panel(table, c, False) for c in chosen], papers):
        if panels is papers and papers:
            room = (page.wide - 2 * MARGIN) / POINT
            lines = wrap(published_heading(table), room, NAME, 3, "bold")
            page.words(MARGIN, page.top, lines, NAME, "bold")
            page.top += len(lines) * height(NAME) + 16
        for first in range(0, len(panels), across):
            row = panels[first : first + across]
            tall = max(len(panel.head) for panel in row)
            for k, panel in enumerate(row):
                left = MARGIN + k * (_PANEL + _GAP)
                page.words(left, page.top + (tall - len(panel.head)) * height(NAME), panel.head, NAME, "bold")
                page.words(left, page.top + tall * height(NAME) + 2, [panel.below], SMALL)
                placed.append((panel, left, page.top + tall * height(NAME) + height(SMALL) + 10))
            heads = tall * height(NAME) + height(SMALL) + 10
            page.top += heads + max(panel.tall for panel in row) + _TICKS + 22
    page.caption([*_said(table), *legend(table, ""), *table.notes])
    figure = page.figure()
    for panel, left, top in placed:
        if panel.published:
            _draw_published(figure, page, table, panel, left, top)
        else:
            _draw(figure, page, table, panel, left, top)
    return figure


def _said(table: Table) -> list[str]:
    said = ["Bars: means. Black lines: intervals."]
    if table.controls:
        said.append("Grey: controls, which know nothing of what the network learned or only sharpen a map.")
    if table.ceiling:
        said.append(f"Green, and the dashed line: the ceiling, {table.ceiling}.")
    return said


def _panel(table: Table, column: Column, published: bool) -> _Panel:
    rows: list[tuple[str, float]] = []
    if published:
        held = [(m, n) for m in table.rows if (n := table.cell(m, column).published) is not None]
        held.sort(key=lambda pair: pair[1], reverse=column.better != "lower")
        rows = [(m, float(k)) for k, (m, _) in enumerate(held)]
    else:
        for group in table.groups:
            first = rows[-1][1] + 1 + _APART if rows else 0.0
            rows += [(m, first + k) for k, m in enumerate(_ranked(table, column, group))]
    below = "published by others, not measured here" if published else _counted(table, column)
    return _Panel(
        column,
        published,
        tuple(wrap(_headline(column), _PANEL / POINT, NAME, 2, "bold")),
        below,
        tuple(rows),
    )


def _draw(figure: Figure, page: Canvas, table: Table, panel: _Panel, left: int, top: int) -> None:
    column = panel.column
    signs = gaps(table)
    unit = 100 if column.percent else 1
    cells = [table.cell(m, column) for m, _ in panel.rows]
    texts = [
        " ".join(filter(None, [shown(c.value, column.percent) + (UNBEATEN if c.unbeaten else ""), share(c)]))
        if c.pairs
        else signs.get(c.missing, "n/a")
        for c in cells
    ]
    ends = [unit * x for c in cells for x in (c.value, c.low, c.high) if not math.isnan(x)]
    axes = _axes(figure, page, panel, texts, [bool(c.pairs) for c in cells], ends, left, top)
    for (method, place), cell in zip(panel.rows, cells, strict=True):
        kind = table.kind(method)
        if cell.pairs:
            axes.barh(place, unit * cell.value, height=0.68, color=_COLOURS[kind], linewidth=0, zorder=2)
        if not math.isnan(cell.low):
            axes.plot(
                [unit * cell.low, unit * cell.high], [place, place], color=WORDS, linewidth=1.3, zorder=3
            )
        if kind == "ceiling" and cell.pairs:
            axes.axvline(
                unit * cell.value, color=_COLOURS[kind], linewidth=1.0, linestyle=(0, (4, 2)), zorder=1
            )


def _draw_published(figure: Figure, page: Canvas, table: Table, panel: _Panel, left: int, top: int) -> None:
    column = panel.column
    unit = 100 if column.percent else 1
    values = [table.cell(m, column).published or 0.0 for m, _ in panel.rows]
    texts = [shown(value, column.percent) for value in values]
    axes = _axes(figure, page, panel, texts, [True] * len(values), [unit * v for v in values], left, top)
    for (_, place), value in zip(panel.rows, values, strict=True):
        axes.barh(
            place, unit * value, height=0.6, facecolor="white", edgecolor=_PAPER, linewidth=1.2, zorder=2
        )


def _axes(
    figure: Figure,
    page: Canvas,
    panel: _Panel,
    texts: Sequence[str],
    there: Sequence[bool],
    ends: Sequence[float],
    left: int,
    top: int,
) -> Axes:
    """Axes with names to the left of the bars and numbers to the right."""
    column = panel.column
    names, size = fit([m for m, _ in panel.rows], 130, NAME)
    label = math.ceil(max(width(n, size) for n in names) * POINT) + 12
    value = math.ceil(max(width(t, NAME) for t in texts) * POINT) + 14
    name = f"{'published' if panel.published else 'bars'} {column.id}"
    axes = page.axes(figure, left + label, top, _PANEL - label - value, panel.tall, name)
    low, high = value_axis(axes, "x", ends, 100 if column.percent else None)
    axes.set_xlim(low, high)
    axes.set_ylim(panel.tall / _BAR - 0.5, -0.5)
    if low < 0:
        axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    for k, (_, place) in enumerate(panel.rows):
        middle = top + (place + 0.5) * _BAR + size * POINT * 0.36
        page.mark(figure, left + label - 8, middle, names[k], size, align="right")
        colour = WORDS if there[k] else FAINT
        page.mark(figure, left + _PANEL, middle, texts[k], NAME, align="right", colour=colour)
        if k and place > panel.rows[k - 1][1] + 1:
            axes.axhline(place - 0.5 - _APART / 2, color=RULE, linewidth=0.8, zorder=0)
    return axes


def _ranked(table: Table, column: Column, rows: Sequence[str]) -> list[str]:
    """Rows from the best to the worst; those without a number last, in the table's order."""
    down = -1 if column.better != "lower" else 1
    held = {m: table.cell(m, column).value for m in rows}
    return sorted(rows, key=lambda m: (1, 0.0) if math.isnan(held[m]) else (0, down * held[m]))


def _headline(column: Column) -> str:
    hint = f"{column.better} is better" if column.better else ""
    return " · ".join(filter(None, [column.title + (" (%)" if column.percent else ""), hint]))


def _counted(table: Table, column: Column) -> str:
    parts = []
    for what, one, many in (("pairs", "pair", "pairs"), ("images", "picture", "pictures")):
        low, high = table.counts(column, "pairs" if what == "pairs" else "images")
        parts.append(f"{low if low == high else f'{low}–{high}'} {one if high == 1 else many}")
    return " in ".join(parts)
