"""How maps and boxes of a detector lie on its picture, and boxes drawn over a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from relprop.errors import InputError
from relprop.viz.text import clean, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Frame", "Outline", "draw_outlines"]


@dataclass(frozen=True)
class Frame:
    """The page's own grid, on which picture, maps and boxes are drawn in the picture's proportions.

    Attributes:
        size: (h, w) of the grid in pixels.
        extent: (h, w) of the part of the model's input that the picture fills; the rest is padding.
        picture: (H, W) of the picture, in whose pixels boxes are given.
    """

    size: tuple[int, int]
    extent: tuple[int, int]
    picture: tuple[int, int]

    @classmethod
    def around(cls, extent: tuple[int, int], picture: tuple[int, int]) -> Frame:
        """A grid as fine as the input, with one axis stretched where the detector squashes its pictures.

        >>> Frame.around((300, 300), (576, 768)).size
        (300, 400)
        """
        (h, w), (rows, columns) = extent, picture
        squashed = (columns * h) / (rows * w)  # how much wider the picture is than the input shows it
        if abs(squashed - 1) < 0.01:
            return cls(extent, extent, picture)
        size = (h, round(w * squashed)) if squashed > 1 else (round(h / squashed), w)
        return cls(size, extent, picture)

    def lay(self, heatmap: Tensor) -> NDArray[np.float64]:
        """A map (h, w) of the input on the grid: padding cut off, bilinear where the grid is stretched."""
        values = heatmap.detach().to("cpu", torch.float64)[: self.extent[0], : self.extent[1]]
        if tuple(values.shape) != self.size:
            values = F.interpolate(values[None, None], size=self.size, mode="bilinear", align_corners=False)
            values = values[0, 0]
        return np.array(values.numpy())

    def photo(self, picture: Image.Image) -> NDArray[np.float64]:
        """The picture on the grid, colours (h, w, 3) in 0-1."""
        height, width = self.size
        scaled = picture.convert("RGB")
        if scaled.size != (width, height):
            scaled = scaled.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(scaled, dtype=np.float64) / 255

    def boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes (…, 4) of the picture's pixels in the grid's."""
        down, right = (g / p for g, p in zip(self.size, self.picture, strict=True))
        return np.asarray(boxes, dtype=np.float64) * np.array([right, down, right, down])


@dataclass(frozen=True)
class Outline:
    """A box to draw.

    Attributes:
        box: x0, y0, x1, y1 on the grid.
        text: a few words at its upper left corner.
        dashed: for the default box, before localisation.
        strong: a thicker line.
    """

    box: Sequence[float]
    text: str = ""
    dashed: bool = False
    strong: bool = True


def draw_outlines(figure: Figure, panel: str, outlines: Sequence[Outline], size: tuple[int, int]) -> None:
    """Draw boxes over a panel of a page: black lines in a white margin, so that they show on any ground.

    Args:
        figure: a page made by :func:`relprop.viz.draw_panels`.
        panel: the panel's name on it, such as ``map-0-1``.
        outlines: boxes on a grid of that size.
        size: (h, w) of the grid.

    Raises:
        InputError: no such panel.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    axes = next((a for a in figure.axes if a.get_gid() == panel), None)
    if axes is None:
        raise InputError(f"Expected a panel of the page but got {panel!r}.")
    rows, columns = axes.images[0].get_array().shape[:2]  # type: ignore[union-attr]
    down, right = rows / size[0], columns / size[1]
    limits = axes.get_xlim(), axes.get_ylim()
    for outline in outlines:
        x0, y0, x1, y1 = (v * s - 0.5 for v, s in zip(outline.box, (right, down) * 2, strict=True))
        width = 1.3 if outline.strong else 0.7
        axes.add_patch(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor="black" if outline.strong else "#333333",
                linewidth=width,
                linestyle=(0, (4, 2)) if outline.dashed else "solid",
                path_effects=[withStroke(linewidth=width + 1.4, foreground="white")],
                zorder=2 + outline.strong,
            )
        )
        if outline.text:
            _tag(axes, outline.text, x0, y0, (rows, columns))
    axes.set(xlim=limits[0], ylim=limits[1])


def _tag(axes: Axes, text: str, x: float, y: float, size: tuple[int, int]) -> None:
    # Above the box, or inside where there is no room above.
    x, y = min(max(x, 0.0), size[1] - 1.0), min(max(y, 0.0), size[0] - 1.0)
    above = y > 20
    axes.text(
        x + 2,
        y - 4 if above else y + 4,
        clean(text),
        ha="left",
        va="bottom" if above else "top",
        clip_on=True,
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        **style(6.5, "bold"),
    )
