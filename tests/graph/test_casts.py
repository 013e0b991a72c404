"""Casts inside forward: every method closes or refuses by name, gradients are autograd's, outputs the model's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import CaptureError, UnsupportedOperatorError
from relprop.graph import capture

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

#: Methods that can't be named without settings; by name: no method is left out.
METHODS = [{"lrp": "lrp:rule=z-plus"}.get(name, name) for name in nets.METHODS]


def to_other(y: Tensor) -> Tensor:
    return (y.to(torch.zeros(1, dtype=torch.float16)) * 2).type_as(y)


CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "double": lambda y: (y.double() * 1.1).float(),
    "double, mixed": lambda y: (y.double() + y).float(),
    "double, joined": lambda y: torch.cat([y.double(), y], 1).chunk(2, 1)[0].float() + y,
    "half": lambda y: (y.half() * 2).float(),
    "bfloat16": lambda y: y.to(torch.bfloat16).relu().to(torch.float32),
    "half, then bfloat16": lambda y: y.half().bfloat16().float(),
    "to another's dtype": to_other,
    "float8": lambda y: y.to(torch.float8_e4m3fn).to(torch.float32),
    "half zeros": lambda y: y + torch.zeros_like(y, dtype=torch.float16),
    "half sum": lambda y: y + y.sum(1, keepdim=True, dtype=torch.float16),
}

CONVS: dict[str, Callable[[], nn.Module]] = {
    "conv1d": lambda: nn.Conv1d(3, 4, 3),
    "conv2d": lambda: nn.Conv2d(3, 4, 3),
    "conv3d": lambda: nn.Conv3d(3, 4, 3),
    "transposed 1d": lambda: nn.ConvTranspose1d(3, 4, 3),
    "transposed 2d": lambda: nn.ConvTranspose2d(3, 4, 3),
    "with batch norm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "linear": lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.Linear(7, 7)),
}
SIZES = {"1d": (2, 3, 7), "2d": (2, 3, 7, 7), "3d": (2, 3, 5, 5, 5), "norm": (2, 3, 7, 7), "ar": (2, 3, 7)}


def model_of(conv: str, cast: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer, head = CONVS[conv](), nn.Linear(4, 3)
    size = next(size for end, size in SIZES.items() if conv.endswith(end))
    net = Fn(lambda m, x: m.head(CASTS[cast](m.layer(x)).flatten(2).mean(-1)), layer=layer, head=head)
    return net.eval(), torch.randn(size, generator=torch.Generator().manual_seed(1))


def autograd(model: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("conv", CONVS)
def test_the_gradient_is_autograds(conv: str, cast: str) -> None:
    """Autograd rounds derivatives to the narrow dtype on its way back, relprop doesn't."""
    model, x = model_of(conv, cast)
    narrow = capture(model, x).narrowest
    e = relprop.explain(model, x, 1, "gradient")
    assert e.relevance.dtype == torch.float32
    expected, output = autograd(model, x, 1), model(x).detach()
    share = 4 * torch.finfo(torch.float32 if narrow is None else narrow).eps
    for found, right in ((e.relevance, expected), (e.outputs, output)):
        torch.testing.assert_close(found, right, rtol=0, atol=max(1e-5, share) * float(right.abs().max()))


