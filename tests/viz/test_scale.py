from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relprop.errors import InputError
from relprop.viz.labels import number
from relprop.viz.scale import Limit, limits

A, B = np.array([[0.0, 1.0], [-3.0, 2.0]]), np.array([[0.5, -0.25]])


def test_symmetric_is_per_map_shared_is_one_number_is_itself() -> None:
    assert [x.value for x in limits([A, B], "symmetric", None)] == [3.0, 0.5]
    assert [x.value for x in limits([A, B], "shared", None)] == [3.0, 3.0]
    assert [x.value for x in limits([B, A], "shared", None)] == [3.0, 3.0]
    assert [x.value for x in limits([A, B], 0.7)] == [0.7, 0.7]
    assert [x.peak for x in limits([A, B], 0.7)] == [3.0, 0.5]


def test_clip_takes_a_value_that_occurs_and_leaves_sparse_maps_their_maximum() -> None:
    ramp = np.arange(1000) + 1.0
    (limit,) = limits([ramp], clip=99.5)
    assert limit.value in ramp
    assert (ramp > limit.value).sum() == 4
    sparse = np.zeros(100_000)
    sparse[:10] = np.arange(10) + 1.0
    assert limits([sparse], clip=99.5)[0].value == 10.0


def test_zero_maps_say_so() -> None:
    (limit,) = limits([np.zeros((3, 3))])
    assert limit == Limit(0.0, 0.0)
    assert limit.text == "all zero"


def test_unsigned_scales_start_at_zero_unless_the_map_is_negative() -> None:
    first, second = limits([B.clip(0), B], clip=None, signed=[False, False])
    assert first.text == "0 to 0.5"
    assert second.text == "±0.5"


@given(arrays(np.float64, (4, 5), elements=st.floats(-1e6, 1e6)), st.sampled_from([None, 50.0, 99.5, 100.0]))
def test_limit_lies_between_zero_and_the_peak_and_values_stay(values: np.ndarray, clip: float | None) -> None:
    before = values.copy()
    (limit,) = limits([values], clip=clip)
    assert 0 <= limit.value <= limit.peak == np.abs(values).max()
    assert (limit.value > 0) == bool(values.any())
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("scale", ["per-map", 0, -1.0, float("nan"), True, None])
def test_refuses_unknown_scales(scale: object) -> None:
    with pytest.raises(InputError, match="'symmetric'"):
        limits([A], scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("clip", [0, -1, 101, "high", True, float("nan")])
def test_refuses_percentiles_that_are_none(clip: object) -> None:
    with pytest.raises(InputError, match="Expected clip"):
        limits([A], clip=clip)  # type: ignore[arg-type]


def test_refuses_nan() -> None:
    with pytest.raises(InputError, match="finite"):
        limits([A, np.array([np.nan])])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.001, "0.001"), (99.7, "100"), (9999.4, "9999"), (-2e-5, "-2e-5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
