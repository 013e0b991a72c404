"""Every rule for linear maps, written down in matrix form: no convolution, no multiplier, no cache.

A linear layer is turned into (W, b) through its Jacobian in float64; a rule is then a few lines on the
table of contributions t_ji = W_ji x_i. Nothing here shares code with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def as_matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The affine map of `layer` on one sample of `shape`: W (out, in) and b (out,)."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(layer, zero)
    with torch.no_grad():
        offset = layer(zero).flatten()
    return jacobian.reshape(offset.numel(), zero.numel()), offset


@dataclass(frozen=True)
class Shared:
    """What a rule hands to the inputs, and what the bias and the stabiliser take of it."""

    relevance: Tensor  # (N, in)
    bias: Tensor  # (N,)
    stabiliser: Tensor  # (N,)


Form = Callable[[Tensor, Tensor, Tensor, Tensor], Shared]
"""(W, b, x (N, in), R (N, out)) -> what goes where."""


def _over(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, 0, numerator / torch.where(denominator == 0, 1, denominator))


def _terms(w: Tensor, x: Tensor) -> Tensor:
    return w[None] * x[:, None, :]


def _shared(terms: Tensor, message: Tensor, bias: Tensor, stabiliser: Tensor | None = None) -> Shared:
    """Terms (N, out, in), one message each (N, out), and the bias terms (N, out) or (out,)."""
    held = message * bias
    stable = torch.zeros(len(message), dtype=message.dtype) if stabiliser is None else stabiliser.sum(1)
    return Shared(torch.einsum("noi,no->ni", terms, message), held.sum(1), stable)


def epsilon(value: float, *, relative: bool) -> Form:
    def form(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
        z = x @ w.T + b
        size = (
            value * z.square().mean(1, keepdim=True).sqrt() if relative else torch.full_like(z[:, :1], value)
        )
        sign = torch.where(z >= 0, 1.0, -1.0).to(z)
        message = _over(r, z + size * sign)
        return _shared(_terms(w, x), message, b, message * size * sign)

    return form


def gamma(value: float) -> Form:
    def form(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
        t, z = _terms(w, x), x @ w.T + b
        up = (z > 0)[..., None]
        own = torch.where(up, t.clamp(min=0), t.clamp(max=0))
        own_b = torch.where(z > 0, b.clamp(min=0), b.clamp(max=0))
        message = _over(r, z + value * (own.sum(-1) + own_b))
        return _shared(t + value * own, message, b + value * own_b)

    return form


def alpha_beta(alpha: float, beta: float, bias: str) -> Form:
    def form(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
        t = _terms(w, x)
        up, down = t.clamp(min=0), t.clamp(max=0)
        b_up, b_down = {
            "paper": (b.clamp(min=0), b.clamp(max=0)),
            "none": (torch.zeros_like(b), torch.zeros_like(b)),
            "full": (b, b),
        }[bias]
        s_up = alpha * _over(r, up.sum(-1) + b_up)
        s_down = -beta * _over(r, down.sum(-1) + b_down)
        plus, minus = _shared(up, s_up, b_up), _shared(down, s_down, b_down)
        return Shared(plus.relevance + minus.relevance, plus.bias + minus.bias, plus.stabiliser)

    return form


def z_plus(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    return alpha_beta(1, 0, "none")(w, b, x, r)


def excitation(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    t = _terms(w, x)
    t = torch.where((x @ w.T + b < 0)[..., None], t.clamp(max=0), t.clamp(min=0))
    return _shared(t, _over(r, t.sum(-1)), torch.zeros_like(b))


def excitation_released(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    t = _terms(w.clamp(min=0), x)
    return _shared(t, _over(r, t.sum(-1)), torch.zeros_like(b))


def excitation_clamped(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    return excitation_released(w, b, x.clamp(min=0), r)


def z_box(low: Tensor, high: Tensor) -> Form:
    """`low`, `high`: (N, in) or broadcastable to it."""

    def form(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
        t = (
            _terms(w, x)
            - _terms(w.clamp(min=0), low.expand_as(x))
            - _terms(w.clamp(max=0), high.expand_as(x))
        )
        return _shared(t, _over(r, t.sum(-1)), torch.zeros_like(b))

    return form


def w_square(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    t = w.square()[None].expand(len(x), -1, -1)
    return _shared(t, _over(r, t.sum(-1)), torch.zeros_like(b))


def flat(w: Tensor, b: Tensor, x: Tensor, r: Tensor) -> Shared:
    return w_square((w != 0).to(w), b, x, r)
