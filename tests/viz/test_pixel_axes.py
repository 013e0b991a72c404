"""Axes of pixels alone: what they leave out shows nowhere, whatever a user has set for axes."""

from __future__ import annotations

import copy
import pickle

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relprop.viz.file import figure_bytes
from relprop.viz.pixel_axes import PixelAxes

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def page(kind: type | None) -> Figure:
    figure = Figure(figsize=(1, 1), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (0.1, 0.1, 0.3, 0.2), label="map", **({} if kind is None else {"axes_class": kind})
    )
    axes.set_axis_off()
    axes.imshow(PIXELS, interpolation="nearest", aspect="auto")
    return figure


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_those_of_matplotlibs_axes(kind: str, grid: bool) -> None:
    with mpl.rc_context({"axes.grid": grid, "xtick.minor.visible": grid}):
        assert figure_bytes(page(PixelAxes), kind) == figure_bytes(page(None), kind)


def test_a_page_is_copied_and_kept() -> None:
    figure = page(PixelAxes)
    for other in (copy.deepcopy(figure), pickle.loads(pickle.dumps(figure))):
        assert figure_bytes(other, "png") == figure_bytes(figure, "png")
