"""Mistake maps: one mistake explained, each map cut out around it and drawn as a small picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.catalogue import BOX_METHOD
from relprop.detectors import Detection, Detections, Detector, Prepared
from relprop.detectors.analysis import positive_inside
from relprop.detectors.detector import EDGES
from relprop.detectors.explain import detection_explained
from relprop.detectors.moves import direction, part_title
from relprop.detectors.variants import pushed
from relprop.explanation import Explanation
from relprop.explanation.warned import verdict
from relprop.methods.method import Method
from relprop.methods.registry import resolve
from relprop.reports.judging import tidy
from relprop.viz.overlay import overlay
from relprop.viz.scale import limits

__all__ = ["MistakeMaps", "crop_around", "explain_mistake", "webp"]

_WIDTH, _HEIGHT = 320, 240  # pixels of a drawn map
_LEAST = 48.0  # pixels of the picture that a crop shows at least
_ROOM = 1.6  # how much wider than the boxes it is


@dataclass(frozen=True)
class MistakeMaps:
    """An explained mistake.

    Attributes:
        facts: what the maps say, as JSON holds it: "maps" with a title, words and numbers each, "method",
            "adds_up", "warnings", and the "crop" that is shown, in pixels of the picture.
        photo: the picture there, as a WebP file.
        maps: each map, likewise.
    """

    facts: dict[str, Any]
    photo: bytes
    maps: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class _Map:
    """One map.

    Attributes:
        title: what it answers.
        words: what red and blue are.
        values: (h, w), of the input.
        group: those of one group share a scale.
    """

    title: str
    words: str
    values: Tensor
    group: str = "class"


def crop_around(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A cut-out of a picture around boxes, four by three where the picture is large enough: x0, y0, x1, y1.

    Args:
        boxes: x0, y0, x1, y1 in pixels of the picture.
        size: (H, W) of the picture.

    >>> crop_around([(50, 50, 90, 80)], (200, 300))
    (38.0, 41.0, 102.0, 89.0)
    >>> crop_around([(0, 0, 290, 20)], (200, 300))
    (0.0, 0.0, 300.0, 200.0)
    """
    rows = np.asarray(boxes, dtype=np.float64)
    (x0, y0), (x1, y1) = rows[:, :2].min(0), rows[:, 2:].max(0)
    height, width = size
    across, down = (max(_LEAST, _ROOM * side) for side in (x1 - x0, y1 - y0))
    across, down = max(across, down * 4 / 3), max(down, across * 3 / 4)
    across, down = min(across, width), min(down, height)
    left = min(max(0.0, (x0 + x1 - across) / 2), width - across)
    top = min(max(0.0, (y0 + y1 - down) / 2), height - down)
    return float(left), float(top), float(left + across), float(top + down)


def explain_mistake(
    detector: Detector,
    prepared: Prepared,
    found: Detections,
    picture: Image.Image,
    mistake: dict[str, Any],
    names: Sequence[str],
    method: Method,
) -> MistakeMaps:
    """Explain a mistake by what is asked of its kind.

    A confusion, and a unit that says another class: "the one rather than the other", and both classes; a poor box:
    its four edges, and the class; anything else: the class. A method that can't be asked about edges leaves them
    to `crp`.

    Args:
        detector: what made it.
        prepared: the picture as its input.
        found: all detections of the picture.
        picture: the picture.
        mistake: a row of `relprop.reports.judging.mistakes_of`.
        names: the detector's classes in words.
        method: how.

    Raises:
        RelpropError: as `relprop.explain_detection`.
    """
    missed = mistake["kind"] == "missed"
    label = mistake["true_label"] if missed else mistake["said_label"]
    rival = mistake["said_label"] if missed else mistake["true_label"]
    if rival in (label, None, -1):
        rival = None
    wrong = mistake["kind"] == "localisation" or mistake["reason"] == "poor box"
    unit = found.at(mistake["anchor"], label)
    explained = partial(detection_explained, detector, prepared, unit)
    every: list[Explanation] = []
    maps: list[_Map] = []
    if wrong:
        by = method if "score" in method.takes and not method.for_classes else resolve(BOX_METHOD)
        every.append(explained(list(EDGES), None, by))
        maps += _edges(detector, prepared, mistake, unit, every[-1], by)
    every.append(explained(["class"], [label] if rival is None else [label, rival], method))
    heat = _heat(every[-1])
    own = names[label]
    against = ", blue against it" if method.signed else ""
    maps.append(_Map(f"why {own}", f"red spoke for {own}{against}", heat[0]))
    if rival is not None:
        other = names[rival]
        words = f"red spoke for {own}, blue for {other}"
        if "score" in method.takes:
            words = words if method.signed else f"red spoke for {own} more than for {other}"
            every.append(explained("class", label, method, versus=rival))
            rather = _heat(every[-1])[0]
        else:
            rather, words = heat[0] - heat[1], f"{words}; the difference of the two maps"
        maps.append(_Map(f"what if {other}", f"red spoke for {other}{against}", heat[1]))
        maps.insert(0, _Map(f"{own} rather than {other}", words, rather, "rather"))
    crop = crop_around(
        [mistake["box"], *([] if mistake["true_box"] is None else [mistake["true_box"]])], prepared.size
    )
    photo = _cut(picture, crop)
    box = prepared.in_input(torch.tensor(mistake["box"], dtype=torch.float64)).tolist()
    facts = {
        "method": " and ".join(dict.fromkeys(e.method for e in reversed(every))),
        "adds_up": _worst([verdict(e.ledger, e.relevance, e.targets) for e in every]),
        "warnings": list(dict.fromkeys(text for e in every for text in e.warnings)),
        "crop": tidy(crop),
        "maps": [{"title": one.title, "words": one.words, "inside": _share(one.values, box)} for one in maps],
    }
    return MistakeMaps(facts, webp(photo, 66), tuple(_drawn(maps, prepared, crop, photo)))


