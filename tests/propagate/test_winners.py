"""Winners of max pools, found in the forward run: the same walk as when every walk pools again."""

from __future__ import annotations

import pytest
import torch
from tests.close import assert_close_to_rounding, rounding
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.propagate.trace import Trace
from relprop.rules import MaxPool

POOLS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1d": (nn.MaxPool1d(2), (11,)),
    "1d, overlapping": (nn.MaxPool1d(3, 1, 1), (9,)),
    "2d": (nn.MaxPool2d(2), (9, 8)),
    "2d, overlapping": (nn.MaxPool2d(3, 2, 1), (9, 8)),
    "2d, ceil": (nn.MaxPool2d((3, 2), (2, 3), 1, ceil_mode=True), (8, 9)),
    "2d, dilated": (nn.MaxPool2d(2, 1, dilation=(2, 1)), (7, 6)),
    "3d": (nn.MaxPool3d(2), (5, 6, 6)),
    "3d, overlapping, ceil": (nn.MaxPool3d(3, (1, 2, 2), 1, ceil_mode=True), (4, 5, 6)),
}


class Mean(nn.Module):
    """(N, C, L) → (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)


def build(name: str) -> tuple[nn.Module, Tensor]:
    """Conv, pool, conv, pool on a batch of three; signed and rectified values, many ties."""
    pool, size = POOLS[name]
    torch.manual_seed(sum(map(ord, name)))
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(size) - 1]
    body = [conv(2, 4, 3, padding=1), pool, conv(4, 5, 3, padding=1), nn.ReLU(), pool]
    with torch.no_grad():
        for layer in body[::2][:2]:
            layer.weight.copy_(layer.weight.sign())  # type: ignore[union-attr, operator]
            layer.bias.zero_()  # type: ignore[union-attr]
    model = nn.Sequential(*body, nn.Flatten(2), Mean(), nn.Linear(5, 4)).double().eval()
    return model, torch.randint(-2, 3, (3, 2, *size)).double()


def forgetful(model: nn.Module, x: Tensor) -> Trace:
    """A trace that knows no winners, so that the rule pools again."""
    run = trace(model, x)
    run.winners.clear()
    return run


@pytest.mark.parametrize("release", [False, True], ids=["kept", "released"])
@pytest.mark.parametrize("name", POOLS)
def test_same_walk_as_pooling_anew(name: str, release: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build(name)
    run = trace(model, x)
    with torch.no_grad():
        # The pools with indices are no other pools.
        assert_close_to_rounding(run.output, model(x), model)
    assert len(run.winners) == 2
    seed = torch.randn(7, *run.output.shape, dtype=torch.float64)  # two parts
    composite = Composite(otherwise="positive")
    anew = forgetful(model, x).run(seed, composite)

    def never(*_: object) -> None:
        raise AssertionError("pooled again")

    monkeypatch.setattr("relprop.rules.pooling._winners", never)
    found = run.run(seed, composite, release=release)
    assert_close_to_rounding(found.relevance, anew.relevance, model)
    assert bool(found.relevance.any())
    assert found.ledger is not None
    assert anew.ledger is not None
    scale = rounding(model) * found.ledger.rows[0].absolute
    assert found.ledger.summary() == pytest.approx(anew.ledger.summary(), abs=scale)
    assert found.ledger.closes
    assert len(run.winners) == (0 if release else 2)


@pytest.mark.parametrize("name", POOLS)
def test_rows_of_a_batch_are_single_runs(name: str) -> None:
    model, x = build(name)
    seed = torch.randn(3, 4, dtype=torch.float64)
    composite = Composite(otherwise="positive")
    together = trace(model, x).propagate(seed, composite)
    for n in range(3):
        alone = trace(model, x[n : n + 1]).propagate(seed[n : n + 1], composite)
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", POOLS)
def test_winners_are_the_first_maxima(name: str) -> None:
    """Of all positions with a window's maximum the one of the least flat index."""
    pool, size = POOLS[name]
    torch.manual_seed(0)
    x = torch.randint(-1, 2, (2, 3, *size)).double()
    run = trace(pool, x)
    (where,) = run.winners.values()
    assert where.dtype == torch.int32
    assert where.shape == run.output.shape
    flat = x.flatten(2)
    assert torch.equal(flat.gather(2, where.long().flatten(2)), run.output.flatten(2))
    # Raised by a little, more for lower indices, first maxima are the only ones.
    lift = torch.linspace(0.4, 0, flat.shape[2], dtype=torch.float64).reshape(1, 1, *size)
    (alone,) = trace(pool, x + lift).winners.values()
    assert torch.equal(alone, where)


def test_ties_that_share_need_no_winners() -> None:
    model, x = build("2d, overlapping")
    seed = torch.randn(3, 4, dtype=torch.float64)
    composite = Composite([("max_pool", MaxPool("share"))], "positive")
    found = trace(model, x).propagate(seed, composite)
    assert_close_to_rounding(found, forgetful(model, x).propagate(seed, composite), model)
    assert not torch.equal(found, trace(model, x).propagate(seed, Composite(otherwise="positive")))


def test_indices_that_the_model_asked_for_itself() -> None:
    """A pool that returns indices is an operator of its own and pools again."""

    class Indices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(x, 2, return_indices=True)[0].flatten(1)

    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    run, plain = trace(Indices(), x), trace(nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), x)
    seed = torch.randn(run.output.shape, dtype=torch.float64)
    assert torch.equal(run.propagate(seed, Composite()), plain.propagate(seed, Composite()))
    assert run.winners == {}
