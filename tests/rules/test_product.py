"""Products of two signals, gates by what they compute, softmax, functions that grow with their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.rules.build import Fn, error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.errors import UnsupportedOperatorError
from relprop.graph.fusion import Fused
from relprop.graph.place import Places
from relprop.rules import Softmax

EXACT = 1e-12

Pair = Callable[[Tensor, Tensor], Tensor]


def fork(function: Pair, width: int = 4) -> Fn:
    """A product of two linear maps of the input, and a linear map of it."""
    torch.manual_seed(3)
    parts = {"a": nn.Linear(5, width), "b": nn.Linear(5, width)}
    return Fn(lambda m, x: function(m.a(x), m.b(x)), **parts).double().eval()


def half(value: Tensor) -> Tensor:
    """The value, with half its gradient."""
    return value / 2 + value.detach() / 2


SIGNALS: dict[str, Pair] = {
    "a b": lambda a, b: a * b,
    "a relu(b)": lambda a, b: a * F.relu(b),
    "relu(a) relu(b)": lambda a, b: F.relu(a) * F.relu(b),
    "matrices": lambda a, b: (a.unflatten(1, (2, 2)) @ b.unflatten(1, (2, 2))).flatten(1),
    "einsum": lambda a, b: torch.einsum("nij,nkj->nik", a.unflatten(1, (2, 2)), b.unflatten(1, (2, 2))).flatten(1),
    "bmm": lambda a, b: torch.bmm(a[:, :, None], b[:, None]).flatten(1),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNALS)
def test_two_signals_share_by_halves(name: str) -> None:
    model = fork(SIGNALS[name])
    x = torch.randn(3, 5, dtype=torch.float64)
    c = seeds(model(x).detach(), 2)
    halved = fork(lambda a, b: SIGNALS[name](half(a), half(b)))
    assert error(lrp0(model, x, c).relevance, gradient_times_input(halved, x, c)) < EXACT


def test_a_value_times_itself_keeps_its_relevance() -> None:
    x = torch.rand(2, 3, dtype=torch.float64) + 0.1
    c = seeds(x)
    assert error(lrp0(Fn(lambda m, v: v * v), x, c).relevance, c * x * x) < EXACT


def test_relevance_of_a_product_is_halved_where_the_product_is_zero() -> None:
    """Relevance itself needs no division, element by element."""
    model = Fn(lambda m, v: v[:, :2] * v[:, 2:])
    x = torch.tensor([[0.0, 2.0, 3.0, 5.0]], dtype=torch.float64)
    run = trace(model, x)
    found = run.run(torch.tensor([[4.0, 6.0]], dtype=torch.float64), Composite())
    assert found.relevance.tolist() == [[2.0, 3.0, 2.0, 3.0]]


# One function, written in several ways: pairs of (gate, the same gate).
SPELLINGS: dict[str, tuple[Pair, Pair]] = {
    "tanh": (lambda a, b: a * b.sigmoid(), lambda a, b: a * (0.5 + 0.5 * torch.tanh(b / 2))),
    "quotient": (lambda a, b: a * b.sigmoid(), lambda a, b: a / (1 + torch.exp(-b))),
    "glu": (lambda a, b: a * b.sigmoid(), lambda a, b: F.glu(torch.cat([a, b], 1), 1)),
    "order": (lambda a, b: a * b.sigmoid(), lambda a, b: b.sigmoid() * a),
    "turned": (lambda a, b: a * b.sigmoid(), lambda a, b: a * (1 - (-b).sigmoid())),
    "hard": (lambda a, b: a * F.hardsigmoid(b), lambda a, b: a * (F.relu6(b + 3) / 6)),
    "clipped": (lambda a, b: a * F.hardsigmoid(b), lambda a, b: a * torch.clip(b / 6 + 0.5, 0, 1)),
    "residual": (lambda a, b: a + a * b.sigmoid(), lambda a, b: a * (1 + b.sigmoid())),
    "mask": (lambda a, b: a * (b > 0), lambda a, b: torch.where(b > 0, a, 0.0)),
    "masked": (lambda a, b: a * (b > 0), lambda a, b: a.masked_fill(b <= 0, 0.0)),
    "norm": (lambda a, b: a / b.norm(dim=1, keepdim=True), lambda a, b: a * (1 / b.norm(dim=1, keepdim=True))),
    "root": (
        lambda a, b: a / (b.square().mean(1, keepdim=True) + 0.1).sqrt(),
        lambda a, b: a * torch.rsqrt(b.pow(2).mean(1, keepdim=True) + 0.1),
    ),
    "power": (
        lambda a, b: a / (b.square().mean(1, keepdim=True) + 0.1).sqrt(),
        lambda a, b: a * (b.square().mean(1, keepdim=True) + 0.1).pow(-0.5),
    ),
    "softmax": (
        lambda a, b: a * b.softmax(1),
        lambda a, b: a * (lambda e: e / e.sum(1, keepdim=True))(b.exp()),
    ),
    "blend": (
        lambda a, b: b.sigmoid() * a + (1 - b.sigmoid()) * b,
        lambda a, b: torch.lerp(b, a, b.sigmoid()),
    ),
    "silu": (lambda a, b: F.silu(a) + b, lambda a, b: a * a.sigmoid() + b),
    "gelu": (lambda a, b: F.gelu(a) + b, lambda a, b: a * 0.5 * (1 + torch.erf(a / 2**0.5)) + b),
    "addcmul": (lambda a, b: b + 0.3 * a * a.sigmoid(), lambda a, b: torch.addcmul(b, a, a.sigmoid(), value=0.3)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_gate_is_what_it_computes(name: str) -> None:
    one, other = (fork(f) for f in SPELLINGS[name])
    x = torch.randn(3, 5, dtype=torch.float64)
    c = seeds(one(x).detach(), 2)
    assert error(lrp0(other, x, c).relevance, lrp0(one, x, c).relevance) < EXACT


def test_two_gates_share_by_halves() -> None:
    model = fork(lambda a, b: a.tanh() * b.tanh())
    x = torch.randn(3, 5, dtype=torch.float64)
    c = seeds(model(x).detach(), 2)
    ratio = fork(lambda a, b: half(a * (a.tanh() / a).detach()) * half(b * (b.tanh() / b).detach()))
    assert error(lrp0(model, x, c).relevance, gradient_times_input(ratio, x, c)) < EXACT


def talking(function: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Fn:
    """Values and weights of two heads, put together by `function`; the model has layers that mix heads."""
    torch.manual_seed(3)
    parts = {"values": nn.Linear(5, 12), "scores": nn.Linear(5, 18)}
    layers = {"linear": nn.Linear(2, 2), "conv": nn.Conv2d(2, 2, 1)}

    def run(m: nn.Module, x: Tensor) -> Tensor:
        v, s = m.values(x).unflatten(1, (2, 3, 2)), m.scores(x).unflatten(1, (2, 3, 3))
        return function(m, v, s.softmax(-1)).flatten(1)

    return Fn(run, **parts, **layers).double().eval()


TALKING: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "linear": lambda m, v, w: m.linear(w.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v,
    "convolution": lambda m, v, w: m.conv(w) @ v,
    "scaled": lambda m, v, w: (0.5 * m.conv(w) + 0.1) @ v,
    "values between 0 and 1": lambda m, v, w: w @ v.sigmoid(),
    "einsum": lambda m, v, w: torch.einsum("nhij,nhjd->nhid", m.conv(w), v),
}


@pytest.mark.parametrize("name", TALKING)
def test_weights_of_attention_are_the_gate_however_heads_are_mixed(name: str) -> None:
    model = talking(TALKING[name])
    frozen = talking(lambda m, v, w: TALKING[name](m, v, w.detach()))
    if "0 and 1" in name:  # what is beyond the softmax is LRP-0 of a sigmoid: its value's share
        frozen = talking(lambda m, v, w: w.detach() @ (v * (v.sigmoid() / v).detach()))
    x = torch.randn(3, 5, dtype=torch.float64)
    c = seeds(model(x).detach(), 2)
    assert error(lrp0(model, x, c).relevance, gradient_times_input(frozen, x, c)) < EXACT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relevance_on_outputs_that_underflow_is_lost(dtype: torch.dtype) -> None:
    """Weights of attention underflow: a quotient by an output of 1e-43 is no number any more."""
    tiny = torch.finfo(dtype).tiny / 1e5
    model = Fn(
        lambda m, v: ((v[:, :2].sigmoid() * v.new_tensor([1.0, tiny]))[:, :, None] @ v[:, None, 2:]).flatten(
            1
        )
    )
    x = torch.tensor([[0.5, 0.5, 1.0, 2.0]], dtype=dtype)
    run = trace(model, x)
    assert 0 < run.output[0, 2] < torch.finfo(dtype).tiny
    found = run.run(torch.ones(1, 4, dtype=dtype), Composite())
    assert found.ledger is not None
    assert found.ledger.closes
    assert found.ledger.lost == pytest.approx(2)
    assert found.relevance[0].tolist() == pytest.approx([1, 0, 0.5, 0.5])  # half to each factor


def bounded(model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Relevance at `a` and `b` under rules for positive parts, from a positive start; the run's values there."""
    run = trace(model, x)
    start = torch.linspace(0.5, 1, run.output.numel(), dtype=torch.float64).reshape(run.output.shape)
    found = run.run(start, Composite([], "positive"), record=["a", "b"])
    assert found.ledger is not None
    assert found.ledger.closes
    return found.layers, start.unflatten(1, (2, 2)), torch.stack([run.value("a"), run.value("b")])


