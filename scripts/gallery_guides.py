"""Pictures of the guides: what a call draws, how a picture becomes an input, what a data set holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import explained, map_of, photograph
from gallery_tiles import Tile, say, sheet
from matplotlib.figure import Figure
from PIL import Image

import relprop
from relprop.datasets import Scenes, demo_image_path, load_dataset
from relprop.datasets.data_set import Viewer
from relprop.errors import RelpropWarning
from relprop.models.geometry import Geometry
from relprop.models.pictures import Preprocess
from relprop.models.sources import load_model
from relprop.viz import display_picture

__all__ = ["pictures"]

STAR, BLOCK = 2, 7  # classes of the drawn scenes
_EDGE, _TOP = 8, 34  # pixels around pictures that stand beside one another
QUALITY = 68  # of WebP: maps are mostly noise, which is large


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("scales", "one map, with its colours ending at three values", _scales, quality=QUALITY)
    yield Made(
        "explain-sheet",
        "what `relprop explain` writes: targets down, methods across",
        _command,
        quality=QUALITY,
    )
    yield Made("show", "what `e.show()` draws", _show, widest=900, quality=QUALITY)
    yield Made("report-figure", "the figure of a report in a notebook", _report, widest=900, quality=QUALITY)
    yield Made("service", "the sheet in a service's answer", _service, widest=900, quality=QUALITY)
    yield Made("geometry", "how a picture becomes an input", _geometry, quality=QUALITY)
    yield Made("truth", "boxes, masks, and a grid of scenes", _truth, quality=QUALITY)
    yield Made("many", "eight pictures of a folder, each with its map", _many, quality=QUALITY)
    yield Made("asked", "a class, a difference, a sum, a hidden unit", _asked, quality=QUALITY)
    yield Made("captum", "guided backprop of a network whose ReLUs are functions", _captum, quality=QUALITY)


def _quiet(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        return call(*given, **named)


def _scales() -> Image.Image:
    loaded = load_model("efficientnet-lite0")
    e = explained("efficientnet-lite0", photograph("chelsea"), "lrp-composite", "Egyptian cat")
    shown, _ = display_picture(e.input[0], loaded.mean, loaded.std)
    ends = {"largest value": None, "99.5th percentile": 99.5, "90th percentile": 90}
    row = [Tile(shown), *(Tile(shown, map_of(e), clip=clip) for clip in ends.values())]
    return sheet([row], ["Egyptian cat", *ends])


def _figure(model: str, picture: Path, methods: Sequence[str], targets: Sequence[str]) -> Figure:
    report = _quiet(
        relprop.reports.picture, load_model(model), picture, method=list(methods), target=list(targets)
    )
    (figure,) = report.figures.values()
    return figure  # type: ignore[no-any-return]


def _command() -> Figure:
    return _figure(
        "efficientnet-lite0",
        photograph("chelsea"),
        ["lrp-composite", "grad-cam"],
        ["Egyptian cat", "tiger cat"],
    )


def _report() -> Figure:
    return _figure("scenes-vgg", demo_image_path(), ["lrp-composite", "rsp"], ["dotted ball", "dotted star"])


def _service() -> Figure:
    return _figure("scenes-resnet", demo_image_path(), ["recommended"], ["top"])


def _show() -> Figure:
    bundled = relprop.models.load("scenes-resnet")
    x = bundled.preprocess(Image.open(demo_image_path()))
    return relprop.explain(bundled.module, x, STAR, "lrp-composite").show()


def _geometry() -> Image.Image:
    picture = Image.open(photograph("coffee")).convert("RGB")
    plain = Preprocess((224, 224), (0.0,) * 3, (1.0,) * 3)
    shown = {}
    for mode in ("shorter", "squash", "crop"):
        pixels = np.uint8(np.rint(255 * Geometry(mode, plain).seen(picture)))  # type: ignore[arg-type]
        shown[f"{mode}: {pixels.shape[1]} × {pixels.shape[0]}"] = Image.fromarray(pixels)
    return _beside(shown)


def _beside(images: dict[str, Image.Image]) -> Image.Image:
    """Pictures of their own proportions in a row, a name above each."""
    from PIL import ImageDraw

    wide = _EDGE + sum(image.width + _EDGE for image in images.values())
    page = Image.new("RGB", (wide, _TOP + max(image.height for image in images.values()) + _EDGE), "white")
    draw, left = ImageDraw.Draw(page), _EDGE
    for name, image in images.items():
        say(draw, name, left + image.width // 2, _TOP - 10, image.width)
        page.paste(image, (left, _TOP))
        left += image.width + _EDGE
    return page


def _truth() -> Image.Image:
    data = load_dataset("scenes", n=40, seed=2)
    heads, boxes, masks = [], [], []
    for index in (0, 3, 5):
        sample = data[index]
        pixels, label = np.asarray(sample.image) / 255, sample.labels[0]
        of_class = sample.boxes[sample.box_labels == label]
        heads.append(data.classes[label])
        boxes.append(Tile(pixels, frames=tuple(tuple(map(float, box)) for box in of_class)))
        masks.append(Tile(np.where(sample.region(label, "masks")[..., None], pixels, 1 - (1 - pixels) / 6)))
    grid, heat, name = _grid()
    return sheet([[*boxes, grid], [*masks, heat]], [*heads, name])


def _grid() -> tuple[Tile, Tile, str]:
    """A grid that scenes-resnet knows, its first cell framed, and the map of that cell's class."""
    bundled = relprop.models.load("scenes-resnet")
    native = Geometry("native", Preprocess((112, 112), bundled.mean, bundled.std))

    def confidence(picture: Image.Image, label: int) -> float:
        with torch.no_grad():
            known = bundled.module(native.input(picture)).sigmoid()[0]
        others = [float(p) for k, p in enumerate(known) if k != label]
        return float(known[label]) if max(others) < 0.5 else 0.0

    def cut(picture: Image.Image) -> Image.Image:
        return picture.convert("RGB").resize((112, 112))

    data = load_dataset("grids", n=1).for_viewer(Viewer(cut, confidence))
    sample = data[0]
    label = int(sample.box_labels[0])
    e = relprop.explain(bundled.module, native.input(sample.image), label, "lrp-composite")
    pixels = np.asarray(sample.image) / 255
    frame = (tuple(map(float, sample.boxes[0])),)
    return Tile(pixels, frames=frame), Tile(pixels, map_of(e), frames=frame), f"grids: {data.classes[label]}"


