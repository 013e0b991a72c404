"""Sums, joins, splits, gates, scales and shape operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.rules.build import Fn, error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.errors import InputError, UnsupportedOperatorError
from relprop.rules import Add

EXACT = 1e-13


def two_terms(function: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A model whose input (N, 2, F) holds both terms."""
    return Fn(lambda m, x: function(x[:, 0], x[:, 1]))


SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[float, float]]] = {
    "a + b": (lambda a, b: a + b, (1, 1)),
    "a - b": (lambda a, b: a - b, (1, -1)),
    "add with alpha": (lambda a, b: torch.add(a, b, alpha=-3), (1, -3)),
    "sub with alpha": (lambda a, b: torch.sub(a, b, alpha=0.5), (1, -0.5)),
    "rsub": (lambda a, b: torch.rsub(a, b, alpha=2), (-2, 1)),
    "in place": (lambda a, b: (a * 1).add_(b), (1, 1)),
}


@pytest.mark.parametrize("by", ["value", "absolute", "positive", "halves"])
@pytest.mark.parametrize("name", SUMS)
def test_add_shares(name: str, by: str) -> None:
    function, (first, second) = SUMS[name]
    torch.manual_seed(0)
    x = torch.randn(2, 2, 6, dtype=torch.float64)
    x[0, :, 0] = -x[0, :, 0].abs()  # both negative
    x[1, :, 1] = 0
    terms = torch.stack([first * x[:, 0], second * x[:, 1]], 1)
    part = {
        "value": terms,
        "absolute": terms.abs(),
        "positive": terms.clamp(min=0),
        "halves": torch.ones_like(terms),
    }[by]
    total = part.sum(1)
    run = trace(two_terms(function), x)
    for seed in (torch.randn(3, 2, 6, dtype=torch.float64), torch.rand(2, 6, dtype=torch.float64)):
        share = part / torch.where(total == 0, torch.inf, total)[:, None]
        expected = seed[..., None, :] * share
        found = run.run(seed, Composite([("add", Add(by))]))  # type: ignore[arg-type]
        assert error(found.relevance, expected) < 1e-12, by
        assert found.ledger is not None
        assert found.ledger.closes, str(found.ledger)
        lost = float((seed * (total == 0)).sum())
        assert found.ledger.lost == pytest.approx(lost, abs=1e-12)


@pytest.mark.parametrize("by", ["value", "absolute", "positive", "halves"])
def test_add_broadcasts(by: str) -> None:
    """(N, 3, 4) + (N, 1, 4): what a value got at each of its copies is summed."""
    torch.manual_seed(0)
    model = Fn(lambda m, x: x[:, :3] + x[:, 3:])
    x = torch.rand(2, 4, 4, dtype=torch.float64) + 0.1
    run = trace(model, x)
    seed = torch.randn(2, 3, 4, dtype=torch.float64)
    terms = torch.stack(torch.broadcast_tensors(x[:, :3], x[:, 3:]))
    part = torch.ones_like(terms) if by == "halves" else terms
    shares = seed * part / part.sum(0)
    expected = torch.cat([shares[0], shares[1].sum(1, keepdim=True)], 1)
    found = run.run(seed, Composite([("add", Add(by))]))  # type: ignore[arg-type]
    assert error(found.relevance, expected) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes


@pytest.mark.parametrize("by", ["value", "absolute", "positive", "halves"])
def test_a_value_added_to_itself(by: str) -> None:
    model = Fn(lambda m, x: x + x)
    x = torch.rand(2, 3, dtype=torch.float64) + 0.1
    run = trace(model, x)
    seed = torch.randn(7, 2, 3, dtype=torch.float64)
    found = run.run(seed, Composite([("add", Add(by))]))  # type: ignore[arg-type]
    assert error(found.relevance, seed) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes


def test_add_stabiliser() -> None:
    x = torch.tensor([[[2.0, -1.0], [1.0, 0.5]]], dtype=torch.float64)
    run = trace(two_terms(lambda a, b: a + b), x)
    found = run.run(torch.ones(1, 2).double(), Composite([("add", Add("value", 0.5))]))
    expected = torch.tensor([[[2 / 3.5, 1.0], [1 / 3.5, -0.5]]], dtype=torch.float64)
    assert error(found.relevance, expected) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes
    assert found.ledger.stabiliser == pytest.approx(0.5 / 3.5 + 0.5)


