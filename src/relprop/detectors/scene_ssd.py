"""The bundled detector's network: a small single-shot detector with a VGG-like trunk and heads at three scales."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["HEADS", "SIZE", "Head", "L2Norm", "SceneSSD", "anchors"]

SIZE = 112  # side of the input in pixels


@dataclass(frozen=True)
class Head:
    """One head: the layer that it reads, its grid, and the square boxes of each cell; lengths in input pixels."""

    layer: str
    channels: int
    cells: int
    step: int
    first: float  # centre of the first cell
    sides: tuple[float, ...]


# Objects of `Scenes` are 23 to 60 pixels wide (median 36) and nearly square (0.8 to 1.24), so squares suffice.
HEADS: tuple[Head, ...] = (
    Head("relu4_2", 96, 14, 8, 4.0, (24.0, 29.0)),
    Head("relu5_2", 128, 7, 16, 8.0, (34.0, 40.0)),
    Head("relu6_2", 128, 4, 32, 8.0, (46.0, 56.0)),
)


def anchors() -> Tensor:
    """Default boxes (A, 4) of `SceneSSD` in the order of its outputs: x0, y0, x1, y1 in pixels of its input.

    Head by head, in each row by row, and the boxes of one cell side by side.

    >>> anchors().shape, anchors()[1].tolist()
    (torch.Size([522, 4]), [-10.5, -10.5, 18.5, 18.5])
    """
    parts = []
    for head in HEADS:
        centres = head.first + head.step * torch.arange(head.cells, dtype=torch.float32)
        y, x, side = torch.meshgrid(centres, centres, torch.tensor(head.sides), indexing="ij")
        parts.append(torch.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], -1).view(-1, 4))
    return torch.cat(parts)


class L2Norm(nn.Module):
    """Divide by the Euclidean norm over channels and multiply by a learned factor a channel.

    `y_c = γ_c x_c / sqrt(Σ_k x_k²)` at each place. Features of an early layer are larger than those of later
    ones; this brings them to a common scale before a head.

    Source: Liu et al., ParseNet: Looking Wider to See Better, 2015, section 3.3; SSD uses it at conv4_3 and
    starts from γ = 20.
    """

    def __init__(self, channels: int, start: float = 20.0) -> None:
        """Start every factor at `start`."""
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return F.normalize(x, dim=1) * self.weight.view(-1, 1, 1)


class SceneSSD(nn.Module):
    """Single-shot detector: (N, 3, 112, 112) to class logits (N, 522, classes) and offsets (N, 522, 4).

    Class 0 is the background. Offsets are in the order cx, cy, w, h. The trunk up to relu4_2 has the shape of
    the bundled classifier `scenes-vgg`; the first head reads it behind an `L2Norm`.

    Source: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, section 2.1.

    >>> [tuple(part.shape) for part in SceneSSD()(torch.zeros(2, 3, 112, 112))]
    [(2, 522, 9), (2, 522, 4)]
    """

    def __init__(self, classes: int = 9) -> None:
        """Build the layers; heads start with small weights, so all classes alike and offsets of 0."""
        super().__init__()
        self.classes = classes
        plan: list[tuple[str, int]] = [
            ("conv1_1", 24), ("pool1", 0),
            ("conv2_1", 48), ("pool2", 0),
            ("conv3_1", 64), ("conv3_2", 64), ("pool3", 0),
            ("conv4_1", 96), ("conv4_2", 96), ("pool4", 0),
            ("conv5_1", 128), ("conv5_2", 128),
        ]  # fmt: skip
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for name, width in plan:
            if width:
                layers[name] = nn.Conv2d(channels, width, 3, padding=1)
                layers[name.replace("conv", "relu")] = nn.ReLU()
                channels = width
            else:
                layers[name] = nn.MaxPool2d(2)
        # As SSD's extra layers: a narrow 1x1 convolution, then a 3x3 one that halves the grid (7 to 4).
        layers["conv6_1"] = nn.Conv2d(channels, 64, 1)
        layers["relu6_1"] = nn.ReLU()
        layers["conv6_2"] = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        layers["relu6_2"] = nn.ReLU()
        self.features = nn.Sequential(layers)
        self.norm4_2 = L2Norm(HEADS[0].channels)
        self.classification = nn.ModuleList(
            nn.Conv2d(s.channels, len(s.sides) * classes, 3, padding=1) for s in HEADS
        )
        self.localisation = nn.ModuleList(
            nn.Conv2d(s.channels, len(s.sides) * 4, 3, padding=1) for s in HEADS
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for head in (*self.classification, *self.localisation):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and offsets, anchor by anchor in the order of `anchors()`."""
        sources = {}
        for name, layer in self.features.named_children():
            x = layer(x)
            sources[name] = x
        maps = [sources[head.layer] for head in HEADS]
        maps[0] = self.norm4_2(maps[0])
        logits = [
            _per_anchor(head(source), self.classes)
            for head, source in zip(self.classification, maps, strict=True)
        ]
        offsets = [_per_anchor(head(source), 4) for head, source in zip(self.localisation, maps, strict=True)]
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)


def _per_anchor(x: Tensor, columns: int) -> Tensor:
    """(N, boxes * columns, H, W), channel `box * columns + column`, to (N, H * W * boxes, columns)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
