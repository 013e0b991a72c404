"""Bounds: the box of the values that an input may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.rules import ZBox

__all__ = ["Bounds", "pixel_bounds", "z_box"]

Bounds = Literal["auto", "sample"] | tuple[Any, Any]


def pixel_bounds(
    mean: Sequence[float], std: Sequence[float], low: float = 0.0, high: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The box of normalised pixels, per channel: ((low - mean) / std, (high - mean) / std), (C,) each.

    >>> low, high = pixel_bounds([0.5], [0.25])
    >>> low.tolist(), high.tolist()
    ([-2.0], [2.0])
    """
    try:
        m, s = torch.tensor(list(mean)), torch.tensor(list(std))
    except (TypeError, ValueError):
        m = s = torch.zeros(())
    if m.shape != s.shape or m.ndim != 1:
        raise InputError(f"Expected mean and std with one number per channel but got {mean!r} and {std!r}.")
    if not bool((torch.isfinite(m) & torch.isfinite(s) & (s > 0)).all()):
        raise InputError(
            f"Expected finite numbers in mean, and such above 0 in std, but got {mean!r} and {std!r}."
        )
    for name, value in (("low", low), ("high", high)):
        check_number(name, value)
    return (low - m) / s, (high - m) / s


def z_box(bounds: Bounds) -> ZBox:
    """The z^B rule for "sample" or (low, high); "auto", where no facts were asked, is "sample".

    Raises:
        InputError: anything else.
    """
    if isinstance(bounds, str):
        check_choice("bounds", bounds, ("auto", "sample"))
        return ZBox(bounds="sample")
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise InputError(f"Expected bounds to be 'auto', 'sample' or a pair (low, high) but got {bounds!r}.")
    low, high = bounds
    return ZBox(_number(low), _number(high))


def _number(bound: Any) -> float | Tensor:
    try:
        return bound if isinstance(bound, Tensor) else float(bound)
    except (TypeError, ValueError):
        raise InputError(f"Expected bounds as numbers or tensors but got {bound!r:.80}.") from None