@pytest.mark.parametrize("by", ["value", "absolute", "positive", "halves"])
def test_an_added_constant(by: str) -> None:
    """By value it takes its share as bias; under the others the signal gets all."""
    model = Fn(lambda m, x: x + m.c + 0.1, c=torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    x = torch.tensor([[1.0, 1.0, -1.0]], dtype=torch.float64)
    run = trace(model, x)
    seed = torch.ones(1, 3, dtype=torch.float64)
    found = run.run(seed, Composite([("add", Add(by))]))  # type: ignore[arg-type]
    expected = x / (x + model.c + 0.1) if by == "value" else seed
    assert error(found.relevance, expected) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes
    assert found.ledger.bias == pytest.approx(float((seed - expected).sum()))


ROUTES: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[int, ...]]] = {
    "cat": (lambda m, x: torch.cat([x[:, :1], x, x[:, 2:]], 1), (4, 5)),
    "cat with itself": (lambda m, x: torch.cat([x, x], 1), (4, 5)),
    "stack": (lambda m, x: torch.stack([x, x * 2, x], 2), (4, 5)),
    "split": (lambda m, x: torch.cat(torch.split(x, 3, 1)[::-1], 1), (8, 2)),
    "split by sizes": (lambda m, x: torch.split(x, [1, 3], 1)[1], (4, 5)),
    "chunk": (lambda m, x: x.chunk(2, 1)[1], (4, 5)),
    "chunk, all": (lambda m, x: x.chunk(3, 1)[0] + x.chunk(3, 1)[2], (6, 5)),
    "unbind": (lambda m, x: x.unbind(1)[2] - x.unbind(1)[0], (4, 5)),
    "tensor_split": (lambda m, x: x.tensor_split(2, 1)[0], (4, 5)),
    "view": (lambda m, x: x.view(-1, 20), (4, 5)),
    "view with batch": (lambda m, x: x.view(x.shape[0], 2, -1), (4, 5)),
    "shuffle": (lambda m, x: x.view(x.size(0), 2, 2, 5).transpose(1, 2).reshape(x.size(0), 4, 5), (4, 5)),
    "flatten": (lambda m, x: x.flatten(1), (4, 2, 3)),
    "unflatten": (lambda m, x: x.unflatten(1, (2, 2)), (4, 5)),
    "permute": (lambda m, x: x.permute(0, 3, 1, 2), (2, 3, 4)),
    "transpose": (lambda m, x: x.transpose(-1, 1), (2, 3, 4)),
    "movedim": (lambda m, x: x.movedim(1, -1), (2, 3, 4)),
    "squeeze, unsqueeze": (lambda m, x: x.unsqueeze(2).squeeze(1), (1, 4)),
    "expand": (lambda m, x: x.expand(-1, 3, 4), (3, 1)),
    "expand_as": (lambda m, x: x.mean(1, keepdim=True).expand_as(x), (3, 4)),
    "view_as": (lambda m, x: x.reshape(x.shape[0], -1).view_as(x), (3, 4)),
    "repeat": (lambda m, x: x.repeat(1, 2, 3), (3, 2)),
    "repeat_interleave": (lambda m, x: x.repeat_interleave(2, dim=1), (3, 2)),
    "slice": (lambda m, x: x[:, 1:4:2, ..., :2], (5, 3)),
    "select": (lambda m, x: x[:, -1], (5, 3)),
    "narrow": (lambda m, x: x.narrow(1, 1, 2), (5, 3)),
    "flip": (lambda m, x: x.flip(-1), (2, 4)),
    "roll": (lambda m, x: x.roll(2, -1), (2, 5)),
    "index": (lambda m, x: x[:, [2, 0, 0]], (3, 2)),
    "index_select": (lambda m, x: x.index_select(1, m.i), (3, 2)),
    "pad": (lambda m, x: F.pad(x, (1, 2, 0, 1)), (2, 3)),
    "pad with a value": (lambda m, x: F.pad(x, (1, 2), value=1.5), (2, 3)),
    "pad, cropping": (lambda m, x: F.pad(x, (-1, 2)), (2, 3)),
    "reflection": (lambda m, x: F.pad(x, (1, 1, 2, 0), mode="reflect"), (2, 4, 3)),
    "replication": (lambda m, x: F.pad(x, (1, 1, 2, 0), mode="replicate"), (2, 4, 3)),
    "circular": (lambda m, x: F.pad(x, (1, 1, 2, 0), mode="circular"), (2, 4, 3)),
    "pixel_shuffle": (lambda m, x: F.pixel_shuffle(x, 2), (4, 2, 3)),
    "pixel_unshuffle": (lambda m, x: F.pixel_unshuffle(x, 2), (1, 4, 2)),
    "negation": (lambda m, x: -x + 2 * x, (3,)),
    "dropout in evaluation": (lambda m, x: F.dropout(x, 0.5, training=False) + 0, (3,)),
    "contiguous": (lambda m, x: x.transpose(1, 2).contiguous().clone(), (3, 2)),
    "scale by a number": (lambda m, x: x * 0.3 / 7, (3, 2)),
    "number first": (lambda m, x: -2.5 * x, (3, 2)),
    "scale by a buffer": (lambda m, x: x * m.s, (3, 2)),
    "divide by a buffer": (lambda m, x: x / m.s, (3, 2)),
    "scale, broadcasting the signal": (lambda m, x: x[:, :1] * m.s, (3, 2)),
    "normalise with constants": (
        lambda m, x: torch.cat([(x[:, i] * (0.2 + i) + (0.1 - i)).unsqueeze(1) for i in range(3)], 1),
        (3, 4),
    ),
    "centre": (lambda m, x: (x - m.s) / 0.25, (3, 2)),
    "constant joined in": (lambda m, x: torch.cat([x, m.s.expand(x.shape[0], -1, -1)], 1), (3, 2)),
    "sum over everything but the batch": (lambda m, x: x.sum((1, 2)).unsqueeze(1), (3, 2)),
    "unfold": (lambda m, x: F.unfold(x, 2, stride=2), (2, 4, 4)),
    "einsum with a weight": (lambda m, x: torch.einsum("ncd,cd->nc", x, m.s), (3, 2)),
    "matmul with a weight": (lambda m, x: x @ m.s.t(), (3, 2)),
}


