"""Windows: what lies outside of the relevance is not computed, and nothing changes by that."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from tests import nets
from torch import Tensor, nn

import relprop
from relprop.graph import Node
from relprop.propagate import walk
from relprop.propagate.composite import Composite
from relprop.rules import Epsilon, MaxPool, ZPlus
from relprop.tracing.window import Window, receptive, support


def conv(before: int, after: int, *settings: object, **named: object) -> nn.Module:
    return nn.Conv2d(before, after, *settings, **named)  # type: ignore[arg-type]


class Branches(nn.Module):
    """Two ways that meet, so that flows of different windows are added; one is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8, 3, padding=1), conv(4, 6, 3, 2, 1), conv(4, 6, 5, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).relu().chunk(2, 1)
        return self.b(left).relu() + self.c(right + left).relu()


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), conv(6, 4, 3)), (14, 17)),
    "strides": (
        lambda: nn.Sequential(conv(3, 6, 5, 2, 2), nn.ReLU(), conv(6, 8, 3, 3, 1), nn.ReLU(), conv(8, 4, 1)),
        (23, 20),
    ),
    "dilated, grouped": (
        lambda: nn.Sequential(
            conv(3, 6, 3, padding=2, dilation=2), nn.LeakyReLU(0.1), conv(6, 6, 3, padding=1, groups=6),
            nn.Sigmoid(), conv(6, 4, (1, 3), padding=(0, 3)),
        ),
        (16, 16),
    ),
    "same": (lambda: nn.Sequential(conv(3, 6, (3, 4), padding="same"), nn.ReLU(), conv(6, 4, 2)), (12, 13)),
    "pools": (
        lambda: nn.Sequential(
            conv(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv(6, 6, 3, padding=1), nn.SiLU(),
            nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), conv(6, 4, 3, padding=1),
        ),
        (27, 30),
    ),
    "batch norms around": (
        lambda: nn.Sequential(
            conv(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(6),
            nn.ZeroPad2d((1, 2, 0, 1)), conv(6, 4, 3),
        ),
        (18, 20),
    ),
    "transposed": (
        lambda: nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, 2, 1)),
        (10, 11),
    ),
    "branches": (Branches, (18, 18)),
}  # fmt: skip
COMPOSITES = {
    "z-plus": Composite(otherwise="positive"),
    "mixed": Composite([("first", ZPlus()), ("last", ZPlus()), ("linear", Epsilon(0.01))], "positive"),
    "ties": Composite([("max_pool", MaxPool("share"))], "positive"),
}


@cache
def made(name: str) -> nn.Module:
    return nets.seeded(MODELS[name][0](), 11)


