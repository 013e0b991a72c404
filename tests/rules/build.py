"""Small helpers for tests of rules: a module from a function, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.propagate.walk import Propagation


class Fn(nn.Module):
    """A module from a function of (module, x), with submodules, parameters and buffers by keyword."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, (nn.Parameter, nn.Module)):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def gradient_times_input(model: Callable[[Tensor], Tensor], x: Tensor, seed: Tensor) -> Tensor:
    """x · d(seed · model(x)) / dx, seed an upstream gradient (N, ...) or (K, N, ...)."""
    leaf = x.detach().clone().requires_grad_()
    y = model(leaf)
    if seed.ndim == y.ndim:
        return x * torch.autograd.grad(y, leaf, seed)[0]
    return torch.stack([x * torch.autograd.grad(y, leaf, s, retain_graph=True)[0] for s in seed])


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference beside the largest element."""
    assert found.shape == expected.shape
    assert bool(torch.isfinite(found).all())
    top = float(expected.abs().max())
    return float((found - expected).abs().max()) / (top or 1.0)


def lrp0(model: nn.Module, x: Tensor, multiplier: Tensor, composite: Composite | None = None) -> Propagation:
    """LRP-0 from relevance = multiplier × output; fails if the books don't balance."""
    run = trace(model, x)
    found = run.run(multiplier * run.output, composite or Composite())
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    return found


def seeds(y: Tensor, count: int = 0) -> Tensor:
    """Random upstream gradients for y."""
    return torch.randn(*((count,) if count else ()), *y.shape, dtype=y.dtype)
