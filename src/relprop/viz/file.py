"""Figures to pixels and to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.catalogue import FIGURE_KINDS
from relprop.errors import InputError, unknown_name
from relprop.paths import tells_where
from relprop.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_bytes", "png_bytes", "render", "save_figure"]


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


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file's bytes, the same each time: without dates, with its fonts.

    Args:
        figure: what to write.
        kind: "png"; or "pdf" or "svg", where words and lines aren't pixels, as maps and pictures are.

    Raises:
        UnknownNameError: another kind.
    """
    if kind == "png":
        return png_bytes(figure)
    if kind not in FIGURE_KINDS:
        raise unknown_name("kind of figure", kind, FIGURE_KINDS)
    from matplotlib import rc_context

    buffer = io.BytesIO()
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    # TrueType fonts: many publishers refuse the Type 3 ones that are matplotlib's default.
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "relprop"}):
        figure.savefig(buffer, format=kind, facecolor="white", bbox_inches=None, metadata=dates)
    return buffer.getvalue()


@tells_where
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, PDF or SVG by the file's ending; atomic: whole or not at all.

    Raises:
        InputError: for another ending.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FIGURE_KINDS:
        raise InputError(f"Expected a file name ending in .png, .pdf or .svg but got {path.name!r}.")
    return write_file(path, figure_bytes(figure, kind))
