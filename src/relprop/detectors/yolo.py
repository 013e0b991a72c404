"""YOLO as ultralytics builds it (v5u, v8 to v12, 26): known by its attributes, for the package is never imported.

Its classes come from sigmoids; a box's edges from distributions over distances to the middle of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from relprop.detectors.cells import cells, from_sides
from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Letterbox
from relprop.errors import InputError

__all__ = ["Distances", "from_yolo"]

_SIDE = 640  # of the input, where the model doesn't say what it was trained on
_HEAD = ("cv2", "cv3", "dfl", "nc", "reg_max", "stride")


def from_yolo(model: nn.Module) -> Detector | None:
    """A YOLO in ultralytics' layout as a detector; None for anything else.

    That is a sequence of layers that know what they read (`f`) and what they are called (`i`), and a head with
    convolutions for boxes (`cv2`) and classes (`cv3`) at each level. It may lie in a `YOLO` or a
    `DetectionModel`. It detects what the model's own `predict` does by default: scores above 0.25, the best
    class of each cell, overlaps (IoU) up to 0.7, at most 300. Heads that need no suppression (v10, 26) are used
    without it. Of a model that segments or finds key points the boxes are explained.

    Raises:
        InputError: a head of this family whose outputs are no class logits and upright boxes (turned boxes,
            classes given by text).
    """
    layers, owner = _layers(model)
    if layers is None:
        return None
    head: Any = layers[-1]
    alone = bool(getattr(head, "end2end", False)) and getattr(head, "one2one_cv2", None) is not None
    boxes, classes = ("one2one_cv2", "one2one_cv3") if alone else ("cv2", "cv3")
    _check_head(head, boxes, classes)
    bins = int(head.reg_max)
    strides = [float(s) for s in head.stride]
    # Where all bins of an edge are alike, it lies half of them away: the box that the logits move.
    side = max(1.0, bins - 1.0)
    return Detector(
        raw=_Raw(layers, boxes, classes),
        anchors=partial(cells, strides=strides, side=side),
        decode=partial(from_sides, side=side),
        offsets=("left", "top", "right", "bottom"),
        measure=Distances(head.dfl, bins) if bins > 1 else None,
        scores="sigmoid",
        classes=_classes(owner, head.nc),
        prepare=Letterbox(_size(owner), multiple=max(32, int(max(strides)))),
        score_threshold=0.25,
        top_k=300 if alone else 30_000,
        top_k_per="all",
        per_anchor="every" if alone else "best",
        nms_threshold=1.0 if alone else 0.7,
        cut_first=False,
        most=300,
        name=_name(owner),
    )


class Distances:
    """The mean of each edge's distribution over distances: what DFL makes of its logits.

    Args:
        dfl: the module that holds the distances of the bins, 0 to `bins` - 1, as its only weight.
        bins: how many an edge has.

    Source: Li et al., Generalized Focal Loss, NeurIPS 2020.

    >>> side = Distances(nn.Conv2d(3, 1, 1, bias=False), 3)
    >>> _ = side.dfl.weight.data.copy_(torch.arange(3.0).reshape(1, 3, 1, 1))
    >>> even, far = [0.0, 0.0, 0.0], [-99.0, -99.0, 0.0]
    >>> side(torch.tensor([*even, *far, *even, *far])).tolist()
    [1.0, 2.0, 1.0, 2.0]
    """

    def __init__(self, dfl: nn.Module, bins: int) -> None:
        self.dfl, self.bins = dfl, bins

    def __call__(self, columns: Tensor) -> Tensor:
        """Logits (..., 4 · bins) → distances (..., 4), in cells."""
        (places,) = self.dfl.parameters()
        chances = columns.unflatten(-1, (4, self.bins)).softmax(-1)
        return chances @ places.detach().flatten().to(columns)


class _Raw(nn.Module):
    """The model's own layers up to the logits of classes and boxes: nothing is copied."""

    def __init__(self, layers: nn.Sequential, boxes: str, classes: str) -> None:
        super().__init__()
        self.training = layers.training
        self.model = layers  # as the model calls it: layers keep their names
        self.boxes, self.classes = boxes, classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layers: list[Any] = list(self.model)
        head = layers.pop()
        made: list[Any] = []
        for layer in layers:
            x = layer(_read(layer.f, x, made))
            made.append(x)
        features = _read(head.f, x, made)

        def units(name: str) -> Tensor:
            branches = getattr(head, name)
            return torch.cat([b(f).flatten(2) for b, f in zip(branches, features, strict=True)], 2)

        return units(self.classes).transpose(1, 2), units(self.boxes).transpose(1, 2)


def _read(f: int | Sequence[int], before: Any, made: Sequence[Any]) -> Any:
    """What a layer reads: the layer before it is -1, others count from the first."""
    if isinstance(f, int):
        return before if f == -1 else made[f]
    return [before if j == -1 else made[j] for j in f]


def _layers(model: Any) -> tuple[nn.Sequential | None, Any]:
    """The layers, and the module that they are the `model` of."""
    owner, inner = None, model
    for _ in range(3):  # YOLO → DetectionModel → layers
        if isinstance(inner, nn.Sequential):
            chained = len(inner) and all(hasattr(layer, "f") and hasattr(layer, "i") for layer in inner)
            found = chained and all(hasattr(inner[-1], name) for name in _HEAD)
            return (inner if found else None), owner
        owner, inner = inner, getattr(inner, "model", None)
        if not isinstance(inner, nn.Module):
            break
    return None, None


def _check_head(head: Any, boxes: str, classes: str) -> None:
    def widths(name: str) -> set[Any]:
        return {getattr(list(branch.modules())[-1], "out_channels", None) for branch in getattr(head, name)}

    bins = int(head.reg_max)
    places = [p.numel() for p in head.dfl.parameters()] if bins > 1 else [bins]
    if (
        hasattr(head, "ne")  # an angle
        or widths(classes) != {head.nc}
        or widths(boxes) != {4 * bins}
        or places != [bins]
    ):
        raise InputError(
            "Expected a YOLO whose head gives a logit a class and upright boxes but got one with a "
            f"{type(head).__name__} head. Pass a model for detection, such as one of YOLO('yolov8n.yaml')."
        )


def _classes(owner: Any, count: int) -> list[str] | None:
    names = getattr(owner, "names", None)
    if not isinstance(names, dict) or len(names) != count:
        return None
    return [str(names[k]) for k in sorted(names)]


def _name(owner: Any) -> str:
    made_of = getattr(owner, "yaml", None)
    file = made_of.get("yaml_file") if isinstance(made_of, dict) else None
    return PurePath(file).stem if isinstance(file, str) else "YOLO"


def _size(owner: Any) -> tuple[int, int]:
    """(h, w) of the input that the model was trained on."""
    args = getattr(owner, "args", None)
    size = args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    side = int(size) if isinstance(size, (int, float)) else _SIDE
    return side, side
