"""While a model is captured results are kept of what it calls alone; the graph is the same, torch as it was."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import relprop
from relprop.errors import CaptureError
from relprop.graph import capture, exporting


class Repeats(nn.Module):
    """Operators that others compute, over and over and at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 6, 3), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).flatten(2).mT
        for _ in range(3):
            y = y + F.scaled_dot_product_attention(y, y, F.gelu(self.norm(y))).softmax(-1)
            y = F.gelu(self.norm(y))[:, 1:]
        return self.head(y.mean(1))


def drawn(model: nn.Module, x: Tensor) -> list[tuple[object, ...]]:
    return [
        (n.name, n.op, n.kind, n.module, n.bounds, [getattr(u, "name", u) for u in n.args])
        for n in capture(model, x).nodes
    ]


def test_the_graph_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Repeats().eval(), torch.randn(2, 2, 5, 5)
    found = drawn(model, x)
    relprop.clear_cache(model)
    monkeypatch.setattr(exporting, "_results_kept_once", nullcontext)
    assert found == drawn(model, x)


def test_torch_is_as_it_was_also_after_a_failure() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    theirs = FakeTensorMode._cached_dispatch_impl
    capture(Repeats().eval(), torch.randn(1, 2, 5, 5))
    with pytest.raises(CaptureError):
        capture(Reads().eval(), torch.randn(1, 2))
    assert FakeTensorMode._cached_dispatch_impl is theirs
