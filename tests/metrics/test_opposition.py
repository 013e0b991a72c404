"""Opposition: shares in whole numbers, whose pixels are the others', and what is left out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make
from tests.refusals import assert_refused

from relprop.errors import InputError
from relprop.metrics import Case, Opposition, energy, opposition

MAPS = arrays(np.int16, (4, 5), elements=st.integers(-64, 64))
MASKS = arrays(np.bool_, (4, 5))
HEAT = [[-3.0, -1.0, -4.0, 9.0]]


def masks_case(heat: Any, masks: dict[int, Any], label: int = 0, **more: Any) -> Case:
    """A case with a mask (H, W) for each class; `ignore` and other truth go to the sample."""
    array = np.asarray(heat, dtype=np.float64)
    truth = {
        "masks": {c: np.asarray(m, dtype=bool) for c, m in masks.items()},
        "labels": tuple(sorted(masks)),
    }
    return Case(make.sample(array.shape, **(truth | more)), label, array)


@given(MAPS, MASKS, MASKS)
def test_share_in_fractions(heat: np.ndarray, others: np.ndarray, ignore: np.ndarray) -> None:
    pixels = [
        (max(0, -int(v)), bool(r))
        for v, r, i in zip(heat.flat, others.flat, ignore.flat, strict=True)
        if not i
    ]
    total, inside = sum(v for v, _ in pixels), sum(v for v, r in pixels if r)
    found = opposition(heat, others, ignore)
    if not total or not any(r for _, r in pixels):
        assert found is None
    else:
        assert found == pytest.approx(float(Fraction(inside, total)), rel=1e-14)
        assert found == energy(-heat, others, ignore)


@given(arrays(np.float64, (3, 4), elements=st.floats(-1e308, 0)))
def test_everything_inside_is_exactly_1(heat: np.ndarray) -> None:
    assert opposition(heat, np.ones((3, 4), dtype=bool)) == (1.0 if heat.any() else None)


@pytest.mark.parametrize("heat", [[[0.0, 0.0]], [[1.0, 2.0]]])
def test_a_map_without_blue_is_left_out(heat: object) -> None:
    assert opposition(heat, [[1, 0]]) is None
    assert Opposition(region="masks").measure(masks_case(heat, {0: [[1, 0]], 1: [[0, 1]]})) == {}


def test_an_empty_region_is_left_out() -> None:
    assert opposition([[-1.0, -2.0]], [[0, 0]]) is None
    assert opposition([[-1.0, -2.0]], [[1, 0]], ignore=[[1, 0]]) is None


@given(arrays(np.bool_, (2, 8)))
def test_constant_blue_gets_the_area(mask: np.ndarray) -> None:
    found = Opposition(region="masks").measure(masks_case(-np.ones((2, 8)), {0: ~mask, 3: mask}))
    assert found == ({"share": mask.mean(), "area": mask.mean()} if mask.any() else {})


def test_union_of_the_others_without_the_own_boxes() -> None:
    boxes = [(0.0, 0.0, 2.0, 1.0), (1.0, 0.0, 3.0, 1.0), (2.0, 0.0, 3.0, 1.0)]
    case = make.boxed_case(HEAT, boxes, [0, 1, 2])  # pixel 1 is 0's own, pixel 2 both others'
    assert Opposition().measure(case) == {"share": 0.5, "area": 0.25}
    other = make.boxed_case(HEAT, boxes, [0, 1, 2], label=2)
    assert Opposition().measure(other) == {"share": 0.5, "area": 0.5}
    assert Opposition(region="masks").measure(case) == {}
    assert Opposition(region="auto").measure(case) == Opposition().measure(case)


def test_masks_and_pixels_without_truth() -> None:
    masks = {0: [[0, 0, 0, 1]], 1: [[1, 0, 0, 1]]}
    case = masks_case(HEAT, masks, ignore=np.array([[False, False, True, False]]))
    assert Opposition(region="masks").measure(case) == {"share": 0.75, "area": 1 / 3}
    assert Opposition(region="masks", ignore=False).measure(case) == {"share": 0.375, "area": 0.25}
    assert Opposition(region="auto").measure(case) == {"share": 0.75, "area": 1 / 3}
    assert Opposition().measure(case) == {}


def test_boxes_take_no_notice_of_pixels_without_truth() -> None:
    truth = {
        "boxes": np.array([[3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 1.0, 1.0]]),
        "box_labels": np.array([0, 1]),
        "ignore": np.array([[True, False, True, False]]),
    }
    case = masks_case(HEAT, {0: [[0, 0, 0, 1]], 1: [[0, 1, 0, 0]]}, **truth)
    assert Opposition(region="auto").measure(case) == {"share": 0.375, "area": 0.25}
    assert Opposition(region="masks").measure(case) == {"share": 1.0, "area": 0.5}


def test_difficult_objects_make_no_other_class() -> None:
    boxes = np.array([[3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    truth = {"boxes": boxes, "box_labels": np.array([0, 1]), "difficult": np.array([False, True])}
    heat = np.array(HEAT)
    assert Opposition().measure(Case(make.sample((1, 4), labels=(0,), **truth), 0, heat)) == {}
    found = Opposition().measure(Case(make.sample((1, 4), labels=(0, 1), **truth), 0, heat))
    assert found == {"share": 0.375, "area": 0.25}


@pytest.mark.parametrize(
    ("boxes", "labels", "more"),
    [
        ([(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0)], [0, 0], {}),  # no other class
        ([(0.0, 0.0, 3.0, 1.0), (1.0, 0.0, 2.0, 1.0)], [0, 1], {}),  # the other within the own
        ([(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0)], [0, 1], {"label": -1}),  # all objects
        ([(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0)], [0, 1], {"label": 2}),  # no region of its own
        ([(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0)], [0, 1], {"signed": False}),
    ],
)
def test_left_out(boxes: list[tuple[float, ...]], labels: list[int], more: dict[str, Any]) -> None:
    assert Opposition().measure(make.boxed_case(HEAT, boxes, labels, **more)) == {}


def test_average_is_by_class() -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), (2.0, 0.0, 3.0, 1.0)]
    metric = Opposition()
    for label in (0, 0, 1):
        metric.update(make.boxed_case(HEAT, boxes, [0, 1], label=label))
    assert metric.compute() == {"share": (0.5 + 0.375) / 2, "area": 0.25}


def test_refusals() -> None:
    assert_refused(
        InputError,
        (lambda: opposition([[np.nan, 1.0]], [[1, 0]]), "1 of 2 values"),
        (lambda: opposition([[1.0, 1.0]], [[1, 0], [1, 0]]), r"region .*got \(2, 2\)"),
        (lambda: Opposition(region="pixels"), r"region .*got 'pixels'"),
    )
