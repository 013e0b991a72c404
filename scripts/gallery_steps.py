"""Steps: boxes of words from the left to the right, joined by arrows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.figure import Figure

from relprop.viz.canvas import COLOURS, FAINT, WORDS

__all__ = ["steps"]

_WIDE, _HIGH, _ACROSS, _DOWN = 1.6, 0.68, 0.34, 0.18  # inches: of a box, and between boxes


def steps(columns: Sequence[Sequence[str]], *, dpi: int = 140) -> Figure:
    """Columns of boxes; every box of a column leads to every one of the next."""
    most = max(map(len, columns))
    wide = len(columns) * (_WIDE + _ACROSS) - _ACROSS + 0.2
    high = most * (_HIGH + _DOWN) - _DOWN + 0.2
    figure = Figure(figsize=(wide, high), dpi=dpi, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, wide), ylim=(0, high))
    axes.axis("off")
    placed = [
        [
            (0.1 + k * (_WIDE + _ACROSS), high / 2 + ((len(column) - 1) / 2 - n) * (_HIGH + _DOWN))
            for n in range(len(column))
        ]
        for k, column in enumerate(columns)
    ]
    for before, after in pairwise(placed):
        for left, y in before:
            for right, to in after:
                axes.annotate(
                    "", (right, to), (left + _WIDE, y), arrowprops={"arrowstyle": "->", "color": FAINT}
                )
    for column, places in zip(columns, placed, strict=True):
        for text, (left, y) in zip(column, places, strict=True):
            axes.text(
                left + _WIDE / 2, y, text, ha="center", va="center", fontsize=8.5, color=WORDS, linespacing=1.3,
            )  # fmt: skip
            axes.add_patch(_box(left, y))
    return figure


def _box(left: float, y: float) -> object:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (left, y - _HIGH / 2), _WIDE, _HIGH, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="#f4f8fb", edgecolor=COLOURS[0], linewidth=1, zorder=0,
    )  # fmt: skip
