"""A picture for each metric that knows where the object is: what it counts, on good and bad maps of one scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import explained, map_of
from gallery_plates import BLUE, GREEN, ORANGE, RED, Plate, circled, outlined, painted, plates, tinted
from gallery_tiles import Tile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import relprop
from relprop.datasets import Scenes, demo_image_path, demo_scene
from relprop.metrics import (
    energy,
    foreground,
    grid_pg,
    iou,
    object_discrimination,
    opposition,
    point,
    pointing_game,
    rank_accuracy,
    segmentation_scores,
)
from relprop.metrics.iou import mean_of_positives

__all__ = ["Seen", "number", "percent", "pictures", "seen"]

Map = NDArray[np.float64]
NETWORK, CLASS = "scenes-resnet", "dotted star"


class Seen:
    """The demo scene with one method's map of the star.

    Attributes:
        method: its name.
        heat: the map, (H, W).
        signed: False where the method gives no negative values.
    """

    def __init__(self, method: str) -> None:
        e = explained(NETWORK, demo_image_path(), method, CLASS)
        self.method, self.heat, self.signed = method, map_of(e), e.signed

    def tile(self) -> Image.Image:
        """The map over the picture's outlines."""
        return Tile(pixels(), self.heat, self.signed).pixels()


seen = cache(Seen)


@cache
def pixels() -> Map:
    """The demo scene in 0-1."""
    return np.asarray(Image.open(demo_image_path()).convert("RGB")) / 255


@cache
def star() -> NDArray[np.bool_]:
    """Where the star is seen."""
    return demo_scene().class_mask(CLASS)


@cache
def others() -> NDArray[np.bool_]:
    """Where the other two objects are seen."""
    return np.asarray(demo_scene().masks.any(0) & ~star())


def percent(share: float | None) -> str:
    """A share, in whole percents.

    >>> percent(0.873)
    '87 %'
    """
    return "n/a" if share is None else f"{100 * share:.0f} %"


def number(value: float) -> str:
    """Two digits behind the point, with a minus that reads well."""
    return f"{value:.2f}".replace("-", "−")


def pictures() -> Iterator[Made]:
    """One a metric, and the metrics' own page's."""
    for name, what, draw in [
        ("index", "five maps of one object by five metrics", _index),
        ("pointing-game", "a hit, a hit within the tolerance, a miss", _pointing),
        ("energy", "positive relevance on the object and beside it", _energy),
        ("rank-accuracy", "the n strongest pixels, on the object and beside it", _rank),
        ("miou", "where map and object overlap, at two thresholds", _miou),
        ("segmentation-miou", "the object cut out along the map", _cut_out),
        ("grid-pg", "four scenes in one picture, and the share of each cell", _grid),
        ("odi", "relevance on the explained object and on others", _odi),
        ("opposition", "blue on the other objects and elsewhere", _opposition),
    ]:
        yield Made(f"metric-{name}", what, draw, quality=75)


def _asked(head: str = "the question") -> Plate:
    return Plate(outlined(Tile(pixels()).pixels(), star()), head, ["Why dotted star?", "outlined: the star"])


def _row(methods: Sequence[str], draw: Callable[[Seen], tuple[Image.Image, Sequence[str]]]) -> list[Plate]:
    found = []
    for method in methods:
        image, lines = draw(seen(method))
        found.append(Plate(image, method, lines))
    return found


def _index() -> Image.Image:
    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        hit = pointing_game(s.heat, star(), 0)
        return outlined(s.tile(), star()), [
            f"energy {percent(energy(s.heat, star()))}",
            f"rank accuracy {percent(rank_accuracy(s.heat, star()))}",
            f"ODI {percent(object_discrimination(s.heat, star(), others()))}",
            f"strongest pixel: {'hit' if hit else 'miss'}",
        ]

    return plates([_row(["rsp", "clrp", "grad-cam", "gradient", "smoothgrad"], draw)])


def _pointing() -> Image.Image:
    tolerance = 15.0

    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        x, y = point(s.heat)
        hit, exact = pointing_game(s.heat, star(), tolerance), pointing_game(s.heat, star(), 0)
        image = circled(outlined(s.tile(), star()), x, y, GREEN if hit else ORANGE, tolerance)
        said = "the pixel lies on the star" if exact else "near enough" if hit else "too far away"
        return image, ["hit" if hit else "miss", said]

    return plates([[_asked(), *_row(["rsp", "grad-cam", "smoothgrad"], draw)]])


def _energy() -> Image.Image:
    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        inside = energy(s.heat, star())
        assert inside is not None
        image = tinted(pixels(), np.maximum(s.heat, 0), [(~star(), ORANGE), (star(), RED)])
        return outlined(image, star()), [f"{percent(inside)} on the star", f"{percent(1 - inside)} beside it"]

    return plates([[_asked(), *_row(["rsp", "guided-backprop", "gradient"], draw)]])


def _rank() -> Image.Image:
    count = int(star().sum())

    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        strongest = np.zeros(s.heat.size, bool)
        strongest[np.argsort(s.heat, axis=None)[::-1][:count]] = True
        top = strongest.reshape(s.heat.shape)
        image = painted(pixels(), [(top, ORANGE), (top & star(), GREEN)])
        share = rank_accuracy(s.heat, star())
        return outlined(image, star()), [f"{percent(share)} on the star", f"of the top {count} pixels"]

    return plates([[_asked(), *_row(["rsp", "grad-cam", "gradient"], draw)]])


