"""Lists and dicts that a model or its hooks write to hold after the call what they held before."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropError

GLOBAL: list[Any] = []


class Keeps(nn.Module):
    """Writes x to whatever it holds."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fc, self.fails = nn.Linear(4, 2), fails
        self.row: list[Any] = ["old"]
        self.named: dict[str, Any] = {"old": 1, "deep": {"rows": [0]}}
        self.lately: deque[Any] = deque([1, 2], maxlen=2)
        self.state = nn.Buffer(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.row.append(x)
        self.named["last"] = x
        self.named["deep"]["rows"].append(x)
        self.lately.append(x)
        self.last = x
        GLOBAL.append(x)
        y = self.fc(x)
        if self.fails and y.sum() > 0:
            raise ValueError("too large")
        return y


class Hook:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def method(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.seen.append(out)

    def __call__(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.seen.append(out)


def into(kept: dict[str, Any], module: nn.Module, args: Any, out: Tensor) -> None:
    kept["out"] = out


@pytest.mark.parametrize("fails", [False, True])
def test_as_before(fails: bool) -> None:
    model = Keeps(fails).eval()
    closed: dict[str, Any] = {"before": 1}
    partial: dict[str, Any] = {}
    one, two = Hook(), Hook()
    model.fc.register_forward_hook(lambda m, a, out: closed.__setitem__("out", out))
    model.fc.register_forward_hook(functools.partial(into, partial))
    model.fc.register_forward_hook(one.method)
    model.fc.register_forward_hook(two)
    for method in ("lrp-0", "gradient"):
        if fails:
            with pytest.raises(RelpropError):
                relprop.explain(model, torch.ones(2, 4), 0, method)
        else:
            relprop.explain(model, torch.ones(2, 4), 0, method)
    assert model.row == ["old"]
    assert model.named == {"old": 1, "deep": {"rows": [0]}}
    assert list(model.lately) == [1, 2]
    assert not hasattr(model, "last")
    assert GLOBAL == []
    assert closed == {"before": 1}
    assert partial == {}
    assert one.seen == two.seen == []
