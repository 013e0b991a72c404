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
from matplotlib.patches import Rectangle
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
    yield Made("words", "how the eight words hang together", _words)
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


def _words() -> Figure:
    figure = Figure(figsize=(8.4, 3.9), dpi=160, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 84), ylim=(0, 39))
    axes.axis("off")
    boxes = {
        "graph": (2, 25, "your network as a\nlist of operators"),
        "trace": (30, 25, "one run forward:\nevery value on the way"),
        "seed": (58, 25, "what is explained:\na class's score"),
        "composite": (2, 5, "which rule\nfor which operator"),
        "relevance": (30, 5, "a number\nfor each pixel"),
        "explanation": (58, 5, "the result, frozen:\nrelevance and ledger"),
    }
    for name, (x, y, text) in boxes.items():
        axes.add_patch(Rectangle((x, y), 24, 9, facecolor="#f4f6f8", edgecolor="#777777", linewidth=1))
        axes.text(
            x + 12, y + 6.4, name, ha="center", va="center", fontsize=11, weight="bold", color="#222222"
        )
        axes.text(x + 12, y + 2.7, text, ha="center", va="center", fontsize=8, color="#444444")
    red: dict[str, Any] = {"color": "#b2182b", "linewidth": 1.4}
    for x, y in ((26, 29.5), (54, 29.5), (26, 9.5), (54, 9.5)):
        end, start = (x + 4, y), (x, y)
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", **red})
    axes.plot([70, 70, 42], [25, 19.5, 19.5], **red)
    axes.annotate("", (42, 14), (42, 19.6), arrowprops={"arrowstyle": "-|>", **red})
    axes.text(
        56, 20.9, "backward, operator by operator", ha="center", va="center", fontsize=9, color="#b2182b"
    )
    axes.text(
        2, 36.6, "A method names the seed, the composite, and where the walk starts and ends.", fontsize=9,
        color="#222222",
    )  # fmt: skip
    axes.text(
        2, 1.8, "The ledger lists for each operator what came in, what went out, and what stayed.", fontsize=9,
        color="#222222",
    )  # fmt: skip
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