def test_absolute_shares_of_a_gate_keep_signs_and_totals() -> None:
    model = fork(lambda a, b: (b.unflatten(1, (2, 2)).softmax(2) @ a.unflatten(1, (2, 2))).flatten(1))
    layers, start, values = bounded(model, torch.randn(3, 5, dtype=torch.float64))
    signal, weights = values[0].unflatten(1, (2, 2)).abs(), values[1].unflatten(1, (2, 2)).softmax(2)
    share = signal * (weights.mT @ (start / (weights @ signal)))
    assert error(layers["a"], share.flatten(1)) < EXACT
    assert error(layers["a"].sum(1), start.sum((1, 2))) < EXACT


def test_absolute_shares_of_two_signals_keep_signs_and_totals() -> None:
    model = fork(lambda a, b: (b.unflatten(1, (2, 2)) @ a.unflatten(1, (2, 2))).flatten(1))
    layers, start, values = bounded(model, torch.randn(3, 5, dtype=torch.float64))
    a, b = (v.unflatten(1, (2, 2)).abs() for v in values)
    part = start / (b @ a) / 2
    assert error(layers["a"], (a * (b.mT @ part)).flatten(1)) < EXACT
    assert error(layers["b"], (b * (part @ a.mT)).flatten(1)) < EXACT


