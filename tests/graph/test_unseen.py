"""Custom autograd functions and backward hooks: named where they change the gradient, and only there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropWarning

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


class Straight(torch.autograd.Function):
    """Rounds; the gradient goes straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Reversal(torch.autograd.Function):
    """A copy; the gradient changes its sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


class Swish(torch.autograd.Function):
    """x sigmoid(x), with the derivative of just that, as memory-efficient implementations have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * (s * (1 + x * (1 - s)))


def net(middle: Callable[[Tensor], Tensor] = lambda y: y) -> nn.Module:
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    return Fn(lambda m, x: m.head(middle(m.conv(x) * 3).mean((2, 3))), conv=conv, head=head).eval()


def hooked(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    def middle(y: Tensor) -> Tensor:
        if y.requires_grad:
            y.register_hook(hook)
        return y

    return middle


def with_module_hook(hook: Callable[..., Any], kind: str = "register_full_backward_hook") -> nn.Module:
    model = net()
    getattr(model.conv, kind)(hook)
    return model


CHANGED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "straight-through": (lambda: net(Straight.apply), "the custom autograd function Straight"),
    "reversal": (lambda: net(Reversal.apply), "the custom autograd function Reversal"),
    "module hook": (
        lambda: with_module_hook(lambda m, gi, go: (gi[0] * 2,)), "a backward hook on module 'conv'"
    ),
    "module pre-hook": (
        lambda: with_module_hook(lambda m, go: (go[0] * 2,), "register_full_backward_pre_hook"),
        "a backward hook on module 'conv'",
    ),
    "tensor hook": (lambda: net(hooked(lambda g: g.clamp(min=0))), r"a hook on a tensor \(register_hook\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("method", ["gradient", "gradient-x-input", "smoothgrad", "guided-backprop"])
def test_what_changes_the_gradient_is_named(name: str, method: str) -> None:
    make, words = CHANGED[name]
    model = make()
    for _ in range(2):  # at the first use of a graph, and later
        with pytest.warns(
            RelpropWarning, match=f"{method} takes the derivatives of .* through {words}, which"
        ):
            relprop.explain(model, X, 1, method)
    assert all(p.grad is None for p in model.parameters())


def test_relevance_has_no_use_for_a_backward() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a large bias
        e = relprop.explain(net(Reversal.apply), X, 1, "lrp-0")
    assert not any("autograd" in said for said in e.warnings)


seen: list[Any] = []
UNCHANGED: dict[str, Callable[[], nn.Module]] = {
    "the right derivative": lambda: net(Swish.apply),
    "a module hook that looks": lambda: with_module_hook(lambda m, gi, go: seen.append(go)),
    "a tensor hook that looks": lambda: net(hooked(lambda g: seen.append(g))),
    "a hook on a parameter": lambda: _on_parameter(net()),
    "checkpointing": lambda: net(
        lambda y: torch.utils.checkpoint.checkpoint(torch.relu, y, use_reentrant=False)
    ),
}  # fmt: skip


def _on_parameter(model: nn.Module) -> nn.Module:
    model.conv.weight.register_hook(lambda g: g * 0)
    return model


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_changes_nothing_is_not_named(name: str) -> None:
    model = UNCHANGED[name]()
    seen.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = relprop.explain(model, X, 1, "gradient")
    assert seen == []
    leaf = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    assert_close_to_rounding(e.relevance, expected, model)
