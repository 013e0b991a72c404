"""Snapshots of modules' plain attributes: held as long as none has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import relprop
from relprop.graph.snapshot import Snapshot


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(3).eval()


def test_an_untouched_module_holds() -> None:
    module = norm()
    seen = Snapshot.of(vars(module))
    assert seen is not None
    assert seen.holds(vars(module))
    again = Snapshot.of(vars(norm()))
    assert again is not None
    assert again.number == seen.number


def moved(module: nn.Module) -> None:
    vars(module)["eps"] = 1e-3


def typed(module: nn.Module) -> None:
    vars(module)["training"] = 0


def given(module: nn.Module) -> None:
    vars(module)["note"] = "new"


def exchanged(module: nn.Module) -> None:
    del module.momentum
    vars(module)["another"] = 0.1


def hooked(module: nn.Module) -> None:
    module.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize("change", [moved, typed, given, exchanged, hooked])
def test_every_change_is_seen(change: Callable[[nn.Module], None]) -> None:
    module = norm()
    seen = Snapshot.of(vars(module))
    assert seen is not None
    change(module)
    assert not seen.holds(vars(module))
    now = Snapshot.of(vars(module))
    assert now is None or now.number != seen.number


def test_what_else_a_module_has_is_not_for_a_snapshot() -> None:
    module = norm()
    vars(module)["table"] = {"a": 1}
    assert Snapshot.of(vars(module)) is None


def test_a_module_that_has_changed_is_captured_anew() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8, 2)).eval()
    x = torch.randn(1, 1, 4, 4)
    first = relprop.explain(model, x, 0, "gradient").relevance
    vars(model[1])["negative_slope"] = 0.9
    now = relprop.explain(model, x, 0, "gradient").relevance
    relprop.clear_cache()
    assert not torch.allclose(first, now)
    assert torch.allclose(now, relprop.explain(model, x, 0, "gradient").relevance)
