"""Assignments to parts of a tensor: each is explained as its twin without a write, under every method."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.nets import seeded
from torch import Tensor, nn

import relprop

MASK = torch.tensor([True, False, True, False])


class Net(nn.Module):
    """Convolution, an operator of ours, convolution, mean; a sigmoid puts relevance on zeros."""

    def __init__(self, between: Callable[[Tensor], Tensor], bent: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(5, 3)
        self.between, self.bent = between, bent

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self.first(x).relu())
        y = torch.sigmoid(y) if self.bent else y
        return self.head(self.second(y).relu().mean((2, 3)))


def _shift(y: Tensor) -> Tensor:
    """A temporal shift, as video networks write it."""
    z = torch.zeros_like(y)
    z[:, :2, 1:] = y[:, :2, :-1]
    z[:, 2:3, :-1] = y[:, 2:3, 1:]
    z[:, 3:] = y[:, 3:]
    return z


def _shift_by_padding(y: Tensor) -> Tensor:
    up, down = F.pad(y[:, :2, :-1], (0, 0, 1, 0)), F.pad(y[:, 2:3, 1:], (0, 0, 0, 1))
    return torch.cat([up, down, y[:, 3:]], 1)


def _written(write: Callable[[Tensor, Tensor], object]) -> Callable[[Tensor], Tensor]:
    """`write(z, y)` into a copy z of y."""

    def between(y: Tensor) -> Tensor:
        z = y * 1
        write(z, y)
        return z

    return between


def _half(z: Tensor, y: Tensor) -> None:
    z[:, :2] = 3 * y[:, 2:]


def _masked(z: Tensor, y: Tensor) -> None:
    z[:, MASK] = 0.5


def _one(z: Tensor, y: Tensor) -> None:
    z[:, 1] = 2.0


def _stepped(z: Tensor, y: Tensor) -> None:
    z[:, :, ::2] = y[:, :, 1::2]


def _permuted(z: Tensor, y: Tensor) -> None:
    z[:, [2, 0]] = y[:, [1, 3]]


def _by_value(z: Tensor, y: Tensor) -> None:
    z[z < 0.3] = 0


def _filled(z: Tensor, y: Tensor) -> None:
    z[:, 0].fill_(0.7)
    z[:, 1].zero_()


def _by_mean(z: Tensor, y: Tensor) -> None:
    z[:, :1] = y.mean((1, 2, 3), keepdim=True)


def _transposed(z: Tensor, y: Tensor) -> None:
    z.transpose(2, 3).copy_(y)


def _swapped(y: Tensor) -> Tensor:
    z = torch.empty_like(y)
    z[:, :2], z[:, 2:] = y[:, 2:], y[:, :2]
    return z


def _index(*channels: int) -> Tensor:
    return torch.tensor(channels)


def _channels(fill: float, *kept: int) -> Callable[[Tensor], Tensor]:
    """A number in all channels but those that are kept."""

    def between(y: Tensor) -> Tensor:
        parts = [y[:, i : i + 1] if i in kept else torch.full_like(y[:, :1], fill) for i in range(4)]
        return torch.cat(parts, 1)

    return between


def _even_rows(y: Tensor, z: Tensor) -> Tensor:
    """Every second row of y, from 0 on, replaced by those of z."""
    return torch.stack([z, y[:, :, 1::2]], 3).flatten(2, 3)


def _above_diagonal(y: Tensor) -> Tensor:
    return torch.cat([F.pad(y[:, :, i : i + 1, i + 1 :], (i + 1, 0)) for i in range(8)], 2)


TWINS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "temporal shift": (_shift, _shift_by_padding),
    "half of the channels": (_written(_half), lambda y: torch.cat([3 * y[:, 2:], y[:, 2:]], 1)),
    "a mask of channels": (_written(_masked), _channels(0.5, 1, 3)),
    "one channel": (_written(_one), _channels(2.0, 0, 2, 3)),
    "channels by number": (
        _written(_permuted),
        lambda y: torch.stack([y[:, 3], y[:, 1], y[:, 1], y[:, 3]], 1),
    ),
    "fill and zero": (
        _written(_filled),
        lambda y: torch.cat([torch.full_like(y[:, :1], 0.7), torch.zeros_like(y[:, :1]), y[:, 2:]], 1),
    ),
    "a tensor never filled": (_swapped, lambda y: torch.cat([y[:, 2:], y[:, :2]], 1)),
    "every second row": (_written(_stepped), lambda y: _even_rows(y, y[:, :, 1::2])),
    "through a transposed view": (_written(_transposed), lambda y: y.transpose(2, 3)),
    "a mean, broadcast": (
        _written(_by_mean),
        lambda y: torch.cat([y.mean((1, 2, 3), keepdim=True).expand(-1, 1, 8, 8), y[:, 1:]], 1),
    ),
    "values below a threshold": (_written(_by_value), lambda y: F.threshold(y, 0.3, 0.0)),
    "index_copy": (
        lambda y: y.index_copy(1, _index(0, 2), y[:, :2] * 2),
        lambda y: torch.cat([y[:, :1] * 2, y[:, 1:2], y[:, 1:2] * 2, y[:, 3:]], 1),
    ),
    "index_fill": (lambda y: y.index_fill(1, _index(0, 2), 0.5), _channels(0.5, 1, 3)),
    "masked_fill": (
        lambda y: y.masked_fill(MASK[:, None, None], 0.5),
        _channels(0.5, 1, 3),
    ),
    "where": (
        lambda y: torch.where(MASK[:, None, None], y, torch.full((), 0.5, dtype=y.dtype)),
        _channels(0.5, 0, 2),
    ),
    "select_scatter": (
        lambda y: y.select_scatter(y[:, 3], 1, 0),
        lambda y: torch.cat([y[:, 3:], y[:, 1:]], 1),
    ),
    "slice_scatter": (
        lambda y: y.slice_scatter(y[:, :, 1:2].expand(-1, -1, 4, -1), 2, 0, 8, 2),
        lambda y: _even_rows(y, y[:, :, 1:2].expand(-1, -1, 4, -1)),
    ),
    "gather": (
        lambda y: y.gather(1, _index(1, 1, 0, 3).reshape(1, 4, 1, 1).expand(y.shape[0], 4, 8, 8)),
        lambda y: torch.stack([y[:, 1], y[:, 1], y[:, 0], y[:, 3]], 1),
    ),
    "triu": (lambda y: y.triu(1), _above_diagonal),
    "type_as": (lambda y: y.type_as(y * 2), lambda y: y),
}

SETTINGS = {"lrp": ":rule=gamma"}


@cache
def _nets(name: str, bent: bool = False) -> tuple[nn.Module, nn.Module]:
    own, twin = TWINS[name]
    model, other = seeded(Net(own, bent), 3), seeded(Net(twin, bent), 3)
    other.load_state_dict(model.state_dict())
    return model, other


def _x() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", TWINS)
def test_an_assignment_is_explained_as_its_twin(name: str) -> None:
    model, twin = _nets(name)
    x = _x()
    assert torch.equal(relprop.trace(model, x).output, model(x))
    for method in nets.METHODS:
        if (name, method) == ("values below a threshold", "affine"):
            continue  # refused: values choose which values are taken
        recipe = method + SETTINGS.get(method, "")
        found, expected = (relprop.explain(m, x, [0, 2], recipe) for m in (model, twin))
        assert_close_to_rounding(found.relevance, expected.relevance, 100 * 8 * 8 * 16)
        assert found.ledger is None or found.ledger.closes, method


@pytest.mark.parametrize("name", TWINS)
def test_a_gradient_is_autograds_and_lrp_0_gradient_times_input(name: str) -> None:
    model, _ = _nets(name)
    x = _x().requires_grad_()
    model(x)[:, 1].sum().backward()
    assert x.grad is not None
    gradient = relprop.explain(model, x.detach(), 1, "gradient")
    lrp = relprop.explain(model, x.detach(), 1, "lrp-0")
    assert_close_to_rounding(gradient.relevance, x.grad, model)
    assert_close_to_rounding(lrp.relevance, x.grad * x.detach(), model)


@pytest.mark.parametrize("name", TWINS)
def test_relevance_on_written_constants_is_booked(name: str) -> None:
    model, twin = _nets(name, bent=True)
    for method in ("lrp-0", "lrp-composite", "rsp"):
        found, expected = (relprop.explain(m, _x(), 0, method) for m in (model, twin))
        assert found.ledger is not None
        assert found.ledger.closes, method
        if name != "values below a threshold":  # its twin is an activation, which keeps what is on its zeros
            assert_close_to_rounding(found.relevance, expected.relevance, 100 * 8 * 8 * 16)


@pytest.mark.parametrize("name", [n for n in TWINS if n != "values below a threshold"])
def test_the_affine_form_and_its_owners(name: str) -> None:
    model, twin = _nets(name)
    form, expected = (relprop.affine(m, _x(), 0, owners=True) for m in (model, twin))
    assert form.owners is not None
    assert_close_to_rounding(form.weight, expected.weight, model)
    assert_close_to_rounding(form.bias, expected.bias, 16 * 8 * 8 * 16)
    assert_close_to_rounding(sum(o.amount for o in form.owners), form.bias, 16 * 8 * 8 * 16)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_writes_through_windows_are_right_or_refused(n: int) -> None:
    """Torch captures a write through `unfold` for one batch size, and with zeros where no window reaches."""

    def between(y: Tensor) -> Tensor:
        z = y * 1
        z.unfold(2, 3, 3).mul_(2)
        return z

    model, x = seeded(Net(between), 3), torch.randn(n, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(relprop.errors.CaptureError, match="Can't capture"):
        relprop.trace(model, x)