def _heat(e: Explanation) -> Tensor:
    """The maps of an explanation of one input, (K, h, w)."""
    heat = e.heatmap().detach().to("cpu", torch.float64)
    return heat.reshape(-1, *heat.shape[-2:])


def _worst(verdicts: Sequence[str]) -> str:
    return "NO" if "NO" in verdicts else verdicts[0]


def _share(values: Tensor, box: Sequence[float]) -> float | None:
    inside = positive_inside(values, box)
    return None if np.isnan(inside) else tidy(inside)


def _edges(
    detector: Detector,
    prepared: Prepared,
    mistake: dict[str, Any],
    unit: Detection,
    e: Explanation,
    method: Method,
) -> list[_Map]:
    """The edges of a poor box, the one that is most wrong first."""
    wrong = [a - b for a, b in zip(mistake["box"], mistake["true_box"], strict=True)]
    heat = _heat(e)
    layout = detector.unit(prepared, [unit.anchor]).layout
    columns = e.outputs[:1, layout.classes : layout.classes + len(layout.offsets)]
    anchors = torch.cat(detector.levels(prepared.x))[[unit.anchor]]
    went = pushed(detector, prepared, unit, columns, anchors)[-len(EDGES) :]
    maps = []
    for k in sorted(range(len(EDGES)), key=lambda k: -abs(wrong[k])):
        less, more = direction(EDGES[k], False), direction(EDGES[k], True)
        off = f"{abs(wrong[k]):.0f} px too far {more if wrong[k] > 0 else less}"
        # Red is what pushed the edge the way it went, by some methods.
        turned = method.pushes and bool(went[k] < 0)
        red, blue = (less, more) if turned else (more, less)
        words = f"{off if abs(wrong[k]) >= 0.5 else 'in place'}; red moved it {red}, blue {blue}"
        maps.append(_Map(part_title(EDGES[k]), words, heat[k], "edges"))
    return maps


def _laid(
    values: Tensor, prepared: Prepared, crop: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.float64]:
    """A map of the input on a cut-out of the picture of (width, height) pixels, bilinear."""
    rows, columns = values.shape
    x0, y0, x1, y1 = prepared.in_input(torch.tensor(crop, dtype=torch.float64)).tolist()
    width, height = size
    x = x0 + (torch.arange(width, dtype=torch.float64) + 0.5) * (x1 - x0) / width
    y = y0 + (torch.arange(height, dtype=torch.float64) + 0.5) * (y1 - y0) / height
    down, right = torch.meshgrid(2 * y / rows - 1, 2 * x / columns - 1, indexing="ij")
    grid = torch.stack([right, down], -1)[None]
    found = F.grid_sample(values[None, None], grid, "bilinear", "border", align_corners=False)
    return np.array(found[0, 0].numpy())


def _drawn(
    maps: Sequence[_Map],
    prepared: Prepared,
    crop: tuple[float, float, float, float],
    photo: Image.Image,
) -> list[bytes]:
    laid = [_laid(one.values, prepared, crop, photo.size) for one in maps]
    under = np.asarray(photo, dtype=np.float64) / 255
    drawn = []
    for values, one in zip(laid, maps, strict=True):
        group = [shown for shown, other in zip(laid, maps, strict=True) if other.group == one.group]
        drawn.append(webp(Image.fromarray(overlay(values, limits(group, "shared")[0].value, under)), 50))
    return drawn


def _cut(picture: Image.Image, crop: tuple[float, float, float, float]) -> Image.Image:
    x0, y0, x1, y1 = crop
    scale = min(_WIDTH / (x1 - x0), _HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=crop)


def webp(picture: Image.Image, quality: int) -> bytes:
    """A picture as the bytes of a WebP file."""
    held = io.BytesIO()
    picture.save(held, "WEBP", quality=quality, method=5)
    return held.getvalue()