def _many() -> Image.Image:
    bundled = relprop.models.load("scenes-resnet")
    scenes = Scenes(n=8, seed=4, split="test")
    images = [Image.fromarray(scene.image) for scene in scenes]
    found = list(_quiet(relprop.explain_many, bundled, images, method="lrp-composite"))
    shown = [np.asarray(image) / 255 for image in images]
    maps = [Tile(picture, map_of(e)) for picture, e in zip(shown, found, strict=True)]
    heads = [bundled.classes[int(e.targets)] for e in found]
    return sheet([[Tile(picture) for picture in shown], maps], heads, side=160)


def _asked() -> Image.Image:
    bundled = relprop.models.load("scenes-resnet")
    picture = Image.open(demo_image_path()).convert("RGB")
    pixels, x = np.asarray(picture) / 255, bundled.preprocess(picture)

    def tile(target: Any, **named: Any) -> Tile:
        return Tile(
            pixels, map_of(_quiet(relprop.explain, bundled.module, x, target, "lrp-composite", **named))
        )

    questions = {
        "the picture": Tile(pixels),
        "star": tile(STAR),
        "star − block": tile(STAR, versus=BLOCK),
        "star + block": tile(lambda outputs: outputs[:, STAR] + outputs[:, BLOCK]),
        "a unit of layer3": tile(7, start="layer3"),
    }
    return sheet([list(questions.values())], list(questions))


def _captum() -> Image.Image:
    from captum.attr import GuidedBackprop

    from relprop.captum import GuidedBackprop as Ours

    bundled = relprop.models.load("scenes-resnet")
    picture = Image.open(demo_image_path()).convert("RGB")
    pixels, x = np.asarray(picture) / 255, bundled.preprocess(picture)
    maps = {"gradient": relprop.explain(bundled.module, x, STAR, "gradient").relevance}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        maps["captum's"] = GuidedBackprop(bundled.module).attribute(x.clone().requires_grad_(), target=STAR)
    maps["relprop's"] = Ours(bundled.module).attribute(x, target=STAR)
    row = [Tile(pixels), *(Tile(pixels, m.detach()[0].sum(0).double().numpy()) for m in maps.values())]
    return sheet([row], ["dotted star", *maps])
