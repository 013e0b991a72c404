"""Plots of a table: bars with intervals, and curves along layers or steps."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from relprop.benchmark.baselines import BASELINES
from relprop.benchmark.formats import shown
from relprop.benchmark.table import Column, Series, Table
from relprop.errors import InputError, unknown_name
from relprop.viz.canvas import (
    COLOURS,
    FAINT,
    MARGIN,
    MARKERS,
    NAME,
    POINT,
    RULE,
    SMALL,
    WORDS,
    Canvas,
    height,
    value_axis,
)
from relprop.viz.text import fit, width, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "bars_page", "curves"]


_GAP = 44  # pixels between panels
_PANEL = 640  # width of a panel in pixels
_BAR = 27  # height of a bar with its gap
_TICKS = 26
_CURVE = 380  # height of a panel of curves
_OWN, _GREY, _PAPER = "#56b4e9", "#bbbbbb", "#d55e00"
# For more methods than colours.
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))


def bars(table: Table, column: Column | str, *, baselines: Collection[str] = BASELINES) -> Figure:
    """Draw one column; see `bars_page`."""
    return bars_page(table, [column], baselines=baselines)


def bars_page(
    table: Table,
    columns: Sequence[Column | str] | None = None,
    *,
    baselines: Collection[str] = BASELINES,
    across: int = 2,
) -> Figure:
    """Draw a panel per column: a bar per method from the best down, its interval, the paper's number.

    Axes start at 0 and shares end at 100 % at the latest. Methods without a number stand last, as n/a.

    Args:
        table: what to draw.
        columns: columns or their ids; all but details by default.
        baselines: methods drawn grey.
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
    wide = 2 * MARGIN + across * _PANEL + (across - 1) * _GAP
    page = Canvas(wide, table.title)
    rows = [chosen[k : k + across] for k in range(0, len(chosen), across)]
    placed = []
    for row in rows:
        heads = [wrap(_headline(c), _PANEL / POINT, NAME, 2, "bold") for c in row]
        tall = max(map(len, heads))
        for k, (column, head) in enumerate(zip(row, heads, strict=True)):
            left = MARGIN + k * (_PANEL + _GAP)
            page.words(left, page.top + (tall - len(head)) * height(NAME), head, NAME, "bold")
            page.words(left, page.top + tall * height(NAME) + 2, [_counted(table, column)], SMALL)
            placed.append((column, left, page.top + tall * height(NAME) + height(SMALL) + 10))
        page.top += tall * height(NAME) + height(SMALL) + 10 + len(table.methods) * _BAR + _TICKS + 22
    said = ["Bars: means. Black lines: intervals."]
    if set(table.methods) & set(baselines):
        said.append("Grey: baselines that see neither picture nor model.")
    if any(table.cell(m, c).published is not None for m in table.methods for c in chosen):
        said.append("Diamonds and numbers in brackets: as published.")
    page.caption([*said, *table.notes])
    figure = page.figure()
    for column, left, top in placed:
        _bar_panel(figure, page, table, column, left, top, baselines)
    return figure


def _bar_panel(
    figure: Figure,
    page: Canvas,
    table: Table,
    column: Column,
    left: int,
    top: int,
    baselines: Collection[str],
) -> None:
    methods = _ranked(table, column)
    cells = [table.cell(m, column) for m in methods]
    unit = 100 if column.percent else 1
    numbers = [
        (shown(c.value, column.percent) if c.pairs else "n/a")
        + ("" if c.published is None else f" ({shown(c.published, column.percent)})")
        for c in cells
    ]
    names, size = fit(methods, 130, NAME)
    label = math.ceil(max(width(n, size) for n in names) * POINT) + 12
    value = math.ceil(max(width(n, NAME) for n in numbers) * POINT) + 14
    tall = len(methods) * _BAR
    axes = page.axes(figure, left + label, top, _PANEL - label - value, tall, f"bars {column.id}")
    ends = [
        unit * x for c in cells for x in (c.value, c.low, c.high, c.published or 0.0) if not math.isnan(x)
    ]
    low, high = value_axis(axes, "x", ends, 100 if column.percent else None)
    axes.set_xlim(low, high)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    for k, (method, cell, name, text) in enumerate(zip(methods, cells, names, numbers, strict=True)):
        if cell.pairs:
            colour = _GREY if method in baselines else _OWN
            axes.barh(k, unit * cell.value, height=0.68, color=colour, linewidth=0, zorder=2)
        if not math.isnan(cell.low):
            axes.plot([unit * cell.low, unit * cell.high], [k, k], color=WORDS, linewidth=1.3, zorder=3)
        if cell.published is not None:
            axes.plot(
                [unit * cell.published], [k], "D", color=_PAPER, markersize=5, markeredgecolor="white",
                markeredgewidth=0.8, zorder=4, clip_on=False,
            )  # fmt: skip
        middle = top + (k + 0.5) * _BAR + size * POINT * 0.36
        page.mark(figure, left + label - 8, middle, name, size, align="right")
        page.mark(
            figure, left + _PANEL, middle, text, NAME, align="right", colour=WORDS if cell.pairs else FAINT
        )
    if low < 0:
        axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)


