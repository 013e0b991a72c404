"""Sums of films over each frame, drawn below the frames that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.viz.labels import number
from relprop.viz.text import fit, style
from relprop.viz.text import width as text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CURVE_ROOM", "draw_curves"]

_HEAD, _SIZE = 7.5, 6.5  # points
_POINT = 2  # pixels in a point, at the page's 144 dots an inch
_TOP = 18  # pixels between the panels above and the heading
_LINE = 18  # pixels from line to line
_HEIGHT = 120  # of the axes
#: Pixels that the curves need below a row of panels.
CURVE_ROOM = _TOP + 2 * _LINE + _HEIGHT + _LINE + 12

# Red and blue are taken by the films' signs: these three differ in lightness too.
# The first is drawn broad, to be seen where another lies on it.
_COLOURS = ("#777777", "#12a37f", "#e08a00")
_WIDTHS = (2.8, 1.3, 1.3)  # points
_MARKED = 24  # frames up to which each has a dot


def draw_curves(
    figure: Figure,
    films: Mapping[str, NDArray[np.float64]],
    above: Sequence[str],
    frames: Sequence[int],
    note: str = "",
) -> None:
    r"""Draw :math:`\sum_{y,x} R^+_{tyx}` and :math:`\sum_{y,x} R^-_{tyx}` of every film over the frames t.

    The axis runs as the panels above do: frame t stands below its panel.

    Args:
        figure: a page that left `CURVE_ROOM` pixels below the row of panels.
        films: at most three, (T, H, W) each.
        above: names of the panels in that row, from left to right.
        frames: which frame each of them shows.
        note: a few words for the heading.
    """
    width, height = (float(v) for v in figure.bbox.size)
    panels = {axes.get_gid(): axes.get_position() for axes in figure.axes}
    first, last = panels[above[0]], panels[above[-1]]
    span = max(frames[-1] - frames[0], 1)
    pitch = ((last.x0 + last.x1) - (first.x0 + first.x1)) / 2 / span or (first.x1 - first.x0)
    middle = (first.x0 + first.x1) / 2
    top = (1 - first.y0) * height + _TOP

    up = {name: film.clip(min=0).sum((1, 2)) for name, film in films.items()}
    down = {name: film.clip(max=0).sum((1, 2)) for name, film in films.items()}
    most = max(float(v.max()) for v in up.values())
    least = min(float(v.min()) for v in down.values())
    said = "; ".join(filter(None, ["dashed: negative values" if least < 0 else "", note]))
    heading = f"sum over each frame{f' ({said})' if said else ''}"
    _put(figure, heading, first.x0 * width, top, width, height, size=_HEAD, weight="bold")
    _legend(figure, list(films), first.x0 * width, top + _LINE, width, height)

    box_top = top + 2 * _LINE + 4
    box = (first.x0, 1 - (box_top + _HEIGHT) / height, last.x1 - first.x0, _HEIGHT / height)
    axes = figure.add_axes(box, label="curve")
    axes.set_gid("curve")
    axes.set_axis_off()
    axes.set_xlim((box[0] - middle) / pitch, (box[0] + box[2] - middle) / pitch)
    pad = 0.04 * (most - least) or 1.0
    axes.set_ylim(least - pad, most + pad)
    _put(figure, "frame", first.x0 * width, box_top + _HEIGHT + 4, width, height)
    for frame in frames:
        axes.axvline(frame, color="#e4e4e4", linewidth=0.6, zorder=0)
        x = (middle + frame * pitch) * width
        _put(figure, str(frame), x, box_top + _HEIGHT + 4, width, height, "center")
    times = np.arange(len(next(iter(films.values()))))
    dots = {"marker": "o", "markersize": 2.2} if len(times) <= _MARKED else {}
    for colour, thick, name in zip(_COLOURS, _WIDTHS, films, strict=False):
        axes.plot(times, up[name], color=colour, linewidth=thick, gid=f"{name} +", **dots)  # type: ignore[arg-type]
        if (down[name] < 0).any():
            axes.plot(
                times, down[name], color=colour, linewidth=thick, linestyle=(0, (3, 1.5)), gid=f"{name} −"
            )
    _levels(figure, axes, most, least, middle * width)


def _legend(figure: Figure, names: Sequence[str], x: float, top: float, width: float, height: float) -> None:
    from matplotlib.lines import Line2D

    y = 1 - (top + 0.6 * _SIZE * _POINT) / height
    for colour, thick, name in zip(_COLOURS, _WIDTHS, names, strict=False):
        ends = [x / width, (x + 22) / width]
        look = {"color": colour, "linewidth": thick, "solid_capstyle": "butt"}
        figure.add_artist(Line2D(ends, [y, y], transform=figure.transFigure, **look))  # type: ignore[arg-type]
        _put(figure, name, x + 28, top, width, height)
        x += 28 + text_width(name, _SIZE) * _POINT + 18


def _levels(figure: Figure, axes: Axes, most: float, least: float, middle: float) -> None:
    """Lines at 0 and at the ends, with their numbers left of the first frame, where no curve runs."""
    width, height = (float(v) for v in figure.bbox.size)
    box = axes.get_window_extent()
    room = (middle - box.x0 - 6) / _POINT
    # Where an end lies close to 0 their numbers would touch: the end's is left out.
    near = 1.5 * _SIZE * _POINT / box.height * (axes.get_ylim()[1] - axes.get_ylim()[0])
    levels = [0.0, *(v for v in (most, least) if abs(v) > near)]
    texts, size = fit([number(v).replace("-", "−") for v in levels], room, _SIZE)
    for value, text in zip(levels, texts, strict=True):
        axes.axhline(value, color="#888888" if value == 0 else "#d4d4d4", linewidth=0.7, zorder=1)
        y = height - float(axes.transData.transform((0.0, value))[1])
        words = style(size, colour="#555555")
        # Inside the axes: below the upper end, above the others.
        side = "top" if value == most and value > 0 else "bottom"
        figure.text(
            (box.x0 + 2) / width, 1 - (y + (2 if side == "top" else -2)) / height, text, va=side, **words
        )


def _put(
    figure: Figure,
    text: str,
    x: float,
    top: float,
    width: float,
    height: float,
    align: str = "left",
    size: float = _SIZE,
    weight: str = "normal",
) -> None:
    baseline = top + size * _POINT
    figure.text(x / width, 1 - baseline / height, text, ha=align, va="baseline", **style(size, weight))
