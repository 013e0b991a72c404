"""Charts of tables: each reads its numbers from a page's own table, so that the two can't say different things."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gallery_made import Made
from matplotlib.figure import Figure

from relprop.viz.canvas import COLOURS, FAINT, MARKERS, RULE

__all__ = ["CHARTS", "Chart", "Row", "digest", "draw", "pictures", "table"]

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
    """The chart."""
    rows = chart.rows()
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


_CLASS_ROWS = (
    "agreement", "the sharper one, squared", "contrastive-rsp", "margin-rsp", "clrp",
    "contrastive-excitation-backprop", "lrp-gamma",
    "lrp-composite", "guided-backprop", "rap", "integrated-gradients", "excitation-backprop", "grad-cam", "odam",
    "gradient-x-input", "smoothgrad", "the picture's edges", "the picture's middle", "noise", "the ceiling",
)  # fmt: skip

CHARTS: list[Chart] = [
    Chart(
        "chart-classes",
        "energy of methods on three networks of drawn scenes",
        "numbers/scenes.md",
        "## Class of a picture",
        {"scenes-resnet": 0, "scenes-vgg": 3, "scenes-vit": 6},
        "energy: % of the red that lies on the object",
        keep=_CLASS_ROWS,
    ),
    Chart(
        "chart-photographs",
        "energy of methods on COCO's photographs",
        "numbers/photographs.md",
        "## COCO",
        {"SqueezeNet 1.1": 0, "EfficientNet-Lite0": 3},
        "energy: % of the red that lies on the object",
    ),
    Chart(
        "chart-hiding",
        "logits lost by hiding red, random and blue patches",
        "numbers/hiding.md",
        "## Does blue speak against?",
        {"red": 8, "random": 9, "blue": 10},
        "logits lost when a tenth of the picture is hidden (inpainted)",
        at={0: "nothing lost"},
        ends=None,
        colours=("#b2182b", "#777777", "#2166ac"),
    ),
    Chart(
        "chart-speed",
        "cost of a map on VGG-16, beside zennit and captum",
        "numbers/speed.md",
        "## vgg16, batch 1",
        {"gradients": 1},
        "cost of a map of VGG-16, in gradients of the score by the picture",
        keep=(
            "relprop ε",
            "captum LRP (ε)",
            "relprop ε in products, z⁺ in convolutions",
            "zennit EpsilonPlus",
            "relprop ε in products, αβ(2,1) in convolutions",
            "zennit EpsilonAlpha2Beta1",
            "relprop z⁺, 20 targets, each",
        ),
        at={1: "one gradient"},
        ends=(0, 5.2),
        ordered=False,
    ),
    Chart(
        "chart-many",
        "eleven methods of one picture, one by one and in one call",
        "numbers/batches.md",
        "## Many questions of one picture",
        {"one call for all": 2, "a call a method": 1, "a call a method, before": 0},
        "cost of eleven maps, in gradients of the score by the picture",
        ends=(0, 30),
        ordered=False,
    ),
    Chart(
        "chart-benchmark",
        "seconds of a benchmark's first run, and of a further metric",
        "numbers/benchmark.md",
        "## What another metric costs",
        {"seconds": 0},
        "seconds: 24 drawn scenes, 19 methods, one thread",
        ends=(0, 210),
        ordered=False,
    ),
    Chart(
        "chart-app",
        "seconds of the app until its page, a first and a second answer",
        "numbers/app.md",
        "# Numbers",
        {"start": 0, "page": 1, "first answer": 2, "second answer": 3},
        "seconds of each step, two CPU threads",
        ends=(0, 6),
        ordered=False,
    ),
    Chart(
        "chart-measured",
        "how often a map's red matters, on two real detectors",
        "numbers/measured.md",
        "## Does this map hold up?",
        {"beats a random draw": 5, "holds up": 6},
        "% of draws, and % of detections",
        at={50: "a random choice"},
    ),
    Chart(
        "chart-video",
        "temporal relevance on the object that decides, under a shaking camera",
        "numbers/video.md",
        "A camera that shakes (",
        {"on the decider": 2, "points at it": 3},
        "% of temporal relevance, and % of frames",
    ),
    Chart(
        "chart-grid-pg",
        "GridPG of methods on drawn scenes and on photographs",
        "numbers/grid-pg.md",
        "## How it was measured",
        {"drawn scenes": 0, "SqueezeNet 1.1": 3, "EfficientNet-Lite0": 4},
        "GridPG: % of the red in the right cell",
        at={25: "chance"},
        keep=(
            "agreement",
            "rsp:hostile=asked",
            "lrp-composite",
            "margin-rsp",
            "contrastive-excitation-backprop",
            "grad-cam",
            "clrp",
            "contrastive-rsp",
            "rsp",
            "lrp-gamma",
            "excitation-backprop",
            "guided-backprop",
            "integrated-gradients",
            "lrp-epsilon",
            "gradient-x-input",
            "an edge filter",
        ),
    ),
    Chart(
        "chart-affine",
        "the bias's share of the score at depths",
        "numbers/affine.md",
        "## By depth",
        {"input": (0, 0), "second": (1, 0), "third": (2, 0), "last": (5, 0)},
        "b / F: the bias's share of the score",
        at={0: "no bias", 1: "all bias"},
        ends=(-0.1, 1.3),
        ordered=False,
    ),
    Chart(
        "chart-crp",
        "how often offset maps name the right side, by the detector's map",
        "numbers/crp.md",
        "| offset maps |",
        {"finest map (14 × 14)": 1, "7 × 7": 2, "coarsest (4 × 4)": 3},
        "% of centre offsets whose side the map names",
        at={50: "a coin"},
        ordered=False,
    ),
    Chart(
        "chart-margin-rsp",
        "energy, rank and hits on detections of drawn scenes",
        "numbers/margin-rsp.md",
        "## How it behaves",
        {"energy": 0, "rank": 1, "hit": 2},
        "% on the object",
    ),
    Chart(
        "chart-rsp",
        "energy and deletion on drawn scenes",
        "numbers/rsp.md",
        "**scenes-resnet**",
        {"energy (more is better)": 3, "deletion (less is better)": 5},
        "%",
    ),
    Chart(
        "chart-lrp-composite",
        "energy, rank and hits on EfficientNet-Lite0",
        "numbers/lrp-composite.md",
        "## Which rule for which network",
        {"energy": 0, "rank": 1, "hit": 2},
        "% on the object, in photographs of VOC 2012",
    ),
    Chart(
        "chart-attnlrp",
        "pointing and energy on a vision transformer",
        "numbers/attnlrp.md",
        "## On a trained vision transformer",
        {"energy": 2, "pointing": 0},
        "%",
    ),
    Chart(
        "chart-split-tried",
        "definitions of the conserving split that were tried",
        "numbers/video-split.md",
        "## What else was tried",
        {"camera at rest": (0, 0), "shaking camera": (0, 1)},
        "share of temporal relevance on the object that decides",
        keep=(
            "two streams (kept)",
            "motion's share δR^a, by the plain rules",
            "from the last activations, z^B in all layers",
            "from all activations, streams as kept",
        ),
        ends=(0, 1.02),
    ),
    Chart(
        "chart-forget",
        "what is left of a map when the network forgets",
        "trust.md",
        "## Does a map forget",
        {"weights drawn anew": 0, "labels shuffled": 1},
        "rank correlation with the map of the trained network",
        at={0: "forgets all", 1: "notices nothing"},
        ends=(-0.5, 1.3),
    ),
    Chart(
        "chart-published",
        "the Pointing Game here and as published, on VOC",
        "real-pictures.md",
        "## The Pointing Game",
        {"SqueezeNet 1.1, here": 0, "VGG-16, published": 1},
        "% of hits on VOC",
        keep=(
            "center",
            "gradient",
            "deconvnet",
            "guided-backprop",
            "grad-cam",
            "excitation-backprop",
            "contrastive-excitation-backprop",
        ),
        ordered=False,
    ),
]


def pictures() -> Iterator[Made]:
    """A picture a chart."""
    for chart in CHARTS:
        yield Made(chart.name, chart.what, partial(draw, chart), lossless=True, note=digest(chart))
