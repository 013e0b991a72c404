"""Selective relevance: the filter as sums, the mask's meaning, the authors' numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor

import relprop
from relprop.errors import InputError
from relprop.video.selective import selected, temporal_sobel


def film(*lead: int) -> Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.rand(*lead, 5, 6, 7, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("padding", ["replicate", "zero"])
def test_filter_is_a_smoothed_difference_of_neighbours(padding: str) -> None:
    e, weights = film(), {-1: 1, 0: 2, 1: 1}

    def at(t: int, y: int, x: int) -> float:
        inside = 0 <= t < 5 and 0 <= y < 6 and 0 <= x < 7
        if padding == "zero" and not inside:
            return 0.0
        return float(e[min(max(t, 0), 4), min(max(y, 0), 5), min(max(x, 0), 6)])

    expected = torch.zeros_like(e)
    for t, y, x in torch.cartesian_prod(*[torch.arange(n) for n in e.shape]).tolist():
        expected[t, y, x] = sum(
            a * b * (at(t - 1, y + i, x + j) - at(t + 1, y + i, x + j))
            for i, a in weights.items()
            for j, b in weights.items()
        )
    assert torch.allclose(temporal_sobel(e, padding), expected, rtol=0, atol=1e-13)  # type: ignore[arg-type]


def test_films_do_not_meet() -> None:
    films = film(2, 3)
    maps, mask = selected(films)
    for k in range(2):
        for n in range(3):
            one, its = selected(films[k, n])
            assert_close_to_rounding(maps[k, n], one, one.numel())
            assert torch.equal(mask[k, n], its)


def test_falling_relevance_is_selected_and_rising_only_when_asked() -> None:
    e = torch.zeros(9, 8, 8, dtype=torch.float64)
    e[:4, 1:3, 1:3] = 1.0  # goes out
    e[5:, 5:7, 5:7] = 1.0  # comes up
    _, falls = selected(e)
    _, both = selected(e, absolute=True)
    assert bool(falls[3, 1:3, 1:3].all())
    assert not bool(falls[:, 4:, 4:].any())
    assert bool(both[5, 5:7, 5:7].all())
    assert torch.equal(both & falls, falls)


def test_nothing_is_selected_from_a_film_that_does_not_change() -> None:
    still = film()[:1].expand(5, 6, 7)
    assert not bool(selected(still)[1].any())
    # With zeros behind the border all relevance falls at the end: the artefact that "replicate" avoids.
    assert bool(selected(still, padding="zero")[1][-1].any())


def test_higher_sigma_selects_less() -> None:
    masks = [selected(film(), sigma=s)[1] for s in (0.5, 1.0, 2.0)]
    counts = [int(m.sum()) for m in masks]
    assert counts[0] > counts[1] > counts[2] > 0
    assert bool((masks[1] <= masks[0]).all())
    deviation = temporal_sobel(film()).std()  # unbiased
    assert torch.equal(masks[1], temporal_sobel(film()) > deviation)


def test_negative_films_are_brought_to_unit_range_first() -> None:
    e = film() - 0.5
    maps, mask = selected(e)
    assert_close_to_rounding(maps, (e - e.min()) / (e.max() - e.min()), 3)
    assert torch.equal(mask, selected(maps)[1])
    assert torch.equal(selected(film())[0], film())


def test_mode_splits_the_explanation() -> None:
    model, clip = nets.video(), nets.pictures(2, 3, 4, 8, 8)
    s = relprop.separate_motion(model, clip, [1, 3], mode="selective", sigma=0.5)
    e = relprop.explain(model, clip, [1, 3], relprop.DeepTaylor(seed="one"))
    maps, mask = selected(e.heatmap(), sigma=0.5)
    assert torch.allclose(s.original, maps, rtol=1e-12, atol=0)
    assert torch.equal(s.temporal, s.original * mask)
    assert torch.equal(s.spatial + s.temporal, s.original)
    assert s.frozen_outputs is None
    assert s.frozen_targets is None
    assert s.settings["sigma"] == 0.5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"padding": "reflect"}, "Expected padding to be one of 'replicate', 'zero' but got 'reflect'"),
        ({"sigma": -1.0}, "Expected sigma to be a number >= 0 but got -1.0"),
        ({"sigma": float("nan")}, "Expected sigma to be a number >= 0 but got nan"),
        ({"absolute": 1}, "Expected absolute to be True or False but got 1"),
        ({"slice": "first"}, "Expected no slice= with mode='selective': it is a setting of mode='naive'"),
    ],
)
def test_bad_settings(settings: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        relprop.separate_motion(
            nets.video(), nets.pictures(1, 3, 4, 8, 8), mode="selective", **settings  # type: ignore[arg-type]
        )  # fmt: skip


def test_file(oracles: Path) -> None:
    """The follow-up's published lines, computed in float32."""
    held = {k[10:]: v for k, v in load_file(oracles / "tinyc3d.safetensors").items() if "selective" in k}
    maps, mask = selected(held["E"], padding="zero")

    def difference(ours: Tensor, theirs: Tensor) -> float:
        return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())

    found = {
        "normalised": difference(maps, held["normalised"]),
        "deriv": difference(temporal_sobel(maps, "zero"), held["deriv"]),
        "out": difference(maps * mask, held["out"]),
    }
    print(found)
    assert max(found.values()) < 1e-6
    assert torch.equal(mask, held["mask"].bool())
