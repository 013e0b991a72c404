"""The graph: what is captured, which in-place writes are harmless, which signs are proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn, error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

from relprop import explain, trace
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.graph import capture

WRITES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "chain": lambda m, x: m.c(x).neg_().mul_(0.5).add_(1.0),
    "name used after the write": lambda m, x: _then(m.c(x), lambda y: y.relu_()),
    "view before, read after": lambda m, x: _view_before(m.c(x)),
    "write through a view": lambda m, x: _then(m.c(x), lambda y: y[:, 0].mul_(-3)),
    "write through a flattened view": lambda m, x: _then(
        m.c(x), lambda y: y.view(y.shape[0], -1).clamp_(min=0)
    ),
    "write through a chunk": lambda m, x: _then(m.c(x), lambda y: _second_half(y).mul_(2)),
    "write through a transposed view": lambda m, x: _then(m.c(x), lambda y: y.transpose(1, 2).add_(1)),
    "view of a view": lambda m, x: _then(m.c(x), lambda y: y.flatten(2)[:, :, ::2].neg_()),
    "base and value": lambda m, x: _base_and_value(m.c(x)),
    "residual in place": lambda m, x: _residual(x, m),
    "on the input": lambda m, x: x.relu_() + 0,
    "through a view of the input": lambda m, x: _then(x, lambda y: y.view(y.shape[0], -1).mul_(2)) + 0,
    "copy after write": lambda m, x: _copies(m.c(x)),
}


def _then(y: Tensor, write: Callable[[Tensor], Any]) -> Tensor:
    write(y)
    return y


def _second_half(y: Tensor) -> Tensor:
    # Autograd, which the test compares with, refuses to write through a chunk: there the same view as a slice.
    return y[:, y.shape[1] // 2 :] if y.requires_grad else y.chunk(2, 1)[1]


def _view_before(y: Tensor) -> Tensor:
    view = y[:, :2]
    y.relu_()
    return torch.cat([view, y], 1)


def _base_and_value(y: Tensor) -> Tensor:
    z = y.mul_(2)
    z.add_(1)
    return y + z


def _residual(x: Tensor, m: Any) -> Tensor:
    y = m.c(x)
    y += x
    return F.relu(y, inplace=True)


def _copies(y: Tensor) -> Tensor:
    before = y.clone()
    y.clamp_(min=0)
    return before - 2 * y


@pytest.mark.parametrize("name", WRITES)
def test_in_place_writes_are_right_or_refused(name: str) -> None:
    """The numbers are the live model's, and so is LRP-0; no write reaches the user's tensors."""
    torch.manual_seed(0)
    model = Fn(lambda m, x: WRITES[name](m, x).flatten(1), c=nn.Conv2d(4, 4, 3, padding=1)).double().eval()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    kept, weight = x.clone(), model.c.weight.clone()
    with torch.no_grad():
        expected = model(x.clone())
    c = seeds(expected)
    try:
        run = trace(model, x)
        found = lrp0(model, x, c)
    except RelpropError:
        assert torch.equal(x, kept)
        pytest.skip("refused by name")
    assert torch.equal(run.output, expected)
    assert torch.equal(x, kept)
    assert torch.equal(model.c.weight, weight)
    assert error(found.relevance, gradient_times_input(lambda t: model(t * 1), x, c)) < 1e-12


SIGNS: dict[str, tuple[Callable[[Any, Tensor], Tensor], bool]] = {
    "relu": (lambda m, x: x.relu(), True),
    "relu6": (lambda m, x: F.relu6(x), True),
    "sigmoid": (lambda m, x: x.sigmoid(), True),
    "clamp at 0": (lambda m, x: x.clamp(0, 3), True),
    "clamp below 0": (lambda m, x: x.clamp(-1, 3), False),
    "clamp above only": (lambda m, x: x.relu().clamp(max=-1), False),
    "hardtanh": (lambda m, x: F.hardtanh(x), False),
    "leaky": (lambda m, x: F.leaky_relu(x), False),
    "pooled": (lambda m, x: F.max_pool2d(x.relu(), 2), True),
    "padded": (lambda m, x: F.pad(x.relu(), (1, 1)), True),
    "padded below 0": (lambda m, x: F.pad(x.relu(), (1, 1), value=-0.5), False),
    "padded below 0, by name": (lambda m, x: nn.ConstantPad2d(1, -0.5)(x.relu()), False),
    "sum": (lambda m, x: x.relu() + x.sigmoid(), True),
    "sum with a signed value": (lambda m, x: x.relu() + x, False),
    "difference": (lambda m, x: x.relu() - x.sigmoid(), False),
    "sum with a negative factor": (lambda m, x: torch.add(x.relu(), x.sigmoid(), alpha=-1), False),
    "less a number": (lambda m, x: x.relu() - 0.5, False),
    "plus a negative number": (lambda m, x: x.relu() + -0.5, False),
    "number less": (lambda m, x: 1 - x.relu(), False),
    "times a negative number": (lambda m, x: x.relu() * -1, False),
    "divided by a negative number": (lambda m, x: x.relu() / -2, False),
    "negated": (lambda m, x: -(x.relu()), False),
    "times a parameter": (lambda m, x: x.relu() * m.s, False),
    "plus a parameter": (lambda m, x: x.relu() + m.s, False),
    "batch norm": (lambda m, x: m.bn(x.relu()), False),
    "cat": (lambda m, x: torch.cat([x.relu(), x.sigmoid()], 1), True),
    "cat with signed": (lambda m, x: torch.cat([x.relu(), x], 1), False),
    "cat with a parameter": (lambda m, x: torch.cat([x.relu(), m.s.expand(x.shape[0], -1, 4, 4)], 1), False),
    "gelu": (lambda m, x: F.gelu(x.relu()), False),
    "bicubic": (lambda m, x: F.interpolate(x.relu(), size=(7, 7), mode="bicubic"), False),
    "average with a negative divisor": (lambda m, x: F.avg_pool2d(x.relu(), 2, divisor_override=-3), False),
    "normalised": (lambda m, x: F.normalize(x.relu()), True),
}


@pytest.mark.parametrize("name", SIGNS)
def test_proven_signs_are_true(name: str) -> None:
    """Rules take a shorter way behind a proof: a wrong one is a wrong map, a missing one only slower."""
    function, can_be_proven = SIGNS[name]
    torch.manual_seed(0)
    model = Fn(function, s=nn.Parameter(-torch.ones(3, 1, 1)), bn=nn.BatchNorm2d(3)).eval()
    nn.init.constant_(model.bn.bias, -1.0)
    run = trace(model, torch.randn(2, 3, 4, 4))
    proven = run.graph.output.nonneg
    assert not proven or bool((run.output >= 0).all())
    assert not (proven and not can_be_proven)
    for node in run.graph.nodes:
        if node.nonneg and node.kind != "symbol":
            value = run.value(node)
            parts = value if isinstance(value, (list, tuple)) else [value]
            assert all(bool((p >= 0).all()) for p in parts), node


def test_common_signs_are_proven() -> None:
    for name in ("relu", "relu6", "clamp at 0", "pooled", "padded", "sum", "cat"):
        model = Fn(SIGNS[name][0]).eval()
        assert trace(model, torch.randn(2, 3, 4, 4)).graph.output.nonneg, name


def test_nodes_carry_module_and_source() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())).eval()
    graph = capture(model, torch.randn(1, 3, 5, 5))
    places = {n.op: n.module for n in graph.nodes if n.dependent}
    assert (places["conv2d"], places["batch_norm"], places["relu"]) == ("0", "1.0", "1.1")
    assert graph.find("1") is graph.output


def test_calls_of_one_module_have_numbers() -> None:
    model = Fn(lambda m, x: m.fc(m.fc(x).relu()), fc=nn.Linear(4, 4)).eval()
    run = trace(model, torch.randn(2, 4))
    first, second = run.value("fc@0"), run.value("fc@1")
    assert torch.equal(run.value("fc"), second)
    with torch.no_grad():
        assert torch.equal(model.fc(first.relu()), second)
    with pytest.raises(UnknownNameError):
        run.value("fc@2")


def test_a_model_of_one_batch_size_is_captured_for_it() -> None:
    model = Fn(lambda m, x: m.fc(x.reshape(2, 4) if x.shape[0] == 2 else x * 1.0), fc=nn.Linear(4, 3)).eval()
    for n in (2, 3, 1):
        x = torch.randn(n, 4)
        with torch.no_grad():
            assert torch.equal(trace(model, x).output, model(x))


def test_structures_are_rebuilt() -> None:
    model = Fn(lambda m, x: {"a": (m.fc(x), [x * 2]), "b": x.sum()}, fc=nn.Linear(4, 3)).eval()
    x = torch.randn(2, 4)
    run = trace(model, x)
    with torch.no_grad():
        expected = model(x)
    assert run.output.keys() == expected.keys()
    assert torch.equal(run.output["a"][0], expected["a"][0])
    assert torch.equal(run.output["a"][1][0], expected["a"][1][0])
    with pytest.raises(InputError, match="it returns 3"):
        _ = run.graph.output
    from relprop import Composite

    found = run.run(torch.ones(2, 3), Composite(), start="fc")
    assert found.ledger is not None
    assert found.ledger.closes


def _exponential(y: Tensor) -> Tensor:
    return y + torch.empty_like(y).exponential_()


DRAWS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "randn_like": lambda m, x: m.c(x) + torch.randn_like(x[:, :1]),
    "rand": lambda m, x: m.c(x) * torch.rand(1),
    "bernoulli": lambda m, x: torch.bernoulli(m.c(x).sigmoid()) * m.c(x),
    "dropout at test time": lambda m, x: F.dropout(m.c(x), 0.5, training=True),
    "feature alpha dropout": lambda m, x: F.feature_alpha_dropout(m.c(x), 0.5, training=True),
    "gumbel softmax": lambda m, x: F.gumbel_softmax(m.c(x), dim=1),
    "in place": lambda m, x: _exponential(m.c(x)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_in_forward_are_refused(name: str) -> None:
    """A second run would give another output: nothing that is said of one holds."""
    model, x = Fn(DRAWS[name], c=nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 6, 6)
    before = torch.get_rng_state()
    with pytest.raises(RelpropError, match="training mode" if name == "dropout at test time" else "random"):
        trace(model, x)
    assert torch.equal(torch.get_rng_state(), before)


OFF: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "dropout": lambda m, x: F.dropout(m.c(x), 0.5, training=False),
    "rrelu": lambda m, x: F.rrelu(m.c(x)),
    "module": lambda m, x: m.drop(m.c(x)),
    "training without chance": lambda m, x: F.dropout(m.c(x), 0.0, training=True),
}


@pytest.mark.parametrize("name", OFF)
def test_dropout_in_evaluation_mode_draws_nothing(name: str) -> None:
    model, x = Fn(OFF[name], c=nn.Conv2d(3, 4, 3), drop=nn.Dropout2d(0.5)).eval(), torch.randn(2, 3, 6, 6)
    before = torch.get_rng_state()
    assert_close_to_rounding(trace(model, x).output, model(x).detach(), model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_a_quotient_in_steps_is_no_scale(mode: str) -> None:
    model = Fn(lambda m, x: torch.div(m.c(x), 0.1, rounding_mode=mode).flatten(1), c=nn.Conv2d(3, 4, 3))
    with pytest.raises(RelpropError, match="div"):
        explain(model, torch.randn(2, 3, 6, 6), 0, "lrp-0")


class Squeezed(nn.Module):
    """Writes through a view without axes that are 1 long: of a single sample the samples' axis goes as well."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        y.squeeze().relu_()
        return self.head(y).flatten(1, -2).sum(1)


@pytest.mark.parametrize("sizes", [(1, 3, 1), (3, 1, 3)])
def test_squeeze_of_a_single_sample(sizes: tuple[int, ...]) -> None:
    """Whatever was captured before, a batch of one is computed as the model computes it."""
    model, x = Squeezed().double(), torch.randn(3, 2, 6, 7, dtype=torch.float64)
    for n in sizes:
        e = explain(model, x[:n], 0, "lrp-0")
        assert_close_to_rounding(e.outputs, model(x[:n]).detach(), model)
        expected = gradient_times_input(model, x[:n], torch.eye(3).double()[0].expand(n, 3))
        assert_close_to_rounding(e.relevance, expected, model)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv2d, (3, 8, 8)), (nn.Conv3d, (3, 4, 8, 8))])
def test_a_single_picture_is_told_its_missing_axis(layer: type[nn.Module], shape: tuple[int, ...]) -> None:
    model = nn.Sequential(layer(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, *shape))
    with pytest.raises(RelpropError, match=r"pass x\[None\]"):
        explain(model, torch.zeros(shape), 0, "lrp-0")
