"""Mistake maps: one mistake explained, each map cut out around it and drawn as a small picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.detectors import Detections, Detector, Prepared
from relprop.detectors.analysis import positive_inside
from relprop.detectors.detector import EDGES
from relprop.detectors.explain import detection_explained
from relprop.explanation import Explanation
from relprop.explanation.warned import verdict
from relprop.methods.method import Method
from relprop.reports.judging import tidy
from relprop.viz.overlay import overlay
from relprop.viz.scale import limits

__all__ = ["Drawn", "crop_around", "explain_mistake", "webp"]

_SIDES = {"x1": "left", "y1": "top", "x2": "right", "y2": "bottom"}
_WAYS = {"x1": ("left", "right"), "y1": ("up", "down"), "x2": ("left", "right"), "y2": ("up", "down")}
_WIDTH, _HEIGHT = 320, 240  # pixels of a drawn map
_LEAST = 48.0  # pixels of the picture that a crop shows at least
_ROOM = 1.6  # how much wider than the boxes it is


@dataclass(frozen=True)
class Drawn:
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


@dataclass(frozen=True)
class _Asked:
    """One map: a row of the explanation, or the difference of two."""

    title: str
    words: str
    row: int
    less: int | None = None
    group: str = "class"  # those of one group share a scale


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
) -> Drawn:
    """Explain a mistake by what is asked of its kind.

    A confusion, and a unit that says another class: both classes and "the one rather than the other"; a poor box:
    the class and the four edges; anything else: the class.

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
    edges = EDGES if mistake["kind"] == "localisation" or mistake["reason"] == "poor box" else ()
    unit = found.at(mistake["anchor"], label)
    classes = [label] if rival is None else [label, rival]
    e = detection_explained(detector, prepared, unit, ["class", *edges], classes, method)
    asked = _classes(names, label, rival, method) + _edges(mistake, edges, len(classes))
    shown = [mistake["box"], *([] if mistake["true_box"] is None else [mistake["true_box"]])]
    crop = crop_around(shown, prepared.size)
    photo = _cut(picture, crop)
    heat = e.heatmap().reshape(-1, *e.relevance.shape[-2:])
    laid = [_laid(heat, one, prepared, crop, photo.size) for one in asked]
    facts = {
        "method": e.method,
        "adds_up": verdict(e.ledger, e.relevance, e.targets),
        "warnings": list(e.warnings),
        "crop": tidy(crop),
        "maps": [_facts(e, heat, one, prepared, mistake) for one in asked],
    }
    return Drawn(facts, webp(photo, 66), tuple(_drawn(laid, asked, photo)))


def _classes(names: Sequence[str], label: int, rival: int | None, method: Method) -> list[_Asked]:
    own = names[label]
    if rival is None:
        return [_Asked(f"why {own}", f"red spoke for {own}, blue against it", 0)]
    other = names[rival]
    words = f"red spoke for {own}, blue for {other}"
    if not method.contrasts:
        words += "; the difference of the two maps"
    return [
        _Asked(f"{own} rather than {other}", words, 0, 1, "rather"),
        _Asked(f"why {own}", f"red spoke for {own}, blue against it", 0),
        _Asked(f"what if {other}", f"red spoke for {other}, blue against it", 1),
    ]


def _edges(mistake: dict[str, Any], edges: Sequence[str], first: int) -> list[_Asked]:
    """The edges of a poor box, the one that is most wrong first."""
    if not edges or mistake["true_box"] is None:
        return []
    wrong = [a - b for a, b in zip(mistake["box"], mistake["true_box"], strict=True)]
    asked = []
    for k in sorted(range(len(edges)), key=lambda k: -abs(wrong[k])):
        less, more = _WAYS[edges[k]]
        off = f"{abs(wrong[k]):.0f} px too far {more if wrong[k] > 0 else less}"
        words = f"{off if abs(wrong[k]) >= 0.5 else 'in place'}; red moved it {more}, blue {less}"
        asked.append(_Asked(f"{_SIDES[edges[k]]} edge", words, first + k, None, "edges"))
    return asked


def _values(heat: Tensor, one: _Asked) -> Tensor:
    return heat[one.row] if one.less is None else heat[one.row] - heat[one.less]


def _facts(
    e: Explanation, heat: Tensor, one: _Asked, prepared: Prepared, mistake: dict[str, Any]
) -> dict[str, Any]:
    box = prepared.in_input(torch.tensor(mistake["box"], dtype=torch.float64)).tolist()
    inside = positive_inside(_values(heat, one), box)
    return {"title": one.title, "words": one.words, "inside": None if np.isnan(inside) else tidy(inside)}


def _laid(
    heat: Tensor,
    one: _Asked,
    prepared: Prepared,
    crop: tuple[float, float, float, float],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """A map of the input on a cut-out of the picture, (h, w), bilinear."""
    values = _values(heat, one).detach().to("cpu", torch.float64)
    rows, columns = values.shape
    x0, y0, x1, y1 = prepared.in_input(torch.tensor(crop, dtype=torch.float64)).tolist()
    width, height = size
    x = x0 + (torch.arange(width, dtype=torch.float64) + 0.5) * (x1 - x0) / width
    y = y0 + (torch.arange(height, dtype=torch.float64) + 0.5) * (y1 - y0) / height
    down, right = torch.meshgrid(2 * y / rows - 1, 2 * x / columns - 1, indexing="ij")
    grid = torch.stack([right, down], -1)[None]
    found = F.grid_sample(values[None, None], grid, "bilinear", "border", align_corners=False)
    return np.array(found[0, 0].numpy())


def _drawn(laid: Sequence[NDArray[np.float64]], asked: Sequence[_Asked], photo: Image.Image) -> list[bytes]:
    ends = []
    for one in asked:
        group = [values for values, other in zip(laid, asked, strict=True) if other.group == one.group]
        ends.append(limits(group, "shared")[0].value)
    under = np.asarray(photo, dtype=np.float64) / 255
    return [
        webp(Image.fromarray(overlay(values, end, under)), 50) for values, end in zip(laid, ends, strict=True)
    ]


def _cut(picture: Image.Image, crop: tuple[float, float, float, float]) -> Image.Image:
    x0, y0, x1, y1 = crop
    scale = min(_WIDTH / (x1 - x0), _HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=crop)


def webp(picture: Image.Image, quality: int) -> bytes:
    """A picture as the bytes of a WebP file."""
    held = io.BytesIO()
    picture.save(held, "WEBP", quality=quality, method=4)
    return held.getvalue()
