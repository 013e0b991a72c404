"""How maps and boxes of a detector lie on its picture, views of a part of it, and boxes drawn over a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from relprop.errors import InputError
from relprop.viz.label_places import place_labels
from relprop.viz.text import clean, style, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Crop", "Frame", "Mark", "Outline", "draw_marks", "draw_outlines", "margin", "window_around"]

_AROUND = 2.0  # a crop's sides, in those of what it shows
_SLIM = 0.6  # a crop's shorter side is at least this share of its longer one, where the picture allows
_MARGIN = 0.1  # of a box's sides, around it
_LEAST = 24.0  # pixels of the picture that a crop's side has at least
_WHOLE = 0.6  # a crop of more than this share of the picture says no more than the picture
_SMALLEST = 5.0  # points, of words on small cells
_POINT = 2  # pixels in a point, at 144 dots an inch
_PAD = 4  # pixels between a label's words and its edge


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in a detector's input.

    Attributes:
        picture: (H, W) of the picture, in whose pixels boxes are given.
        input: (h, w) of the input, on whose pixels maps are given.
        window: x0, y0, x1, y1 of the picture in the input; what is around it is padding.
    """

    picture: tuple[int, int]
    input: tuple[int, int]
    window: tuple[float, float, float, float]

    def view(self, most: tuple[int, int], part: Sequence[float] | None = None, slim: float = 0) -> Crop:
        """A view of the picture, or of a part of it, as large as fits into so many pixels (h, w).

        Args:
            most: (h, w).
            part: x0, y0, x1, y1; None: the picture.
            slim: the shorter side has at least this share of the longer one, if need be stretched.

        >>> Frame((200, 400), (100, 100), (0, 0, 100, 100)).view((300, 300)).size
        (150, 300)
        """
        x0, y0, x1, y1 = (0, 0, self.picture[1], self.picture[0]) if part is None else part
        scale = min(most[0] / (y1 - y0), most[1] / (x1 - x0))
        height, width = (y1 - y0) * scale, (x1 - x0) * scale
        least = max(1.0, slim * max(height, width))
        return Crop(self, (x0, y0, x1, y1), (round(max(height, least)), round(max(width, least))))


@dataclass(frozen=True)
class Crop:
    """A part of a picture at some size, on which photo, maps and boxes are drawn alike.

    Attributes:
        frame: where the picture lies in the input.
        part: x0, y0, x1, y1 in the picture's pixels.
        size: (h, w) of what is drawn.
    """

    frame: Frame
    part: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def cell(self) -> float:
        """Pixels of the view that a pixel of the input takes, across."""
        x0, _, x1, _ = self.frame.window
        return self.size[1] / (self.part[2] - self.part[0]) * self.frame.picture[1] / (x1 - x0)

    def lay(self, heatmap: ArrayLike) -> NDArray[np.float64]:
        """A map (h, w) of the input on the view: bilinear where that is finer, averaged where it is coarser."""
        values = np.asarray(heatmap, dtype=np.float64)
        if values.shape != self.frame.input:
            raise InputError(
                f"Expected a map of the input's size {self.frame.input} but got shape {values.shape}."
            )
        x0, y0, x1, y1 = self.frame.window
        across, down = (
            (b - a) / n for a, b, n in zip((x0, y0), (x1, y1), self.frame.picture[::-1], strict=True)
        )
        part = self.part
        box = (x0 + part[0] * across, y0 + part[1] * down, x0 + part[2] * across, y0 + part[3] * down)
        peak = float(np.abs(values).max()) or 1.0  # Pillow computes in float32, which ends at 1e-38
        height, wide = values.shape
        within = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(wide)), min(box[3], float(height)))
        image = Image.fromarray((values / peak).astype(np.float32))
        laid = image.resize(self.size[::-1], Image.Resampling.BILINEAR, box=within)
        return np.asarray(laid, dtype=np.float64) * peak

    def photo(self, picture: Image.Image) -> NDArray[np.float64]:
        """The picture's part, from its own pixels: colours (h, w, 3) in 0-1."""
        large = self.size[0] >= 3 * (self.part[3] - self.part[1])  # then its pixels shall be seen as such
        how = Image.Resampling.NEAREST if large else Image.Resampling.BICUBIC
        scaled = picture.convert("RGB").resize(self.size[::-1], how, box=self.part)
        return np.asarray(scaled, dtype=np.float64) / 255

    def boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes (..., 4) of the picture's pixels in the view's."""
        x0, y0, x1, y1 = self.part
        right, down = self.size[1] / (x1 - x0), self.size[0] / (y1 - y0)
        corner = np.array([x0, y0, x0, y0])
        return (np.asarray(boxes, dtype=np.float64) - corner) * np.array([right, down, right, down])


def window_around(
    boxes: Sequence[Sequence[float]], picture: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The part of a picture to look at for some boxes: twice what they cover, inside the picture.

    Args:
        boxes: x0, y0, x1, y1; they may reach over the edge.
        picture: (H, W) in pixels.

    Returns:
        x0, y0, x1, y1, or None where that is most of the picture.

    >>> window_around([(40, 40, 60, 60)], (100, 100))
    (30.0, 30.0, 70.0, 70.0)
    >>> window_around([(0, 0, 80, 80)], (100, 100)) is None
    True
    """
    ends = np.array([picture[1], picture[0]], dtype=np.float64)
    cut = np.asarray(boxes, dtype=np.float64).clip(0, np.tile(ends, 2))
    low, high = cut[:, :2].min(0), cut[:, 2:].max(0)
    sides = np.maximum((high - low) * _AROUND, _LEAST)
    sides = np.minimum(np.maximum(sides, _SLIM * sides.max()), ends)
    if sides.prod() >= _WHOLE * ends.prod():
        return None
    corner = ((low + high - sides) / 2).clip(0, ends - sides)
    x0, y0 = (float(v) for v in corner)
    x1, y1 = (float(v) for v in np.minimum(corner + sides, ends))
    return x0, y0, x1, y1


