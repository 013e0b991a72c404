"""RSP and RAP a second time, from the formulas, with autograd's derivatives by weights and inputs.

Nothing here knows relprop. One sample at a time; a layer's ν is its weight derivative as autograd
computes it, for weights that are drawn at random (they don't matter).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from tests.methods import reference as ref
from torch import Tensor, nn

Function = Callable[[Tensor, Tensor], Tensor]
"""(input, weight) → output, without bias."""


def function_of(layer: nn.Module) -> Function:
    if isinstance(layer, nn.Linear):
        return F.linear
    if layer.transposed:
        up = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[layer.weight.ndim - 3]
        rest = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return lambda x, w: up(x, w, None, *rest)
    conv = (F.conv1d, F.conv2d, F.conv3d)[layer.weight.ndim - 3]
    return lambda x, w: conv(x, w, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def carried(f: Function, shape: Sequence[int], x: Tensor, section: Tensor) -> Tensor:
    """x ⊙ VJP_x(f(x, ν); S ⊘ f(x, ν)) with ν = VJP_w(f(x, w); S)."""
    w = torch.rand(shape, dtype=x.dtype, generator=torch.Generator().manual_seed(8)).requires_grad_()
    (nu,) = torch.autograd.grad(f(x, w), w, section)
    leaf = x.clone().requires_grad_()
    y = f(leaf, nu)
    (g,) = torch.autograd.grad(y, leaf, ref.ratio(section, y.detach()))
    return x * g


def purged(r: Tensor, ratio: float = 2.0, size: float = 1.0, channel: int = 1) -> Tensor:
    """Purge, and balance to a total of `size`; r is one sample (1, C, ...)."""
    agrees = torch.sign(r) == torch.sign(r.sum(channel, keepdim=True))
    up, down = (torch.where(agrees, r, 0).clamp(**limit) for limit in ({"min": 0}, {"max": 0}))
    p, n = up.sum(), -down.sum()
    if p == 0 or n == 0:
        alone = p + n
        return (up + down) * (size / alone if alone > 0 else 0)
    return up * (size * ratio / (ratio - 1) / p) + down * (size / (ratio - 1) / n)


def section_layer(
    f: Function, shape: Sequence[int], x: Tensor, r: Tensor, mode: str, product: bool
) -> Tensor:
    """Relevance at the input x (1, ...) of one layer."""
    x = x.clamp(min=0)
    total = r.sum()
    if mode == "paper":
        r = purged(r, size=float(total.abs()), channel=-1 if product else 1)
    hat = carried(f, shape, x, r.clamp(min=0)) + carried(f, shape, x, r.clamp(max=0))
    if mode == "paper":
        return torch.where(x > 0, 2 * hat - hat.sum() / (x > 0).sum().clamp(min=1), 0)
    if product or shape[2] == 1:
        return hat
    doubled = 2 * hat
    return doubled - (doubled != 0) * (doubled.sum() - total) / (doubled != 0).sum().clamp(min=1)


def activation_map(model: nn.Sequential, x: Tensor, at: int, target: int) -> Tensor:
    """x · mean gradient at module `at`, (1, C, ...)."""
    leaf = model[: at + 1](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(model[at + 1 :](leaf)[0, target], leaf)
    return (leaf * g.mean((2, 3), keepdim=True)).detach()


def start(model: nn.Sequential, x: Tensor, at: int, target: int, hostile: Sequence[int], mode: str) -> Tensor:
    maps = [activation_map(model, x, at, c) for c in (target, *hostile)]
    if mode == "paper":
        maps = [m.clamp(min=0) for m in maps]
        maps = [m / m.max() if m.max() > 0 else m for m in maps]
    else:
        maps = [m / (m.max() + 1e-9) for m in maps]
    f = len(hostile) * maps[0] - sum(maps[1:]) if hostile else maps[0]
    if mode == "paper":
        terms = len(hostile) * maps[0] + sum(maps[1:]) if hostile else maps[0]
        return purged(torch.where(f.abs() <= 16 * torch.finfo(f.dtype).eps * terms, 0, f))
    if not hostile:
        return f
    up, down = f.clamp(min=0), (-f).clamp(min=0)
    s = (ref.ratio(up, up.sum()) - ref.ratio(down, down.sum() + 1e-9 * down.max())).sum(1, keepdim=True)
    a, b = s.clamp(min=0), s.clamp(max=0)
    return ((2 * a / (a.sum() + 1e-9) - b / (b.sum() + 1e-9)) / f.shape[1]).expand_as(f)


def down(model: nn.Sequential, x: Tensor, r: Tensor, at: int, mode: str) -> Tensor:
    """From the output of module `at` to the input, one sample."""
    values = [x]
    for layer in model[: at + 1]:
        values.append(layer(values[-1]).detach())
    for i in reversed(range(at + 1)):
        layer, value = model[i], values[i]
        if i == 0:
            r = ref.sample_box(ref.Unit(layer, value, True), r)
        elif hasattr(layer, "weight"):
            product = isinstance(layer, nn.Linear)
            r = section_layer(function_of(layer), layer.weight.shape, value, r, mode, product)
        elif isinstance(layer, nn.MaxPool2d):
            leaf = value.clone().requires_grad_()
            (r,) = torch.autograd.grad(layer(leaf), leaf, r)
        elif isinstance(layer, nn.Flatten):
            r = r.reshape(value.shape)
        else:
            assert isinstance(layer, nn.ReLU)
    return r


def rsp(
    hostile: Sequence[int] | str = (), mode: str = "paper", at: int = 4
) -> Callable[[nn.Sequential, Tensor, int], Tensor]:
    """RSP of `nets.vgg()`, sample by sample."""

    def classes(scores: Tensor, target: int) -> list[int]:
        chosen = hostile
        if hostile == "predicted":
            chosen = [c for c in range(len(scores)) if torch.sigmoid(scores[c]) >= 0.5]
        elif hostile == "all":
            chosen = range(len(scores))
        elif isinstance(hostile, str):
            chosen = scores.argsort(descending=True)[: int(hostile[4:])].tolist()
        return [int(c) for c in chosen if c != target]

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        maps = []
        for one in x.split(1):
            h = classes(model(one)[0].detach(), target)
            maps.append(down(model, one, start(model, one, at, target, h, mode), at, mode))
        return torch.cat(maps)

    return run


def contrastive_rsp(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
    seed = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    seed[:, target] = 1
    eb = ref.excitation
    p = ref.propagate(model, x, seed, [eb] * 4, stop=9)
    q = ref.propagate(model, x, seed, [eb, eb, eb, ref.inhibition], stop=9)
    begin = ref.propagate(model, x, p - q, [eb] * 4, start=8, stop=5)
    return torch.cat(
        [down(model, x[i : i + 1], purged(begin[i : i + 1]), 4, "paper") for i in range(x.shape[0])]
    )


def margin_start(model: nn.Sequential, x: Tensor, at: int, target: int) -> tuple[Tensor, Tensor]:
    """Slope ⊙ activation of the margin at module `at`, (1, C, ...), and the margin's slope on the scores."""
    leaf = model[: at + 1](x).detach().requires_grad_()
    scores = model[at + 1 :](leaf)
    rivals = [c for c in range(scores.shape[1]) if c != target]
    weights = scores[:, rivals].detach().softmax(1)
    margin = scores[0, target] - (weights * scores[:, rivals]).sum()
    slope = torch.zeros_like(scores).detach()
    slope[:, target], slope[:, rivals] = 1, -weights
    (g,) = torch.autograd.grad(margin, leaf)
    return (leaf * g).detach(), slope


