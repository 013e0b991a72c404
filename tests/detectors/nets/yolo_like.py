"""Small networks laid out as ultralytics lays out its YOLOs, written anew: the same attributes, kinds of blocks.

A sequence of layers with `f` (what a layer reads) and `i` (its number), and a head with `cv2`, `cv3` and `dfl`.
The model's own forward pass decodes boxes, so that there is something to compare with.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, BINS = 5, 6


class Unit(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(
        self, c: int, out: int, side: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, out, side, stride, side // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.first, self.second = Unit(c, c, 3), Unit(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Split(nn.Module):
    """Half of the channels goes on, the other through residual blocks; every step is kept (as in v8)."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.into, self.blocks = Unit(c, out), nn.ModuleList([Residual(out // 2)])
        self.join = Unit(out + out // 2, out)

    def forward(self, x: Tensor) -> Tensor:
        kept = list(self.into(x).chunk(2, 1))
        kept.extend(block(kept[-1]) for block in self.blocks)
        return self.join(torch.cat(kept, 1))


class Pools(nn.Module):
    """One max pool three times over."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.into, self.join, self.pool = Unit(c, c // 2), Unit(2 * c, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.into(x)]
        for _ in range(3):
            kept.append(self.pool(kept[-1]))
        return self.join(torch.cat(kept, 1))


class Attending(nn.Module):
    """Attention over places beside a part that passes by (as in v11): products of matrices, softmax, and a
    depthwise convolution of the values."""

    def __init__(self, c: int, heads: int = 2) -> None:
        super().__init__()
        self.half, self.heads, self.size = c // 2, heads, c // 2 // heads
        self.into, self.join = Unit(c, c), Unit(c, c)
        self.qkv = Unit(self.half, 2 * self.half, act=False)  # queries and keys of half the width
        self.place = Unit(self.half, self.half, 3, groups=self.half, act=False)
        self.out = Unit(self.half, self.half, act=False)
        self.widen, self.narrow = Unit(self.half, 2 * self.half), Unit(2 * self.half, self.half, act=False)

    def forward(self, x: Tensor) -> Tensor:
        aside, y = self.into(x).split((self.half, self.half), 1)
        y = y + self.attended(y)
        y = y + self.narrow(self.widen(y))
        return self.join(torch.cat([aside, y], 1))

    def attended(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        narrow = self.size // 2
        qkv = self.qkv(x).view(n, self.heads, 2 * narrow + self.size, h * w)
        q, k, v = qkv.split([narrow, narrow, self.size], 2)
        weights = ((q.transpose(-2, -1) @ k) * narrow**-0.5).softmax(-1)
        mixed = (v @ weights.transpose(-2, -1)).view(n, c, h, w)
        return self.out(mixed + self.place(v.reshape(n, c, h, w)))


class Joined(nn.Module):
    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 1)


class Bins(nn.Module):
    """The mean of distributions over distances, as a convolution that nobody trains."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1)
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        n, _, a = x.shape
        chances = x.view(n, 4, self.bins, a).transpose(2, 1).softmax(1)
        return self.conv(chances).view(n, 4, a)


class Head(nn.Module):
    """At each level one branch for boxes and one for classes; `alone`: a second pair that needs no suppression."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], bins: int, alone: bool) -> None:
        super().__init__()
        self.nc, self.nl, self.reg_max = CLASSES, len(channels), bins
        self.stride = torch.tensor([float(s) for s in strides])
        self.cv2 = self.branches(channels, 4 * bins)
        self.cv3 = self.branches(channels, CLASSES)
        self.dfl = Bins(bins) if bins > 1 else nn.Identity()
        self.end2end = alone
        if alone:
            self.one2one_cv2 = self.branches(channels, 4 * bins)
            self.one2one_cv3 = self.branches(channels, CLASSES)

    @staticmethod
    def branches(channels: tuple[int, ...], out: int) -> nn.ModuleList:
        return nn.ModuleList(nn.Sequential(Unit(c, 12, 3), nn.Conv2d(12, out, 1)) for c in channels)

    def forward(self, x: list[Tensor]) -> Tensor:
        """(N, 4 + classes, A): x0, y0, x1, y1 in pixels of the input, and scores."""
        boxes, classes = (self.one2one_cv2, self.one2one_cv3) if self.end2end else (self.cv2, self.cv3)
        made = []
        for level, feature in enumerate(x):
            n, _, h, w = feature.shape
            sides = self.dfl(boxes[level](feature).view(n, 4 * self.reg_max, h * w))
            rows, columns = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            middle = torch.stack([columns.flatten(), rows.flatten()])
            corners = torch.cat([middle - sides[:, :2], middle + sides[:, 2:]], 1) * self.stride[level]
            made.append(torch.cat([corners, classes[level](feature).sigmoid().flatten(2)], 1))
        return torch.cat(made, 2)


class YoloLike(nn.Module):
    """Two levels, strides 4 and 8, with a way down and up again between them.

    Args:
        attends: attention at the end of the backbone, as in v11.
        bins: of each distance's distribution; 1: the distances themselves.
        alone: a head that needs no suppression, as in v10.
    """

    def __init__(self, attends: bool = False, bins: int = BINS, alone: bool = False) -> None:
        super().__init__()
        layers: list[tuple[int | list[int], Any]] = [
            (-1, Unit(3, 8, 3, 2)),
            (-1, Unit(8, 12, 3, 2)),
            (-1, Split(12, 12)),
            (-1, Unit(12, 16, 3, 2)),
            (-1, Attending(16) if attends else Pools(16)),
            (-1, nn.Upsample(scale_factor=2, mode="nearest")),
            ([-1, 2], Joined()),
            (-1, Split(28, 12)),
            (-1, Unit(12, 12, 3, 2)),
            ([-1, 4], Joined()),
            (-1, Split(28, 16)),
            ([7, 10], Head((12, 16), (4, 8), bins, alone)),
        ]
        for number, (reads, layer) in enumerate(layers):
            layer.f, layer.i = reads, number
        self.model = nn.Sequential(*(layer for _, layer in layers))
        self.save = [2, 4, 7, 10]
        self.names = dict(enumerate("crow fox hare newt wasp".split()))
        self.args: dict[str, Any] = {"imgsz": 64}
        self.yaml = {"yaml_file": "yolo-like.yaml"}

    def forward(self, x: Tensor) -> Tensor:
        kept: dict[int, Tensor] = {}
        for layer in self.model:
            x = layer(x if layer.f == -1 else [x if j == -1 else kept[j] for j in layer.f])
            if layer.i in self.save:
                kept[layer.i] = x
        return x


class Holder(nn.Module):
    """What holds the model itself, as ultralytics' YOLO does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def yolo_like(seed: int = 0, **kind: Any) -> YoloLike:
    """With random weights, statistics of its own, and scores on both sides of the threshold."""
    torch.manual_seed(seed)
    model = YoloLike(**kind)
    settle(model, noise(8))
    head = model.model[-1]
    classes, boxes = (head.one2one_cv3, head.one2one_cv2) if head.end2end else (head.cv3, head.cv2)
    with torch.no_grad():
        for branch in boxes:
            branch[-1].weight.mul_(2)
            if head.reg_max == 1:
                branch[-1].bias.add_(1.5)
        logits = torch.logit(model(noise(8))[:, 4:]).transpose(0, 1)
        for branch, level in zip(classes, logits.split([256, 64], 2), strict=True):
            factor = 1.5 / float(level.std())
            branch[-1].weight.mul_(factor)
            # An eighth of the places has a class above 0.25.
            shift = -1.1 - factor * float(level.amax(0).quantile(0.875))
            branch[-1].bias.mul_(factor).add_(shift)
    return model


def noise(n: int) -> Tensor:
    """Letterboxed pictures of 54 × 90 pixels of noise, (n, 3, 64, 64)."""
    inner = F.interpolate(torch.rand(n, 3, 54, 90), (38, 64), mode="bilinear")
    return F.pad(inner, (0, 0, 13, 13), value=114 / 255)


def settle(model: nn.Module, x: Tensor) -> None:
    """Batch norms take the statistics of this batch; the model is in evaluation mode afterwards."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over batches: of one
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, std=0.2)
    with torch.no_grad():
        model.train()(x)
    model.eval()


__all__ = ["Holder", "YoloLike", "settle", "yolo_like"]