def margin(box: Sequence[float], picture: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box with a little around it, inside the picture (H, W).

    >>> margin((0.0, 20.0, 100.0, 40.0), (100, 200))
    (0.0, 18.0, 110.0, 42.0)
    """
    (x0, y0, x1, y1), (height, wide) = (float(v) for v in box), picture
    across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    return max(x0 - across, 0.0), max(y0 - down, 0.0), min(x1 + across, wide), min(y1 + down, height)


@dataclass(frozen=True)
class Outline:
    """A box to draw.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the panel.
        text: a few words beside it.
        dashed: for the default box, before localisation.
        thick: width of the line in points.
        colour: of the line, and around the words.
    """

    box: Sequence[float]
    text: str = ""
    dashed: bool = False
    thick: float = 1.3
    colour: str = "black"


def draw_outlines(figure: Figure, panel: str, outlines: Sequence[Outline], size: float = 6.5) -> None:
    """Draw boxes over a panel of a page, in a white margin, so that they show on any ground.

    Their words stand apart from each other and inside the panel; where no room is left they are left out.

    Args:
        figure: a page made by :func:`relprop.viz.page.compose`.
        panel: the panel's name on it, such as ``map-0-1``.
        outlines: boxes in the panel's pixels.
        size: of the words, in points.

    Raises:
        InputError: no such panel.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    axes = _panel(figure, panel)
    rows, columns = axes.images[0].get_array().shape[:2]  # type: ignore[union-attr]
    limits = axes.get_xlim(), axes.get_ylim()
    for outline in outlines:
        x0, y0, x1, y1 = outline.box
        axes.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=outline.colour,
                linewidth=outline.thick,
                linestyle=(0, (4, 2)) if outline.dashed else "solid",
                path_effects=[withStroke(linewidth=2 * outline.thick + 0.7, foreground="white")],
                zorder=2 + (outline.thick > 1),
            )
        )
    _draw_labels(axes, [o for o in outlines if o.text], (columns, rows), size)
    axes.set(xlim=limits[0], ylim=limits[1])


@dataclass(frozen=True)
class Mark:
    """A few words on a cell.

    Attributes:
        box: the cell, x0, y0, x1, y1 in pixels of the panel.
        text: in its middle; left out where the cell is too small for it.
    """

    box: Sequence[float]
    text: str


def draw_marks(figure: Figure, panel: str, marks: Sequence[Mark], size: float = 7.0) -> None:
    """Draw cells in thin lines, with their words.

    Args:
        figure, panel: as for `draw_outlines`.
        marks: a cell each.
        size: of the words, in points; smaller where cells are small.

    Raises:
        InputError: no such panel.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    axes = _panel(figure, panel)
    limits = axes.get_xlim(), axes.get_ylim()
    for mark in marks:
        x0, y0, x1, y1 = mark.box
        line = Rectangle(
            (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor="#888888", linewidth=0.4, zorder=1.5
        )
        axes.add_patch(line)
        text, points = clean(mark.text), size
        while points > _SMALLEST and width(text, points) * _POINT > x1 - x0 - 8:
            points -= 0.5
        if text and width(text, points) * _POINT <= x1 - x0 and points * _POINT * 0.8 <= y1 - y0:
            edge = withStroke(linewidth=2.4, foreground="white")
            words = style(points, colour="#111111")
            axes.text(
                (x0 + x1) / 2,
                (y0 + y1) / 2,
                text,
                ha="center",
                va="center",
                zorder=7,
                path_effects=[edge],
                **words,
            )
    axes.set(xlim=limits[0], ylim=limits[1])


def _panel(figure: Figure, panel: str) -> Axes:
    axes = next((a for a in figure.axes if a.get_gid() == panel), None)
    if axes is None:
        raise InputError(f"Expected a panel of the page but got {panel!r}.")
    return axes


def _draw_labels(axes: Axes, outlines: Sequence[Outline], room: tuple[int, int], size: float) -> None:
    from matplotlib.patches import Rectangle

    texts = [clean(outline.text) for outline in outlines]
    height = 1.25 * size * _POINT
    sizes = [(width(text, size, "bold") * _POINT + 2 * _PAD, height) for text in texts]
    # Only what shows of a box is looked for: its label stands inside the panel.
    shown = [np.clip(o.box, 0, np.tile(room, 2)).tolist() for o in outlines]
    places = place_labels(shown, sizes, room)
    for outline, box, text, (wide, tall), place in zip(outlines, shown, texts, sizes, places, strict=True):
        if place is None:
            continue
        x, y = place
        near = min(max(x + wide / 2, box[0]), box[2]), min(max(y + tall / 2, box[1]), box[3])
        if not (x - 3 <= near[0] <= x + wide + 3 and y - 3 <= near[1] <= y + tall + 3):
            # A label that stands apart from its box is tied to it.
            axes.plot(
                [x + wide / 2, near[0]], [y + tall / 2, near[1]], color=outline.colour, lw=0.7, zorder=4
            )
        frame = Rectangle(
            (x - 0.5, y - 0.5),
            wide,
            tall,
            facecolor="white",
            edgecolor=outline.colour,
            linewidth=0.8,
            zorder=5,
        )
        axes.add_patch(frame)
        frame.set_gid("label")
        # By the baseline, so that all stand alike.
        axes.text(
            x + _PAD,
            y + 0.76 * tall,
            text,
            ha="left",
            va="baseline",
            zorder=6,
            **style(size, "bold"),
        )
