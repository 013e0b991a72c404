"""IoU: sets of pixels by hand, thresholds, ignored pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make
from tests.refusals import assert_refused

from relprop.errors import InputError
from relprop.metrics import MeanIoU, iou
from relprop.metrics.iou import mean_of_positives

MAPS = arrays(np.float64, (4, 5), elements=st.integers(-4, 4).map(float))
MASKS = arrays(np.bool_, (4, 5))


@given(MAPS, MASKS, MASKS, st.sampled_from([-1.0, 0.0, 2.0]))
def test_sets_by_hand(heat: np.ndarray, region: np.ndarray, ignore: np.ndarray, threshold: float) -> None:
    pixels = [(y, x) for y in range(4) for x in range(5) if not ignore[y, x]]
    above = {p for p in pixels if heat[p] > threshold}
    inside = {p for p in pixels if region[p]}
    expected = len(above & inside) / len(above | inside) if inside else None
    assert iou(heat, region, threshold, ignore) == expected


@given(MASKS)
def test_a_mask_as_its_own_map_is_1_and_its_complement_0(region: np.ndarray) -> None:
    if region.any():
        assert iou(region, region) == 1.0
        assert iou(~region, region) == 0.0


def test_threshold_itself_is_not_above() -> None:
    assert iou([[2.0, 1.0]], [[1, 1]], 1.0) == 0.5


def test_mean_of_positives() -> None:
    assert mean_of_positives([[1.0, 3.0, -9.0, 0.0]]) == 2.0
    assert mean_of_positives([[-1.0, 0.0]]) == 0.0


@given(st.floats(1e-300, 1e300), st.integers(1, 400))
def test_mean_of_equal_values_is_that_value(value: float, count: int) -> None:
    assert mean_of_positives(np.full((1, count), value)) == value


def test_largest_values_do_not_overflow() -> None:
    assert mean_of_positives(np.full((2, 2), np.finfo(np.float64).max)) == np.finfo(np.float64).max


def test_class_reports_both_thresholds_and_both_averages() -> None:
    case = make.boxed_case([[4.0, 1.0], [1.0, -1.0]], [(0.0, 0.0, 1.0, 2.0)], [0])
    found = MeanIoU().measure(case)
    assert found == {"zero": 2 / 3, "zero-pair": 2 / 3, "mean": 0.5, "mean-pair": 0.5}


def test_pair_mean_and_class_mean_differ() -> None:
    metric = MeanIoU()
    for heat, label in (([[1.0, 0.0]], 0), ([[1.0, 0.0]], 0), ([[0.0, 1.0]], 1)):
        metric.update(make.boxed_case(heat, [(0.0, 0.0, 1.0, 1.0)], [label], label))
    assert metric.compute()["zero"] == 0.5
    assert metric.compute()["zero-pair"] == 2 / 3


def test_threshold_0_is_left_out_for_maps_without_negative_values() -> None:
    case = make.boxed_case([[4.0, 1.0]], [(0.0, 0.0, 1.0, 1.0)], [0], signed=False)
    assert MeanIoU().measure(case) == {"mean": 1.0, "mean-pair": 1.0}


@pytest.mark.parametrize("value", [0.0, -2.0, 0.1])
def test_maps_that_claim_nothing_above_the_threshold_get_0(value: float) -> None:
    # A constant positive map claims everything at threshold 0, but nothing is above its mean.
    found = MeanIoU().measure(make.boxed_case(np.full((3, 3), value), [(0.0, 0.0, 1.0, 3.0)], [0]))
    assert found["mean"] == 0.0
    assert found["zero"] == (1 / 3 if value > 0 else 0.0)


def test_masks_leave_ignored_pixels_out_and_boxes_do_not() -> None:
    heat, mask, ignore = [[1.0, 1.0, 0.0]], [[1, 0, 0]], np.array([[False, True, False]])
    case = make.masked_case(heat, mask, ignore=ignore)
    assert MeanIoU(region="masks").measure(case)["zero"] == 1.0
    assert MeanIoU(region="masks", ignore=False).measure(case)["zero"] == 0.5


def test_empty_or_missing_truth_is_left_out() -> None:
    assert MeanIoU(region="masks").measure(make.masked_case([[1.0]], [[0]])) == {}
    assert MeanIoU(region="masks").measure(make.masked_case([[1.0]], [[1]], ignore=np.array([[True]]))) == {}
    assert MeanIoU(region="boxes").measure(make.masked_case([[1.0]], [[1]])) == {}


def test_refusals() -> None:
    assert_refused(
        InputError,
        (lambda: iou([[np.inf]], [[1]]), "1 of 1 values"),
        (lambda: iou([[1.0]], [[1, 1]]), r"region .*got \(1, 2\)"),
        (lambda: iou([[1.0]], [[1]], ignore=[[1], [0]]), r"region .*got \(2, 1\)"),
        (lambda: MeanIoU(region="both"), r"region .*got 'both'"),
    )
