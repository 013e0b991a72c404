"""Bias by depth: the forms' own numbers, and their statistics."""

from __future__ import annotations

import json

import pytest
import torch
from tests import nets
from tests.close import rounding
from tests.refusals import assert_refused
from torch import nn

import relprop
from relprop.errors import InputError
from relprop.metrics import affine_parts
from relprop.piecewise import BiasByDepth, bias_ratio_by_depth

X = nets.pictures(4, 3, 16, 16)


def test_numbers_are_those_of_the_forms() -> None:
    model = nets.vgg()
    calls: list[tuple[int, int]] = []
    found = bias_ratio_by_depth(model, X, [0, 1, 2, 3], progress=lambda *c: calls.append(c))
    assert found.layers == ("input", "1", "4")
    assert found.ratio.shape == found.share.shape == (4, 3)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for i in range(4):
        parts = affine_parts(model, X[i : i + 1], i)
        assert found.ratio[i].tolist() == pytest.approx([p.ratio for p in parts], rel=rounding(model))
        assert found.share[i].tolist() == pytest.approx([p.bounded for p in parts], rel=rounding(model))
    assert found.targets.tolist() == [0, 1, 2, 3]


def test_inputs_one_after_the_other() -> None:
    model = nets.resnet()
    whole = bias_ratio_by_depth(model, X, layers=["bn1"])
    calls: list[tuple[int, int]] = []
    single = bias_ratio_by_depth(
        model, (x[None] for x in X), layers=["bn1"], progress=lambda *c: calls.append(c)
    )
    assert calls[-1] == (4, 0)  # a generator doesn't know how many
    assert torch.equal(whole.ratio, single.ratio)
    assert whole.targets.tolist() == model(X).argmax(1).tolist()
    assert torch.equal(bias_ratio_by_depth(model, X, 2).targets, torch.tensor([2] * 4))


def test_table() -> None:
    nan = float("nan")
    ratio = torch.tensor([[1.0, nan], [2.0, nan], [6.0, nan], [nan, nan]], dtype=torch.float64)
    share = torch.tensor([[0.1, nan], [0.2, nan], [0.3, nan], [0.8, nan]], dtype=torch.float64)
    table = BiasByDepth(("input", "1"), ratio, share, torch.zeros(4).long()).table()
    assert json.loads(json.dumps(table)) == table
    first, second = table
    assert (first["layer"], first["n"], first["mean"], first["median"]) == ("input", 3, 3.0, 2.0)
    assert (first["lower"], first["upper"]) == (1.5, 4.0)
    assert first["bounded_median"] == pytest.approx(0.25)
    assert second == dict.fromkeys(first) | {"layer": "1", "n": 0}


def test_refusals() -> None:
    model = nets.vgg()
    assert_refused(
        InputError,
        (lambda: bias_ratio_by_depth(model, []), "one input but got none"),
        (lambda: bias_ratio_by_depth(model, [X]), r"one after the other but got \(4,"),
        (lambda: bias_ratio_by_depth(model, X, [0, 1]), "got 2 for more inputs"),
    )
    silu = nn.Sequential(nn.Flatten(), nn.SiLU(), nn.Linear(768, 2)).double().eval()
    with pytest.raises(relprop.errors.UnsupportedOperatorError, match="'silu'"):
        bias_ratio_by_depth(silu, X)