@pytest.mark.parametrize("name", ROUTES)
def test_linear_routes_are_gradient_times_input(name: str) -> None:
    function, shape = ROUTES[name]
    torch.manual_seed(0)
    model = Fn(function, s=torch.randn(3, 2, dtype=torch.float64), i=torch.tensor([2, 0, 0])).eval()
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        y = model(x)
    c = seeds(y, 7)
    try:
        found = lrp0(model, x, c)
    except UnsupportedOperatorError:
        pytest.skip("refused by name")
    assert error(found.relevance, gradient_times_input(model, x, c)) < EXACT
    # Relevance that isn't in proportion to value (an R that a z-box or a |x|-add left) moves alike.
    run = trace(model, x)
    seed = torch.randn_like(y) * (y != 0)
    assert (
        error(
            run.run(seed, Composite()).relevance, lrp0(model, x, seed / torch.where(y == 0, 1, y)).relevance
        )
        < 1e-12
    )


def test_split_with_parts_unread() -> None:
    """What nobody reads gets nothing."""
    model = Fn(lambda m, x: x.split(1, 1)[1].flatten(1))
    x = torch.randn(2, 3, 2, dtype=torch.float64)
    found = lrp0(model, x, torch.ones(2, 2).double())
    assert torch.equal(found.relevance[:, [0, 2]], torch.zeros(2, 2, 2).double())


class SqueezeExcite(nn.Module):
    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.gate = gate
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv(x))
        s = self.gate(self.fc2(torch.relu(self.fc1(h.mean((2, 3), keepdim=True)))))
        if self.frozen:
            s = s.detach()
        return (s * h).flatten(1)


