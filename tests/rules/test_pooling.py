"""Pools and upsampling: closed forms by loops over windows, and conservation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn, error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.rules import AveragePool, MaxPool

EXACT = 1e-13

MAX_POOLS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.MaxPool1d(2), (2, 7)),
    "1d, overlapping, padded": (lambda: nn.MaxPool1d(3, stride=1, padding=1), (2, 6)),
    "2d": (lambda: nn.MaxPool2d(2), (2, 4, 5)),
    "2d, overlapping, padded": (lambda: nn.MaxPool2d(3, stride=2, padding=1), (2, 5, 6)),
    "2d, ceil": (lambda: nn.MaxPool2d(2, ceil_mode=True), (2, 5, 5)),
    "2d, ceil, padded, strided": (
        lambda: nn.MaxPool2d((3, 2), stride=(2, 3), padding=1, ceil_mode=True),
        (1, 6, 5),
    ),
    "2d, dilated": (lambda: nn.MaxPool2d(2, stride=1, dilation=(2, 1), padding=1), (2, 5, 4)),
    "3d": (lambda: nn.MaxPool3d((1, 2, 2), stride=(1, 2, 1), padding=(0, 1, 1)), (2, 3, 4, 3)),
}


def windows(pool: nn.Module, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """For each output position the input positions of its window, from the pool's settings alone."""
    dims = len(shape) - 1
    per_axis = []
    out = pool(torch.zeros(1, *shape)).shape[2:]
    for axis in range(dims):
        k, s, p, d = (
            v if isinstance(v, int) else v[axis]
            for v in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )
        size = shape[1 + axis]
        per_axis.append(
            [[o * s - p + d * j for j in range(k) if 0 <= o * s - p + d * j < size] for o in range(out[axis])]
        )
    return [
        (at, list(product(*(per_axis[axis][o] for axis, o in enumerate(at)))))
        for at in product(*map(range, out))
    ]


@pytest.mark.parametrize("ties", ["first", "share"])
@pytest.mark.parametrize("name", MAX_POOLS)
def test_max_pool_gives_to_the_winners(name: str, ties: str) -> None:
    maker, shape = MAX_POOLS[name]
    pool = maker()
    torch.manual_seed(0)
    x = torch.randint(-2, 3, (2, *shape)).double()  # small integers: many ties, and windows of zeros
    run = trace(pool, x)
    seed = seeds(run.output, 2)
    expected = torch.zeros(2, *x.shape, dtype=torch.float64)
    for k, n, c in product(range(2), range(2), range(shape[0])):
        for at, members in windows(pool, shape):
            values = [float(x[(n, c, *m)]) for m in members]
            winners = [m for m, v in zip(members, values, strict=True) if v == max(values)]
            for winner in winners[:1] if ties == "first" else winners:
                expected[(k, n, c, *winner)] += seed[(k, n, c, *at)] / (
                    1 if ties == "first" else len(winners)
                )
    found = run.run(seed, Composite([("max_pool", MaxPool(ties))]))  # type: ignore[arg-type]
    assert error(found.relevance, expected) < EXACT
    assert found.ledger is not None
    assert found.ledger.closes
    through = run.run(seed, Composite([("max_pool", MaxPool(ties))]), multiplier=True)  # type: ignore[arg-type]
    assert error(through.relevance, expected) < EXACT


@pytest.mark.parametrize("ties", ["first", "share"])
def test_max_pool_carries_a_dead_window(ties: str) -> None:
    """A window of zeros holds no relevance in proportion to value, but an equal winner all the same."""
    x = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    run = trace(nn.MaxPool2d(2), x)
    found = run.run(torch.ones(1, 1, 1, 1).double(), Composite([("max_pool", MaxPool(ties))]))  # type: ignore[arg-type]
    share = [1.0, 0, 0, 0] if ties == "first" else [0.25] * 4
    assert found.relevance.flatten().tolist() == share


