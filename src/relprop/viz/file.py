"""Figures to pixels and to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.errors import InputError
from relprop.paths import tells_where
from relprop.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["png_bytes", "render", "save_figure"]


def render(figure: Figure) -> NDArray[np.uint8]:
    """The figure as pixels (H, W, 3), the same as in the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(render(figure)).save(buffer, "PNG", dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()


@tells_where
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, PDF or SVG by the file's ending; atomic: whole or not at all.

    Raises:
        InputError: for another ending.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind == "png":
        data = png_bytes(figure)
    elif kind in ("pdf", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, facecolor="white", bbox_inches=None)
        data = buffer.getvalue()
    else:
        raise InputError(f"Expected a file name ending in .png, .pdf or .svg but got {path.name!r}.")
    return write_file(path, data)
