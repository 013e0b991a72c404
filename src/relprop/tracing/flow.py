"""Flow: relevance at one value, on its way back, in parts along the target axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.tracing.masks import divided, zeros_of
from relprop.tracing.window import Window

__all__ = ["Flow", "behind_relu", "safe_divide", "sum_to_shape"]


@dataclass(slots=True)
class Flow:
    """Relevance at a value x, as itself or as multiplier.

    A multiplier c stands for R = c * x. Most rules spread relevance in proportion to x; in that form
    adds, pools and gates need no division, and nothing can blow up there.

    Attributes:
        parts: (k, N, *shape) each; the k add up to K.
        multiplier: whether the parts hold c (True) or R (False).
        owned: whether the parts may be overwritten (nobody else holds them).
        window: where the parts lie in x; None: they cover it.
    """

    parts: list[Tensor]
    multiplier: bool
    owned: bool = True
    window: Window | None = None

    def crop(self, value: Tensor) -> Tensor:
        """What of a value lies where the parts do."""
        return value if self.window is None else self.window.crop(value)

    def whole(self) -> Flow:
        """The same flow over the whole value."""
        if self.window is None:
            return self
        return Flow([self.window.whole(p) for p in self.parts], self.multiplier)

    def to(self, dtype: torch.dtype) -> Flow:
        """The same flow in another dtype; derivatives in a real value are the real parts."""
        if all(p.dtype == dtype for p in self.parts):
            return self
        parts = [p.real if p.is_complex() and not dtype.is_complex else p for p in self.parts]
        return Flow([p.to(dtype) for p in parts], self.multiplier, window=self.window)

    def add(self, other: Flow, value: Tensor) -> Flow:
        """The sum of two flows at the same value."""
        if self.window != other.window:
            return self.whole().add(other.whole(), value)
        if self.multiplier != other.multiplier:
            return self.relevance(value).add(other.relevance(value), value)
        pairs = zip(self.parts, other.parts, strict=True)
        if self.owned:
            sums = [a.add_(b) for a, b in pairs]
        elif other.owned:
            sums = [b.add_(a) for a, b in pairs]
        else:
            sums = [a + b for a, b in pairs]
        return Flow(sums, self.multiplier, window=self.window)

    def relevance(self, value: Tensor) -> Flow:
        """The same flow as relevance."""
        if not self.multiplier:
            return self
        value = self.crop(value)
        parts = [p.mul_(value) if self.owned else p * value for p in self.parts]
        return Flow(parts, False, window=self.window)

    def multipliers(self, value: Tensor) -> Flow:
        """The same flow as multipliers; relevance on a value of 0 has none."""
        if self.multiplier:
            return self
        value = self.crop(value)
        return Flow([safe_divide(p, value) for p in self.parts], True, window=self.window)


def behind_relu(part: Tensor, y: Tensor, *, owned: bool) -> Tensor:
    """A multiplier behind a ReLU with output y, in front of it: 0 where y = 0.

    >>> behind_relu(torch.tensor([[1.0, 2.0]]), torch.tensor([0.0, 3.0]), owned=False).tolist()
    [[0.0, 2.0]]
    """
    kernel = torch.ops.aten.threshold_backward
    if owned:
        return kernel.grad_input(part, y.expand_as(part), 0, grad_input=part)
    return kernel(part, y.expand_as(part), 0)


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Numerator / denominator with x/0 := 0.

    >>> safe_divide(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).tolist()
    [0.0, 0.5]
    """
    return divided(numerator, denominator, zeros_of(denominator))


def sum_to_shape(part: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting: sum (k, *broadcast) down to (k, *shape)."""
    if part.shape[1:] == shape:
        return part
    extra = part.ndim - 1 - len(shape)
    if extra:
        part = part.sum(dim=tuple(range(1, 1 + extra)))
    dims = tuple(i + 1 for i, n in enumerate(shape) if n == 1 and part.shape[i + 1] != 1)
    return part.sum(dim=dims, keepdim=True) if dims else part