def test_softmax_by_its_taylor_expansion() -> None:
    """R_i = x_i (R_i - s_i sum R), the rest is bias (Achtibat et al. 2024, proposition 3.1)."""
    model = Fn(lambda m, v: v.softmax(1) * 1.0)
    x = torch.randn(3, 5, dtype=torch.float64)
    x[0, 2] = -1e4  # as good as masked
    s = x.softmax(1)
    start = torch.randn(2, 3, 5, dtype=torch.float64) * (s > 0)
    found = trace(model, x).run(start, Composite([("softmax", Softmax())]))
    expected = x * (start - s * start.sum(2, keepdim=True))
    assert error(found.relevance, expected) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes
    assert abs(found.ledger.bias - float(start.sum() - expected.sum())) < 1e-9 * 1e4


def test_a_softmax_at_the_end_is_refused() -> None:
    run = trace(Fn(lambda m, v: v.softmax(1)), torch.randn(2, 4))
    with pytest.raises(UnsupportedOperatorError, match="softmax"):
        run.propagate(run.output, Composite([("softmax", Softmax())]))


LENGTHS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "length": lambda m, x: x.norm(dim=1),
    "length 1": lambda m, x: torch.linalg.vector_norm(x, 1, dim=1),
    "larger": lambda m, x: torch.maximum(x[:, :2], x[:, 2:]),
    "smaller": lambda m, x: torch.minimum(x[:, :2], x[:, 2:]),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_functions_that_grow_with_their_input(name: str) -> None:
    """By Euler's identity gradient x input is the whole value."""
    model = Fn(LENGTHS[name])
    x = torch.randn(3, 4, dtype=torch.float64)
    c = seeds(model(x))
    found = lrp0(model, x, c).relevance
    assert error(found, gradient_times_input(model, x, c)) < EXACT
    assert error(found.sum(1), (c * model(x)).reshape(3, -1).sum(1)) < EXACT


def test_what_a_constant_wins_is_bias() -> None:
    model = Fn(lambda m, x: torch.maximum(x, m.t), t=torch.tensor([0.5, -9.0], dtype=torch.float64))
    x = torch.tensor([[0.2, 3.0]], dtype=torch.float64)
    found = lrp0(model, x, torch.ones(1, 2, dtype=torch.float64))
    assert found.relevance.tolist() == [[0.0, 3.0]]
    assert found.ledger is not None
    assert found.ledger.bias == 0.5


def test_a_count_is_no_length() -> None:
    run = trace(Fn(lambda m, x: torch.linalg.vector_norm(x, 0, dim=1)), torch.randn(2, 4))
    with pytest.raises(UnsupportedOperatorError, match="linalg_vector_norm"):
        run.propagate(run.output, Composite())


BY_FUNCTION: dict[str, Pair] = {
    "bmm": torch.bmm,
    "einsum": lambda a, b: torch.einsum("nij,njk->nik", a, b),
}


@pytest.mark.parametrize("name", BY_FUNCTION)
def test_the_first_layer_is_the_same_by_every_product_of_matrices(name: str) -> None:
    """A layer behind a product doesn't read the picture: no box for pixels fits it."""
    torch.manual_seed(5)
    head = nn.Linear(4, 3)
    x = torch.rand(2, 4, 4, dtype=torch.float64)
    maps = []
    for product in (torch.matmul, BY_FUNCTION[name]):
        model = Fn(lambda m, x, product=product: m.head(product(x, x).mean(1)), head=head).double().eval()
        run = trace(model, x)
        assert not any(place.first for place in map(Places(run.graph), map(Fused, run.graph.nodes)))
        maps.append(relprop.explain(model, x, 1, "lrp-composite").relevance)
    assert error(*maps) < EXACT
