"""Operators by what they do: values at indices, winners, sums into places, and those that are written in others.

All of these are piece-wise linear, so LRP-0 is gradient x input, in double precision; what they are is one family
of rules, whatever the operator is called.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError
from relprop.graph.fusion import Fused
from relprop.graph.place import Places

Between = Callable[[Tensor, Tensor], Tensor]

HALVES = torch.tensor([0, 0, 1, 1, 2, 2])
FIRST = torch.zeros(2, 4, 1, dtype=torch.long)
MASK = torch.tensor([True, False, True, True, False, True])


def _halves(y: Tensor) -> Tensor:
    return HALVES.expand_as(y)


def _written(write: Callable[[Tensor, Tensor, Tensor], object]) -> Between:
    def between(a: Tensor, b: Tensor) -> Tensor:
        t = a.clone()
        write(t, a, b)
        return t

    return between


def _maps(y: Tensor) -> Tensor:
    return y[:, :, None] + y[..., None]


GRID = torch.linspace(-0.9, 0.9, 24, dtype=torch.float64).view(1, 4, 3, 2)

# Operator or idiom: the kind of operator that relevance sees, and its code for two signals (2, 4, 6).
OPERATORS: dict[str, tuple[str, Between]] = {
    # Values at indices that don't depend on the input, or do without a derivative.
    "hstack": ("shape", lambda a, b: torch.hstack([a, b])),
    "vstack": ("shape", lambda a, b: torch.vstack([a.mT, b.mT]).unflatten(0, (2, -1)).transpose(0, 1)),
    "dstack": ("shape", lambda a, b: torch.dstack([a, b])),
    "column_stack": ("shape", lambda a, b: torch.column_stack([a.flatten(1), b.flatten(1)])),
    "fliplr": ("shape", lambda a, b: torch.fliplr(a)),
    "atleast_3d": ("linear", lambda a, b: torch.atleast_3d(a)),
    "ravel": ("shape", lambda a, b: a.ravel().view_as(b)),
    "adjoint": ("shape", lambda a, b: a.adjoint()),
    "mH": ("shape", lambda a, b: a.mH),
    "tensor_split": ("shape", lambda a, b: torch.tensor_split(a, 3, -1)[1]),
    "unsafe_chunk": ("shape", lambda a, b: torch.unsafe_chunk(a, 2, 1)[0]),
    "dsplit": ("shape", lambda a, b: torch.dsplit(a, 2)[0]),
    "broadcast_tensors": ("shape", lambda a, b: torch.broadcast_tensors(a[:, :1], b)[0]),
    "permute_copy": ("shape", lambda a, b: torch.permute_copy(a, (0, 2, 1))),
    "split_copy": ("shape", lambda a, b: torch.split_copy(a, 2, 1)[1]),
    "unfold_copy": ("shape", lambda a, b: torch.unfold_copy(a, 2, 3, 1)),
    "positive": ("linear", lambda a, b: +a),
    "take": ("shape", lambda a, b: torch.stack([y.take(torch.tensor([0, 5, 7])) for y in (a[0], a[1])])),
    "a mask of channels": ("shape", lambda a, b: a[:, torch.tensor([True, False, True, True])]),
    "repeated by a tensor": ("shape", lambda a, b: a.repeat_interleave(torch.tensor([1, 2, 0, 3]), dim=1)),
    "take_along_dim": ("shape", lambda a, b: torch.take_along_dim(a, torch.tensor([[[0, 1, 0]]]), 2)),
    "take_along_dim of a signal": ("shape", lambda a, b: torch.take_along_dim(a, b.argsort(-1), -1)),
    "gather of a signal": ("shape", lambda a, b: a.gather(-1, b.topk(2, -1)[1])),
    "put": ("shape", lambda a, b: a.flatten().put(torch.tensor([3, 30]), b[:, 0, 0]).view_as(a)),
    "masked_fill of a signal": ("shape", lambda a, b: a.masked_fill(b < 0, 0.3)),
    "where of a signal": ("shape", lambda a, b: torch.where(a > 0.1, b, 0.2)),
    "index_put": ("shape", _written(lambda t, a, b: t.__setitem__((slice(None), [0, 2]), b[:, 1:3]))),
    "nan_to_num": ("shape", lambda a, b: torch.nan_to_num(a)),
    "max_unpool2d": (
        "shape",
        lambda a, b: F.max_unpool2d(*F.max_pool2d(_maps(a), 2, return_indices=True), 2),
    ),
    "grid_sample": (
        "upsample",
        lambda a, b: F.grid_sample(_maps(a), GRID.expand(2, -1, -1, -1), align_corners=False),
    ),
    "resized with antialias": (
        "upsample",
        lambda a, b: F.interpolate(_maps(a), (3, 4), mode="bilinear", antialias=True),
    ),
    # Winners.
    "max of an axis": ("max_pool", lambda a, b: a.max(-1).values),
    "max of an axis, by index": ("max_pool", lambda a, b: torch.max(a, 1, keepdim=True)[0]),
    "min of an axis": ("max_pool", lambda a, b: a.min(-1)[0]),
    "amax": ("max_pool", lambda a, b: a.amax(-1)),
    "amin": ("max_pool", lambda a, b: a.amin((1, 2), keepdim=True)),
    "aminmax": ("max_pool", lambda a, b: (lambda r: r.max - 2 * r.min)(torch.aminmax(a, dim=-1))),
    "topk": ("max_pool", lambda a, b: a.topk(2, -1).values),
    "topk, the smallest": ("max_pool", lambda a, b: torch.topk(a, 3, 1, largest=False)[0]),
    "sort": ("max_pool", lambda a, b: a.sort(-1, descending=True).values),
    "sort, its places too": ("max_pool", lambda a, b: (lambda r: r[0] + b.gather(-1, r[1]))(a.sort(-1))),
    "msort": ("max_pool", lambda a, b: torch.msort(a.transpose(0, 1)).transpose(0, 1)),
    "kthvalue": ("max_pool", lambda a, b: a.kthvalue(2, -1)[0]),
    "median": ("max_pool", lambda a, b: a.median(-1).values),
    "nanmedian": ("max_pool", lambda a, b: a.nanmedian(1).values),
    "mode": ("max_pool", lambda a, b: a.mode(-1)[0]),
    "quantile": ("max_pool", lambda a, b: a.quantile(0.3, -1, keepdim=True)),
    "quantile, one of them": ("max_pool", lambda a, b: a.quantile(0.3, 1, interpolation="higher")),
    "nanquantile": ("max_pool", lambda a, b: a.nanquantile(0.3, -1)),
    "cummax": ("max_pool", lambda a, b: a.cummax(-1).values),
    "torch.max of two": ("homogeneous", lambda a, b: torch.max(a, b)),
    "torch.min of two": ("homogeneous", lambda a, b: torch.min(a, b)),
    "fmax": ("homogeneous", lambda a, b: torch.fmax(a, b)),
    "clamp by a signal": ("homogeneous", lambda a, b: torch.clamp(a, min=b)),
    "clamp by a signal and a number": (
        "homogeneous",
        lambda a, b: torch.clamp(a, b - 1, torch.full_like(a, 0.2)),
    ),
    "copysign": ("homogeneous", lambda a, b: torch.copysign(a, b)),
    # Sums into places.
    "index_add": ("avg_pool", lambda a, b: torch.zeros_like(a).index_add(2, HALVES, a)),
    "index_add to a signal": ("add", lambda a, b: b.index_add(2, HALVES, a, alpha=-0.5)),
    "index_add to a constant": ("add", lambda a, b: torch.full_like(a, 0.3).index_add(2, HALVES, a)),
    "index_add in place": ("add", _written(lambda t, a, b: t.index_add_(1, torch.tensor([0]), b[:, :1]))),
    "scatter_add": ("avg_pool", lambda a, b: torch.zeros_like(a).scatter_add(2, _halves(a), a)),
    "scatter_add to a signal": ("add", lambda a, b: b.scatter_add(2, _halves(a), a)),
    "index_put that adds": (
        "add",
        lambda a, b: a.index_put(
            (torch.arange(2), torch.zeros(2, dtype=torch.long)), b[:, 1], accumulate=True
        ),
    ),
    "put that adds": (
        "add",
        lambda a, b: a.flatten().put(torch.tensor([3, 30]), b[:, 0, 0], True).view_as(a),
    ),
    "scatter_reduce, sums": ("add", lambda a, b: b.scatter_reduce(2, _halves(a), a, "sum")),
    "scatter_reduce, sums of its own": (
        "homogeneous",
        lambda a, b: b.scatter_reduce(2, _halves(a), a, "sum", include_self=False),
    ),
    "scatter_reduce, means": ("homogeneous", lambda a, b: b.scatter_reduce(2, _halves(a), a, "mean")),
    "scatter_reduce, means with a constant": (
        "homogeneous",
        lambda a, b: torch.full_like(a, 0.3).scatter_reduce(2, _halves(a), a, "mean"),
    ),
    "scatter_reduce, winners": ("homogeneous", lambda a, b: b.scatter_reduce(2, _halves(a), a, "amax")),
    "scatter_reduce, winners over a constant": (
        "homogeneous",
        lambda a, b: torch.full_like(a, 0.1).scatter_reduce(2, _halves(a), a, "amax"),
    ),
    "index_reduce": ("homogeneous", lambda a, b: a.index_reduce(2, HALVES, b, "amin")),
    "segment_reduce": (
        "homogeneous",
        lambda a, b: torch.segment_reduce(
            a.movedim(2, 0).contiguous(), "max", lengths=torch.tensor([2, 4])
        ).movedim(0, 2),
    ),
    "cumsum": ("avg_pool", lambda a, b: a.cumsum(-1)),
    "nansum": ("avg_pool", lambda a, b: a.nansum(-1)),
    "nanmean": ("avg_pool", lambda a, b: a.nanmean(-1)),
    "fold": ("avg_pool", lambda a, b: F.fold(F.unfold(_maps(a), 3, padding=1), (6, 6), 3, padding=1)),
    "trapezoid": ("avg_pool", lambda a, b: torch.trapezoid(a, dim=-1)),
    "diff": ("add", lambda a, b: a.diff(dim=-1)),
    # Products with constants.
    "kron": ("scale", lambda a, b: torch.kron(a, torch.tensor([[[1.0, -2.0]]], dtype=a.dtype))),
    "addcdiv": ("scale", lambda a, b: torch.addcdiv(a, b, torch.full_like(a, 2.0), value=0.5)),
}


class Net(nn.Module):
    """Two convolutions, what is in question, a linear layer; signs are mixed everywhere."""

    def __init__(self, between: Between) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one, self.two = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 4, 1)
            zeros = torch.zeros(2, 4, 6, dtype=torch.float64)
            width = between(zeros, zeros).flatten(1).shape[1]
            self.head = nn.Linear(width, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.one(x), self.two(x)).flatten(1))


def made(between: Between) -> tuple[Net, Tensor]:
    net = Net(between).double().eval()
    return net, torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:index_reduce.. is in beta")
@pytest.mark.parametrize("name", OPERATORS)
def test_lrp_0_is_gradient_times_input_and_ledgers_close(name: str) -> None:
    kind, between = OPERATORS[name]
    net, x = made(between)
    leaf = x.clone().requires_grad_()
    gradients = torch.stack([torch.autograd.grad(net(leaf)[:, k].sum(), leaf)[0] for k in range(3)])
    e = relprop.explain(net, x, [0, 1, 2], "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes
    assert float(e.relevance.abs().max()) > 0
    assert_close_to_rounding(e.relevance, gradients * x, terms=net)
    assert_close_to_rounding(relprop.explain(net, x, [0, 1, 2], "gradient").relevance, gradients, terms=net)
    graph = relprop.trace(net, x).graph
    assert kind in {Places(graph)(Fused(n)).kind for n in graph.nodes if n.dependent}
    for method in ("lrp-composite", "excitation-backprop", "attnlrp", "lrp-alpha-beta"):
        other = relprop.explain(net, x, [0, 1], method).ledger
        assert other is not None, method
        assert other.closes, method


# The same value in two ways of writing it.
TWINS: dict[str, tuple[Between, Between]] = {
    "hstack": (lambda a, b: torch.hstack([a, b]), lambda a, b: torch.cat([a, b], 1)),
    "winners": (lambda a, b: a.max(-1, keepdim=True)[0], lambda a, b: F.max_pool1d(a, 6)),
    "topk of one": (lambda a, b: a.topk(1, -1).values, lambda a, b: F.max_pool1d(a, 6)),
    "last of the sorted": (lambda a, b: a.sort(-1).values[..., -1:], lambda a, b: a.max(-1, keepdim=True)[0]),
    "smallest": (lambda a, b: a.kthvalue(1, -1)[0], lambda a, b: a.amin(-1)),
    "median": (lambda a, b: a[..., :5].median(-1)[0], lambda a, b: a[..., :5].quantile(0.5, -1)),
    "residual": (lambda a, b: b.index_add(2, torch.arange(6), a), lambda a, b: b + a),
    "residual, scattered": (lambda a, b: b.scatter_add(2, torch.arange(6).expand_as(a), a), lambda a, b: b + a),
    "residual, into places": (
        lambda a, b: b.scatter_reduce(2, torch.arange(6).expand_as(a), a, "sum"), lambda a, b: b + a
    ),
    "larger of two": (lambda a, b: torch.clamp(a, min=b), lambda a, b: torch.maximum(a, b)),
    "smaller of two": (lambda a, b: a.clamp_max(b), lambda a, b: torch.min(a, b)),
    "sum": (
        lambda a, b: torch.zeros(2, 4, 3).to(a).scatter_add(2, _halves(a), a),
        lambda a, b: a.unflatten(2, (3, 2)).sum(-1),
    ),
    "differences": (lambda a, b: a.diff(dim=-1), lambda a, b: a[..., 1:] - a[..., :-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_how_it_is_written_makes_no_difference(name: str) -> None:
    (net, x), (twin, _) = (made(between) for between in TWINS[name])
    for method in ("lrp-0", "lrp-composite", "excitation-backprop"):
        maps = [relprop.explain(m, x, [0, 1], method).relevance for m in (net, twin)]
        assert_close_to_rounding(*maps, terms=net)


@pytest.mark.parametrize(
    ("named", "between"),
    [
        ("scatter_reduce", lambda a, b: b.scatter_reduce(2, _halves(a), a, "prod")),
        ("logcumsumexp", lambda a, b: a.logcumsumexp(-1)),
        ("log_softmax", lambda a, b: torch.special.log_softmax(a, -1) * b),
        ("sign", lambda a, b: a.sign() * b),
    ],
)
def test_what_no_rule_is_known_for_is_named_as_it_is_written(named: str, between: Between) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"'[a-z_]*{named}'"):
        relprop.explain(*made(between), 0, "lrp-0")


def test_ties_go_where_the_derivative_goes() -> None:
    """Behind a ReLU many values are 0: `max` of an axis takes the first of equals, `amax` shares."""
    for between in (
        lambda a, b: a.relu().max(-1)[0],
        lambda a, b: a.relu().amax(-1),
        lambda a, b: a.relu().topk(3, -1)[0],
    ):
        net, x = made(between)
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
        assert_close_to_rounding(relprop.explain(net, x, 1, "gradient").relevance, gradient, terms=net)
