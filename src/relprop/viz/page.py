"""One page: where panels and words stand, to the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.viz.colour import colours
from relprop.viz.labels import number
from relprop.viz.scale import Limit
from relprop.viz.text import fit, style, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DPI", "Line", "Slot", "compose"]

DPI = 144
_POINT = DPI / 72  # pixels in a point
_TITLE, _SMALL, _HEAD = 7.5, 6.5, 9.5  # font sizes in points
_GAP = 14  # pixels between panels
_MARGIN = 22
_BAR = (230, 14)  # width and height of the colour bar
_BESIDE = 640  # from this width on the caption stands beside the colour bar
_MOST_PIXELS = 120_000_000
_MOST_SIDE = 60_000


@dataclass(frozen=True)
class Slot:
    """A panel ready for the page: pixels (H, W, 3), a name to find it by, and its words."""

    pixels: NDArray[np.uint8]
    name: str
    title: str = ""
    below: tuple[str, ...] = ()
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """Cells side by side under a header, with ``room`` pixels left empty below."""

    cells: Sequence[Slot | None]
    header: str = ""
    room: int = 0


def compose(
    lines: Sequence[Line],
    *,
    title: str,
    caption: str,
    limits: Sequence[Limit],
    least: int,
    room: int = 0,
    words: float = _SMALL,
) -> Figure:
    """Put cells, words, colour bar and caption on a page; pixels stay pixels.

    Args:
        lines: rows of cells.
        title: on top, "" for none.
        caption: beside or below the colour bar.
        limits: the scales of the maps on the page; no colour bar without any.
        least: least width of a column in pixels.
        room: pixels left empty at the bottom, for what the caller draws there.
        words: size in points of the words below cells and of the caption.

    Raises:
        InputError: if the page would be too large to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from relprop.viz.inline_figure import InlineFigure

    cells = [cell for line in lines for cell in line.cells if cell is not None]
    column = max(least, *(cell.pixels.shape[1] for cell in cells))
    columns = max(len(line.cells) for line in lines)
    inner = max(columns * column + (columns - 1) * _GAP, 2 * least, 440)
    _, small = fit([text for cell in cells for text in cell.below], column / _POINT, words)

    # From the top down: every mark with its place; the page is as tall as they need.
    marks = _Marks()
    top = marks.block(
        _MARGIN, _MARGIN, wrap(title, inner / _POINT, _HEAD, 3, "bold") if title else [], _HEAD, "bold"
    )
    top += 8 if title else 0
    for line in lines:
        top = _place(marks, line, top, column, inner, small)
    if limits:
        _place_bar(marks, limits, _MARGIN + 58, top)
    beside = bool(limits) and inner >= _BESIDE
    left = _MARGIN + _BAR[0] + 130 if beside else _MARGIN
    under_bar = top + _BAR[1] + 4 + _height(_SMALL) if limits else top
    foot = wrap(caption, (inner + _MARGIN - left) / _POINT, words, 20) if caption else []
    end = marks.block(left, top - 2 if beside else under_bar + 8, foot, words, colour="#555555")
    width, height = inner + 2 * _MARGIN, max(end, under_bar) + _MARGIN + room
    if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
        raise InputError(
            f"Expected a page of at most {_MOST_PIXELS // 1_000_000} million pixels but got {width} x {height}. "
            "Draw fewer rows or columns on one sheet."
        )
    figure = InlineFigure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", edgecolor="white")
    FigureCanvasAgg(figure)
    marks.draw(figure, width, height)
    return figure


def _height(size: float) -> int:
    """Height in pixels of a line of text."""
    return round(size * 1.3 * _POINT)


