"""A small network with YOLOX's head, written anew: decoupled branches for classes, boxes and objectness."""

from __future__ import annotations

import torch
from tests.detectors.nets.yolo_like import Unit, settle
from torch import Tensor, nn

CLASSES = 4


class Backbone(nn.Module):
    """Rearranged as YOLOX's Focus does, then two levels: strides 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(12, 8, 3)
        self.low, self.high = Unit(8, 12, 3, 2), Unit(12, 16, 3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarters = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        low = self.low(self.stem(torch.cat(quarters, 1)))
        return low, self.high(low)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        levels = (12, 16)
        self.strides = [4, 8]
        self.stems = nn.ModuleList(Unit(c, 10) for c in levels)
        self.cls_convs = nn.ModuleList(nn.Sequential(Unit(10, 10, 3)) for _ in levels)
        self.reg_convs = nn.ModuleList(nn.Sequential(Unit(10, 10, 3)) for _ in levels)
        self.cls_preds = nn.ModuleList(nn.Conv2d(10, CLASSES, 1) for _ in levels)
        self.reg_preds = nn.ModuleList(nn.Conv2d(10, 4, 1) for _ in levels)
        self.obj_preds = nn.ModuleList(nn.Conv2d(10, 1, 1) for _ in levels)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """(N, A, 5 + classes): centre and size in pixels, objectness, classes; the last two from 0 to 1."""
        made = []
        for k, feature in enumerate(features):
            stem = self.stems[k](feature)
            region = self.reg_convs[k](stem)
            box, there = self.reg_preds[k](region), self.obj_preds[k](region).sigmoid()
            classes = self.cls_preds[k](self.cls_convs[k](stem)).sigmoid()
            table = torch.cat([box, there, classes], 1).flatten(2).transpose(1, 2)
            h, w = feature.shape[2:]
            corner = torch.stack([torch.arange(h * w) % w, torch.arange(h * w) // w], 1)
            centre = (table[..., :2] + corner) * self.strides[k]
            made.append(torch.cat([centre, table[..., 2:4].exp() * self.strides[k], table[..., 4:]], 2))
        return torch.cat(made, 1)


class YoloxLike(nn.Module):
    """Reads blue, green, red from 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(), Head()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def yolox_like(seed: int = 0) -> YoloxLike:
    """With random weights, statistics of its own, and scores on both sides of the threshold."""
    torch.manual_seed(seed)
    model = YoloxLike()
    settle(model, torch.rand(4, 3, 64, 64) * 255)
    with torch.no_grad():
        for classes, boxes, there in zip(
            model.head.cls_preds, model.head.reg_preds, model.head.obj_preds, strict=True
        ):
            classes.weight.mul_(4)
            there.weight.mul_(4)
            boxes.bias.add_(torch.tensor([0.3, 0.3, 1.0, 1.0]))
    return model


__all__ = ["CLASSES", "YoloxLike", "yolox_like"]