def margin_rsp(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """RSP of `nets.vgg()` from the margin, sample by sample."""
    maps = [
        down(model, one, purged(margin_start(model, one, 4, target)[0]), 4, "paper") for one in x.split(1)
    ]
    return torch.cat(maps)


def agreement(sigma: float) -> Callable[[nn.Sequential, Tensor, int], Tensor]:
    """The product of its positive part with LRP-γ's, under a Gaussian of `sigma` pixels."""

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        regions = margin_rsp(model, x, target).sum(1, keepdim=True).clamp(min=0)
        slope = torch.cat([margin_start(model, one, 4, target)[1] for one in x.split(1)])
        seed = slope * model(x).detach()
        pixels = ref.propagate(model, x, seed, [ref.gamma(0.25)] * 4).sum(1, keepdim=True).clamp(min=0)
        soft = gaussian_filter(
            pixels.numpy(), sigma, mode="nearest", radius=int(np.ceil(4 * sigma)), axes=(2, 3)
        )
        both = regions * torch.from_numpy(soft)
        return (both / both.sum((1, 2, 3), keepdim=True) / x.shape[1]).expand_as(x)

    return run


def rap(released: bool = False) -> Callable[[nn.Sequential, Tensor, int], Tensor]:
    def influence(u: ref.Unit, r: Tensor) -> Tensor:
        size = u.w.abs()
        return u.back(u.x, size, ref.ratio(r, u.f(u.x, size)))  # x >= 0 there

    def relative(u: ref.Unit, r: Tensor) -> Tensor:
        up, size = u.w.clamp(min=0), (-u.w).clamp(min=0)
        shared, turned = u.f(u.x, up), u.f(u.x, size)
        one_way = released and isinstance(u.layer, nn.Linear)
        c = u.back(u.x, up, ref.ratio(r if one_way else r.clamp(min=0), shared))
        c = c + u.back(u.x, size, ref.ratio(r, u.f(u.x, u.w.abs())))
        if not one_way:
            c = c + u.back(u.x, size, ref.ratio(r.clamp(max=0), turned))
        dims = tuple(range(1, c.ndim))
        surplus = (c.sum(dims) - r.flatten(1).sum(1)) / (c != 0).sum(dims)
        return c - (c != 0) * surplus.reshape(-1, *[1] * (c.ndim - 1))

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        y = model(x).detach()
        seed = torch.zeros_like(y)
        seed[:, target] = y[:, target]
        return ref.propagate(model, x, seed, [ref.sample_box, relative, relative, influence])

    return run