GATES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Tensor], Tensor] | None]] = {
    "x · sigmoid(x)": (
        lambda: Fn(lambda m, x: x * torch.sigmoid(x)),
        (5,),
        lambda x: x * torch.sigmoid(x).detach(),
    ),
    "hardsigmoid(x) · x": (
        lambda: Fn(lambda m, x: F.hardsigmoid(x) * x),
        (5,),
        lambda x: F.hardsigmoid(x).detach() * x,
    ),
    "x · softmax(x)": (lambda: Fn(lambda m, x: x * x.softmax(1)), (5,), lambda x: x * x.softmax(1).detach()),
    "x · tanh(softplus(x))": (
        lambda: Fn(lambda m, x: x * torch.tanh(F.softplus(x))),
        (5,),
        lambda x: x * torch.tanh(F.softplus(x)).detach(),
    ),
    "gate through views": (
        lambda: Fn(lambda m, x: x * x.mean(-1).sigmoid()[:, :, None].expand_as(x)),
        (3, 4),
        lambda x: x * x.mean(-1, keepdim=True).sigmoid().detach(),
    ),
    "unit length": (
        lambda: Fn(lambda m, x: F.normalize(x)),
        (3, 2, 2),
        lambda x: x / x.norm(dim=1, keepdim=True).detach(),
    ),
    "unit length, clamped": (
        lambda: Fn(lambda m, x: F.normalize(x, eps=9.0)),
        (3, 2, 2),
        lambda x: x / 9.0,
    ),
    "unit length with a learned scale": (
        lambda: Fn(
            lambda m, x: F.normalize(x) * m.s,
            s=nn.Parameter(torch.tensor([2.0, -1, 3]).double().view(3, 1, 1)),
        ),
        (3, 2, 2),
        lambda x: x / x.norm(dim=1, keepdim=True).detach() * torch.tensor([2.0, -1, 3]).view(3, 1, 1),
    ),
    "share of the sum": (
        lambda: Fn(lambda m, x: x / x.sum(1, keepdim=True)),
        (4,),
        lambda x: x / x.sum(1, keepdim=True).detach(),
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_gates_are_constants(name: str) -> None:
    maker, shape, frozen = GATES[name]
    torch.manual_seed(0)
    model = maker()
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        y = model(x)
    c = seeds(y, 3)
    found = lrp0(model, x, c)
    assert frozen is not None
    assert error(found.relevance, gradient_times_input(frozen, x, c)) < EXACT
    assert error(found.relevance.flatten(2).sum(2), (c * y).flatten(2).sum(2)) < 1e-12


@pytest.mark.parametrize(
    "gate", [torch.sigmoid, F.hardsigmoid, torch.tanh], ids=["sigmoid", "hardsigmoid", "tanh"]
)
def test_squeeze_and_excite(gate: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = SqueezeExcite(gate).double().eval()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    c = seeds(model(x).detach(), 3)
    found = lrp0(model, x, c)
    model.frozen = True
    expected = gradient_times_input(model, x, c)
    assert error(found.relevance, expected) < EXACT


def test_a_constant_over_the_signal_is_refused() -> None:
    run = trace(Fn(lambda m, x: 1 / (x + 9)).eval(), torch.rand(2, 3))
    with pytest.raises(UnsupportedOperatorError, match=r"operator '(mul|div|reciprocal)'"):
        run.propagate(run.output, Composite())


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.mm(m.w, x.t()).t(),
        lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=3.0),
        lambda m, x: torch.addmm(m.b, x, m.w),
        lambda m, x: torch.matmul(m.w, x.unsqueeze(-1)).squeeze(-1),
        lambda m, x: F.linear(m.w, x).t(),
        lambda m, x: torch.bmm(m.w.expand(x.shape[0], -1, -1), x.unsqueeze(-1)).squeeze(-1),
        lambda m, x: F.bilinear(x, m.b.expand(x.shape[0], -1), m.w[None]).expand(-1, 4),
        lambda m, x: torch.einsum("ij,nj->ni", m.w, x),
        lambda m, x: F.conv1d(m.w[None], x[:, :, None].expand(-1, -1, 2))[0].t(),
    ],
    ids=[
        "mm(W, x)",
        "addmm scaled",
        "addmm",
        "matmul(W, x)",
        "linear(W, x)",
        "bmm",
        "bilinear",
        "einsum",
        "conv(W, x)",
    ],
)
def test_unusual_products_are_right_or_refused(function: Callable[[Any, Tensor], Tensor]) -> None:
    """Square shapes, so that swapped operands would go unnoticed."""
    torch.manual_seed(0)
    w, b = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    model = Fn(function, w=nn.Parameter(w), b=nn.Parameter(b)).eval()
    x = torch.randn(4, 4, dtype=torch.float64)
    with torch.no_grad():
        y = model(x)
    c = seeds(y)
    try:
        found = lrp0(model, x, c)
    except UnsupportedOperatorError:
        return
    assert error(found.relevance, gradient_times_input(model, x, c)) < EXACT


def test_a_bias_of_the_batchs_mean_is_refused() -> None:
    model = Fn(lambda m, x: F.linear(x, m.w, x.mean(0)), w=nn.Parameter(torch.ones(4, 4))).eval()
    with pytest.raises(InputError, match=r"samples that don't meet .*operator 'add'"):
        lrp0(model, torch.rand(4, 4), torch.ones(4, 4))
