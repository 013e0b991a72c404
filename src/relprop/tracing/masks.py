"""Masks as numbers: 1 where something holds and 0 elsewhere, in the precision of what they are applied to.

On a CPU `torch.where`, `masked_fill` and comparisons that give booleans take three to ten times as long as
arithmetic: they branch at every element, and signs of activations are hard to foresee. Products with 1 and 0 are
exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["above", "below", "divided", "picked", "zeros_of"]


def above(value: Tensor, least: float = 0.0) -> Tensor:
    """1 where a value is above `least`.

    >>> above(torch.tensor([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    return torch.gt(value, least, out=torch.empty_like(value))


def below(value: Tensor) -> Tensor:
    """1 where a value is below 0."""
    return torch.lt(value, 0, out=torch.empty_like(value))


def zeros_of(value: Tensor) -> Tensor | None:
    """1 where a value is 0; None: nowhere."""
    if value.numel() == 0 or bool(value.abs().amin() > 0):
        return None
    return torch.eq(value, 0, out=torch.empty_like(value))


def divided(numerator: Tensor, denominator: Tensor, zeros: Tensor | None) -> Tensor:
    """Numerator / denominator with x/0 := 0, where the denominator's `zeros_of` are known."""
    if zeros is None:
        return numerator / denominator
    return (numerator / (denominator + zeros)).mul_(1 - zeros)


def picked(mask: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
    """One value where the mask is 1 and another where it is 0; both are finite, and their difference is.

    >>> picked(torch.tensor([1.0, 0.0]), torch.tensor([0.1, 0.2]), torch.tensor([7.0, 8.0])).tolist()
    [0.10000000149011612, 8.0]
    """
    return torch.lerp(elsewhere, there, mask)