@cache
def between_two(cast: str) -> nn.Module:
    """The cast between two convolutions; captured once for all methods."""
    torch.manual_seed(0)
    return Fn(
        lambda m, x: m.head(m.two(CASTS[cast](m.one(x)).relu()).relu().mean((2, 3))),
        one=nn.Conv2d(3, 4, 3), two=nn.Conv2d(4, 4, 3), head=nn.Linear(4, 3),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("cast", ["double", "double, mixed", "half", "float8", "half sum"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_closes_or_refuses_by_name(method: str, cast: str) -> None:
    model = between_two(cast)
    x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    if method == "affine" and any(node.rounds is not None for node in capture(model, x).nodes):
        with pytest.raises(UnsupportedOperatorError, match=r"it rounds to torch\."):
            relprop.explain(model, x, 1, method)
        return
    e = relprop.explain(model, x, 1, method)
    assert e.relevance.dtype == torch.float32
    assert e.ledger is None or e.ledger.closes


def test_a_cast_to_half_rounds() -> None:
    """What it adds to the value is a constant, booked as bias."""
    model, x = (
        Fn(lambda m, x: (x.half() * 2).float().sum((1, 2), keepdim=False)[:, None]),
        torch.rand(2, 3, 5),
    )
    run = relprop.trace(model, x)
    cast = next(node for node in run.graph.nodes if node.rounds is not None)
    assert cast.rounds == torch.float16
    assert torch.equal(run.value(cast), x.half().float())
    e = relprop.explain(model, x, 0, "lrp-0")
    assert_close_to_rounding(e.relevance, 2 * x, 15)
    assert e.ledger is not None
    row = next(row for row in e.ledger.rows if row.node == cast.name)
    assert row.bias == pytest.approx(2 * float((x.half().double() - x.double()).sum()), rel=1e-3)
    assert e.ledger.closes


def test_a_cast_to_double_is_one_in_both_directions() -> None:
    """A difference of two large values, in double, has the relevance that it has where all is double."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x).double()
        return m.head(((y + 1e6) - 1e6).relu().mean((2, 3)).to(x.dtype))

    torch.manual_seed(0)
    model = Fn(forward, conv=nn.Conv2d(3, 4, 3), head=nn.Linear(4, 2)).eval()
    x = torch.randn(1, 3, 6, 6)
    found = relprop.explain(model, x, 1, "gradient").relevance
    expected = relprop.explain(model.double(), x.double(), 1, "gradient").relevance
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


MIXED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "half head": lambda m, x: m.f(m.c(x).relu().mean((2, 3)).half()).float(),
    "to the weight's dtype": lambda m, x: m.f(m.c(x).relu().mean((2, 3)).to(m.f.weight.dtype)).to(x.dtype),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "method", ["gradient", "lrp-0", "lrp-composite", "smoothgrad", "integrated-gradients"]
)
def test_modules_of_two_dtypes(name: str, dtype: torch.dtype, method: str) -> None:
    torch.manual_seed(0)
    model = Fn(MIXED[name], f=nn.Linear(4, 3).to(dtype), c=nn.Conv2d(3, 4, 3)).eval()
    if name == "half head" and dtype != torch.float16:
        model.function = lambda m, x: m.f(m.c(x).relu().mean((2, 3)).to(dtype)).float()
    x = torch.randn(1, 3, 8, 8)
    e = relprop.explain(model, x, 1, method)
    assert e.relevance.dtype == torch.float32
    assert e.ledger is None or e.ledger.closes
    output = model(x).detach()
    share = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    torch.testing.assert_close(e.outputs.float(), output, rtol=0, atol=share * float(output.abs().max()))


def test_the_whole_model_in_half_precision() -> None:
    model = Fn(
        lambda m, x: m.f((m.c(x).float() * 2).mean((2, 3)).to(x.dtype)),
        c=nn.Conv2d(3, 4, 3),
        f=nn.Linear(4, 2),
    )
    x = torch.randn(1, 3, 6, 6)
    for method in ("gradient", "lrp-0", "smoothgrad", "integrated-gradients"):
        e = relprop.explain(model.eval().half(), x.half(), 1, method)
        assert e.relevance.dtype == torch.float32
        assert e.ledger is None or e.ledger.closes


def test_the_bits_of_a_narrow_value_are_refused() -> None:
    model = Fn(lambda m, x: x + x.half().view(torch.int16).float())
    with pytest.raises(CaptureError, match=r"reads the bits of torch\.float16 as torch\.int16"):
        relprop.explain(model, torch.rand(1, 4), 1)


def test_a_mask_is_cast_as_ever() -> None:
    """Casts of numbers without a derivative cut the way, as in autograd."""
    model = Fn(lambda m, x: x * (x > 0).to(torch.float16) + x.to(torch.int32).half())
    x = torch.randn(2, 4)
    assert torch.equal(relprop.explain(model, x, 1, "gradient").relevance, autograd(model, x, 1))
