"""An explanation is plain data: it goes through pickle, copies and torch.save whole, and holds no model."""

from __future__ import annotations

import copy
import gc
import io
import multiprocessing
import pickle
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import nets
from torch import nn

import relprop
from relprop.explanation import Explanation
from relprop.rules import Epsilon


@cache
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def through_torch(e: Explanation) -> Explanation:
    file = io.BytesIO()
    torch.save(e, file)
    file.seek(0)
    found: Explanation = torch.load(file, weights_only=False)
    return found


WAYS: dict[str, Callable[[Explanation], Explanation]] = {
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
    "deepcopy": copy.deepcopy,
    "torch.save": through_torch,
}


#: Methods that can't be named without settings.
NEEDED = {"lrp": "lrp:rule=z-plus"}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, relprop.propagate.ledger.Ledger):
        return (a.totals, a.tolerance, a.summary(), str(a)) == (b.totals, b.tolerance, b.summary(), str(b))
    return bool(a == b)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [NEEDED.get(name, name) for name in nets.METHODS])
def test_every_method(method: str, way: str) -> None:
    e = relprop.explain(net(), X, [1, 2], method, layers=["2"] if method == "lrp-composite" else [])
    made = WAYS[way](e)
    assert made is not e
    for name, value in vars(e).items():
        assert same(getattr(made, name), value), name
    assert repr(made) == repr(e)
    assert (e.plan is None) == (made.plan is None)


@pytest.mark.parametrize("method", [NEEDED.get(name, name) for name in nets.METHODS])
def test_saved_settings_are_those_of_the_live_one(method: str, tmp_path: Path) -> None:
    e = relprop.explain(net(), X, [1, 2], method)
    assert Explanation.load(e.save(tmp_path / "e", picture=False)).settings == e.settings


def test_settings_of_every_kind_come_back_the_same(tmp_path: Path) -> None:
    composite = relprop.Composite(
        [("first", relprop.rules.ZBox(torch.full((3,), -9.0), torch.full((3,), 9.0)))]
    )
    low, high = torch.tensor([-1.0, -0.1, -2.0]), torch.tensor(9.0, dtype=torch.float64)
    methods = (
        relprop.DeepTaylor(bounds=(low * 90, high)),
        relprop.DeepTaylor(bounds=(-torch.full((3, 8, 8), 9.0), 9)),
        relprop.LRP(composite=composite),
        relprop.RSP(hostile={0, 3}),
        relprop.RSP(hostile=range(2)),
        relprop.IntegratedGradients(baseline=torch.zeros(1, 3, 8, 8)),
        relprop.LRPEpsilon(epsilon=np.float32(0.1)),
    )
    for i, method in enumerate(methods):
        e = relprop.explain(net(), X, 1, method)
        made = Explanation.load(e.save(tmp_path / f"{i}"))
        assert made.settings == e.settings
        assert Explanation.load(made.save(tmp_path / f"{i} again")).settings == e.settings
        assert e.settings.keys() == method.settings().keys()
    bounds = relprop.explain(net(), X, 1, relprop.DeepTaylor(bounds=(low * 90, high))).settings["bounds"]
    assert bounds == [(low * 90).tolist(), 9.0]


def test_settings_that_are_no_plain_data_become_their_text() -> None:
    composite = relprop.Composite([(lambda place: place.first, Epsilon())])
    method = relprop.LRP(composite=composite)
    e = relprop.explain(net(), X, 0, method)
    made = pickle.loads(pickle.dumps(e))
    assert made.settings == e.settings
    assert e.settings["composite"] == repr(composite)
    assert method.settings()["composite"] is composite


def _total(e: Explanation) -> tuple[float, bool, int]:
    assert e.ledger is not None
    return float(e.relevance.sum()), e.ledger.closes, len(e.ledger.rows)


def test_it_goes_to_another_process() -> None:
    e = relprop.explain(net(), X, 0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_total, (e,)) == _total(e)


def test_it_holds_neither_model_nor_graph() -> None:
    model = net.__wrapped__()
    e = relprop.explain(model, X, 0)
    graph, gone = weakref.ref(relprop.trace(model, X).graph), weakref.ref(model)
    del model
    gc.collect()
    assert (graph(), gone()) == (None, None)
    assert e.ledger is not None
    assert e.ledger.closes
