"""The same recipes a second time, for nn.Sequential, from the formulas and autograd alone.

Nothing here knows relprop. Each layer's values are kept, and relevance walks back through
`x * vjp(f, x, s)` with the weights that a rule names. Slow and short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Callable[["Unit", Tensor], Tensor]
"""(layer with its values, relevance at its output) → relevance at its input."""


class Unit:
    """A convolution or product in a sequence: input x, output z (bias included)."""

    def __init__(self, layer: nn.Module, x: Tensor, rectified: bool) -> None:
        self.layer, self.x, self.rectified = layer, x, rectified
        self.w, self.b = layer.weight.detach(), layer.bias.detach()
        self.z = layer(x).detach()

    def f(self, x: Tensor, w: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, w)
        conv = F.conv2d if isinstance(self.layer, nn.Conv2d) else F.conv3d
        return conv(x, w, None, self.layer.stride, self.layer.padding)

    def bias(self, b: Tensor) -> Tensor:
        return b.reshape(-1, *[1] * (self.z.ndim - 2))

    def back(self, u: Tensor, w: Tensor, s: Tensor) -> Tensor:
        """u * vjp at u of f(., w)."""
        u = u.detach().requires_grad_()
        (g,) = torch.autograd.grad(self.f(u, w), u, s)
        return u.detach() * g

    # sums and shares of (w x)+ and (w x)-, signed inputs included
    def terms(self, sign: int) -> list[tuple[Tensor, Tensor]]:
        up, down = self.w.clamp(min=0), self.w.clamp(max=0)
        pairs = [(self.x.clamp(min=0), up), (self.x.clamp(max=0), down)]
        return pairs if sign > 0 else [(pairs[0][0], down), (pairs[1][0], up)]

    def total(self, sign: int) -> Tensor:
        return sum((self.f(u, w) for u, w in self.terms(sign)), torch.zeros_like(self.z))

    def share(self, sign: int, s: Tensor) -> Tensor:
        return sum((self.back(u, w, s) for u, w in self.terms(sign)), torch.zeros_like(self.x))


def ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))


def epsilon(size: float) -> Rule:
    def rule(u: Unit, r: Tensor) -> Tensor:
        seen = u.z.clamp(min=0) if u.rectified else u.z
        rms = seen.flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (u.z.ndim - 1))
        return u.back(u.x, u.w, ratio(r, u.z + size * rms * torch.where(u.z < 0, -1.0, 1.0)))

    return rule


def gamma(size: float) -> Rule:
    def rule(u: Unit, r: Tensor) -> Tensor:
        out = torch.zeros_like(u.x)
        for sign, where in ((1, u.z > 0), (-1, u.z < 0)):
            b = u.b.clamp(min=0) if sign > 0 else u.b.clamp(max=0)
            s = ratio(r * where, u.z + size * (u.total(sign) + u.bias(b)))
            out = out + u.back(u.x, u.w, s) + size * u.share(sign, s)
        return out

    return rule


def alpha_beta(alpha: float, beta: float, bias: bool = True) -> Rule:
    def rule(u: Unit, r: Tensor) -> Tensor:
        up = u.total(1) + (u.bias(u.b.clamp(min=0)) if bias else 0)
        down = u.total(-1) + (u.bias(u.b.clamp(max=0)) if bias else 0)
        return alpha * u.share(1, ratio(r, up)) - beta * u.share(-1, ratio(r, down))

    return rule


def z_plus(u: Unit, r: Tensor) -> Tensor:
    return u.share(1, ratio(r, u.total(1)))


def z_minus(u: Unit, r: Tensor) -> Tensor:
    """z+ of the layer with negated weights."""
    return u.share(-1, ratio(r, u.total(-1)))


def excitation(u: Unit, r: Tensor) -> Tensor:
    w = u.w.clamp(min=0)
    return u.back(u.x, w, ratio(r, u.f(u.x, w)))


def inhibition(u: Unit, r: Tensor) -> Tensor:
    w = (-u.w).clamp(min=0)
    return u.back(u.x, w, ratio(r, u.f(u.x, w)))


def sample_box(u: Unit, r: Tensor) -> Tensor:
    dims = tuple(range(1, u.x.ndim))
    low, high = u.x.amin(dims, keepdim=True), u.x.amax(dims, keepdim=True)
    parts = [
        (u.x, u.w, 1),
        (low.expand_as(u.x), u.w.clamp(min=0), -1),
        (high.expand_as(u.x), u.w.clamp(max=0), -1),
    ]
    s = ratio(r, sum((k * u.f(v, w) for v, w, k in parts), torch.zeros_like(u.z)))
    return sum((k * u.back(v, w, s) for v, w, k in parts), torch.zeros_like(u.x))


def propagate(
    model: nn.Sequential,
    x: Tensor,
    seed: Tensor,
    rules: Sequence[Rule],
    start: int | None = None,
    stop: int = 0,
) -> Tensor:
    """Relevance at the input of module `stop`, from the output of module `start` (default: the last).

    Args:
        rules: one for each convolution or product of the whole model, in order.
    """
    values = [x]
    for layer in model:
        values.append(layer(values[-1]).detach())
    places = [i for i, layer in enumerate(model) if hasattr(layer, "weight")]
    r = seed
    for i in reversed(range(stop, len(model) if start is None else start + 1)):
        layer, value = model[i], values[i]
        if i in places:
            rectified = i + 1 < len(model) and isinstance(model[i + 1], nn.ReLU)
            r = rules[places.index(i)](Unit(layer, value, rectified), r)
        elif isinstance(layer, nn.Flatten):
            r = r.reshape(value.shape)
        elif isinstance(layer, nn.MaxPool2d):
            leaf = value.clone().requires_grad_()
            (r,) = torch.autograd.grad(layer(leaf), leaf, r)
        else:
            assert isinstance(layer, nn.ReLU)
    return r
