"""Weights applied by anything: every method gives the map that it gives of `nn.Linear` and `nn.Conv2d`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.errors import RelpropWarning
from relprop.graph import capture
from relprop.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

Apply = Callable[[Any, Tensor], Tensor]

_SETTINGS = ["lrp:rule=z-plus", "lrp:rule=gamma,first=flat", "lrp:rule=epsilon,first=w-square"]
# Rollout follows attention and looks at no layer.
METHODS = [name for name in nets.METHODS if name != "lrp"] + _SETTINGS


class Net(nn.Module):
    """A convolution, a layer of 4 inputs and 5 outputs spelled in some way, and a linear head.

    Args:
        spelling: of (network, values) -> values; the network holds the weight `w`, (5, 4), and a bias `b`.
        flat: whether the values are vectors; else they are maps, and the layer works along their channels.
    """

    def __init__(self, spelling: Apply, *, flat: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 3)
        self.w, self.b = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(5))
        self.bare = nn.Linear(4, 5, bias=False)
        self.spelling, self.flat = spelling, flat
        nn.init.constant_(self.head.bias, 2.0)  # methods for what speaks for a class need a score above 0
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = F.relu(self.spelling(self, x.mean((2, 3)) if self.flat else x))
        return self.head(x if self.flat else x.mean((2, 3)))  # type: ignore[no-any-return]


def picture() -> Tensor:
    return torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def expanded(w: Tensor, x: Tensor) -> Tensor:
    """A copy of a weight for every sample."""
    return w.expand(x.shape[0], -1, -1)


def channels_last(apply: Apply) -> Apply:
    return lambda m, x: apply(m, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


VECTORS: dict[str, Apply] = {
    "linear": lambda m, x: F.linear(x, m.w),
    "x @ W": lambda m, x: x @ m.w.t(),
    "W @ x": lambda m, x: (m.w @ x.t()).t(),
    "W @ columns": lambda m, x: (m.w @ x[..., None])[..., 0],
    "linear, sides turned": lambda m, x: F.linear(m.w, x).t(),
    "einsum": lambda m, x: torch.einsum("nc,oc->no", x, m.w),
    "einsum, sides turned": lambda m, x: torch.einsum("oc,nc->no", m.w, x),
    "einsum without an arrow": lambda m, x: torch.einsum("nc,oc", x, m.w),
    "einsum with dots": lambda m, x: torch.einsum("...c,oc->...o", x, m.w),
    "einsum of several constants": lambda m, x: torch.einsum("nc,oc,o,p->no", x, m.w, m.b / m.b, m.b * 0 + 0.2),
    "bmm": lambda m, x: torch.bmm(x[:, None], expanded(m.w.t(), x))[:, 0],
    "bmm of copies": lambda m, x: torch.bmm(x[:, None], m.w.repeat(x.shape[0], 1, 1).mT)[:, 0],
    "bmm of scaled copies": lambda m, x: torch.bmm(x[:, None], (expanded(m.w, x) * 2 / 2).contiguous().mT)[:, 0],
    "matmul over a batch": lambda m, x: (x[:, None] @ m.w.t()[None])[:, 0],
    "product and sum": lambda m, x: (x[..., None] * m.w.t()).sum(-2),
    "product and kept sum": lambda m, x: (m.w * x[:, None]).sum(2, keepdim=True).squeeze(2),
    "product and mean": lambda m, x: (x[:, None] * m.w * 4).mean(2),
    "inner": lambda m, x: torch.inner(x, m.w),
    "tensordot": lambda m, x: torch.tensordot(x, m.w, ([1], [1])),
    "vecdot": lambda m, x: torch.linalg.vecdot(x[:, None], m.w),
    "multi_dot": lambda m, x: torch.linalg.multi_dot([x, m.w.t(), torch.eye(5, dtype=x.dtype)]),
    "bilinear with a fixed side": lambda m, x: F.bilinear(x, x.new_ones(x.shape[0], 1), m.w[:, :, None]),
    "addmm to nothing": lambda m, x: torch.addmm(x.new_zeros(1, 5), x, m.w.t()),
    "baddbmm to nothing": lambda m, x: torch.baddbmm(x.new_zeros(5), x[:, None], expanded(m.w.t(), x))[:, 0],
    "weight of two parts": lambda m, x: F.linear(x, m.w * 2 - m.w[:, :4] @ torch.eye(4).to(m.w)),
    "weight by its norm": lambda m, x: F.linear(x, F.normalize(m.w, dim=1) * m.w.norm(dim=1, keepdim=True)),
}  # fmt: skip

BIASED: dict[str, Apply] = {
    "linear": lambda m, x: F.linear(x, m.w, m.b),
    "x @ W + b": lambda m, x: x @ m.w.t() + m.b,
    "W @ x + b": lambda m, x: (m.w @ x.t() + m.b[:, None]).t(),
    "b + einsum": lambda m, x: m.b + torch.einsum("nc,oc->no", x, m.w),
    "b - einsum": lambda m, x: m.b - torch.einsum("nc,oc->no", x, -m.w),
    "product and sum": lambda m, x: torch.add((x[:, None] * m.w).sum(2), m.b / 2, alpha=2),
    "addmm": lambda m, x: torch.addmm(m.b[None], x, m.w.t()),
    "baddbmm": lambda m, x: torch.baddbmm(
        m.b.expand(x.shape[0], 1, 5) * 2, x[:, None], expanded(m.w.t(), x) * 4, beta=0.5, alpha=0.25
    )[:, 0],
    "bilinear": lambda m, x: F.bilinear(x, x.new_ones(x.shape[0], 1), m.w[:, :, None], m.b),
}

MAPS: dict[str, Apply] = {
    "conv": lambda m, x: F.conv2d(x, m.w[..., None, None]),
    "einsum": lambda m, x: torch.einsum("nchw,oc->nohw", x, m.w),
    "einsum with dots": lambda m, x: torch.einsum("oc,nc...->no...", m.w, x),
    "W @ x": lambda m, x: (m.w @ x.flatten(2)).unflatten(2, x.shape[2:]),
    "bmm": lambda m, x: torch.bmm(expanded(m.w, x), x.flatten(2)).unflatten(2, x.shape[2:]),
    "product and sum": lambda m, x: (x[:, None] * m.w[None, :, :, None, None]).sum(2),
}

BIASED_MAPS: dict[str, Apply] = {
    "conv": lambda m, x: F.conv2d(x, m.w[..., None, None], m.b),
    "conv, then b": lambda m, x: F.conv2d(x, m.w[..., None, None]) + m.b[:, None, None],
    "conv less -b": lambda m, x: F.conv2d(x, m.w[..., None, None]) - (-m.b).reshape(1, -1, 1, 1),
    "einsum": lambda m, x: torch.einsum("nchw,oc->nohw", x, m.w) + m.b[:, None, None],
}

LAST: dict[str, Apply] = {
    "linear": channels_last(lambda m, x: F.linear(x, m.w)),
    "einsum": channels_last(lambda m, x: torch.einsum("nhwc,oc->nhwo", x, m.w)),
    "einsum that moves the channels": lambda m, x: torch.einsum("nchw,oc->nhwo", x, m.w).permute(0, 3, 1, 2),
    "tensordot": lambda m, x: torch.tensordot(x, m.w, ([1], [1])).permute(0, 3, 1, 2),
    "matmul over a batch": channels_last(lambda m, x: x @ m.w.t().expand(5, 4, 5)),
    "product and sum": channels_last(lambda m, x: (x[..., None, :] * m.w).sum(-1)),
}

_TABLES = {
    "vectors": (VECTORS, True),
    "biased": (BIASED, True),
    "maps": (MAPS, False),
    "biased maps": (BIASED_MAPS, False),
    "last": (LAST, False),
}


@cache
def net(table: str, name: str) -> Net:
    spellings, flat = _TABLES[table]
    return Net(spellings[name], flat=flat)


def explained(table: str, name: str, method: str) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        found = relprop.explain(net(table, name), picture(), 0, method)
    assert found.ledger is None or found.ledger.closes
    return found.relevance


@cache
def expected(table: str, method: str) -> Tensor:
    return explained(table, next(iter(_TABLES[table][0])), method)


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, (names, _) in _TABLES.items() for name in list(names)[1:]]
)
def test_every_method_takes_it_for_the_layer_it_is(table: str, name: str) -> None:
    for method in METHODS:
        reference = expected(table, method)
        assert reference.abs().sum() > 0, method
        try:
            assert_close_to_rounding(explained(table, name, method), reference, terms=1000)
        except AssertionError as error:
            raise AssertionError(f"{method}: {error}") from error


def layers(function: Apply, shape: tuple[int, ...], **held: Tensor) -> list[str]:
    """The linear operators of a network that is one function, and its sums and products besides."""
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    nodes = capture(Fn(function, **held).double().eval(), x).nodes
    kept = ("linear", "multiply", "add", "avg_pool")
    return [n.op for n in nodes if n.dependent and n.kind in kept]


W, V = torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "shape", "found"),
    [
        (lambda m, x: x * m.v, (3, 4), ["mul"]),
        (lambda m, x: (x * m.v).sum(1), (3, 4), ["mul", "sum"]),  # a layer scale, then a sum over tokens
        (lambda m, x: (x * 3).sum(1), (3, 4), ["mul", "sum"]),
        (lambda m, x: torch.einsum("ntc,c->ntc", x, m.v), (3, 4), ["einsum"]),
        (lambda m, x: (x * m.v) + (x * m.v).sum(-1, keepdim=True), (3, 4), ["mul", "linear", "add"]),
        (lambda m, x: (lambda y: y + y.sum(-1, keepdim=True))(x * m.v), (3, 4), ["mul", "sum", "add"]),
        (lambda m, x: (x * m.v.float()).sum(-1), (3, 4), ["mul", "sum"]),  # of two dtypes: converted on the way
        (lambda m, x: torch.einsum("nc,nc->n", x, m.v * torch.arange(len(x))[:, None]), (4,), ["einsum"]),
        (lambda m, x: torch.einsum("nii,i->n", x, m.v), (4, 4), ["einsum"]),
        (lambda m, x: torch.einsum("ntc,c->n", x, m.v), (3, 4), ["sum", "linear"]),
        (lambda m, x: torch.einsum("ntc,tcd->ntd", x, m.w), (3, 4), ["conv1d"]),
        (lambda m, x: (x @ m.w), (3, 2, 4), ["conv1d"]),
        (lambda m, x: (x * m.w[..., 0]).sum(-1), (3, 4), ["conv1d"]),
        (lambda m, x: (x * m.w[..., 0]).sum((1, 2)), (3, 4), ["linear"]),
        (lambda m, x: torch.einsum("nthc,hcd->ntd", x, m.w), (2, 3, 4), ["linear"]),
        (lambda m, x: torch.einsum("ntc,hcd->nhtd", x, m.w), (2, 4), ["linear"]),
        (lambda m, x: torch.einsum("ncthwd,co->nothwd", x, m.v[:, None]), (4, 1, 2, 2, 2), ["linear"]),
        (lambda m, x: torch.mv(x, m.v), (4,), ["linear"]),
        (lambda m, x: x @ m.w[0] + m.w[1, :2], (2, 4), ["matmul", "add"]),  # differs from place to place
        (lambda m, x: torch.addmm(x, x, m.w[0, :, :4]), (4,), ["linear", "add"]),
        (lambda m, x: (x[:, :1] * x[:, 1:]).sum(-1), (3, 4), ["einsum"]),
        (lambda m, x: torch.inner(x, x.mean(0, keepdim=True)), (4,), ["mean", "einsum"]),
        (lambda m, x: (x * x).sum(-1), (3, 4), ["mul", "sum"]),
    ],
)  # fmt: skip
def test_what_is_a_layer(function: Apply, shape: tuple[int, ...], found: list[str]) -> None:
    assert layers(function, shape, w=W, v=V) == found


GROUPED: dict[str, Apply] = {
    "conv": lambda m, x: F.conv1d(x.flatten(1, 2), m.w.flatten(0, 1)[..., None], groups=3).unflatten(1, (3, 4)),
    "einsum": lambda m, x: torch.einsum("ngkp,gok->ngop", x, m.w),
    "matmul": lambda m, x: m.w @ x,
    "bmm": lambda m, x: torch.bmm(m.w, x.permute(1, 2, 0, 3).flatten(2)).unflatten(2, (-1, 2)).permute(2, 0, 1, 3),
    "product and sum": lambda m, x: (x[:, :, None] * m.w[..., None]).sum(3),
}  # fmt: skip


@pytest.mark.parametrize("name", list(GROUPED)[1:])
@pytest.mark.parametrize(
    "rule", [Epsilon(0.1), Gamma(), AlphaBeta(), ZPlus(), WSquare(), Flat(), ZBox(-9, 9)]
)
def test_one_matrix_for_each_group_is_a_grouped_convolution(name: str, rule: Rule) -> None:
    if name == "bmm" and isinstance(rule, Epsilon):
        return  # relative to each sample, whose values lie scattered here
    weight = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for function in (GROUPED["conv"], GROUPED[name]):
        run = trace(Fn(function, w=weight).eval(), x)
        found.append(run.propagate(run.output, Composite([("linear", rule)])))
    assert_close_to_rounding(found[1], found[0], terms=1000)


def test_a_bias_of_another_module_stays_a_sum() -> None:
    """The inner module keeps its place, and what is read there its value."""
    model = Net(lambda m, x: m.bare(x) + m.b, flat=True)
    run = trace(model, picture())
    x = model.conv(picture()).relu().mean((2, 3))
    assert_close_to_rounding(run.value("bare"), model.bare(x).detach(), terms=100)
    assert [n.op for n in run.graph.nodes if n.kind == "add"] == ["add"]


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "einsum": lambda a, b: torch.einsum("nk,nk->n", a, b)[:, None],
    "product and sum": lambda a, b: (a * b).sum(1, keepdim=True),
    "product and mean": lambda a, b: (a * b * 4).mean(1, keepdim=True),
    "vecdot": lambda a, b: torch.linalg.vecdot(a, b)[:, None],
    "bmm": lambda a, b: torch.bmm(a[:, None], b[..., None])[:, 0],
}


@pytest.mark.parametrize("otherwise", ["value", "positive"])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("name", list(SUMS)[1:])
def test_two_signals_share_alike_however_they_are_contracted(name: str, gate: bool, otherwise: Any) -> None:
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for spelling in (SUMS["einsum"], SUMS[name]):
        function = partial(lambda m, x, s: s(x[:, :4], x[:, 4:].sigmoid() if gate else x[:, 4:]), s=spelling)
        run = trace(Fn(function).eval(), x)
        found.append(run.propagate(run.output, Composite(otherwise=otherwise)))
    assert_close_to_rounding(found[1], found[0], terms=100)