def _miou() -> Image.Image:
    rows = []
    for at in ("0", "mean"):
        row = []
        for method in ("rsp", "clrp", "gradient"):
            s = seen(method)
            threshold = 0.0 if at == "0" else mean_of_positives(s.heat)
            above, share = s.heat > threshold, iou(s.heat, star(), threshold)
            image = painted(pixels(), [(above, ORANGE), (star(), (40, 40, 40)), (above & star(), GREEN)])
            told = "above 0" if at == "0" else "above positive mean"
            row.append(
                Plate(outlined(image, star()), method if at == "0" else "", [f"IoU {percent(share)}", told])
            )
        rows.append(row)
    return plates(rows)


def _cut_out() -> Image.Image:
    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        cut = foreground(s.heat, s.signed)
        scores = segmentation_scores(cut, star())
        assert scores is not None
        kept = np.where(cut[..., None], pixels(), 1.0)
        lines = [f"foreground IoU {percent(scores['foreground'])}", f"both grounds {percent(scores['mean'])}"]
        return outlined(Tile(kept).pixels(), star()), lines

    return plates([[_asked(), *_row(["rsp", "grad-cam", "gradient"], draw)]])


def _odi() -> Image.Image:
    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        share = object_discrimination(s.heat, star(), others())
        beside = ~(star() | others())
        image = tinted(
            pixels(), np.maximum(s.heat, 0), [(beside, (185, 185, 185)), (star(), RED), (others(), ORANGE)]
        )
        image = outlined(outlined(image, others(), colour=(90, 90, 90)), star())
        return image, [f"ODI {percent(share)}", "lies on the other two"]

    return plates([[_asked(), *_row(["rsp", "grad-cam", "gradient"], draw)]])


def _opposition() -> Image.Image:
    area = f"outlined: {percent(float(others().mean()))} of pixels"

    def draw(s: Seen) -> tuple[Image.Image, Sequence[str]]:
        share = opposition(s.heat, others())
        image = tinted(pixels(), np.maximum(-s.heat, 0), [(~others(), (120, 190, 230)), (others(), BLUE)])
        return outlined(image, *(m for m in demo_scene().masks if not (m & star()).any())), [
            f"{percent(share)} of the blue",
            "lies on the other two",
        ]

    first = Plate(
        outlined(Tile(pixels()).pixels(), *(m for m in demo_scene().masks if not (m & star()).any())),
        "the question", ["Why dotted star?", area],
    )  # fmt: skip
    return plates([[first, *_row(["clrp", "rsp", "gradient"], draw)]])


@cache
def _four() -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Four drawn scenes of one class each, all different, that the network is sure of, and their classes."""
    network = relprop.models.load(NETWORK)
    found: dict[int, NDArray[np.uint8]] = {}
    for scene in Scenes(n=200, seed=1818, split="test"):
        label = int(scene.labels[0])
        if set(scene.labels.tolist()) != {label} or label in found:
            continue
        x = network.preprocess(Image.fromarray(scene.image))
        with torch.no_grad():
            scores = network.module(x)[0]
        if int(scores.argmax()) == label and float(scores.sigmoid()[label]) >= 0.99:
            found[label] = scene.image
        if len(found) == 4:
            break
    a, b, c, d = found.values()
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)]), tuple(found)


def _grid() -> Image.Image:
    network, (grid, labels), cell = relprop.models.load(NETWORK), _four(), 0
    x = network.normalise(torch.from_numpy(grid).permute(2, 0, 1)[None].float() / 255)
    shown, name = grid / 255, network.classes[labels[cell]]
    row = [Plate(_lined(Tile(shown).pixels(), cell), "the question", [f"Why {name}?", "shown in the frame"])]
    for method in ("rsp", "lrp-composite", "gradient"):
        e = relprop.explain(network.module, x, labels[cell], method)
        shares = [grid_pg(map_of(e), k, 2) for k in range(4)]
        image = _lined(Tile(shown, map_of(e), e.signed).pixels(), cell, [percent(s) for s in shares])
        row.append(Plate(image, method, [f"{percent(shares[cell])} in its cell", "25 % would be chance"]))
    return plates([row])


def _lined(image: Image.Image, cell: int, words: Sequence[str] = ()) -> Image.Image:
    """The tile with its four cells, one of them framed, and a word in each."""
    draw, half = ImageDraw.Draw(image), image.width // 2
    draw.line((half, 0, half, image.height), fill=(255, 255, 255), width=3)
    draw.line((0, half, image.width, half), fill=(255, 255, 255), width=3)
    x, y = cell % 2 * half, cell // 2 * half
    draw.rectangle((x + 1, y + 1, x + half - 2, y + half - 2), outline=(190, 0, 160), width=4)
    for k, word in enumerate(words):
        at = (k % 2 * half + 9, k // 2 * half + half - 9)
        box = draw.textbbox(at, word, font_size=17, anchor="ls")
        draw.rectangle((box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3), fill=(255, 255, 255))
        draw.text(at, word, fill=(34, 34, 34), font_size=17, anchor="ls")
    return image