def curves(
    table: Table,
    metric: str,
    key: str | None = None,
    *,
    baselines: Collection[str] = BASELINES,
    along: str = "",
) -> Figure:
    """Draw what a metric measured along layers or steps: a panel per outcome, a line per method.

    Bands are the intervals; they are left out where there are more than six lines, which they would hide.

    Args:
        table: what to draw.
        metric: the metric as the recipe labels it.
        key: one of its outcomes; all by default.
        baselines: methods drawn grey.
        along: what the steps are, below the axis.

    Raises:
        UnknownNameError: no series of this metric, or of this outcome of it.
    """
    series = [s for s in table.series if s.metric == metric]
    if not series:
        raise unknown_name("metric measured along steps", metric, {s.metric for s in table.series})
    if key is not None:
        if key not in {s.key for s in series}:
            raise unknown_name(f"series of {metric!r}", key, [s.key for s in series])
        series = [s for s in series if s.key == key]
    page = Canvas(2 * MARGIN + 2 * _PANEL + _GAP, table.title)
    placed = []
    for one in series:
        page.words(MARGIN, page.top, wrap(_headline(one), 2 * _PANEL / POINT, NAME, 1, "bold"), NAME, "bold")
        top = page.top + height(NAME) + 12
        tall = max(_CURVE, height(NAME) * sum(_measured(one, m) for m in table.methods))
        ticks, below = _places(one, 2 * _PANEL - 220)
        placed.append((one, top, tall, ticks))
        page.top = top + tall + below + 8
        if along:
            page.words(MARGIN + 64, page.top, [along], SMALL)
            page.top += height(SMALL)
        page.top += 22
    banded = [s.title for s in series if _banded(s, table)]
    bands = ["Bands: intervals."] if banded else []
    page.caption([f"Lines: means over {_most(series)}.", *bands, *table.notes])
    figure = page.figure()
    for one, top, tall, ticks in placed:
        _curve_panel(figure, page, table, one, top, tall, ticks, baselines)
    return figure


def _curve_panel(
    figure: Figure,
    page: Canvas,
    table: Table,
    series: Series,
    top: int,
    tall: int,
    ticks: Sequence[tuple[float, str, bool]],
    baselines: Collection[str],
) -> None:
    methods = [m for m in table.methods if _measured(series, m)]
    names, size = fit(methods, 130, NAME)
    label = math.ceil(max((width(n, size) for n in names), default=0) * POINT) + 44
    left, wide = MARGIN + 64, 2 * _PANEL + _GAP - 64 - label
    axes = page.axes(figure, left, top, wide, tall, f"curves {series.metric}.{series.key}")
    unit = 100 if series.percent else 1
    xs = _positions(series)
    banded = _banded(series, table)
    ends = []
    for cell in (c for m in methods for c in series.cells[m]):
        ends += [unit * x for x in ((cell.value, cell.low, cell.high) if banded else (cell.value,)) if x == x]
    low, high = value_axis(axes, "y", ends, 100 if series.percent else None)
    axes.set_ylim(low, high)
    pad = 0.01 * (xs[-1] - xs[0]) or 0.5
    axes.set_xlim(xs[0] - pad, xs[-1] + pad)
    for x, text, turned in ticks:
        at = left + wide * (x - xs[0] + pad) / (xs[-1] - xs[0] + 2 * pad)
        axes.axvline(x, color=RULE, linewidth=0.6, zorder=0)
        if turned:
            page.mark(figure, at + 5, top + tall + 10, text, SMALL, align="right", turned=45)
        else:
            page.mark(figure, at, top + tall + 8 + SMALL * POINT, text, SMALL, align="center")
    ended = []
    for method, name in zip(methods, names, strict=True):
        turn, index = divmod(table.methods.index(method), len(COLOURS))
        dashes, marker = _DASHES[turn % len(_DASHES)], MARKERS[(index + 3 * turn) % len(MARKERS)]
        colour = "#888888" if method in baselines else COLOURS[index]
        points = [(x, c) for x, c in zip(xs, series.cells[method], strict=True) if c.pairs]
        held, ys = [x for x, _ in points], [unit * c.value for _, c in points]
        if banded:
            lows = [unit * (c.low if c.low == c.low else c.value) for _, c in points]
            highs = [unit * (c.high if c.high == c.high else c.value) for _, c in points]
            axes.fill_between(held, lows, highs, color=colour, alpha=0.13, linewidth=0, zorder=2)
        axes.plot(
            held, ys, color=colour, linewidth=1.5, linestyle=dashes,
            marker=marker, markersize=3.8, markeredgewidth=0, zorder=3, label=method,
            clip_on=False,
        )  # fmt: skip
        x = left + wide * (held[-1] - xs[0] + pad) / (xs[-1] - xs[0] + 2 * pad)
        ended.append((top + tall * (high - ys[-1]) / (high - low), x, name, colour, marker))
    ended.sort(key=lambda end: end[0])
    spots = _spread([y for y, *_ in ended], height(NAME), top, top + tall)
    for spot, (y, x, name, colour, marker) in zip(spots, ended, strict=True):
        page.line(figure, (x + 5, left + wide + 4, left + wide + 27), (y, y, spot), colour, marker)
        page.mark(figure, left + wide + 36, spot + size * POINT * 0.36, name, size)


