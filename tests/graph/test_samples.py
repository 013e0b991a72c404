"""Samples of a batch: kept apart and explained as one by one, or refused with the operator where they meet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.nets import seeded
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.piecewise.region import crossing


class Net(nn.Module):
    """A convolution, an operator of ours, ReLU, mean, scores."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.between = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.conv(x)).relu().mean((2, 3)))


def net(between: Callable[[Tensor], Tensor]) -> nn.Module:
    return seeded(Net(between), 2)


def samples(n: int) -> Tensor:
    return torch.randn(n, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def _by_matrix(y: Tensor) -> Tensor:
    flat = y.flatten(1)
    return (flat @ flat.t() @ flat).view_as(y)


def _shifted(y: Tensor) -> Tensor:
    z = torch.zeros_like(y)
    z[1:] = y[:-1]
    return z


MEETING: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "flip": (lambda y: y.flip(0), "flip"),
    "flip by a negative axis": (lambda y: y.flip(-4), "flip"),
    "roll": (lambda y: y.roll(1, 0), "roll"),
    "roll of all values": (lambda y: y.roll(1), "roll"),
    "a permutation": (lambda y: y[torch.arange(y.shape[0] - 1, -1, -1)], "index"),
    "index_select": (lambda y: y.index_select(0, torch.arange(y.shape[0]).flip(0)), "index_select"),
    "the first sample added": (lambda y: y + y[:1], "add"),
    "joined anew": (lambda y: torch.cat([y[1:], y[:1]]), "cat"),
    "assigned to the next": (_shifted, "slice_scatter"),
    "a running sum": (lambda y: y.cumsum(0), "cumsum"),
    "a softmax": (lambda y: y.softmax(0), "softmax"),
    "sorted": (lambda y: y.sort(0)[0], "sort|getitem"),
    "the largest of the batch": (lambda y: y + y.topk(1, 0)[0], "add"),
    "the largest so far": (lambda y: y.cummax(0)[0], "cummax|getitem"),
    "values by their places in the batch": (
        lambda y: torch.take(y, torch.arange(y.numel()).flip(0)).view_as(y),
        "take|view_as",
    ),
    "added to the next": (lambda y: y.index_add(0, torch.arange(1, len(y)), y[:-1]), "index_add|add"),
    "less the batch's mean": (lambda y: y - y.mean(0), "sub"),
    "normalised over the batch": (lambda y: y / (y.std((0, 2, 3), keepdim=True) + 1), "div"),
    "over the largest of all": (lambda y: y / y.abs().max(), "div"),
    "a threshold from all": (lambda y: torch.where(y > y.mean(), y, 0 * y), "where|gt"),
    "a product of samples": (_by_matrix, "matmul"),
    "folded and rolled": (lambda y: y.flatten(0, 1).roll(1, 0).view_as(y), "view"),
}

APART: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped sideways": lambda y: y.flip(-1),
    "rolled sideways": lambda y: y.roll((1, 2), (2, 3)),
    "folded and back": lambda y: (y.flatten(0, 1) * 2).view_as(y),
    "joined with its mirror image and split": lambda y: sum(torch.cat([y, y.flip(-1)]).chunk(2)),
    "to another axis and back": lambda y: y.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
    "over its own largest": lambda y: y / y.abs().amax((1, 2, 3), keepdim=True).detach(),
    "channels permuted": lambda y: y[:, torch.tensor([2, 0, 1, 3])],
    "sorted by value": lambda y: y.sort(-1)[0],
    "the largest so far, in time": lambda y: y.cummax(1).values,
    "pieces added together": lambda y: torch.zeros_like(y).index_add(1, torch.tensor([0, 0, 1, 1]), y),
    "mirrored in time": lambda y: y.unflatten(1, (2, 2)).flip(1).flatten(1, 2),
}


@pytest.mark.parametrize("name", MEETING)
def test_samples_that_meet_are_refused_with_the_operator(name: str) -> None:
    between, operator = MEETING[name]
    model, pattern = net(between), f"samples that don't meet .* operator '({operator})"
    for n in (2, 5):
        with pytest.raises(InputError, match=pattern):
            relprop.explain(model, samples(n), 0, "gradient")
    run = relprop.trace(model, samples(2))
    assert_close_to_rounding(
        run.output, model(samples(2)).detach(), model
    )  # the forward run is as right as ever
    with pytest.raises(InputError, match=pattern):
        run.propagate(torch.ones_like(run.output), relprop.Composite(otherwise="gradient"))
    one = samples(2)[:1]
    assert relprop.explain(model, one, 0, "gradient").relevance.shape == one.shape


@pytest.mark.parametrize("name", APART)
def test_samples_that_stay_apart_are_explained_as_one_by_one(name: str) -> None:
    model, x = net(APART[name]), samples(3)
    for method in ("gradient", "lrp-0"):
        if (name, method) == ("over its own largest", "lrp-0"):
            continue  # detach: a constant to the gradient
        together = relprop.explain(model, x, 1, method)
        alone = torch.cat([relprop.explain(model, row[None], 1, method).relevance for row in x])
        assert_close_to_rounding(together.relevance, alone, model)
        assert together.ledger is None or together.ledger.closes


def test_piecewise_forms_refuse_them_too() -> None:
    model, x = net(MEETING["flip"][0]), samples(2)
    for call in (lambda: relprop.affine(model, x, 0), lambda: crossing(model, x, torch.ones_like(x))):
        with pytest.raises(InputError, match="flip"):
            call()


@pytest.mark.parametrize("method", ["smoothgrad:samples=6", "integrated-gradients:steps=6"])
def test_copies_of_one_sample_do_not_meet(method: str) -> None:
    model, x = net(MEETING["over the largest of all"][0]), samples(1)
    many, single = (relprop.explain(model, x, 0, f"{method},chunk={chunk}").relevance for chunk in (6, 1))
    assert torch.equal(many, single)


def test_a_roll_by_the_number_of_samples_moves_nothing() -> None:
    model = net(lambda y: y.roll(2, 0))
    assert torch.equal(
        relprop.explain(model, samples(2), 0, "gradient").relevance,
        relprop.explain(net(lambda y: y), samples(2), 0, "gradient").relevance,
    )


def test_usual_networks_are_proven_and_run_once() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    run = relprop.trace(model.eval(), samples(2).float())
    assert run.meeting() is None
    assert not run.graph.meetings  # nothing had to be tried


def test_products_of_two_signals_are_proven_row_by_row() -> None:
    """Written out as an einsum, which could as well mix samples."""
    run = relprop.trace(net(lambda y: (y * y[:, :, :1].sigmoid()).sum(2, keepdim=True) * y), samples(2))
    assert run.meeting() is None
    assert not run.graph.meetings


def test_half_precision_and_flat_samples() -> None:
    model = net(MEETING["flip"][0]).float()
    for x in (torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)):
        with pytest.raises(InputError, match="flip"):
            relprop.explain(model, x, 0, "gradient")
    with pytest.raises(InputError, match="flip"):
        relprop.explain(model.half(), torch.zeros(2, 3, 8, 8).half(), 0, "gradient")


def test_padding_over_samples() -> None:
    model = net(lambda y: F.pad(y[:-1], (0, 0, 0, 0, 0, 0, 1, 0)))
    with pytest.raises(InputError, match="operator 'pad'"):
        relprop.explain(model, samples(3), 0, "gradient")