def both(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, x: Tensor, seed: Tensor, composite: Composite
) -> list[walk.Propagation]:
    """With windows of any size, and without windows."""
    runs = []
    for most in (1.0, -1.0):
        monkeypatch.setattr(walk, "_MOST", most)
        run = relprop.trace(model, x)
        places = [n.name for n in run.graph.nodes if n.kind in ("activation", "max_pool")]
        runs.append(run.run(seed, composite, record=places))
    return runs


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("rules", COMPOSITES)
@pytest.mark.parametrize("name", MODELS)
def test_a_window_changes_nothing(name: str, rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, size = made(name), MODELS[name][1]
    x = nets.pictures(2, 3, *size)
    with torch.no_grad():
        shape = model(x).shape
    corners = [(0, 0), (shape[2] - 1, shape[3] - 1), (shape[2] // 2, shape[3] // 2), (shape[2] - 1, 0)]
    largest = 0.0
    for y, column in corners:
        seed = torch.zeros(3, *shape, dtype=torch.float64)
        seed[0, :, 1, y, column], seed[1, 0, 2, y, column] = 1, -2
        seed[2, 1, 0, y, min(column + 1, shape[3] - 1)] = 3
        with_, without = both(monkeypatch, model, x, seed, COMPOSITES[rules])
        largest = max(largest, float(without.relevance.abs().max()))
        for ours, theirs in [
            (with_.relevance, without.relevance), *((with_.layers[n], r) for n, r in without.layers.items())
        ]:  # fmt: skip
            assert ours.shape == theirs.shape
            assert float((ours - theirs).abs().max()) <= 1e-13 * float(theirs.abs().max())
        assert with_.ledger is not None
        assert without.ledger is not None
        assert with_.ledger.closes
        assert [r.node for r in with_.ledger.rows] == [r.node for r in without.ledger.rows]
        for a, b in zip(with_.ledger.rows, without.ledger.rows, strict=True):
            for part in ("arrived", "passed", "lost", "stabiliser", "bias", "absolute"):
                assert getattr(a, part) == pytest.approx(getattr(b, part), abs=1e-12)
    assert largest > 0


def test_convolutions_see_the_window_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from relprop.tracing.linear_map import LinearMap

    seen: list[tuple[int, ...]] = []
    forward = LinearMap.forward
    monkeypatch.setattr(
        LinearMap, "forward", lambda self, x, w: seen.append(tuple(x.shape[2:])) or forward(self, x, w)
    )
    model = nets.seeded(
        nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(6, 4, 3, padding=1)), 1
    )
    run = relprop.trace(model, nets.pictures(1, 3, 32, 32))
    seed = torch.zeros_like(run.output)
    seed[0, 2, 7, 0] = 1  # at the left edge: reads 3 x 2 of the pool's, 6 x 4 of the ReLU's outputs
    run.propagate(seed, Composite(otherwise="positive"))
    assert seen == [(3, 2), (8, 5)]  # positive and negative pixels side by side


def test_branches_without_relevance_are_left_out() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.deep = conv(3, 4, 3), conv(4, 4, 3)
            self.one = nn.Sequential(conv(4, 4, 1), nn.ReLU(), conv(4, 2, 1))
            self.two = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.stem(x).relu()
            return torch.cat([self.one(a).flatten(2), self.two(self.deep(a).relu()).flatten(2)], 2).mean(1)

    model = nets.seeded(Heads(), 4)
    run = relprop.trace(model, nets.pictures(2, 3, 8, 8))
    seed = torch.zeros(7, *run.output.shape, dtype=torch.float64)
    seed[:, :, 5] = 1  # a unit of the first head
    found = run.run(seed, Composite(otherwise="positive"), record=["deep", "stem"])
    assert found.ledger is not None
    assert found.ledger.closes
    assert {r.module for r in found.ledger.rows if r.operator.startswith("conv2d")} == {
        "stem",
        "one.0",
        "one.2",
    }
    assert not found.layers["deep"].any()
    assert found.layers["stem"].any()
    assert not run.propagate(torch.zeros_like(seed), Composite(otherwise="positive")).any()


def test_layers_that_nothing_reaches_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their values may have been freed on the way: a chain of sums would be computed over and over."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = nn.ModuleList([conv(3, 3, 1) for _ in range(12)])
            self.one, self.other = conv(3, 2, 1), conv(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            first = x
            for step in self.steps:
                x = x + step(x)
            return torch.cat([self.one(first), self.other(x)], 1)

    run = relprop.trace(nets.seeded(Chain(), 3), nets.pictures(1, 3, 4, 4))
    seed = torch.zeros_like(run.output)
    seed[:, 0] = 1
    again: list[str] = []
    evaluate = relprop.Trace.evaluate

    def counted(trace: relprop.Trace, node: Node, lookup: Callable[[Node], object] | None = None) -> object:
        if lookup is None:
            again.append(node.name)
        return evaluate(trace, node, lookup)

    monkeypatch.setattr(relprop.Trace, "evaluate", counted)
    found = run.run(seed, Composite(otherwise="positive"), record=["steps.11", "steps.3"], release=True)
    assert not found.layers["steps.11"].any()
    assert found.layers["steps.3"].shape == (1, 3, 4, 4)
    assert again == []


def test_groups_of_targets_with_and_without_relevance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that are walked apart have different rows; the ledger and the biases have them all."""
    model = nets.seeded(Branches(), 2)
    run = relprop.trace(model, nets.pictures(2, 3, 12, 12))
    seed = torch.zeros(4, *run.output.shape, dtype=torch.float64)
    seed[2:, :, 1] = run.output[:, 1]
    together = run.run(seed, Composite())
    monkeypatch.setattr(walk, "_PART", 2)
    monkeypatch.setattr(walk, "_BYTES", 1)
    apart = run.run(seed, Composite())
    assert together.ledger is not None
    assert apart.ledger is not None
    assert {r.node for r in apart.ledger.rows} == {r.node for r in together.ledger.rows}
    assert apart.ledger.end == pytest.approx(together.ledger.end)
    assert set(apart.bias) == set(together.bias) != set()
    for name, sums in together.bias.items():
        assert torch.allclose(apart.bias[name], sums, atol=1e-12)


def test_support() -> None:
    parts = torch.zeros(2, 1, 3, 6, 7)
    assert support([parts], 2) is None
    parts[0, 0, 1, 2, 3] = parts[1, 0, 0, 4, 3] = -1
    assert support([parts[:1], parts[1:]], 2) == Window(((2, 5), (3, 4)), (6, 7))
    parts[1, 0, 2, 0, 6] = parts[1, 0, 2, 5, 0] = torch.nan
    assert support([parts], 2) == Window(((0, 6), (0, 7)), (6, 7))
    assert support([torch.ones(1, 1, 4)], 0) == Window((), ())
    assert receptive(Window(((0, 1),), (3,)), [8], [2], [1], [4], [1]) is None  # reads padding only
