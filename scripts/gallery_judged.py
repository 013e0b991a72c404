"""Pictures of how answers are judged: parts taken away, patches hidden, kinds of a detector's mistakes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import map_of
from gallery_tiles import Tile, sheet, stacked
from numpy.typing import NDArray
from PIL import Image

import relprop
from relprop.datasets import Scenes, SceneWorld, demo_image_path
from relprop.datasets.scenes import CLASSES, Scene
from relprop.detectors import check_map, measured_effects
from relprop.detectors.filling import filled
from relprop.detectors.hiding import patches
from relprop.detectors.matching import Matched, Objects, match
from relprop.detectors.scoring import Found
from relprop.errors import RelpropWarning
from relprop.metrics import PartGame
from relprop.viz import display_picture

__all__ = ["pictures"]

STAR = 1  # detection of the demo scene that is asked about
Pixels = NDArray[np.float64]
Frame = tuple[float, float, float, float]


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("ceiling", "a scene drawn again without its parts, and what the score loses", _ceiling)
    yield Made("bands", "a quarter of a star hidden, and where the box goes", _bands)
    yield Made("hide-and-see", "the reddest tenth hidden, and as many random patches", _hide_and_see)
    yield Made("mistakes", "one mistake of each kind", _mistakes)


def _ceiling() -> Image.Image:
    bundled = relprop.models.load("scenes-resnet")
    scene = Scenes(n=3, seed=3, split="test")[1]
    world, label = SceneWorld(scene), int(scene.labels[0])

    def score(shown: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        x = torch.cat([bundled.preprocess(Image.fromarray(picture)) for picture in shown])
        with torch.no_grad():
            logits: NDArray[np.float64] = bundled.module(x).double().numpy()[:, label]
        return logits

    game, parts = PartGame(world, score), range(len(world))
    kinds = {"no star": "object 0", "no shadow": "shadow 0", "other ground": "backdrop"}
    row, heads = [Tile(scene.image / 255)], [f"dotted star: {game.scores([parts])[0]:.1f}"]
    for words, name in kinds.items():
        (gone,) = (k for k in parts if world.parts[k].name == name)
        kept = [k for k in parts if k != gone]
        row.append(Tile(world.draw(kept) / 255))
        heads.append(f"{words}: {game.scores([kept])[0]:.1f}".replace("-", "−"))
    return sheet([row], heads)


def _demo() -> tuple[relprop.detectors.Detector, Image.Image, Pixels]:
    image = Image.open(demo_image_path()).convert("RGB")
    return relprop.detectors.load("scenes-ssd"), image, np.asarray(image) / 255


def _frame(box: Sequence[float] | torch.Tensor) -> Frame:
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1, y1, x2, y2


def _without(detector: relprop.detectors.Detector, image: Image.Image, mask: torch.Tensor) -> Pixels:
    """The picture, inpainted where the mask on the input's pixels is true."""
    prepared = detector.prepared(image)
    x = filled(prepared.x, mask[None], "inpaint", prepared.window)
    shown, _ = display_picture(x[0], detector.mean, detector.std)
    return shown


def _bands() -> Image.Image:
    detector, image, pixels = _demo()
    star = detector(image)[STAR]
    effects = measured_effects(detector, image, star, cells="bands")
    found: list[Tile | None] = [Tile(pixels, frames=(_frame(star.box),))]
    for k in range(len(effects.names)):
        shown = _without(detector, image, effects.masks[k])
        found.append(Tile(shown, frames=(_frame(effects.said.edges[k + 1]),), before=(_frame(star.box),)))
    left, right, top, bottom = (f"without its {name}" for name in effects.names)
    return stacked(
        [sheet([found[:3]], [star.name, left, right]), sheet([[None, *found[3:]]], ["", top, bottom])]
    )


def _hide_and_see() -> Image.Image:
    detector, image, pixels = _demo()
    star = detector(image)[STAR]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        e = relprop.explain_detection(detector, image, star, method="agreement")
    heat = torch.as_tensor(map_of(e))
    check = check_map(detector, image, star, heat)
    prepared = detector.prepared(image)
    label, own, _ = patches(prepared.in_input(star.box.cpu()), prepared)
    sums = torch.stack([heat[label == int(k)].sum() for k in label.unique() if k >= 0])
    red = torch.isin(label, sums.argsort(descending=True)[: check.hidden])
    drawn = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(0))[: check.hidden]]
    frame = (_frame(star.box),)
    row = [
        Tile(pixels, heat.numpy(), e.signed, frames=frame),
        Tile(_without(detector, image, red), frames=frame),
        Tile(_without(detector, image, torch.isin(label, drawn)), frames=frame),
    ]
    heads = ["the map", f"reddest hidden: −{check.red:.1f}", f"random hidden: −{check.random[0]:.1f}"]
    return sheet([row], heads)


def _mistakes() -> Image.Image:
    # Sure or not: at the usual threshold this detector hardly makes some of the kinds.
    detector = replace(relprop.detectors.load("scenes-ssd"), score_threshold=0.05)
    kinds = ["duplicate", "confusion", "localisation", "both", "background", "miss"]
    found: dict[str, Tile] = {}
    for scene in Scenes(n=400, seed=5, split="test"):
        pixels, true = scene.image / 255, [_frame(box) for box in scene.boxes.tolist()]
        there = detector(scene.image)
        for one, verdict in zip(there, _matched(detector, there, scene).verdicts, strict=True):
            before = () if verdict.object is None else (true[verdict.object],)
            found.setdefault(verdict.kind, Tile(pixels, frames=(_frame(one.box),), before=before))
        for j in _matched(detector, there, scene).missed:
            found.setdefault("miss", Tile(pixels, before=(true[j],)))
        if found.keys() >= set(kinds):
            break
    return stacked([sheet([[found[kind] for kind in part]], part) for part in (kinds[:3], kinds[3:])])


def _matched(detector: relprop.detectors.Detector, there: Any, scene: Scene) -> Matched:
    names, none = [CLASSES[k] for k in scene.labels.tolist()], np.zeros(len(scene.labels), dtype=bool)
    labels = np.array([detector.classes.index(name) for name in names], dtype=np.int64)
    said = Found(
        np.array([one.box.tolist() for one in there]).reshape(-1, 4),
        np.array([one.label for one in there], dtype=np.int64),
        np.array([one.score for one in there]),
    )
    return match(said, Objects(np.asarray(scene.boxes, dtype=np.float64), labels, names, none, none))
