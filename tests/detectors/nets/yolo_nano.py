"""A real detector of another kind: MobileNetV2-YOLOv3-Nano on VOC, with objectness, as a plain module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from relprop.detectors import Detector, Squash

SIDE = 320
CLASSES = 20
# In the order of the heads: boxes (w, h) in pixels, the cell's side, how far a centre may leave its cell.
HEADS = (
    (((189, 126), (137, 236), (265, 259)), 32, 1.1),
    (((26, 48), (67, 84), (72, 175)), 16, 1.05),
)
# (inner channels, outer channels, stride) of the inverted residuals
BOTTLENECKS = (
    (48, 12, 2), (72, 12, 1), (72, 16, 2), (96, 16, 1), (96, 16, 1), (96, 32, 2), (192, 32, 1), (192, 32, 1),
    (192, 32, 1), (192, 48, 1), (288, 48, 1), (288, 48, 1), (288, 80, 2), (480, 80, 1), (480, 80, 1),
)  # fmt: skip
MIDDLE = 12  # the bottleneck whose first convolution the finer head reads too


def conv(c: int, out: int, side: int = 1, stride: int = 1, depthwise: bool = False) -> nn.Conv2d:
    return nn.Conv2d(c, out, side, stride, side // 2, groups=c if depthwise else 1)


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; added to what came in where the shapes agree."""

    def __init__(self, c: int, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.widen, self.filter = conv(c, inner), conv(inner, inner, 3, stride, True)
        self.narrow = conv(inner, out)
        self.adds = c == out and stride == 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        wide = F.relu(self.widen(x))
        y = self.narrow(F.relu(self.filter(wide)))
        return (x + y if self.adds else y), wide


class Head(nn.Module):
    """Separable convolutions, then offsets, objectness and classes in one convolution."""

    def __init__(self, c: int, middle: int, wide: int) -> None:
        super().__init__()
        self.filter, self.mix = conv(c, c, 3, 1, True), conv(c, middle)
        self.widen, self.out = conv(middle, wide), conv(wide, 3 * (5 + CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        y = self.out(F.relu(self.widen(F.relu(self.mix(F.relu(self.filter(x)))))))
        n, _, h, w = y.shape
        return y.reshape(n, 3, 5 + CLASSES, h, w).permute(0, 1, 3, 4, 2).reshape(n, -1, 5 + CLASSES)


class YoloNano(nn.Module):
    """(N, 3, 320, 320) → logits (N, 1500, 20), offsets (N, 1500, 4), objectness (N, 1500)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleList([conv(3, 16, 3, 2), conv(16, 16, 3, 1, True), conv(16, 8)])
        channels = 8
        blocks = []
        for inner, out, stride in BOTTLENECKS:
            blocks.append(Bottleneck(channels, inner, out, stride))
            channels = out
        self.blocks = nn.ModuleList(blocks)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (3, 5, 9))
        self.neck = conv(4 * channels, 288)
        self.coarse = Head(288, 96, 384)
        self.narrow = conv(288 + 288, 80)
        self.widen = conv(80, 288)
        self.fine = Head(288, 192, 288)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.relu(self.stem[1](F.relu(self.stem[0](x))))
        x = self.stem[2](x)
        for i, block in enumerate(self.blocks):
            x, wide = block(x)
            if i == MIDDLE:
                middle = wide
        neck = F.relu(self.neck(torch.cat([*(pool(x) for pool in reversed(self.pools)), x], 1)))
        finer = torch.cat([F.interpolate(neck, scale_factor=2.0, mode="nearest"), middle], 1)
        finer = F.relu(self.widen(F.relu(self.narrow(finer))))
        units = torch.cat([self.coarse(neck), self.fine(finer)], 1)
        return units[..., 5:], units[..., :4], units[..., 4]


def anchors() -> Tensor:
    """(1500, 4) xyxy: boxes around the middle of each cell."""
    found = []
    for boxes, side, _ in HEADS:
        y, x = torch.meshgrid(*[(torch.arange(SIDE // side) + 0.5) * side] * 2, indexing="ij")
        centre = torch.stack([x, y], -1)
        half = torch.tensor(boxes, dtype=torch.float32)[:, None, None] / 2
        found.append(torch.cat([centre - half, centre + half], -1).reshape(-1, 4))
    return torch.cat(found)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """YOLO's: the sigmoid places the centre in its cell, sizes are factors."""
    low, high = anchors[..., :2], anchors[..., 2:]
    centre = (low + high) / 2
    coarse, fine = HEADS
    # The middles of the larger cells lie at odd multiples of 16, those of the smaller at odd multiples of 8.
    is_coarse = (centre % fine[1] == 0).all(-1, keepdim=True)
    side = torch.where(is_coarse, float(coarse[1]), float(fine[1]))
    reach = torch.where(is_coarse, coarse[2], fine[2])
    centre = centre + (offsets[..., :2].sigmoid() - 0.5) * reach * side
    half = (high - low) * offsets[..., 2:].exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def yolo_nano(assets: Path) -> Detector:
    """With its real weights; the file numbers its convolutions in the order of the network."""
    folder = assets / "weights" / "yolov3_nano_voc"
    state = load_file(folder / "yolov3_nano_voc.fp32.safetensors")
    net = YoloNano().eval()
    with torch.no_grad():
        for number, layer in zip(sorted({int(k.split(".")[0]) for k in state}), _in_order(net), strict=True):
            layer.weight.copy_(state[f"{number}.weight"])
            layer.bias.copy_(state[f"{number}.bias"])
    return Detector(
        raw=net,
        anchors=anchors(),
        decode=decode,
        scores="sigmoid",
        classes=(folder / "voc.names").read_text().split(),
        prepare=Squash((SIDE, SIDE)),
        score_threshold=0.3,
        name="YOLOv3-Nano",
    )


def _in_order(net: YoloNano) -> Iterator[nn.Conv2d]:
    for module in net.modules():  # the order of construction
        if isinstance(module, nn.Conv2d):
            yield module
