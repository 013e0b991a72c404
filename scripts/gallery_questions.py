"""Pictures of the first pages: a class rather than another, what `show` draws, an input unlike all known ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import map_of, photograph
from gallery_tiles import Tile, sheet
from matplotlib.figure import Figure
from PIL import Image

import relprop
from relprop.datasets import demo_image_path
from relprop.errors import RelpropWarning
from relprop.models.sources import load_model
from relprop.viz import display_picture

__all__ = ["pictures"]


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("versus", "the ball, the star, and the ball rather than the star", _versus)
    yield Made("quickstart", "what show() draws in the quick start", _quickstart)
    yield Made("unlike", "photographs through a network that knows drawn scenes alone", _unlike)


def _quiet(net: torch.nn.Module, x: torch.Tensor, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        return relprop.explain(net, x, **how)


def _versus() -> Image.Image:
    network = relprop.models.load("scenes-vgg")
    x = network.preprocess(Image.open(demo_image_path()))
    shown, _ = display_picture(x[0], network.mean, network.std)
    ball, star = (network.classes.index(name) for name in ("dotted ball", "dotted star"))
    asked = [{"target": ball}, {"target": star}, {"target": ball, "versus": star}]
    found = [_quiet(network.module, x, method="agreement", **how) for how in asked]
    row = [Tile(shown), *(Tile(shown, map_of(e), e.signed) for e in found)]
    return sheet([row], ["the scene", "ball", "star", "ball rather than star"])


def _quickstart() -> Figure:
    bundled = relprop.models.load("scenes-vgg")
    x = bundled.preprocess(Image.open(demo_image_path()))
    e = relprop.explain(bundled.module, x)
    figure: Figure = e.show(mean=bundled.mean, std=bundled.std, labels=bundled.classes)
    return figure


def _unlike() -> Image.Image:
    network = load_model("scenes-resnet")
    row, maps, heads = [], [], []
    for name in ("chelsea", "coffee", "rocket"):
        x = network.preprocess(Image.open(photograph(name)).convert("RGB"))
        e = _quiet(network.module, x, method="lrp-composite")
        (k,) = np.asarray(e.targets).ravel()
        share = float(torch.sigmoid(e.outputs.detach().reshape(-1)[int(k)]))
        shown, _ = display_picture(x[0], network.mean, network.std)
        row.append(Tile(shown))
        maps.append(Tile(shown, map_of(e), e.signed))
        heads.append(f"“{network.classes[int(k)]}”, {100 * share:.0f} %")
    return sheet([row, maps], heads)
