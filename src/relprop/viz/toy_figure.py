"""The idea of the affine form in one picture: a plane in pieces, and points of it taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.viz.canvas import FAINT, MARGIN, NAME, POINT, SMALL, WORDS, Canvas, height, value_axis
from relprop.viz.colour import colourise, colours
from relprop.viz.labels import number
from relprop.viz.scale import limits
from relprop.viz.text import style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["AHEAD", "ZOOM", "Box", "Ground", "TakenPoint", "plane_size", "toy_figure"]

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]

_PLANE, _GAP = 760, 36  # widths of the plane and of the space between, in pixels
#: Side of an enlarged piece, in pixels.
ZOOM = 290
_LABEL, _BARS, _VALUE = 138, 190, 70  # of a ledger's names, bars and numbers
_SIDE = ZOOM + _GAP + _LABEL + _BARS + _VALUE
_ROW = 25  # height of a ledger's row
_HEADS = 2 * height(NAME) + 6  # of the lines above a point's panels
_WALK = 190  # height of the walk from the origin
#: How far the walk goes, the point being at 1.
AHEAD = 1.25
_FOR, _AGAINST, _TOTAL = "#c0392f", "#2b62b5", "#444444"


@dataclass(frozen=True)
class Ground:
    """A part of the plane.

    Attributes:
        box: x_1 from and to, x_2 from and to.
        image: the score at the middle of every pixel, (rows, columns), the upper row first.
        polygons: the corners (V, 2) of each piece.
        lines: ends (2, 2) of the lines on which the score has a certain value; (0, 2) where a piece has none.
    """

    box: Box
    image: Array
    polygons: Sequence[Array]
    lines: Sequence[Array]


@dataclass(frozen=True)
class TakenPoint:
    """A point, its piece, and the score there as slope . x + bias.

    Attributes:
        name: a letter.
        point: (2,).
        corners: of its piece, (V, 2).
        slope: W, (2,).
        bias: b.
        owners: what each layer's bias makes of b, (layers,).
        radius: distance to the nearest border of the piece; infinite without one.
        across: W and b of the piece beyond that border, where it lies in the window.
        walk: (share of the way, score) wherever the score bends on the way from the origin through the point.
        zoom: the piece enlarged, with lines of equal score.
    """

    name: str
    point: Array
    corners: Array
    slope: Array
    bias: float
    owners: Array
    radius: float
    across: tuple[Array, float] | None
    walk: Sequence[tuple[float, float]]
    zoom: Ground

    @property
    def terms(self) -> Array:
        """W_1 x_1 and W_2 x_2."""
        return self.slope * self.point

    @property
    def score(self) -> float:
        """W x + b."""
        return float(self.terms.sum() + self.bias)

    @property
    def share(self) -> float:
        """|b| / (|b| + sum |W x|)."""
        total = abs(self.bias) + float(np.abs(self.terms).sum())
        return abs(self.bias) / total if total else 0.0


def plane_size(box: Box) -> tuple[int, int]:
    """Columns and rows of the plane's image.

    >>> plane_size((0.0, 2.0, 0.0, 1.0))
    (760, 380)
    """
    x0, x1, y0, y1 = box
    return _PLANE, round(_PLANE * (y1 - y0) / (x1 - x0))


def toy_figure(
    plane: Ground,
    points: Sequence[Array],
    chosen: Sequence[TakenPoint],
    *,
    units: int,
    accuracy: float,
    target: int | None = None,
) -> Figure:
    """Draw the plane of a toy network in its affine pieces, and how the score at a point is made.

    The plane has exact borders, the score's colours, the points, and the line where both classes score the
    same. Below it, the score on the way from the origin to each chosen point, and the piece's own plane
    carried on: it meets the origin at b. Beside it, for each: its piece enlarged, with lines of equal score,
    the direction of W and the circle inside which the form holds; and the ledger W_1 x_1 + W_2 x_2 + b = F,
    with b's owners by layer.

    Args:
        plane: all of it, its image of `plane_size`, its lines where both classes score the same.
        points: (N, 2) of class 0 and of class 1.
        chosen: one or two points.
        units: the network's ReLUs.
        accuracy: share of the points that it gets right.
        target: the class whose score is drawn and explained; None: class 1's score less class 0's.

    Returns:
        A matplotlib figure that belongs to no pyplot state and needs no display.
    """
    sign = "F" if target is None else f"F{'₀₁'[target]}"
    page = Canvas(
        2 * MARGIN + _PLANE + _GAP + _SIDE,
        f"A ReLU network is affine piece by piece: on each piece its score is exactly {sign}(x) = W·x + b, "
        "with the piece's own W and b",
    )
    x0, x1, *_ = plane.box
    _, tall = plane_size(plane.box)
    top = page.top + height(NAME) + 8
    page.words(
        MARGIN, page.top,
        [f"All inputs x = (x₁, x₂): the {len(plane.polygons)} pieces of a network with {units} ReLUs"],
        NAME, "bold",
    )  # fmt: skip
    bar = top + tall + 12
    below = _sentences(
        page, MARGIN, bar + 14 + height(SMALL) + 12, _PLANE, _about_plane(accuracy, target, sign)
    )
    right, beside, places = MARGIN + _PLANE + _GAP, page.top, []
    for one in chosen:
        places.append(beside + _HEADS)
        beside = _say(page, one, sign, right, beside)
    # The walks stand where there is room: below the plane for two points, beside it for one.
    start, room, walk = (MARGIN, _PLANE, below) if len(chosen) > 1 else (right, _SIDE, beside)
    after = _sentences(page, start, walk + height(NAME) + _WALK + height(SMALL) + 22, room, _about_walk(sign))
    page.top = max(below, beside, after) + MARGIN // 2
    figure = page.figure()
    (limit,) = limits([plane.image])
    axes = page.axes(figure, MARGIN, top, _PLANE, tall, "plane")
    _ground(axes, plane, limit.value)
    for ends in plane.lines:
        _line(axes, ends, WORDS, 2.2)
    for at, marker, colour in zip(points, "^o", (_AGAINST, _FOR), strict=True):
        axes.plot(
            *at.T, marker, color=colour, markersize=4.2, markeredgecolor="white", markeredgewidth=0.6, zorder=4
        )  # fmt: skip
    axes.plot([0], [0], "+", color=WORDS, markersize=9, markeredgewidth=1.4, zorder=6)
    words = ("against", "for") if target is not None else ("class 0", "class 1")
    _bar(page, figure, limit.value, words, bar)
    wide = (room - _GAP * (len(chosen) - 1)) // len(chosen)
    for k, (one, place) in enumerate(zip(chosen, places, strict=True)):
        _mark(axes, one, 0.09 * (x1 - x0))
        _walk(page, figure, one, start + k * (wide + _GAP), wide, walk)
        _zoom(page, figure, one, limit.value, right, place)
        _ledger(page, figure, one, sign, right + ZOOM + _GAP, place)
    return figure


def _about_plane(accuracy: float, target: int | None, sign: str) -> list[str]:
    what = "score of class 1 − score of class 0" if target is None else f"score of class {target}"
    right = f"{100 * accuracy:.3g} % are classified right"
    return [
        f"Colour: {sign} = {what}.",
        "Thin lines: the pieces' borders, where a ReLU goes on or off; computed exactly, not sampled.",
        "Thick line: both classes score the same. It is straight inside every piece.",
        f"Circles: points of class 1. Triangles: class 0 ({right}). Cross: the origin, x = 0.",
    ]


def _about_walk(sign: str) -> list[str]:
    return [
        f"Solid: {sign} on the straight way from the origin to the point.",
        "Dashed: the plane of the point's own piece, carried on to the origin, which it meets at the height b.",
        "So b is the part of the score that no product W·x accounts for: a heat map of W·x leaves it out.",
    ]


def _sentences(page: Canvas, left: int, top: int, wide: int, sentences: Sequence[str]) -> int:
    """Write sentences below one another; returns where they end."""
    for sentence in sentences:
        lines = wrap(sentence, wide / POINT, SMALL, 4)
        page.words(left, top, lines, SMALL)
        top += len(lines) * height(SMALL) + 4
    return top + 8


def _say(page: Canvas, one: TakenPoint, sign: str, left: int, top: int) -> int:
    """The words of a chosen point; returns where the next one starts."""
    first, *others = (*one.terms, one.bias)
    terms = "".join(f" {'−' if v < 0 else '+'} {_plain(abs(v))}" for v in others)
    head = f"{one.name}: {sign}{_pair(one.point)} = {_plain(first)}{terms} = {_plain(one.score)}"
    larger = "the bias is the larger part" if one.share > 0.5 else "the input is the larger part"
    share = f"The bias's share |b| / (|b| + Σ|W x|) is {100 * one.share:.0f} %: {larger}."
    page.words(left, top, wrap(head, _SIDE / POINT, NAME, 1, "bold"), NAME, "bold")
    page.words(left, top + height(NAME), [share], NAME)
    how_far = f"shorter than {_plain(one.radius)}" if np.isfinite(one.radius) else "whatever"
    circle = (
        f"White circle: {sign}(x + d) = W·(x + d) + b holds exactly for every step d {how_far}. Thin lines: "
        f"equal {sign}, straight and evenly spaced in each piece. Arrow: W, along which {sign} grows fastest."
    )
    under = top + _HEADS + ZOOM + 10
    return 14 + _sentences(page, left, under, _SIDE, list(filter(None, [circle, _across(one, sign)])))


def _across(one: TakenPoint, sign: str) -> str:
    """What changes at the nearest border of the piece, where it lies in the window."""
    if one.across is None:
        return ""
    slope, bias = one.across
    return (
        f"Across the nearest border W turns from {_pair(one.slope)} to {_pair(slope)} and b from "
        f"{_plain(one.bias)} to {_plain(bias)}; {sign} itself doesn't jump."
    )


def _ground(axes: Axes, ground: Ground, limit: float) -> None:
    """The colours and the borders of the pieces."""
    axes.imshow(
        colourise(ground.image, limit),
        extent=ground.box, interpolation="nearest", aspect="auto", origin="upper",
    )  # fmt: skip
    for corners in ground.polygons:
        axes.fill(*corners.T, fill=False, edgecolor="#777777", linewidth=0.45, zorder=2)
    axes.set(xlim=ground.box[:2], ylim=ground.box[2:])


def _line(axes: Axes, ends: Array, colour: str, width: float) -> None:
    if len(ends):
        axes.plot(*ends.T, color=colour, linewidth=width, solid_capstyle="round", zorder=3)


def _mark(axes: Axes, one: TakenPoint, length: float) -> None:
    """The point with its name, its piece outlined and the direction of W."""
    axes.fill(*one.corners.T, fill=False, edgecolor="black", linewidth=1.6, zorder=5)
    size = float(np.linalg.norm(one.slope))
    if size:
        axes.annotate(
            "", xy=tuple(one.point + length * one.slope / size), xytext=tuple(one.point), zorder=7,
            arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.plot(*one.point, "o", color="black", markersize=5, markeredgecolor="white", zorder=8)
    # Against the arrow, so that it doesn't lie on it.
    away = -12 * one.slope / size if size else np.array([-9.0, 7.0])
    axes.annotate(
        one.name, xy=tuple(one.point), xytext=tuple(away), textcoords="offset points", ha="center",
        va="center", zorder=9, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.2},
        **style(NAME, "bold"),
    )  # fmt: skip


def _zoom(page: Canvas, figure: Figure, one: TakenPoint, limit: float, left: int, top: int) -> None:
    """The piece enlarged, in equal scales."""
    from matplotlib.patches import Circle

    box = one.zoom.box
    axes = page.axes(figure, left, top, ZOOM, ZOOM, f"zoom {one.name}")
    _ground(axes, one.zoom, limit)
    for ends in one.zoom.lines:
        _line(axes, ends, FAINT, 0.5)
    if np.isfinite(one.radius):
        disc = Circle((0, 0), one.radius, facecolor=(1, 1, 1, 0.45), edgecolor="black", linewidth=1, zorder=4)
        disc.set_center((float(one.point[0]), float(one.point[1])))
        axes.add_patch(disc)
    _mark(axes, one, 0.2 * (box[1] - box[0]))
    axes.set(xlim=box[:2], ylim=box[2:])


def _walk(page: Canvas, figure: Figure, one: TakenPoint, left: int, wide: int, top: int) -> None:
    """The score on the way from the origin to the point, with the piece's plane carried on."""
    baseline = top + NAME * POINT
    page.mark(figure, left, baseline, f"From the origin to {one.name}", NAME, weight="bold")
    page.mark(figure, left + wide, baseline, f"◆ b = {_plain(one.bias)}", NAME, align="right")
    top += height(NAME) + 10
    way = one.walk
    axes = page.axes(figure, left + 50, top, wide - 50, _WALK, f"walk {one.name}")
    carried = [one.bias, one.bias + way[-1][0] * (one.score - one.bias)]
    low, high = value_axis(axes, "y", [*carried, *(value for _, value in way)], None)
    pad = 0.04 * (high - low)
    axes.set(xlim=(-0.02, AHEAD), ylim=(low - pad, high + pad))
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
    axes.plot([0, way[-1][0]], carried, color=_TOTAL, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2)
    axes.plot(*zip(*way, strict=True), color=WORDS, linewidth=1.8, zorder=3)
    axes.plot(
        [0], [one.bias], "D", color=_FOR if one.bias > 0 else _AGAINST, markersize=6, zorder=4, clip_on=False
    )
    axes.plot([1], [one.score], "o", color="black", markersize=5, zorder=4, clip_on=False)
    for share, text in ((0.0, "origin"), (1.0, one.name)):
        x = left + 50 + (wide - 50) * (share + 0.02) / (AHEAD + 0.02)
        page.mark(figure, x, top + _WALK + 6 + SMALL * POINT, text, SMALL, align="center", colour=FAINT)


