"""Complex values on the way: gradients are autograd's, LRP refuses by name, nothing counts as a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(
        torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.complex128)
    )


def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, 1).double()


FORWARDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "fourier block": lambda m, x: (m.c(x) + torch.fft.irfft2(torch.fft.rfft2(x) * m.w, s=x.shape[-2:])).relu(),
    "fft and real": lambda m, x: m.c(x) + torch.fft.ifft2(torch.fft.fft2(x) * m.v).real,
    "view_as_real": lambda m, x: torch.view_as_real(torch.fft.rfft2(x) * m.w).sum(-1)[..., :3] + x[..., :3],
    "view_as_complex": lambda m, x: (torch.view_as_complex(torch.stack([x, m.c(x)], -1)) * m.v).imag,
    "magnitude": lambda m, x: torch.fft.rfft2(m.c(x)).abs()[..., :4],
    "conjugate": lambda m, x: (torch.fft.rfft2(x) * torch.fft.rfft2(m.c(x)).conj()).real,
    "complex linear": lambda m, x: torch.nn.functional.linear(x + 1j * m.c(x), m.u).real,
    "complex product": lambda m, x: ((x + 1j * m.c(x)) @ m.u).imag,
    "complex joined": lambda m, x: torch.cat([torch.fft.rfft(x), -torch.fft.rfft(m.c(x)) / 2], 1).imag,
    "complex sum": lambda m, x: (torch.fft.rfft(x).sum(-1) - torch.fft.rfft(m.c(x)).mean(-1) * (1 + 2j)).real,
    "polar": lambda m, x: torch.polar(x.abs() + 1, m.c(x)).real,
}  # fmt: skip


def model_of(name: str) -> nn.Module:
    return Fn(
        lambda m, x: FORWARDS[name](m, x).flatten(1)[:, :5],
        c=conv(), w=weights(3, 8, 5), v=weights(3, 8, 8), u=weights(8, 8),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("name", FORWARDS)
def test_the_gradient_is_autograds(name: str) -> None:
    model = model_of(name)
    leaf = X.clone().requires_grad_()
    output = model(leaf)
    expected = torch.autograd.grad(output[:, 1].sum(), leaf)[0]
    for method, right in (("gradient", expected), ("gradient-x-input", expected * X)):
        e = relprop.explain(model, X, 1, method)
        assert_close_to_rounding(e.relevance, right, 1000)
        assert_close_to_rounding(e.outputs, output.detach(), 1000)


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("method", ["lrp-0", "lrp-epsilon", "lrp-composite", "lrp-gamma"])
def test_relevance_closes_or_is_refused_by_name(name: str, method: str) -> None:
    """Never a branch that gets nothing while the ledger closes."""
    with pytest.raises(UnsupportedOperatorError, match="No rule for operator '"):
        relprop.explain(model_of(name), X, 1, method)


def test_affine_refuses_by_name() -> None:
    with pytest.raises(UnsupportedOperatorError, match="fft_rfft2"):
        relprop.affine(model_of("fourier block"), X[:1], 1)
    form = relprop.affine(model_of("fourier block"), X[:1], 1, linearise=True)
    total = form.contribution.sum() + torch.as_tensor(form.bias).sum()
    assert float(total - form.score) == pytest.approx(0, abs=1e-9)


def test_a_complex_constant_is_one() -> None:
    """A filter made from parameters alone needs no rule."""
    model = Fn(lambda m, x: m.c(x) * torch.fft.irfft2(m.w, s=(8, 8)), c=conv(), w=weights(3, 8, 5)).eval()
    e = relprop.explain(Fn(lambda m, x: m.n(x).flatten(1), n=model), X, 1, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes
