"""Activations and norms: LRP-0 is gradient × input with ratios and deviations held constant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.rules.build import Fn, error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.rules import BatchNorm, Norm, Slope

EXACT = 1e-12

AT_ZERO: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "ELU": nn.ELU,
    "CELU": lambda: nn.CELU(0.7),
    "SELU": nn.SELU,
    "SiLU": nn.SiLU,
    "hardswish": nn.Hardswish,
    "GELU": nn.GELU,
    "GELU tanh": lambda: nn.GELU("tanh"),
    "tanh": nn.Tanh,
    "mish": nn.Mish,
    "PReLU": lambda: nn.PReLU(3, 0.3),
    "softsign": nn.Softsign,
    "hardshrink": nn.Hardshrink,
    "softshrink": nn.Softshrink,
    "RReLU": nn.RReLU,
}
AWAY_FROM_ZERO: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "softplus": nn.Softplus,
    "log sigmoid": nn.LogSigmoid,
    "clamp": lambda: Fn(lambda m, x: x.clamp(0.5, 2)),
    "hardtanh 1..2": lambda: nn.Hardtanh(1.0, 2.0),
    "threshold": lambda: nn.Threshold(0.1, 20.0),
    "clamp min": lambda: Fn(lambda m, x: x.clamp(min=-0.2)),
    "clamp max": lambda: Fn(lambda m, x: x.clamp(max=-0.2)),
}


class Between(nn.Module):
    """conv → activation → conv, with the activation's ratio f(z)/z held constant on request."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 2)
        self.activation = activation
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        h = z * (self.activation(z) / z).detach() if self.frozen else self.activation(z)
        return self.second(h).flatten(1)


@pytest.mark.parametrize("name", [*AT_ZERO, *AWAY_FROM_ZERO])
def test_identity_is_the_ratio(name: str) -> None:
    torch.manual_seed(0)
    model = Between({**AT_ZERO, **AWAY_FROM_ZERO}[name]()).double().eval()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    c = seeds(model(x).detach(), 7)
    found = lrp0(model, x, c)
    model.frozen = True
    assert error(found.relevance, gradient_times_input(model, x, c)) < EXACT


@pytest.mark.parametrize(
    "name", [n for n in (*AT_ZERO, *AWAY_FROM_ZERO) if n != "softsign"]
)  # captured as a division
@pytest.mark.parametrize("start", ["multiplier", "relevance"])
def test_slope_is_the_gradient(name: str, start: str) -> None:
    """With the slope rule LRP-0 is gradient × input, and what the tangent leaves is bias."""
    torch.manual_seed(0)
    activation = {**AT_ZERO, **AWAY_FROM_ZERO}[name]()
    model = (
        Between(activation) if start == "multiplier" else nn.Sequential(nn.Conv2d(2, 3, 3), activation)
    ).double()
    model.eval()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    y = model(x).detach()
    c = seeds(y, 7)
    found = lrp0(model, x, c, Composite([("activation", Slope())]))
    assert error(found.relevance, gradient_times_input(model, x, c)) < EXACT


@pytest.mark.parametrize("name", [*AT_ZERO, *AWAY_FROM_ZERO])
def test_relevance_passes_unchanged(name: str) -> None:
    activation = {**AT_ZERO, **AWAY_FROM_ZERO}[name]().double().eval()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    run = trace(activation, x)
    seed = torch.randn(2, 3, 4, dtype=torch.float64)
    found = run.run(seed, Composite())
    assert torch.equal(found.relevance, seed)
    assert found.ledger is not None
    assert found.ledger.closes


def test_zero_in_zero_out() -> None:
    """Activations at exactly 0 hold no relevance, and no NaN."""
    for make in AT_ZERO.values():
        x = torch.zeros(2, 3, 4, dtype=torch.float64)
        found = trace(make().double().eval(), x).run(
            torch.ones(2, 3, 4).double(), Composite(), multiplier=True
        )
        assert bool(torch.isfinite(found.relevance).all())


def frozen_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm with its deviation held constant."""
    if isinstance(norm, nn.LayerNorm):
        dims = tuple(range(-len(norm.normalized_shape), 0))
        mean, var = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
        weight, bias = norm.weight, norm.bias
    else:
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else x.shape[1]
        grouped = x.reshape(len(x), groups, -1)
        mean = grouped.mean(-1, keepdim=True).expand_as(grouped).reshape(x.shape)
        var = grouped.var(-1, correction=0, keepdim=True).expand_as(grouped).reshape(x.shape)
        shape = (-1, *[1] * (x.ndim - 2))
        weight = norm.weight if norm.weight is None else norm.weight.reshape(shape)
        bias = norm.bias if norm.bias is None else norm.bias.reshape(shape)
    y = (x - mean) / (var + norm.eps).sqrt().detach()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "layer norm": (lambda: nn.LayerNorm(5), (3, 5)),
    "layer norm, two axes": (lambda: nn.LayerNorm((3, 5), eps=0.1), (3, 5)),
    "layer norm, no affine": (lambda: nn.LayerNorm(5, elementwise_affine=False), (3, 5)),
    "layer norm, no bias": (lambda: nn.LayerNorm(5, bias=False), (5,)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 3)),
    "group norm, no affine": (lambda: nn.GroupNorm(4, 4, affine=False), (4, 5)),
    "instance norm": (lambda: nn.InstanceNorm2d(3), (3, 4, 4)),
    "instance norm, affine": (lambda: nn.InstanceNorm1d(3, affine=True), (3, 6)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norm_divides_by_a_constant(name: str) -> None:
    maker, shape = NORMS[name]
    torch.manual_seed(0)
    norm = maker().double().eval()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, *shape, dtype=torch.float64)
    c = seeds(norm(x).detach(), 7)
    found = lrp0(norm, x, c)
    assert error(found.relevance, gradient_times_input(lambda t: frozen_norm(norm, t), x, c)) < EXACT
    run = trace(norm, x)
    seed = torch.randn(2, *shape, dtype=torch.float64)
    assert torch.equal(run.propagate(seed, Composite([("norm", Norm("identity"))])), seed)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_lone_batch_norm(dims: int) -> None:
    torch.manual_seed(0)
    bn = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][dims](3).double().eval()
    for tensor in (bn.weight, bn.bias, bn.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(bn.running_var, 0.5, 2)
    x = torch.randn(2, 3, *[4, 2, 3][:dims], dtype=torch.float64)
    c = seeds(bn(x).detach(), 7)
    assert error(lrp0(bn, x, c).relevance, gradient_times_input(bn, x, c)) < EXACT
    run = trace(bn, x)
    seed = torch.randn_like(x)
    assert torch.equal(run.propagate(seed, Composite([("batch_norm", BatchNorm("identity"))])), seed)
    with torch.no_grad():
        bn.weight[1] = 0
    x[0, 2] = 0
    run = trace(bn, x)
    found = run.run(seed, Composite([("batch_norm", BatchNorm("proportional"))]))
    alive = torch.ones_like(x)
    alive[:, 1], alive[0, 2] = 0, 0
    assert torch.equal(found.relevance, seed * alive)
    assert found.ledger is not None
    assert found.ledger.closes
    torch.testing.assert_close(found.ledger.lost, float((seed * (1 - alive)).sum()))


def test_unit_sized_batch_norm_forms_agree() -> None:
    """A batch norm without any shift passes relevance on under either form."""
    bn = nn.BatchNorm2d(3).double().eval()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    seed = torch.randn_like(x)
    run = trace(bn, x)
    assert error(run.propagate(seed, Composite()), seed) < EXACT


def test_slope_differs_from_identity_where_an_activation_saturates() -> None:
    x = torch.tensor([[7.0, 3.0]], dtype=torch.float64)
    run = trace(nn.ReLU6(), x)
    seed = run.output
    assert run.propagate(seed, Composite()).tolist() == [[6.0, 3.0]]
    slope = run.run(seed, Composite([("activation", Slope())]))
    assert slope.relevance.tolist() == [[0.0, 3.0]]
    assert slope.ledger is not None
    assert slope.ledger.bias == 6.0


def test_functional_and_module_forms_are_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    for module, function in (
        (nn.ReLU(), F.relu),
        (nn.ReLU6(), F.relu6),
        (nn.GELU(), F.gelu),
        (nn.SiLU(), F.silu),
        (nn.Tanh(), torch.tanh),
        (nn.Hardswish(), F.hardswish),
        (nn.ELU(inplace=True), F.elu),
        (nn.LeakyReLU(), F.leaky_relu),
    ):
        c = torch.randn_like(x)
        a, b = lrp0(module, x, c), lrp0(Fn(lambda m, t, f=function: f(t)), x, c)
        assert torch.equal(a.relevance, b.relevance)