def _place(marks: _Marks, line: Line, top: int, column: int, inner: int, small: float) -> int:
    """Place a row of cells below ``top`` and return where the next one starts."""
    if line.header:
        (header,), size = fit([line.header], inner / _POINT, _TITLE, "bold")
        top = marks.block(_MARGIN, top, [header], size, "bold") + 4
    titles = [
        wrap(cell.title, column / _POINT, _TITLE, 2, "bold", even=True) if cell and cell.title else []
        for cell in line.cells
    ]
    panels = top + max(map(len, titles)) * _height(_TITLE) + 4
    words = panels + max(cell.pixels.shape[0] for cell in line.cells if cell is not None) + 4
    end = words
    for c, (cell, above) in enumerate(zip(line.cells, titles, strict=True)):
        if cell is None:
            continue
        left = _MARGIN + c * (column + _GAP)
        middle = left + column / 2
        marks.block(middle, panels - 4 - len(above) * _height(_TITLE), above, _TITLE, "bold", "center")
        marks.image(left + (column - cell.pixels.shape[1]) // 2, panels, cell.pixels, cell.name)
        under = words
        for k, text in enumerate(cell.below):
            weight = "bold" if cell.bold and k == 0 else "normal"
            parts = wrap(text, column / _POINT, small, 3, weight, even=True)
            under = marks.block(middle, under, parts, small, weight, "center")
        end = max(end, under)
    return end + _GAP + line.room


def _place_bar(marks: _Marks, limits: Sequence[Limit], x: int, y: int) -> None:
    signed = any(limit.signed for limit in limits)
    table = colours() if signed else colours()[len(colours()) // 2 :]
    steps = np.rint(np.linspace(0, len(table) - 1, _BAR[0])).astype(np.int64)
    marks.image(x, y, table[steps][None].repeat(_BAR[1], axis=0), "colour-bar")
    values = {limit.value for limit in limits}
    end = number(values.pop()) if len(values) == 1 and values != {0.0} else "scale"
    ticks = [(0.0, f"−{end}"), (0.5, "0"), (1.0, f"+{end}")] if signed else [(0.0, "0"), (1.0, end)]
    for position, label in ticks:
        marks.block(x + position * _BAR[0], y + _BAR[1] + 3, [label], _SMALL, align="center")
    marks.block(x - 8, y - 1, ["against" if signed else "none"], _SMALL, align="right")
    marks.block(x + _BAR[0] + 8, y - 1, ["for"], _SMALL)


class _Marks:
    """Texts and images at pixel positions counted from the page's top left corner."""

    def __init__(self) -> None:
        self._texts: list[tuple[float, float, str, float, str, str, str]] = []
        self._images: list[tuple[int, int, NDArray[np.uint8], str]] = []

    def block(
        self,
        x: float,
        top: int,
        lines: Sequence[str],
        size: float,
        weight: str = "normal",
        align: str = "left",
        colour: str = "#222222",
    ) -> int:
        """Lines of text below ``top``; returns where they end."""
        for k, line in enumerate(lines):
            # By the baseline, so that lines with and without descenders stand level.
            baseline = top + k * _height(size) + size * _POINT
            self._texts.append((x, baseline, line, size, weight, align, colour))
        return top + len(lines) * _height(size)

    def image(self, x: int, y: int, pixels: NDArray[np.uint8], name: str) -> None:
        self._images.append((x, y, pixels, name))

    def draw(self, figure: Figure, width: int, height: int) -> None:
        from matplotlib.patches import Rectangle

        from relprop.viz.pixel_axes import PixelAxes

        for x, y, pixels, name in self._images:
            rows, columns = pixels.shape[:2]
            # A frame one pixel outside, so that none of the map's own pixels is drawn over.
            frame = Rectangle(
                ((x - 1) / width, 1 - (y + rows + 1) / height),
                (columns + 2) / width,
                (rows + 2) / height,
                transform=figure.transFigure,
                facecolor="#b8b8b8",
                edgecolor="none",
                linewidth=0,
                antialiased=False,
                zorder=-1,
            )
            figure.add_artist(frame)
            box = (x / width, 1 - (y + rows) / height, columns / width, rows / height)
            axes = figure.add_axes(box, label=name, axes_class=PixelAxes)
            axes.set_gid(name)
            axes.set_axis_off()
            axes.imshow(pixels, interpolation="nearest", aspect="auto", origin="upper")
        for left, baseline, line, size, weight, align, colour in self._texts:
            words = style(size, weight, colour)
            figure.text(left / width, 1 - baseline / height, line, ha=align, va="baseline", **words)
