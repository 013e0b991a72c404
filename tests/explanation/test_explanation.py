from __future__ import annotations

import dataclasses
import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tests.viz.make import explanation, ledger
from torch import nn

import relprop
from relprop.errors import InputError
from relprop.explanation import Explanation


def test_heatmap_sums_over_channels() -> None:
    one = explanation((2, 3, 5, 6))
    assert torch.equal(one.heatmap(), one.relevance.sum(1))
    many = explanation((2, 3, 5, 6), asked=[1, 2])
    assert torch.equal(many.heatmap(), many.relevance.sum(2))
    clip = explanation((2, 3, 4, 5, 6))
    assert clip.heatmap().shape == (2, 4, 5, 6)
    line = explanation((2, 3, 9))
    assert line.heatmap().shape == (2, 9)


def test_heatmap_at_a_layer_is_resized_linearly() -> None:
    relevance = torch.randn(2, 2, 8, 4, 4)
    e = explanation((2, 3, 12, 10), asked=[1, 2], relevance=relevance, at="features.4")
    expected = F.interpolate(relevance.sum(2), size=(12, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(e.heatmap(), expected)
    clip = explanation((1, 3, 6, 12, 10), relevance=torch.randn(1, 8, 3, 4, 4), at="features.4")
    expected = F.interpolate(clip.relevance.sum(1, keepdim=True), size=(6, 12, 10), mode="trilinear")[:, 0]
    torch.testing.assert_close(clip.heatmap(), expected)


def test_heatmap_of_flat_relevance_is_refused() -> None:
    e = explanation(relevance=torch.randn(1, 64), at="head.0")
    with pytest.raises(InputError, match=r"2 spatial axes .*\(1, 64\) at 'head.0'"):
        e.heatmap()


def test_is_frozen_and_compares_by_identity() -> None:
    e = explanation()
    with pytest.raises(dataclasses.FrozenInstanceError):
        e.method = "other"  # type: ignore[misc]
    assert e in [explanation(), e]
    assert e != explanation()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"relevance": torch.zeros(1, 3, 32, 40, dtype=torch.float16)},
            "float32 or float64 but got torch.float16",
        ),
        ({"relevance": torch.zeros(1, 3, 32, 40, dtype=torch.int64)}, "float32 or float64"),
        ({"relevance": torch.zeros(1, 3, 32, 41)}, r"to have its shape \(1, 3, 32, 40\)"),
        ({"relevance": torch.zeros(2, 3, 32, 40)}, "begin with the targets' shape"),
        ({"targets": torch.tensor([1, 2])}, "targets as int64"),
        ({"targets": torch.tensor([1.0])}, "targets as int64"),
        ({"targets": torch.tensor(1)}, "targets as int64"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        explanation(**changes)  # type: ignore[arg-type]


def test_repr_is_one_short_line() -> None:
    assert repr(explanation()) == "Explanation(lrp-epsilon, target 1, relevance 1×3×32×40)"
    e = explanation((2, 3, 8, 8), asked=[4, 5], ledger=ledger())
    assert repr(e) == (
        "Explanation(lrp-epsilon, targets 4, 5, relevance 2×2×3×8×8, ledger closes (max error 3.0e-07))"
    )
    e = explanation((20, 3, 8, 8), relevance=torch.zeros(20, 7), at="head", ledger=ledger(False, 0.5))
    assert "relevance 20×7 at head, ledger DOES NOT CLOSE (max error 5.0e-01)" in repr(e)


def test_notebooks_get_a_png() -> None:
    data = explanation()._repr_png_()
    assert data is not None
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 400
    assert explanation((1, 3, 9))._repr_png_() is None


def test_signals_are_not_drawn() -> None:
    with pytest.raises(InputError, match=r"pictures .*clips"):
        explanation((1, 3, 9)).show()


def test_maps_that_need_gradients_can_be_drawn() -> None:
    e = explanation(relevance=torch.randn(1, 3, 32, 40, requires_grad=True))
    assert e.show().axes
    assert isinstance(e, Explanation)


@pytest.mark.parametrize("method", ["lrp-0", "gradient-x-input"])
def test_relevance_that_outgrows_its_precision_is_an_error(method: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for layer in (net[0], net[2]):  # outputs of 1e20, slopes of 1e40
        nn.init.constant_(layer.weight, 1e20)
    x = torch.full((1, 3), 1e-20)
    with pytest.raises(InputError, match="float64"):
        relprop.explain(net, x, 0, method)
    e = relprop.explain(net.double(), x.double(), 0, method)  # as the text says
    assert bool(torch.isfinite(e.relevance).all())
