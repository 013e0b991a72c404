"""One picture a method: two photographs and two objects of a drawn scene, their maps below."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_tiles import Tile, sheet
from PIL import Image

import relprop
from relprop.catalogue import METHODS
from relprop.datasets import Scenes, demo_image_path, demo_photo_path
from relprop.detectors import Detector
from relprop.errors import RelpropWarning
from relprop.models.sources import load_model
from relprop.viz import display_picture

__all__ = ["explained", "map_of", "photograph", "pictures", "tiles"]

#: Photograph → the class that EfficientNet-Lite0 finds first.
PHOTOGRAPHS = {"chelsea": "Egyptian cat", "coffee": "espresso", "rocket": "missile"}
SCENE = ["dotted star", "striped block"]
#: Methods that are asked another question than "why this class of this picture".
OF_DETECTIONS = ["odam", "d-rise", "margin-rsp", "crp"]
OF_TRANSFORMERS = ["attention-rollout", "attnlrp"]
#: The first screen's, and the gallery's, which have another way of saying which method it is.
FRONT = ["agreement", "lrp-composite", "contrastive-excitation-backprop", "grad-cam"]
#: What has no default.
SET: dict[str, str] = {"lrp": "lrp:rule=z-plus"}


def pictures() -> Iterator[Made]:
    """Every method's, the strip of the first screen, and the sheets of the gallery."""
    yield Made("front", "three photographs by four methods", _front)
    for name in METHODS:
        if name in OF_DETECTIONS:
            yield Made(f"method-{name}", f"{name} on four detections", partial(_detections, name))
        elif name in OF_TRANSFORMERS:
            yield Made(f"method-{name}", f"{name} in a transformer", partial(_transformer, name))
        elif name != "recommended":
            yield Made(f"method-{name}", f"{name} on photographs and a drawn scene", partial(_method, name))


def photograph(name: str) -> Path:
    """The picture's path."""
    return demo_photo_path(name)


@cache
def explained(model: str, picture: Path, method: str, *target: str) -> Any:
    """The explanation that `relprop explain` makes; of several targets K in front."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        report = relprop.reports.picture(
            load_model(model), picture, method=[SET.get(method, method)], target=list(target)
        )
    (e,) = report.numbers.values()
    return e


def map_of(e: Any, k: int = 0) -> np.ndarray:
    """The map of target k of the only sample, (H, W)."""
    heat = e.heatmap().detach().double().cpu()
    return heat.reshape(-1, *heat.shape[-2:])[k].numpy()


def tiles(model: str, picture: Path, method: str, *target: str) -> list[tuple[Tile, Tile]]:
    """For each target the picture, and the map over it."""
    e, loaded = explained(model, picture, method, *target), load_model(model)
    shown, _ = display_picture(e.input[0], loaded.mean, loaded.std)
    return [(Tile(shown), Tile(shown, map_of(e, k), e.signed)) for k in range(len(target))]


def _front() -> Image.Image:
    pairs = [
        [tiles("efficientnet-lite0", photograph(p), m, c)[0] for m in FRONT] for p, c in PHOTOGRAPHS.items()
    ]
    rows = [[row[0][0], *(seen for _, seen in row)] for row in pairs]
    short = [name.replace("excitation-backprop", "EB") for name in FRONT]
    return sheet(rows, ["photograph", *short])


def _method(name: str) -> Image.Image:
    photographs = list(PHOTOGRAPHS.items())[:2]
    found = [tiles("efficientnet-lite0", photograph(p), name, c)[0] for p, c in photographs]
    found += tiles("scenes-resnet", demo_image_path(), name, *SCENE)
    return _two_rows(found, [*(c for _, c in photographs), *SCENE])


def _transformer(name: str) -> Image.Image:
    classes = ["dotted ball", *SCENE]
    return _two_rows(tiles("scenes-vit", demo_image_path(), name, *classes), classes)


def _detections(name: str) -> Image.Image:
    detector, found, heads = relprop.detectors.load("scenes-ssd"), [], []
    scenes = Scenes(n=8, seed=2, split="test")
    for image in (Image.open(demo_image_path()).convert("RGB"), scenes[5].image):
        pixels = (
            np.asarray(image if isinstance(image, Image.Image) else _pixels(image), dtype=np.float64) / 255
        )
        for one in detector(image)[:2]:
            heads.append(one.name)
            found.append(
                (
                    Tile(pixels, frames=(tuple(map(float, one.box)),)),
                    _seen(detector, image, one, name, pixels),
                )
            )
    return _two_rows(found, heads)


def _seen(detector: Detector, image: Any, one: Any, name: str, pixels: np.ndarray) -> Tile:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        e = relprop.explain_detection(detector, image, one, method=name)
    return Tile(pixels, map_of(e), e.signed)


def _pixels(image: Any) -> np.ndarray:
    array = np.asarray(image)
    return array if array.dtype == np.uint8 else np.uint8(np.rint(255 * array))


def _two_rows(found: Sequence[tuple[Tile, Tile]], heads: Sequence[str]) -> Image.Image:
    return sheet([[shown for shown, _ in found], [seen for _, seen in found]], heads)
