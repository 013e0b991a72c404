"""A detector small enough for float64: two grids of anchors, one behind an L2 norm, four classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relprop.detectors import BoxCode, Detector, Squash

CLASSES = ["nothing", "ball", "cube", "star"]
SIDE = 16


class Raw(nn.Module):
    """(N, 3, 16, 16) → logits (N, 20, 4), offsets (N, 20, 4), and objectness (N, 20) if asked."""

    def __init__(self, objectness: bool = False) -> None:
        super().__init__()
        self.objectness = objectness
        self.low = nn.Conv2d(3, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(4)
        self.high = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        width = 8 + objectness
        self.heads = nn.ModuleList([nn.Conv2d(6, width, 3, padding=1), nn.Conv2d(8, width, 3, padding=1)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first = self.pool(torch.relu(self.low(x)))
        second = torch.relu(self.high(first))
        made = [self.heads[0](F.normalize(first, dim=1)), self.heads[1](second)]
        table = torch.cat([m.flatten(2) for m in made], 2).transpose(1, 2)
        return table[..., :4], table[..., 4:8], *([table[..., 8]] if self.objectness else [])


def anchors() -> Tensor:
    """4 × 4 boxes of side 6, then 2 × 2 of side 10, row by row."""
    parts = []
    for cells, side in ((4, 6.0), (2, 10.0)):
        centre = (torch.arange(cells) + 0.5) * SIDE / cells
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        parts.append(torch.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], -1).view(-1, 4))
    return torch.cat(parts)


def raw(objectness: bool = False) -> Raw:
    """The network with seeded weights and strong heads, so that it detects something anywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = Raw(objectness)
        for head in net.heads:
            nn.init.normal_(head.weight, std=0.5)
    return net.eval()


def detector(objectness: bool = False) -> Detector:
    """The whole detector in float64."""
    return Detector(
        raw=raw(objectness).double(),
        anchors=anchors(),
        decode=BoxCode().decode,
        background=0,
        classes=CLASSES,
        prepare=Squash((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        score_threshold=0.3,
        nms_threshold=0.2,
        most=2,
        name="tiny",
    )


def make() -> Detector:
    """For ``--model tiny_detector.py:make``."""
    return detector()


def blind() -> Detector:
    """It never sees anything."""
    from dataclasses import replace

    return replace(detector(), score_threshold=1.0)


def module() -> Raw:
    """A raw module, which lacks anchors."""
    return raw()


ready = detector()
