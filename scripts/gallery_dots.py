"""Dots: a chart of a page's own table, so that the two can't say different things."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from relprop.viz.canvas import COLOURS, FAINT, MARKERS, RULE

__all__ = ["Chart", "Row", "digest", "draw", "table"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
_NUMBER = re.compile(r"[−+-]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: of the first cell, without its marks.
        control: whether it stands in italics: something that sees no network.
        cells: the others, as they are written.
    """

    name: str
    control: bool
    cells: tuple[str, ...]

    def numbers(self, column: int) -> tuple[float, ...]:
        """The numbers of a cell: a value, or a value and the ends of its interval, or none."""
        if column >= len(self.cells):
            return ()
        found = _NUMBER.findall(self.cells[column].replace("**", ""))
        return tuple(float(n.replace("−", "-").replace(",", "")) for n in found)


@dataclass(frozen=True)
class Chart:
    """A table's columns as dots, a line for each row.

    Attributes:
        name: of the picture.
        what: it shows, in a few words.
        page: that holds the table, in docs.
        after: words on that page; the chart shows the first table behind them.
        series: name → column, counted from 0 without the rows' names; or (column, number in the cell).
        axis: what the numbers are.
        keep: names of rows; all, if empty.
        at: value → words, of vertical lines.
        ends: of the axis, where 0 to 100 isn't meant.
        ordered: whether rows stand in order of their first number, and controls last.
        colours: of the series.
    """

    name: str
    what: str
    page: str
    after: str
    series: dict[str, int | tuple[int, int]]
    axis: str
    keep: tuple[str, ...] = ()
    at: dict[float, str] = field(default_factory=dict)
    ends: tuple[float, float] | None = (0, 102)
    ordered: bool = True
    colours: tuple[str, ...] = COLOURS

    def rows(self) -> list[Row]:
        """The rows as they are drawn, from the top."""
        rows = table((DOCS / self.page).read_text(encoding="utf-8"), self.after)
        rows = [row for row in rows if not self.keep or row.name in self.keep]
        missing = set(self.keep) - {row.name for row in rows}
        if missing:
            raise ValueError(f"{self.page} has no rows {sorted(missing)}")
        if self.ordered:
            rows.sort(key=lambda row: (row.control, 0 if row.control else -self._first(row)))
        return rows

    def values(self, row: Row) -> list[tuple[float, ...]]:
        """For each series the value, and its interval's ends where it has one; nothing where it is missing."""
        found = []
        for where in self.series.values():
            column, part = where if isinstance(where, tuple) else (where, None)
            numbers = row.numbers(column)
            found.append(numbers if part is None else numbers[part : part + 1])
        return found

    def _first(self, row: Row) -> float:
        return next((numbers[0] for numbers in self.values(row) if numbers), 0.0)


def table(text: str, after: str) -> list[Row]:
    """The rows of the first table that stands behind `after`.

    Raises:
        ValueError: the words or a table aren't there.
    """
    _before, found, rest = text.partition(after)
    lines = rest.splitlines()
    start = next((k for k, line in enumerate(lines) if re.fullmatch(r"\|[ :|-]+\|", line)), None)
    if not found or start is None:
        raise ValueError(f"no table behind {after!r}")
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        first, *cells = (c.strip() for c in re.split(r"(?<!\\)\|", line.strip())[1:-1])
        name = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", first)
        control = bool(re.match(r"\*[^*]", name))
        rows.append(Row(re.sub(r"[`*\\]", "", name), control, tuple(cells)))
    return rows


def draw(chart: Chart) -> Figure:
    """The chart.

    Raises:
        ValueError: a value would fall off its axis.
    """
    rows = chart.rows()
    _check_ends(chart, rows)
    tall = 0.27 * len(rows) + 1.05
    figure = Figure(figsize=(7, tall), dpi=160, facecolor="white")
    left = min(0.45, 0.04 + 0.0092 * max(len(row.name) for row in rows))
    top = 0.42 if len(chart.series) > 1 else 0.15
    axes = figure.add_axes((left, 0.5 / tall, 0.97 - left, (tall - 0.5 - top) / tall))
    for y, row in enumerate(rows):
        axes.axhline(y, color=RULE, linewidth=0.8, zorder=0)
        _line(axes, row, y, chart)
    _frame(axes, chart, rows)
    if len(chart.series) > 1:
        handles = [
            axes.plot([], [], MARKERS[k], color=chart.colours[k], markersize=6, label=name)[0]
            for k, name in enumerate(chart.series)
        ]
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=((left + 0.97) / 2, 1), ncols=len(handles),
            frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.4,
        )  # fmt: skip
    return figure


def _check_ends(chart: Chart, rows: Sequence[Row]) -> None:
    """Matplotlib leaves out what lies off an axis, without a word."""
    low, high = chart.ends or (-math.inf, math.inf)
    for row in rows:
        off = [v for found in chart.values(row) for v in found if not low <= v <= high]
        if off:
            raise ValueError(
                f"{chart.name}: {off} of {row.name} lie outside {chart.ends}, the ends of the axis"
            )


def _line(axes: Any, row: Row, y: int, chart: Chart) -> None:
    for k, found in enumerate(chart.values(row)):
        if not found:
            continue
        shift, colour = (k - (len(chart.series) - 1) / 2) * 0.2, chart.colours[k]
        if len(found) == 3:
            axes.plot(found[1:], [y + shift] * 2, color=colour, linewidth=1.6, alpha=0.55)
        axes.plot(
            found[0], y + shift, MARKERS[k], color=colour, markersize=6,
            markerfacecolor="white" if row.control else colour,
        )  # fmt: skip


def digest(chart: Chart) -> str:
    """Changes whenever a number does that the chart shows; stored with the picture."""
    shown = [(row.name, row.control, chart.values(row)) for row in chart.rows()]
    return hashlib.sha256(repr((shown, chart.series, chart.axis)).encode()).hexdigest()[:16]


def _frame(axes: Any, chart: Chart, rows: Sequence[Row]) -> None:
    axes.set(ylim=(len(rows) - (0.1 if chart.at else 0.5), -0.5), xlabel=chart.axis, yticks=range(len(rows)))
    if chart.ends:
        axes.set_xlim(*chart.ends)
    axes.set_yticklabels([row.name for row in rows], fontsize=9, parse_math=False)
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set(color=FAINT if row.control else "#222222", style="italic" if row.control else "normal")
    for value, words in chart.at.items():
        axes.axvline(value, color="#222222", linestyle=":", linewidth=1)
        axes.annotate(words, (value, len(rows) - 0.15), (3, 2), textcoords="offset points", fontsize=8)
    axes.tick_params(axis="x", labelsize=8, colors=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set(fontsize=9, color="#222222")
    axes.grid(axis="x", color=RULE)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
