"""Schematic drawings of detectors: which output units relevance starts from, for a class and for a box's edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gallery_made import Made
from gallery_truth import CLASS, pixels
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from relprop.datasets import demo_scene
from relprop.datasets.scenes import CLASSES

__all__ = ["pictures"]

OF_CLASS, OF_EDGE, OTHER, INK, FAINT, BOX = "#be141e", "#e08a00", "#d9d9d9", "#222222", "#555555", "#be00a0"
DPI, WIDE, TALL, SIDE = 200, 1000, 420, 400  # pixels
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Units:
    """A row of output units.

    Attributes:
        name: of the row.
        count: how many there are.
        chosen: those that relevance starts from.
        colour: of the chosen ones.
    """

    name: str
    count: int
    chosen: Sequence[int] = ()
    colour: str = OF_CLASS


def pictures() -> Iterator[Made]:
    """One a page about detectors."""
    for name, what, draw in [
        ("yolo", "the cell of a detection, and its bins", _yolo),
        ("fcos", "the place of a detection, and its four distances", _fcos),
        ("two-stage", "a proposal in 7 x 7 cells, and its offsets", _two_stage),
        ("detr", "a query's centre and size", _detr),
    ]:
        yield Made(f"detector-{name}", what, draw, quality=75)


def star() -> Box:
    """The star's box in the demo scene, x1, y1, x2, y2."""
    scene = demo_scene()
    x1, y1, x2, y2 = scene.boxes[scene.names.index(CLASS)].tolist()
    return x1, y1, x2, y2


def head(paint: Callable[[Axes], None], title: str, rows: Sequence[Units], edge: str) -> Figure:
    """The scene with what `paint` draws on it, and on its right the output units of one detection.

    Args:
        paint: draws on the scene, in its pixels.
        title: whose units they are.
        rows: the units.
        edge: which of them the left edge is made of, in words.
    """
    figure = Figure(figsize=(WIDE / DPI, TALL / DPI), dpi=DPI, facecolor="white")
    shown = figure.add_axes((10 / WIDE, 10 / TALL, SIDE / WIDE, SIDE / TALL))
    side = pixels().shape[0]
    shown.imshow(pixels(), extent=(0, side, side, 0), interpolation="nearest")
    shown.set_axis_off()
    paint(shown)
    shown.set(xlim=(0, side), ylim=(side, 0))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.patch.set_alpha(0)
    axes.set(xlim=(0, WIDE), ylim=(TALL, 0))
    axes.set_axis_off()
    left = SIDE + 60
    axes.text(left, 46, title, fontsize=8, weight="bold", color=INK)
    for k, row in enumerate(rows):
        y = 84 + k * 44
        axes.text(left, y + 17, row.name, fontsize=7, color=INK)
        for unit in range(row.count):
            colour = row.colour if unit in row.chosen else OTHER
            axes.add_patch(Rectangle((left + 170 + unit * 22, y), 18, 22, facecolor=colour, edgecolor="none"))
    for k, (colour, text) in enumerate([(OF_CLASS, 'of="class" starts here'), (OF_EDGE, f'of="x1": {edge}')]):
        y = TALL - 62 + k * 36
        axes.add_patch(Rectangle((left, y), 18, 22, facecolor=colour, edgecolor="none"))
        axes.text(left + 30, y + 17, text, fontsize=7, color=INK)
    return figure


def _classes(*more: str) -> Units:
    names = [*more, *CLASSES]
    return Units("classes", len(names), [names.index(CLASS)])


def _box(axes: Axes, box: Box, colour: str = BOX, style: str = "-") -> None:
    x1, y1, x2, y2 = box
    for wide, ink in ((4, "white"), (2.2, colour)):
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=ink, linewidth=wide, linestyle=style)
        )


def _grid(axes: Axes, box: Box, cells: int) -> None:
    x1, y1, x2, y2 = box
    for k in range(cells + 1):
        axes.plot([x1 + (x2 - x1) * k / cells] * 2, [y1, y2], color="white", linewidth=0.5, alpha=0.8)
        axes.plot([x1, x2], [y1 + (y2 - y1) * k / cells] * 2, color="white", linewidth=0.5, alpha=0.8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    for wide, ink in ((3.6, "white"), (1.8, colour)):
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                linewidth=wide,
                color=ink,
                shrinkA=0,
                shrinkB=0,
            )
        )


def _from_a_place(axes: Axes, cells: int) -> None:
    """The grid, the place nearest to the star's middle, and its distances to the edges."""
    side = pixels().shape[0]
    x1, y1, x2, y2 = box = star()
    _grid(axes, (0, 0, side, side), cells)
    step = side / cells
    x, y = ((int((a + b) / 2 / step) + 0.5) * step for a, b in ((x1, x2), (y1, y2)))
    _box(axes, box)
    _arrow(axes, (x, y), (x1, y), OF_EDGE)
    for end in ((x2, y), (x, y1), (x, y2)):
        _arrow(axes, (x, y), end, "#777777")
    corner = (x - step / 2, y - step / 2)
    axes.add_patch(Rectangle(corner, step, step, facecolor=OF_CLASS, edgecolor="white", zorder=5))


def _centre_and_size() -> list[Units]:
    """The left edge is made of two of the four."""
    return [Units(name, 1, [0] if name in ("cx", "w") else [], OF_EDGE) for name in ("cx", "cy", "w", "h")]


def _yolo() -> Figure:
    bins = range(16)
    rows = [_classes(), Units("left, 16 bins", 16, bins, OF_EDGE)]
    rows += [Units(f"{name}, 16 bins", 16) for name in ("top", "right", "bottom")]
    return head(
        lambda axes: _from_a_place(axes, 12),
        "What this cell says (schematic)",
        rows,
        "all bins of the left edge",
    )


def _fcos() -> Figure:
    rows = [_classes("background"), Units("how central", 1), Units("left", 1, [0], OF_EDGE)]
    rows += [Units(name, 1) for name in ("top", "right", "bottom")]
    return head(
        lambda axes: _from_a_place(axes, 12),
        "What this place says (schematic)",
        rows,
        "the distance to the left",
    )


def _two_stage() -> Figure:
    def paint(axes: Axes) -> None:
        x1, y1, x2, y2 = star()
        proposal = (x1 - 9, y1 - 5, x2 + 3, y2 + 8)
        _grid(axes, proposal, 7)
        _box(axes, proposal, "#009e73", "--")
        _box(axes, (x1, y1, x2, y2))

    rows = [_classes("background"), *_centre_and_size()]
    return head(paint, "What the second stage says (schematic)", rows, "its offsets cx and w")


def _detr() -> Figure:
    def paint(axes: Axes) -> None:
        x1, y1, x2, y2 = box = star()
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        _box(axes, box)
        axes.plot([x], [y], "o", color=OF_EDGE, markersize=6, markeredgecolor="white")
        for end, colour in (
            ((x1, y), OF_EDGE),
            ((x2, y), OF_EDGE),
            ((x, y1), "#777777"),
            ((x, y2), "#777777"),
        ):
            _arrow(axes, (x, y), end, colour)

    names = [*CLASSES, "no object"]
    rows = [Units("queries", 16, [6], "#777777"), Units("classes", len(names), [names.index(CLASS)])]
    rows += _centre_and_size()
    return head(paint, "What one query says (schematic)", rows, "centre cx and width w")
