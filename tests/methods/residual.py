"""Residual networks, and RAP, RSP and excitation backprop on them, from the formulas and autograd alone.

Nothing here knows relprop: the forward run keeps what every layer reads, and relevance walks back through the
blocks by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tests.methods import reference as ref
from tests.methods import sectional
from tests.nets import seeded
from torch import Tensor, nn

Layer = Callable[[nn.Conv2d, Tensor, Tensor], Tensor]
"""(convolution, its input, relevance at its output) → relevance at its input."""
Norm = Callable[[Tensor, nn.BatchNorm2d, Tensor], Tensor]
"""(relevance at its output, batch norm, its input) → relevance at its input."""
Share = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(first term, second term, relevance at their sum) → relevance at each."""


class Block(nn.Module):
    """Convolutions with batch norms, ReLUs between them, and a sum with the input or its projection."""

    def __init__(self, widths: tuple[int, ...], kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        pairs = list(zip(widths[:-1], widths[1:], kernels, strict=True))
        strided = next(i for i, k in enumerate(kernels) if k == 3)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, stride if i == strided else 1, k // 2, bias=False)
            for i, (a, b, k) in enumerate(pairs)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.downsample: nn.Sequential | None = None
        if stride > 1 or widths[0] != widths[-1]:
            projection = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(F.relu(y) if i else y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, max pool, blocks, average pool, head: (N, 3, 16, 16) → (N, 5)."""

    def __init__(self, *blocks: Block) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1)
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(blocks[-1].norms[-1].num_features, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for block in self.blocks:
            x = block(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def basic() -> nn.Module:
    """Two 3 x 3 a block; the second block projects."""
    return seeded(ResNet(Block((6, 6, 6), (3, 3), 1), Block((6, 8, 8), (3, 3), 2)), 11)


def bottleneck() -> nn.Module:
    """1 x 1, 3 x 3, 1 x 1; the first block projects without a stride, the last with one."""
    return seeded(
        ResNet(
            Block((6, 4, 4, 12), (1, 3, 1), 1),
            Block((12, 4, 4, 12), (1, 3, 1), 1),
            Block((12, 5, 5, 16), (1, 3, 1), 2),
        ),
        12,
    )


def with_silent_filters() -> nn.Module:
    """Filters of zeros in front of batch norms, in a branch and in a projection: β alone speaks there."""
    model = basic()
    with torch.no_grad():
        model.blocks[1].convs[1].weight[2].zero_()
        model.blocks[1].downsample[0].weight[3].zero_()
        model.blocks[0].norms[1].weight[1] = 0
    return model


NETS = {"basic": basic, "bottleneck": bottleneck, "silent filters": with_silent_filters}


@dataclass
class Values:
    """What the layers of one block read: inputs of convolutions, what they give, and the terms of the sum."""

    block: Block
    x: Tensor
    inputs: list[Tensor]
    outputs: list[Tensor]
    straight: Tensor | None
    terms: tuple[Tensor, Tensor]


def values_of(block: Block, x: Tensor) -> Values:
    inputs, outputs, y = [], [], x
    for i, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True)):
        inputs.append(F.relu(y) if i else y)
        outputs.append(conv(inputs[-1]))
        y = norm(outputs[-1])
    straight = None if block.downsample is None else block.downsample[0](x)
    side = x if straight is None else block.downsample[1](straight)
    return Values(block, x, inputs, outputs, straight, (y, side))


def divided(r: Tensor, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The published codes of RAP and RSP: divided by γ x, and multiplied again."""
    return r * (x * norm.weight.reshape(1, -1, 1, 1) != 0)


def handed_on(r: Tensor, _norm: nn.BatchNorm2d, _x: Tensor) -> Tensor:
    return r


def down(
    model: ResNet, x: Tensor, start: Callable[[Tensor], Tensor], layer: Layer, share: Share, through: Norm
) -> Tensor:
    """Relevance behind the first ReLU; `start` gives it at the last block's output, from that output."""
    with torch.no_grad():
        stem = model.conv1(x)
        bright = F.relu(model.bn1(stem))
        found: list[Values] = []
        y = model.maxpool(bright)
        for block in model.blocks:
            found.append(values_of(block, y))
            y = block(y)
    r = start(y)
    for v in reversed(found):
        main, side = share(*v.terms, r)
        for conv, norm, read, gave in reversed(
            list(zip(v.block.convs, v.block.norms, v.inputs, v.outputs, strict=True))
        ):
            main = layer(conv, read, through(main, norm, gave))
        if v.straight is not None:
            projection, norm = v.block.downsample
            side = layer(projection, v.x, through(side, norm, v.straight))
        r = main + side
    leaf = bright.requires_grad_()
    (r,) = torch.autograd.grad(model.maxpool(leaf), leaf, r)
    return r


def to_picture(model: ResNet, x: Tensor, r: Tensor, through: Norm) -> Tensor:
    """From behind the first ReLU to the input, by z^B."""
    r = through(r, model.bn1, model.conv1(x).detach())
    return boxed(model.conv1.weight.detach(), x, r)


def boxed(weight: Tensor, x: Tensor, r: Tensor) -> Tensor:
    """z^B of a padded 3 x 3, between the least and the greatest value of the sample."""
    dims = (1, 2, 3)
    parts = [
        (x, weight, 1),
        (x.amin(dims, keepdim=True).expand_as(x), weight.clamp(min=0), -1),
        (x.amax(dims, keepdim=True).expand_as(x), weight.clamp(max=0), -1),
    ]
    s = ref.ratio(r, sum((k * F.conv2d(v, w, padding=1) for v, w, k in parts), torch.zeros_like(r)))
    return sum((k * v * F.conv_transpose2d(s, w, padding=1) for v, w, k in parts), torch.zeros_like(x))


def rap(model: ResNet, x: Tensor, target: int) -> Tensor:
    """RAP as published: sums share signed values, products share the way of convolutions below the first step."""

    def start(y: Tensor) -> Tensor:
        pooled = y.mean((2, 3))
        score = model.fc(pooled)[:, target].detach()
        size = (pooled * model.fc.weight[target].detach()).abs()
        at_pool = size / size.sum(1, keepdim=True) * score[:, None]
        return y * ref.ratio(at_pool / y[0, 0].numel(), pooled)[..., None, None]

    def layer(conv: nn.Conv2d, read: Tensor, r: Tensor) -> Tensor:
        w = conv.weight.detach()
        up, size = w.clamp(min=0), (-w).clamp(min=0)

        def f(weight: Tensor) -> Tensor:
            return F.conv2d(read, weight, None, conv.stride, conv.padding)

        def back(weight: Tensor, s: Tensor) -> Tensor:
            leaf = read.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.conv2d(leaf, weight, None, conv.stride, conv.padding), leaf, s)
            return read * g

        c = back(up, ref.ratio(r.clamp(min=0), f(up))) + back(size, ref.ratio(r.clamp(max=0), f(size)))
        c = c + back(size, ref.ratio(r, f(w.abs())))
        surplus = (c.sum((1, 2, 3)) - r.sum((1, 2, 3))) / (c != 0).sum((1, 2, 3))
        return c - (c != 0) * surplus.reshape(-1, 1, 1, 1)

    return to_picture(model, x, down(model, x, start, layer, by_value, divided), divided)


def by_value(first: Tensor, second: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    s = ref.ratio(r, first + second)
    return first * s, second * s


def by_positive(first: Tensor, second: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    first, second = first.clamp(min=0), second.clamp(min=0)
    return by_value(first, second, r)


def rsp(model: ResNet, x: Tensor, target: int, mode: str = "released") -> Tensor:
    """RSP for one sample, no class being hostile."""

    def start(y: Tensor) -> Tensor:
        m = y * model.fc.weight[target].detach().reshape(1, -1, 1, 1) / y[0, 0].numel()
        if mode == "paper":
            m = m.clamp(min=0)
            return sectional.purged(m / m.max())
        return m / (m.max() + 1e-9)

    def layer(conv: nn.Conv2d, read: Tensor, r: Tensor) -> Tensor:
        f = sectional.function_of(conv)
        return sectional.section_layer(f, conv.weight.shape, read, r, mode, product=False)

    def share(first: Tensor, second: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        up, other = first.clamp(min=0), second.clamp(min=0)
        s = ref.ratio(r, up + other)
        return up * s, other * s

    through = handed_on if mode == "paper" else divided
    return to_picture(model, x, down(model, x, start, layer, share, through), through)


def excitation(model: ResNet, x: Tensor, target: int, share: Share, *, contrast: bool = False) -> Tensor:
    """Excitation backprop behind the first ReLU, with sums by `share`; batch norms hand on.

    With contrast from the pooled features: what the target's positive weights give less what its negative ones do.
    """

    def start(y: Tensor) -> Tensor:
        pooled, w = y.mean((2, 3)), model.fc.weight[target].detach()
        up, down = pooled * w.clamp(min=0), pooled * (-w).clamp(min=0)
        at_pool = up / up.sum(1, keepdim=True)
        if contrast:
            at_pool = at_pool - down / down.sum(1, keepdim=True)
        return y * ref.ratio(at_pool / y[0, 0].numel(), pooled)[..., None, None]

    def layer(conv: nn.Conv2d, read: Tensor, r: Tensor) -> Tensor:
        weight, leaf = conv.weight.detach().clamp(min=0), read.detach().requires_grad_()
        z = F.conv2d(leaf, weight, None, conv.stride, conv.padding)
        (g,) = torch.autograd.grad(z, leaf, ref.ratio(r, z.detach()))
        return read * g

    return down(model, x, start, layer, share, handed_on)