def _ledger(page: Canvas, figure: Figure, one: TakenPoint, sign: str, left: int, top: int) -> None:
    """How the score is made, then how its bias is made: bars that start where the one before ends."""
    layers = len(one.owners)
    made = [(f"W{sub}·x{sub}", float(v)) for sub, v in zip("₁₂", one.terms, strict=True)]
    named = [f"layer {k + 1}" for k in range(layers - 1)] + ["output layer"]
    first = _waterfall([*made, ("bias b", one.bias)])
    second = _waterfall([(name, float(v)) for name, v in zip(named, one.owners, strict=True)])
    rows = [*first, (f"= {sign}", 0.0, one.score), None, *second]
    tall = len(rows) * _ROW
    axes = page.axes(figure, left + _LABEL, top, _BARS, tall, f"ledger {one.name}")
    ends = [v for _, start, value in (*first, *second) for v in (start, start + value)]
    axes.set_xlim(value_axis(axes, "x", ends, None))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    for k, row in enumerate(rows):
        y = top + (k + 0.5) * _ROW + NAME * POINT * 0.36
        if row is None:
            page.mark(figure, left + _LABEL - 8, y, "b is made by", NAME, align="right", colour=FAINT)
            continue
        name, start, value = row
        total = name.startswith("=")
        colour = _TOTAL if total else _FOR if value > 0 else _AGAINST
        axes.barh(k, value, left=start, height=0.66, color=colour, linewidth=0, zorder=2)
        weight = "bold" if total or name.startswith("bias") else "normal"
        end = left + _LABEL + _BARS + _VALUE
        page.mark(figure, left + _LABEL - 8, y, name, NAME, align="right", weight=weight)
        page.mark(figure, end, y, _plain(value), NAME, align="right", weight=weight)


def _waterfall(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float, float]]:
    """Each part with the sum of those before it."""
    starts = np.cumsum([0.0, *(value for _, value in parts)])
    return [(name, float(start), value) for (name, value), start in zip(parts, starts, strict=False)]


def _bar(page: Canvas, figure: Figure, limit: float, words: tuple[str, str], top: int) -> None:
    wide, left = 230, MARGIN + 110
    axes = page.axes(figure, left, top, wide, 14, "colour-bar")
    axes.imshow(colours()[None], aspect="auto", interpolation="nearest")
    end = number(limit)
    for share, text in ((0.0, f"−{end}"), (0.5, "0"), (1.0, f"+{end}")):
        page.mark(figure, left + share * wide, top + 16 + SMALL * POINT, text, SMALL, align="center")
    page.mark(figure, left - 10, top + 13, words[0], SMALL, align="right")
    page.mark(figure, left + wide + 10, top + 13, words[1], SMALL)


def _plain(value: float) -> str:
    """Two decimals and a true minus."""
    return f"{value + 0.0:.2f}".replace("-", "−")


def _pair(values: Array) -> str:
    return f"({_plain(values[0])}, {_plain(values[1])})"
