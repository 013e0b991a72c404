"""Zeros around a map: outside of a convolution as inside of it, and booked where relevance lies on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.rules import AlphaBeta, Epsilon, Flat, Gamma, LinearRule, Section, WSquare, ZBox, ZPlus

PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "1-d": (
        lambda: nn.Sequential(nn.ConstantPad1d((2, 2), 0.0), nn.Conv1d(2, 4, 3)),
        lambda: nn.Conv1d(2, 4, 3, padding=2),
        (2, 9),
    ),
    "2-d": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)),
        lambda: nn.Conv2d(3, 4, 3, padding=1),
        (3, 6, 5),
    ),
    "stride, uneven": (
        lambda: nn.Sequential(nn.ZeroPad2d((2, 2, 1, 1)), nn.Conv2d(3, 4, (3, 5), stride=2)),
        lambda: nn.Conv2d(3, 4, (3, 5), stride=2, padding=(1, 2)),
        (3, 7, 8),
    ),
    "twice": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding=1)),
        lambda: nn.Conv2d(3, 4, 3, padding=2),
        (3, 5, 5),
    ),
    "depthwise": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3, groups=4)),
        lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
        (4, 5, 5),
    ),
    "3-d": (
        lambda: nn.Sequential(nn.ConstantPad3d((1, 1, 0, 0, 1, 1), 0.0), nn.Conv3d(2, 3, (3, 1, 3))),
        lambda: nn.Conv3d(2, 3, (3, 1, 3), padding=(1, 0, 1)),
        (2, 3, 4, 5),
    ),
}
RULES: list[LinearRule | Section] = [
    Epsilon(0.0), Epsilon(0.1), Gamma(0.3), AlphaBeta(2, 1), ZPlus(), WSquare(), Flat(), ZBox(-4.0, 5.0),
    ZBox(bounds="sample"), Section("released"),
]  # fmt: skip


def _net(first: nn.Module, x: Tensor) -> nn.Module:
    with torch.no_grad():
        width = first(x).flatten(1).shape[1]
        channels = first(x).shape[1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[x.ndim - 3](channels)
    nn.init.uniform_(norm.running_mean, -0.3, 0.3)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), nn.Linear(width, 3)).double().eval()


@cache
def pair(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """Padding outside, the same inside, and an input; captured once for all rules."""
    around, within, shape = PAIRS[name]
    torch.manual_seed(0)
    outer, inner = around(), within()
    inner.load_state_dict(outer[1].state_dict())
    x = torch.randn(2, *shape, dtype=torch.float64)
    a, b = _net(outer.double(), x), _net(inner.double(), x)
    b[1].load_state_dict(a[1].state_dict())
    b[4].load_state_dict(a[4].state_dict())
    return a, b, x


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("name", PAIRS)
def test_padding_outside_is_padding_inside(name: str, rule: LinearRule) -> None:
    a, b, x = pair(name)
    method = relprop.LRP(composite=relprop.Composite([("linear", rule)], "positive"))
    found, expected = (relprop.explain(net, x, [0, 1], method) for net in (a, b))
    for e in (found, expected):
        assert e.ledger is not None
        assert e.ledger.closes, str(e.ledger)
    assert_close_to_rounding(found.relevance, expected.relevance, a)


BEHIND: dict[str, Callable[[], nn.Module]] = {
    "group norm": lambda: nn.GroupNorm(2, 4),
    "layer norm": lambda: nn.LayerNorm([8, 8]),
    "batch norm": lambda: nn.BatchNorm2d(4),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hardsigmoid": nn.Hardsigmoid,
}


@pytest.mark.parametrize("how", ["pad", "ones", "join"])
@pytest.mark.parametrize("name", BEHIND)
def test_relevance_on_padding_is_booked(name: str, how: str) -> None:
    """Norms and activations with f(0) != 0 put relevance on zeros; it must stand in a column."""
    pads = {
        "pad": lambda y: F.pad(y, (1, 1, 1, 1)),
        "ones": lambda y: F.pad(y, (1, 1, 1, 1), value=1.0),
        "join": lambda y: torch.cat(
            [torch.zeros(len(y), 4, 1, 6).to(y), y, torch.zeros(len(y), 4, 1, 6).to(y)], 2
        ),
    }
    if how == "join" and name == "layer norm":
        pytest.skip("this layer norm wants 8 columns")
    behind = BEHIND[name]()
    if isinstance(behind, nn.BatchNorm2d):
        nn.init.normal_(behind.bias)
    net = Fn(
        lambda m, x: m.head(m.behind(pads[how](m.conv(x).relu())).flatten(2).mean(-1)),
        conv=nn.Conv2d(1, 4, 3), behind=behind, head=nn.Linear(4, 3),
    ).double().eval()  # fmt: skip
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    for method in ("lrp-0", "lrp-epsilon", "lrp-composite", "lrp-alpha-beta", "deep-taylor", "rap", "clrp"):
        ledger = relprop.explain(net, x, [0, 1], method).ledger
        assert ledger is not None
        assert ledger.closes, f"{method}\n{ledger}"


def test_cutting_off_is_no_padding() -> None:
    net = Fn(
        lambda m, x: m.conv(F.pad(m.norm(x), (-1, 2, 0, 1))).mean((2, 3)),
        norm=nn.BatchNorm2d(4), conv=nn.Conv2d(4, 3, 3),
    ).double().eval()  # fmt: skip
    e = relprop.explain(net, torch.randn(2, 4, 6, 5, dtype=torch.float64), 0, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes


def test_more_channels_are_no_padding_of_a_convolution() -> None:
    net = Fn(
        lambda m, x: m.conv(F.pad(x, (0, 0, 0, 0, 1, 1))).mean((2, 3)), conv=nn.Conv2d(5, 3, 3)
    ).double()  # fmt: skip
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    e = relprop.explain(net, x, 0, "lrp-0")
    leaf = x.clone().requires_grad_()
    assert_close_to_rounding(e.relevance, torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)[0] * x, net)


def test_relevance_on_the_padded_map_is_refused_by_name() -> None:
    net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(InputError, match="Ask at 'input' or 'conv2d'"):
        relprop.explain(net, torch.randn(1, 3, 6, 6), 0, "lrp-composite", layers=["0"])
    # Derivatives are taken operator by operator.
    e = relprop.explain(net, torch.randn(1, 3, 6, 6), 0, "gradient", layers=["0"])
    assert e.layers["0"].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("level", [1.0, 0.4, 0.0, -0.7])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_picture_of_one_grey_closes(level: float, padding: int) -> None:
    """Without a range pixels can have come from nowhere else: what the box would share out is booked lost."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=padding), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.full((1, 3, 8, 8), level)
    net(x)
    for method in ("lrp-composite", "deep-taylor"):
        e = relprop.explain(net.eval(), x, int(net(x).argmax()), method)
        assert e.ledger is not None
        assert e.ledger.closes, str(e.ledger)
        assert not bool(e.relevance.any())
        if float(e.outputs.max()) > 0 or method == "lrp-composite":
            booked = e.ledger.bias + e.ledger.stabiliser + e.ledger.lost
            assert booked == pytest.approx(e.ledger.start, rel=1e-4, abs=1e-6)
