"""Sums for the books, and rules that take several at once: as one by one."""

from __future__ import annotations

import pytest
import torch
from tests.propagate.test_channels import pictures, resnet
from torch import Tensor

import relprop
from relprop.rules import linear as rules
from relprop.tracing import linear_map
from relprop.tracing.ledger_sums import _BLOCK, dot_sums, dot_totals, plain_sums, root_mean_square
from relprop.tracing.memory import last_channels, rows

LAST = torch.channels_last


def close(found: Tensor, wanted: Tensor, size: Tensor | float = 1.0) -> bool:
    return bool(((found - wanted).abs() <= 1e-6 * torch.as_tensor(size)).all())


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (2, 3, 4), (1, 2, 3, 40, 50), (1, 1, 4, 600, 700), (3, 1, 3, 400, 500)]
)
@pytest.mark.parametrize("last", [False, True])
def test_sums_of_small_middling_and_large_relevance(shape: tuple[int, ...], last: bool) -> None:
    part, value = torch.randn(shape), torch.randn(shape[1:])
    if last and len(shape) == 5:
        part = part.flatten(0, 1).contiguous(memory_format=LAST).unflatten(0, shape[:2])
        value = value.contiguous(memory_format=LAST)
        assert last_channels(part, 2)
    product = (part.double() * value.double()).flatten(2)
    size = product.abs().sum(-1)
    total, absolute = dot_sums(part, value)
    assert total.dtype == absolute.dtype == torch.float64
    assert close(total, product.sum(-1), size)
    assert close(absolute, size, size)
    assert close(dot_totals(part, value), product.sum(-1), size)
    own, plain = part.double().flatten(2), plain_sums(part)
    assert close(plain[0], own.sum(-1), own.abs().sum(-1))
    assert close(plain[1], own.abs().sum(-1), own.abs().sum(-1))


def test_rows_lie_in_one_order_where_both_do() -> None:
    part = torch.randn(2, 3, 4, 5, 6).flatten(0, 1).contiguous(memory_format=LAST).unflatten(0, (2, 3))
    value = torch.randn(3, 4, 5, 6)
    for other in (value, value.contiguous(memory_format=LAST)):
        flat, beside = rows(part, other)
        assert beside is not None
        assert flat.shape == (2, 3, 120)
        assert beside.shape == (1, 3, 120)
        assert torch.allclose((flat * beside).sum(-1), (part * value).flatten(2).sum(-1), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e25])
@pytest.mark.parametrize("count", [5, _BLOCK + 7, 3 * _BLOCK])
def test_root_mean_squares(count: int, scale: float) -> None:
    value = torch.randn(2, count) * torch.tensor([[1.0], [3.0]])
    wanted = value.double().square().mean(1).sqrt() * scale
    assert torch.allclose(root_mean_square(value * scale).double(), wanted, rtol=1e-5)


def test_a_walk_with_books_after_one_without() -> None:
    """Where several walks share what a rule has worked out, it serves both kinds, in any order."""
    model, x = resnet(), pictures(1)
    composite = relprop.Composite([("linear", rules.Epsilon())])
    alone = relprop.trace(model, x)
    seed = torch.eye(5)[[1]]
    wanted = alone.run(seed, composite).relevance
    trace = relprop.trace(model, x)
    with trace.sharing():
        for ledger in (True, False, True, False):
            found = trace.run(seed * (2 if ledger else 3), composite, ledger=ledger)
            factor = 2 if ledger else 3
            assert torch.allclose(found.relevance, wanted * factor, atol=1e-5 * float(wanted.abs().max()))
            assert found.ledger is None or found.ledger.closes


@pytest.mark.parametrize(
    "rule", [rules.ZPlus(), rules.AlphaBeta(), rules.ZBox(-3, 3, bounds=None), rules.Gamma()]
)
def test_both_signs_of_a_first_layer_at_once(
    rule: relprop.rules.Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = resnet(), pictures(2).clamp(-3, 3)
    composite = relprop.Composite([("first", rule), ("linear", rules.Epsilon())])
    seed = torch.eye(5)[[1, 2]]
    together = relprop.trace(model, x).run(seed, composite)
    monkeypatch.setattr(linear_map, "_FEW", 0)
    apart = relprop.trace(model, x).run(seed, composite)
    assert together.ledger is not None
    assert together.ledger.closes
    size = float(apart.relevance.abs().max())
    assert torch.allclose(together.relevance, apart.relevance, atol=1e-5 * size)