@pytest.mark.parametrize(
    "pool",
    [
        nn.AdaptiveMaxPool1d(3),
        nn.AdaptiveMaxPool2d((2, 3)),
        nn.AdaptiveMaxPool3d(2),
        Fn(lambda m, x: x.amax((-2, -1))),
    ],
    ids=str,
)
def test_other_maxima_are_their_gradient(pool: nn.Module) -> None:
    dims = int(type(pool).__name__[-2]) if not isinstance(pool, Fn) else 2
    x = torch.randn(2, 3, *[5, 7, 4][:dims], dtype=torch.float64)
    run = trace(pool, x)
    c = seeds(run.output)
    found = lrp0(pool, x, c)
    assert error(found.relevance, gradient_times_input(pool, x, c)) < EXACT
    assert error(found.relevance.flatten(1).sum(1), (c * run.output).flatten(1).sum(1)) < EXACT


AVERAGES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.AvgPool1d(2), (2, 7)),
    "2d": (lambda: nn.AvgPool2d(2), (2, 4, 5)),
    "2d, padded, padding counted": (lambda: nn.AvgPool2d(3, stride=2, padding=1), (2, 5, 6)),
    "2d, padded, padding not counted": (
        lambda: nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        (2, 5, 6),
    ),
    "2d, ceil": (lambda: nn.AvgPool2d(2, ceil_mode=True), (2, 5, 5)),
    "2d, own divisor": (lambda: nn.AvgPool2d(2, stride=1, divisor_override=3), (2, 4, 4)),
    "3d": (lambda: nn.AvgPool3d((1, 2, 2), stride=(1, 1, 2), padding=(0, 1, 0)), (2, 3, 4, 4)),
    "adaptive 1d": (lambda: nn.AdaptiveAvgPool1d(3), (2, 7)),
    "adaptive 2d": (lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 4)),
    "adaptive 2d, larger than its input": (lambda: nn.AdaptiveAvgPool2d(5), (2, 3, 3)),
    "adaptive 3d": (lambda: nn.AdaptiveAvgPool3d(1), (2, 3, 3, 2)),
    "mean": (lambda: Fn(lambda m, x: x.mean((2, 3))), (3, 4, 5)),
    "mean, one axis, kept": (lambda: Fn(lambda m, x: x.mean(-1, keepdim=True)), (3, 4, 5)),
    "sum": (lambda: Fn(lambda m, x: x.sum(dim=[-1, -2])), (3, 4, 5)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (2, 3, 2)),
    "nearest 3d": (lambda: nn.Upsample(size=(3, 5, 4)), (1, 2, 3, 2)),
    "nearest-exact": (lambda: nn.Upsample(size=(5, 4), mode="nearest-exact"), (2, 3, 3)),
    "linear": (lambda: nn.Upsample(scale_factor=3, mode="linear"), (2, 4)),
    "bilinear": (lambda: nn.Upsample(size=(5, 7), mode="bilinear"), (2, 3, 4)),
    "bilinear, corners": (lambda: nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True), (2, 3, 4)),
    "trilinear": (lambda: nn.Upsample(scale_factor=2, mode="trilinear"), (1, 2, 2, 3)),
    "bicubic": (lambda: nn.Upsample(size=(5, 7), mode="bicubic"), (2, 3, 4)),
}


