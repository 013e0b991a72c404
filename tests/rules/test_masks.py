"""Masks as numbers give what `torch.where` and `masked_fill` give; relevance that is handed on is summed once."""

from __future__ import annotations

import pytest
import torch

from relprop.tracing.flow import behind_relu, safe_divide
from relprop.tracing.ledger_sums import plain_sums
from relprop.tracing.masks import above, below, picked, zeros_of

X = torch.tensor([[-2.0, -0.0, 0.0], [1e-30, 3.0, -1e-30]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sides_of_zero(dtype: torch.dtype) -> None:
    x = X.to(dtype)
    assert torch.equal(above(x), (x > 0).to(dtype))
    assert torch.equal(below(x), (x < 0).to(dtype))
    zeros = zeros_of(x)
    assert zeros is not None
    assert torch.equal(zeros, (x == 0).to(dtype))
    assert zeros_of(x[:, :1]) is None
    assert zeros_of(x[:0]) is None


def test_the_order_of_memory_stays() -> None:
    x = torch.randn(1, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    assert above(x).stride() == below(x).stride() == x.stride()


def test_what_is_picked_is_exact() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 1000) * torch.logspace(-20, 18, 1000)
    mask = above(torch.randn(1000))
    assert torch.equal(picked(mask, a, b), torch.where(mask > 0, a, b))


def test_nothing_is_divided_by_zero() -> None:
    numerator = torch.ones(2, *X.shape)
    wanted = numerator / X.masked_fill(X == 0, torch.inf)
    torch.testing.assert_close(safe_divide(numerator, X), wanted)
    assert safe_divide(numerator, X).isfinite().all()


def test_sums_follow_what_is_written_over_them() -> None:
    part = torch.ones(1, 1, 4)
    assert plain_sums(part)[0].item() == 4
    assert plain_sums(part)[0].item() == 4
    part.mul_(2)
    assert plain_sums(part)[0].item() == 8
    behind_relu(part, torch.tensor([1.0, 0.0, 1.0, 0.0]), owned=True)  # PyTorch's own kernel writes over it
    assert plain_sums(part)[0].item() == 4
    torch.div(part, 2, out=part)
    assert plain_sums(part)[0].item() == 2
