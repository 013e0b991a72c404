"""Pictures of the pages that teach to write a method, a rule, a metric or a data set: their code, run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import map_of
from gallery_steps import steps
from gallery_tiles import Tile, sheet
from matplotlib.figure import Figure
from PIL import Image

import relprop
from relprop.datasets import Sample, Scenes, demo_image_path
from relprop.metrics import Case

__all__ = ["pictures"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
STAR = 2  # class of the drawn scenes
QUALITY = 68  # of WebP: maps are mostly noise, which is large


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made(
        "own-method", "z+ everywhere, and with equal shares at the first layer", _method, quality=QUALITY
    )
    yield Made("own-rule", "a rule of one's own beside two that are there", _rule, quality=QUALITY)
    yield Made("own-metric", "on how little of the picture most of the red lies", _metric, quality=QUALITY)
    yield Made("own-data", "a picture, its mask, and the sample that they become", _data, quality=QUALITY)
    yield Made("steps", "from the call to the map", _steps, lossless=True)


def written(page: str) -> dict[str, Any]:
    """The names that a page's first block of Python defines: what is drawn is what the page says."""
    found = re.search(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(found[1], page, "exec"), names)
    return names


def _asked() -> tuple[torch.nn.Module, torch.Tensor, np.ndarray]:
    """The network, the drawn scene as its input, and as pixels from 0 to 1."""
    bundled = relprop.models.load("scenes-vgg")
    picture = Image.open(demo_image_path()).convert("RGB")
    return bundled.module, bundled.preprocess(picture), np.asarray(picture) / 255


def _method() -> Image.Image:
    net, x, pixels = _asked()
    methods = {
        "z-plus everywhere": relprop.LRP(rule="z-plus"),
        "flat-first": written("write-a-method.md")["FlatFirst"](),
    }
    row = [Tile(pixels, map_of(relprop.explain(net, x, STAR, method))) for method in methods.values()]
    return sheet([[Tile(pixels), *row]], ["dotted star", *methods])


def _rule() -> Image.Image:
    net, x, pixels = _asked()
    magnitude = relprop.Composite(
        [("linear", written("write-a-rule.md")["Magnitude"]())], otherwise="positive"
    )
    methods = {
        "lrp-0": "lrp-0",
        "z-plus": relprop.LRP(rule="z-plus"),
        "Magnitude": relprop.LRP(composite=magnitude),
    }
    row = [Tile(pixels, map_of(relprop.explain(net, x, STAR, method))) for method in methods.values()]
    return sheet([[Tile(pixels), *row]], ["dotted star", *methods])


def _metric() -> Image.Image:
    net, x, pixels = _asked()
    measure = written("write-a-metric.md")["Compactness"](part=0.8).measure
    maps, kept, heads = [], [], []
    for name in ("rsp", "lrp-composite", "gradient-x-input"):
        heat = map_of(relprop.explain(net, x, STAR, name))
        share = measure(Case(Sample("a", Image.open(demo_image_path())), label=STAR, heat=heat))["share"]
        heads.append(f"{name}: {100 * share:.0f} %")
        maps.append(Tile(pixels, heat))
        least = np.sort(heat, axis=None)[-round(share * heat.size)]
        kept.append(Tile(np.where((heat >= least)[..., None], pixels, 1 - (1 - pixels) / 6)))
    return sheet([maps, kept], heads)


def _data() -> Image.Image:
    scene = next(iter(Scenes(n=1, seed=5, split="test")))
    pixels, label = np.asarray(scene.image) / 255, int(scene.labels[0])
    mask = np.asarray(scene.class_mask(label))
    shown = np.where(mask[..., None], pixels, 1 - (1 - pixels) / 6)
    name = relprop.models.load("scenes-vgg").classes[label]
    row = [Tile(pixels), Tile(np.repeat(1.0 * mask[..., None], 3, 2)), Tile(shown)]
    return sheet([row], [f"{name}/a.jpg", f"{name}/a.png", "the Sample"])


def _steps() -> Figure:
    return steps(
        [
            ["capture: the model as\na list of operators,\nonce per input size"],
            ["run: forward through\nthe list, values kept"],
            ["plan: a rule\nfor every operator"],
            ["walk: back through the\nlist, rule by rule;\neach step is booked"],
            ["relevance of each pixel", "ledger: does\nit add up?"],
        ]
    )
