"""YOLOX and what is built like it: known by its head, which has branches for classes, boxes and objectness."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from relprop.detectors.cells import cells
from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Letterbox

__all__ = ["from_yolox"]

_SIDE = 640
_HEAD = ("stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds", "obj_preds", "strides")


def from_yolox(model: nn.Module) -> Detector | None:
    """A model with a `backbone` and a `head` as YOLOX has them as a detector; None for anything else.

    The head holds, for each level, a stem, convolutions for classes and for the box, and last convolutions
    `cls_preds`, `reg_preds` (centre and size, from the corner of a cell) and `obj_preds`. The score is that of
    the best class times the objectness. Thresholds are those of YOLOX's own demonstration: scores above 0.25,
    overlaps (IoU) up to 0.45. Pictures are letterboxed to 640 × 640 with their padding right and below;
    `prepare=Letterbox((416, 416), centred=False, std=(1 / 255,) * 3)` suits the small models. The network reads
    blue, green, red from 0 to 255; the explained input is red, green, blue as always.

    Source: Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430.
    """
    head: Any = getattr(model, "head", None)
    if not all(hasattr(head, name) for name in _HEAD) or not hasattr(model, "backbone"):
        return None
    strides = [float(s) for s in head.strides]
    return Detector(
        raw=_Raw(model),
        anchors=partial(cells, strides=strides, middle=0.0),
        decode=_decode,
        scores="sigmoid",
        prepare=Letterbox((_SIDE, _SIDE), centred=False, std=(1 / 255,) * 3),
        std=(1 / 255,) * 3,
        score_threshold=0.25,
        top_k=30_000,
        top_k_per="all",
        per_anchor="best",
        nms_threshold=0.45,
        cut_first=False,
        most=30_000,
        name=type(model).__name__,
    )


def _decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Centres move by widths of a cell, sizes grow from it by exp."""
    low, high = anchors[..., :2], anchors[..., 2:]
    side = high - low
    centre = (low + high) / 2 + offsets[..., :2] * side
    half = offsets[..., 2:].exp() * side / 2
    return torch.cat([centre - half, centre + half], -1)


class _Raw(nn.Module):
    """Backbone and head, the model's own modules, up to the logits: nothing is copied."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.training = model.training
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        head: Any = self.head
        logits, boxes, objectness = [], [], []
        for level, feature in enumerate(self.backbone(x.flip(1))):
            stem = head.stems[level](feature)
            logits.append(head.cls_preds[level](head.cls_convs[level](stem)).flatten(2))
            region = head.reg_convs[level](stem)
            boxes.append(head.reg_preds[level](region).flatten(2))
            objectness.append(head.obj_preds[level](region).flatten(2))
        return (
            torch.cat(logits, 2).transpose(1, 2),
            torch.cat(boxes, 2).transpose(1, 2),
            torch.cat(objectness, 2)[:, 0],
        )
