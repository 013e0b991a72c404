"""Curves: what a metric measured along layers or steps, a line per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relprop.benchmark.table import Series, Table
from relprop.errors import unknown_name
from relprop.viz.canvas import (
    COLOURS,
    MARGIN,
    MARKERS,
    NAME,
    POINT,
    RULE,
    SMALL,
    Canvas,
    height,
    value_axis,
)
from relprop.viz.text import fit, width, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves"]

_WIDE = 1324  # pixels of a panel
_TALL = 380
# For more methods than colours.
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))


def curves(
    table: Table,
    metric: str,
    key: str | None = None,
    *,
    along: str = "",
) -> Figure:
    """Draw what a metric measured along layers or steps: a panel per outcome, a line per method.

    Bands are the intervals; they are left out where there are more than six lines, which they would hide.

    Args:
        table: what to draw.
        metric: the metric as the recipe labels it.
        key: one of its outcomes; all by default.
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
    page = Canvas(2 * MARGIN + _WIDE, table.title)
    placed = []
    for one in series:
        page.words(MARGIN, page.top, wrap(_headline(one), _WIDE / POINT, NAME, 1, "bold"), NAME, "bold")
        top = page.top + height(NAME) + 12
        tall = max(_TALL, height(NAME) * sum(_measured(one, m) for m in table.methods))
        ticks, below = _places(one, _WIDE - 264)
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
        _curve_panel(figure, page, table, one, top, tall, ticks)
    return figure


def _curve_panel(
    figure: Figure,
    page: Canvas,
    table: Table,
    series: Series,
    top: int,
    tall: int,
    ticks: Sequence[tuple[float, str, bool]],
) -> None:
    methods = [m for m in table.rows if _measured(series, m)]
    names, size = fit(methods, 130, NAME)
    label = math.ceil(max((width(n, size) for n in names), default=0) * POINT) + 44
    left, wide = MARGIN + 64, _WIDE - 64 - label
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
        colour = "#888888" if method in table.controls else COLOURS[index]
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


def _headline(series: Series) -> str:
    hint = f" · {series.better} is better" if series.better else ""
    return f"{series.title}, step by step{' (%)' if series.percent else ''}{hint}"


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