def matrix(pool: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The pool as a matrix (out, in): its value on each unit vector."""
    count = int(torch.tensor(shape).prod())
    rows = pool(torch.eye(count, dtype=torch.float64).reshape(count, *shape))
    return rows.flatten(1).T


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("name", AVERAGES)
def test_average_shares_by_value_or_evenly(name: str, uniform: bool) -> None:
    maker, shape = AVERAGES[name]
    pool = maker()
    torch.manual_seed(0)
    a = matrix(pool, shape)
    x = torch.randn(2, *shape, dtype=torch.float64)
    run = trace(pool, x)
    seed = torch.randn(3, *run.output.shape, dtype=torch.float64)
    terms = a[None] * (torch.ones(2, 1, a.shape[1]) if uniform else x.flatten(1)[:, None])
    total = terms.sum(-1)
    message = seed.flatten(2) / torch.where(total == 0, torch.inf, total)
    expected = torch.einsum("noi,kno->kni", terms, message).reshape(3, *x.shape)
    found = run.run(
        seed,
        Composite([("avg_pool", AveragePool(uniform=uniform)), ("upsample", AveragePool(uniform=uniform))]),
    )
    assert error(found.relevance, expected) < 1e-12
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    if not uniform:
        c = seeds(run.output)
        assert error(lrp0(pool, x, c).relevance, gradient_times_input(pool, x, c)) < EXACT


def test_average_of_zeros_books_what_is_lost() -> None:
    x = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    x[..., 0, 0], x[..., 0, 1] = 1, -1
    run = trace(nn.AvgPool2d(2), x)
    found = run.run(torch.ones(1, 1, 1, 1).double(), Composite())
    assert found.ledger is not None
    assert (found.ledger.lost, found.ledger.end, found.ledger.closes) == (1.0, 0.0, True)
    even = run.run(torch.ones(1, 1, 1, 1).double(), Composite([("avg_pool", AveragePool(uniform=True))]))
    assert even.relevance.flatten().tolist() == [0.25] * 4


def test_pools_without_a_batch_axis_are_right_or_refused() -> None:
    """A pool reads (N, H, W) as (C, H, W)."""
    from relprop.errors import RelpropError

    for function in (
        lambda m, x: F.max_pool2d(x.mean(1), 2).flatten(1),
        lambda m, x: F.max_pool1d(x.flatten(1), 2),
        lambda m, x: F.avg_pool2d(x.mean(1), 2).flatten(1),
        lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0].flatten(1),
    ):
        model = Fn(function)
        x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        c = seeds(model(x))
        try:
            found = lrp0(model, x, c)
        except RelpropError:
            continue
        assert error(found.relevance, gradient_times_input(model, x, c)) < EXACT


def read_at_found_places(m: Fn, x: Tensor) -> Tensor:
    """Values of a map at two places a sample that the map itself decides on, one of them off the map."""
    grid = (m.place(x.flatten(1)).tanh() + m.beside).reshape(len(x), 1, 2, 2)
    return F.grid_sample(m.value(x), grid, padding_mode="zeros", align_corners=False).flatten(1)


@pytest.mark.parametrize("by", ["value", "own", "either"])
def test_places_to_read_at_are_constants(by: str) -> None:
    """As for gates: the same as with the places written down beforehand, sample by sample."""
    torch.manual_seed(0)
    beside = torch.tensor([0.0, 0.0, 0.9, 0.0])
    model = Fn(read_at_found_places, value=nn.Conv2d(2, 3, 3), place=nn.Linear(50, 4), beside=beside).double()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    places = model.place(x.flatten(1)).detach()
    grid = (places.tanh() + beside).reshape(2, 1, 2, 2)
    fixed = Fn(
        lambda m, x: F.grid_sample(m.value(x), m.grid, padding_mode="zeros", align_corners=False).flatten(1),
        value=model.value,
        grid=grid,
    )
    composite = Composite([("upsample", AveragePool(by))])
    c = torch.randn(3, 2, 6, dtype=torch.float64)
    found = trace(model, x).run(c, composite)
    expected = trace(fixed, x).run(c, composite)
    assert_close_to_rounding(found.relevance, expected.relevance, 100)
    assert found.relevance.abs().max() > 0
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    # All went to the map: the layer that finds the places isn't among the steps.
    assert "place" not in {row.module for row in found.plan.rows}


def test_a_constant_read_at_found_places_is_refused() -> None:
    from relprop.errors import UnsupportedOperatorError

    model = Fn(
        lambda m, x: F.grid_sample(
            m.picture.expand(len(x), -1, -1, -1), x.reshape(-1, 1, 2, 2), align_corners=False
        ).flatten(1),
        picture=torch.randn(1, 3, 5, 5),
    )
    x = torch.rand(2, 4) - 0.5
    with pytest.raises(UnsupportedOperatorError, match="grid_sampler"):
        trace(model, x).run(torch.ones(2, 6), Composite())
