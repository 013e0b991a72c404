"""Canvas: a page that plots grow on, in pixels, and axes with plain ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from relprop.viz.page import DPI
from relprop.viz.text import style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FAINT",
    "HEAD",
    "MARGIN",
    "MARKERS",
    "NAME",
    "POINT",
    "RULE",
    "SMALL",
    "WORDS",
    "Canvas",
    "height",
    "value_axis",
]

POINT = DPI / 72  # pixels in a point
HEAD, NAME, SMALL = 9.5, 7.5, 6.5  # font sizes in points, as on the sheets
MARGIN = 24  # pixels
WORDS, FAINT, RULE = "#222222", "#555555", "#e2e2e2"
# Lines. Okabe and Ito's colours ("Color Universal Design", 2008) but for the yellow, which is faint on white,
# and two darker ones. Markers tell lines apart without any colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#882255")
MARKERS = "osD^vPX*"


def value_axis(
    axes: Axes, name: Literal["x", "y"], ends: Sequence[float], most: float | None
) -> tuple[float, float]:
    """Ticks of a value axis that holds 0; returns its range."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == high:
        high = most or 1.0
    ticks = [float(t) for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    # The outermost ticks go where they would lie far beyond the data, or beyond what can be.
    slack = 0.15 * (high - low)
    least = low - slack if low < 0 else 0.0
    highest = most if most is not None and high <= most else math.inf
    found = [t for t in ticks if least <= t <= min(high + slack, highest)]
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(found))
    largest = max(abs(t) for t in found)
    exponent = math.floor(math.log10(largest))
    plain = -3 <= exponent < 5
    axis.set_ticklabels(
        [(f"{t:g}" if plain else f"{t:.1e}" if t else "0").replace("-", "−", 1) for t in found]
    )
    axes.grid(axis=name, color=RULE, linewidth=0.8)
    words = style(SMALL, colour=FAINT)
    for text in axis.get_ticklabels():
        text.set(fontproperties=words["fontproperties"], color=FAINT, parse_math=False)
    return min(low, found[0]), max(high, found[-1])


def height(size: float) -> int:
    """Height in pixels of a line of text."""
    return round(size * 1.3 * POINT)


@dataclass
class Canvas:
    """A page that grows downwards; places are pixels from its top left corner."""

    wide: int
    title: str
    top: int = MARGIN

    def __post_init__(self) -> None:
        self._texts: list[tuple[float, float, str, float, str, str]] = []
        if self.title:
            lines = wrap(self.title, (self.wide - 2 * MARGIN) / POINT, HEAD, 3, "bold")
            self.words(MARGIN, self.top, lines, HEAD, "bold")
            self.top += len(lines) * height(HEAD) + 14

    def words(self, x: float, top: float, lines: Sequence[str], size: float, weight: str = "normal") -> None:
        """Lines of text below `top`."""
        colour = WORDS if weight == "bold" else FAINT
        for k, line in enumerate(lines):
            self._texts.append((x, top + k * height(size) + size * POINT, line, size, weight, colour))

    def caption(self, sentences: Sequence[str]) -> None:
        """Sentences at the foot; nothing is put on the page after them."""
        room = (self.wide - 2 * MARGIN) / POINT
        lines = wrap(" ".join(filter(None, sentences)), room, SMALL, 60)
        self.words(MARGIN, self.top, lines, SMALL)
        self.top += len(lines) * height(SMALL) + MARGIN

    def figure(self) -> Figure:
        """The figure with the words on it."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from relprop.viz.inline_figure import InlineFigure

        size = (self.wide / DPI, self.top / DPI)
        figure = InlineFigure(figsize=size, dpi=DPI, facecolor="white", edgecolor="white")
        FigureCanvasAgg(figure)
        for x, baseline, text, points, weight, colour in self._texts:
            self.mark(figure, x, baseline, text, points, weight=weight, colour=colour)
        return figure

    def axes(self, figure: Figure, x: float, y: float, wide: float, tall: float, name: str) -> Axes:
        """Axes without a frame."""
        box = (x / self.wide, 1 - (y + tall) / self.top, wide / self.wide, tall / self.top)
        axes = figure.add_axes(box, label=name, facecolor="white")
        axes.set_gid(name)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=4)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def mark(
        self, figure: Figure, x: float, baseline: float, text: str, size: float, *,
        weight: str = "normal", colour: str = WORDS, align: str = "left", turned: float = 0,
    ) -> None:  # fmt: skip
        """One line of text by its baseline; a turned one hangs from its end."""
        how = {"va": "top", "rotation": turned, "rotation_mode": "anchor"} if turned else {"va": "baseline"}
        words = {**style(size, weight, colour), **how}
        figure.text(x / self.wide, 1 - baseline / self.top, text, ha=align, **words)

    def line(
        self, figure: Figure, xs: Sequence[float], ys: Sequence[float], colour: str, marker: str
    ) -> None:
        """A thin line over the page with a marker at its end."""
        from matplotlib.lines import Line2D

        points = ([x / self.wide for x in xs], [1 - y / self.top for y in ys])
        how: dict[str, Any] = {"color": colour, "linewidth": 0.8, "markeredgewidth": 0}
        how |= {"marker": marker, "markersize": 3.8, "markevery": [len(xs) - 1]}
        figure.add_artist(Line2D(*points, transform=figure.transFigure, **how))
