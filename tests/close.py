"""Equal but for rounding: for two ways of computing the same numbers.

Another processor, another number of threads or another order of a sum round differently. Bit equality is for
the same code on the same data: saved and loaded, a model left untouched, a run repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def terms_of(model: nn.Module) -> int:
    """How many numbers are added up on one way through a network and back, all layers together.

    Per weight the terms of an output (forward) and of an input (backward).
    """
    weights = [p for p in model.parameters() if p.ndim > 1]
    return sum(w[0].numel() + w.numel() // w.shape[1] for w in weights) or 1


def rounding(terms: int | nn.Module, dtype: torch.dtype = torch.float64) -> float:
    """By how much two orders of summation may differ, relative to the sum of the terms' magnitudes.

    A sum of n numbers, rounded after every step, is off by at most n x eps/2 of that sum; two ways by n x eps.
    """
    count = terms_of(terms) if isinstance(terms, nn.Module) else terms
    return count * torch.finfo(dtype).eps


def assert_close_to_rounding(
    found: Tensor, expected: Tensor, terms: int | nn.Module, size: float | None = None
) -> None:
    """No element differs by more than two orders of summation may.

    Args:
        found: of any shape.
        expected: of the same shape and dtype.
        terms: how many numbers are added on the way to one element, or the network that adds them.
        size: sum of the magnitudes behind an element; the largest element where they don't cancel (default).
    """
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if size is None:
        size = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(terms, expected.dtype) * size)
