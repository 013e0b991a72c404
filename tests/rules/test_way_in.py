"""The z-box behind what a model does to its input first: the bounds go the way that the pixels go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.rules import ZBox, ZPlus

LOW = torch.tensor([-2.0, -1.0, 0.0], dtype=torch.float64)
HIGH = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
MEAN = torch.tensor([0.2, -0.5, 0.1], dtype=torch.float64).reshape(3, 1, 1)
STD = torch.tensor([0.5, -2.0, 0.25], dtype=torch.float64).reshape(3, 1, 1)  # one turns its channel round


class Behind(nn.Module):
    """A convolution behind what is done to the input first."""

    def __init__(self, first: Callable[[Tensor], Tensor], conv: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.conv = first, conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.first(x)).relu().mean((2, 3))


def conv(weight: Tensor, stride: int = 1, bias: Tensor | None = None) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:], stride, bias=bias is not None).double()
    layer.weight.data.copy_(weight)
    if bias is not None:
        layer.bias.data.copy_(bias)
    return layer


def pixels(n: int = 2) -> Tensor:
    share = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return LOW.reshape(3, 1, 1) + share * (HIGH - LOW).reshape(3, 1, 1)


def by_box(model: nn.Module, x: Tensor, low: Tensor, high: Tensor, stop: str | None = None) -> Tensor:
    run = trace(model.eval(), x)
    rules = Composite([("first", ZBox(low, high)), ("linear", ZPlus())], name="box first")
    found = run.run(torch.ones(len(x), 4, dtype=torch.float64), rules, stop=stop)
    assert found.ledger is not None
    assert found.ledger.closes
    return found.relevance


def focused(x: Tensor) -> Tensor:
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_channels_turned_round(weight: Tensor) -> None:
    x = pixels()
    turned = Behind(lambda t: t.flip(1), conv(weight.flip(1)))
    found = by_box(turned, x, LOW, HIGH)
    assert_close_to_rounding(found, by_box(Behind(nn.Identity(), conv(weight)), x, LOW, HIGH), turned)


@pytest.mark.parametrize("first", [nn.PixelUnshuffle(2), focused], ids=["unshuffle", "focus"])
def test_pixels_sorted_into_channels(weight: Tensor, first: Callable[[Tensor], Tensor]) -> None:
    # The same function as a convolution of 2 × 2 with stride 2: whose weight each new channel has tells a ramp.
    x = pixels()
    places = torch.arange(12, dtype=torch.float64).reshape(1, 3, 2, 2)
    order = first(places).flatten().long()
    sorted_weight = weight.flatten(1)[:, order].reshape(4, 12, 1, 1)
    model = Behind(first, conv(sorted_weight))
    plain = Behind(nn.Identity(), conv(weight, stride=2))
    assert_close_to_rounding(model(x).detach(), plain(x).detach(), plain)
    assert_close_to_rounding(by_box(model, x, LOW, HIGH), by_box(plain, x, LOW, HIGH), model)


class Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - MEAN) / STD


def test_a_mean_subtracted_and_a_scale(weight: Tensor) -> None:
    # What the convolution hands on is what it does where the picture comes normalised.
    x = pixels()
    inside = Behind(Normalise(), conv(weight))
    ends = [((bound.reshape(3, 1, 1) - MEAN) / STD).flatten() for bound in (LOW, HIGH)]
    outside = Behind(nn.Identity(), conv(weight))
    expected = by_box(outside, (x - MEAN) / STD, torch.minimum(*ends), torch.maximum(*ends))
    assert_close_to_rounding(by_box(inside, x, LOW, HIGH, stop="first"), expected, inside)