def _ranked(table: Table, column: Column) -> list[str]:
    """Methods from the best to the worst; those without a number last, in the table's order."""
    down = -1 if column.better != "lower" else 1
    held = {m: table.cell(m, column).value for m in table.methods}
    return sorted(table.methods, key=lambda m: (1, 0.0) if math.isnan(held[m]) else (0, down * held[m]))


def _headline(what: Column | Series) -> str:
    hint = {"higher": "higher is better", "lower": "lower is better", "": ""}[what.better]
    title = what.title if isinstance(what, Column) else f"{what.title}, step by step"
    return " · ".join(filter(None, [title + (" (%)" if what.percent else ""), hint]))


def _counted(table: Table, column: Column) -> str:
    parts = []
    for what, one, many in (("pairs", "pair", "pairs"), ("images", "picture", "pictures")):
        low, high = table.counts(column, "pairs" if what == "pairs" else "images")
        parts.append(f"{low if low == high else f'{low}–{high}'} {one if high == 1 else many}")
    return " in ".join(parts)


def _most(series: Sequence[Series]) -> str:
    cells = [c for s in series for line in s.cells.values() for c in line]
    pairs, images = max((c.pairs for c in cells), default=0), max((c.images for c in cells), default=0)
    return f"up to {pairs} pairs in {images} {'picture' if images == 1 else 'pictures'}"


def _measured(series: Series, method: str) -> bool:
    return any(cell.pairs for cell in series.cells[method])


def _banded(series: Series, table: Table) -> bool:
    return sum(_measured(series, m) for m in table.methods) <= 6


def _positions(series: Series) -> list[float]:
    """Where the places stand on the axis: numbers at their value, others side by side."""
    try:
        return [float(where) for where in series.wheres]
    except ValueError:
        return [float(k) for k in range(len(series.wheres))]


def _place(where: str) -> str:
    """What stands below a place: numbers in front of names only order them.

    >>> _place("01 conv1"), _place("07"), _place("conv1"), _place("0.25")
    ('conv1', '7', 'conv1', '0.25')
    """
    number, _, name = where.partition(" ")
    if not number.isdigit():
        return where
    return name or str(int(number))


def _places(series: Series, room: int) -> tuple[list[tuple[float, str, bool]], int]:
    """Labels of the x axis as (position, text, turned), and the pixels they need below it."""
    texts, _ = fit([_place(w) for w in series.wheres], 110, SMALL)
    widest = max(width(t, SMALL) for t in texts) * POINT
    xs = _positions(series)
    if (widest + 12) * len(texts) <= room:
        return [(x, t, False) for x, t in zip(xs, texts, strict=True)], 8 + height(SMALL)
    if all(w.replace(".", "", 1).isdigit() for w in texts):
        step = math.ceil(len(texts) * (widest + 12) / room)
        kept = [(x, t, False) for x, t in list(zip(xs, texts, strict=True))[::step]]
        return kept, 8 + height(SMALL)
    step = math.ceil(len(texts) * height(SMALL) / room)
    turned = [(x, t, True) for x, t in list(zip(xs, texts, strict=True))[::step]]
    return turned, math.ceil(widest / math.sqrt(2)) + height(SMALL) + 4


def _spread(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Positions at least `least` apart, in order, as near to the wanted ones as a pass each way brings them.

    >>> _spread([10.0, 11.0, 40.0], 10, 0, 45)
    [10.0, 20.0, 40.0]
    >>> _spread([44.0, 45.0], 10, 0, 45)
    [35, 45]
    """
    spots: list[float] = []
    for y in wanted:
        spots.append(max(y, spots[-1] + least if spots else low))
    for k in range(len(spots) - 1, -1, -1):
        spots[k] = min(spots[k], spots[k + 1] - least if k + 1 < len(spots) else high)
    return spots
