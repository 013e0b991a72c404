"""RoIAlign written for relevance, and in plain torch for torchvision without its binary."""

from __future__ import annotations

import importlib

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn, gradient_times_input
from torch import Tensor

from relprop import Composite, trace
from relprop.compat import load_torchvision, roi_align
from relprop.detectors.roi_align import RoIAlign, samples_of

SIZE, SCALE = (3, 4), 0.25


def torchvision_own(maps: Tensor, rois: Tensor, ratio: int, aligned: bool) -> Tensor:
    """torchvision's formula in Python, as it is written there."""
    load_torchvision()
    module = importlib.import_module("torchvision.ops.roi_align")
    made: Tensor = module._roi_align.__wrapped__(maps, rois, SCALE, *SIZE, ratio, aligned)
    return made


def boxes(count: int, dtype: torch.dtype) -> Tensor:
    """Boxes on an input of 52 × 72 pixels, thin ones and ones at the edges among them.

    None begins within the last pixel of the map: torchvision's Python goes on there with the edge where its
    kernels say 0.
    """
    edge = torch.tensor([72.0, 52.0], dtype=torch.float64)
    low = torch.rand(count, 2, dtype=torch.float64) * (edge - 4)
    high = low + torch.rand(count, 2, dtype=torch.float64) * (edge - low)
    some = torch.cat([low, high], 1)
    some[0] = torch.tensor([0.0, 0.0, 72.0, 52.0])
    some[1] = torch.tensor([30.0, 10.0, 31.0, 50.0])
    return some.to(dtype)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [2, 3, 0, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_are_torchvisions(ratio: int, aligned: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    maps, some = torch.randn(2, 5, 13, 18, dtype=dtype), boxes(30, dtype)
    which = torch.randint(0, 2, (30, 1)).to(dtype)
    expected = torchvision_own(maps, torch.cat([which, some], 1), ratio, aligned)
    # A place on the map is rounded as a number of up to 18, and slopes lie between neighbours.
    terms = 18 * 16
    found = roi_align(maps, torch.cat([which, some], 1), SCALE, *SIZE, ratio, aligned)
    assert_close_to_rounding(found, expected, terms, size=float(maps.abs().max()))
    for n, box in enumerate(some):
        align = RoIAlign(SIZE, samples_of(box, SIZE, ratio, SCALE, aligned), SCALE, aligned)
        one = align(maps[int(which[n])][None], box)
        assert_close_to_rounding(one, expected[[n]], terms, size=float(maps.abs().max()))


def test_off_the_map_is_zero_in_both_forms() -> None:
    """As torchvision's kernels have it: a pixel beyond the edge still counts as the edge, further out is 0."""
    maps = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    for box, expected in (
        ([0.0, 0.0, 2.0, 2.0], 1.0),
        ([3.0, 3.0, 4.9, 4.9], 0.25 * 0.25 * 16 / 4),  # places 3.475 and 4.425: the second is off the map
        ([9.0, 9.0, 10.0, 10.0], 0.0),
    ):
        place = torch.tensor(box, dtype=torch.float64)
        rois = torch.cat([place.new_zeros(1), place])[None]
        assert float(roi_align(maps, rois, 1.0, 1, 1, 2, False)) == pytest.approx(expected)
        assert float(RoIAlign((1, 1), (2, 2), 1.0)(maps, place)) == pytest.approx(expected)


def test_a_row_of_the_finite_sum() -> None:
    """The docstring's sum, place by place and pixel by pixel."""
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    align = RoIAlign((2, 3), (2, 2), 0.5)
    x0, y0, x1, y1 = box = torch.tensor([1.0, 2.5, 11.0, 9.0], dtype=torch.float64)
    found = align(maps, box)
    for i in range(2):
        for j in range(3):
            total = torch.zeros(2, dtype=torch.float64)
            for k in range(2):
                for m in range(2):
                    y = y0 * 0.5 + (i + (k + 0.5) / 2) * (y1 - y0) * 0.5 / 2
                    x = x0 * 0.5 + (j + (m + 0.5) / 2) * (x1 - x0) * 0.5 / 3
                    for u in range(6):
                        for v in range(7):
                            weight = (1 - (y - u).abs()).clamp(min=0) * (1 - (x - v).abs()).clamp(min=0)
                            total += weight * maps[0, :, u, v] / 4
            assert_close_to_rounding(found[0, :, i, j], total, 4 * 42, size=float(maps.abs().max()))


def test_relevance_crosses_it_as_an_average_and_is_all_kept() -> None:
    torch.manual_seed(0)
    align, box = RoIAlign((2, 3), (2, 2), 0.5), torch.tensor([1.0, 2.5, 11.0, 9.0], dtype=torch.float64)
    model = Fn(lambda m, x: align(x, m.box).flatten(1), box=box)
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    run = trace(model, x)
    c = torch.randn(3, *run.output.shape, dtype=torch.float64)
    found = run.run(c * run.output, Composite())
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    assert found.ledger.bias == found.ledger.lost == 0
    assert_close_to_rounding(found.relevance, gradient_times_input(model, x, c), 500)
    kept = (c * run.output).flatten(2).sum(-1)
    assert_close_to_rounding(
        found.relevance.flatten(2).sum(-1), kept, 500, size=float(found.relevance.abs().sum())
    )


def test_gradients_of_the_plain_form() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 1.0, 2.5, 11.0, 9.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: roi_align(m, rois, 0.5, 2, 3, 2, False), (maps,))
