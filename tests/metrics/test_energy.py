"""Energy: shares in whole numbers, and the maps that claim nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make

from relprop.errors import InputError
from relprop.metrics import Energy, energy

MAPS = arrays(np.int16, (4, 5), elements=st.integers(-64, 64))
MASKS = arrays(np.bool_, (4, 5))


@given(MAPS, MASKS, MASKS)
def test_share_in_fractions(heat: np.ndarray, region: np.ndarray, ignore: np.ndarray) -> None:
    pixels = [
        (max(0, int(v)), bool(r))
        for v, r, i in zip(heat.flat, region.flat, ignore.flat, strict=True)
        if not i
    ]
    total, inside = sum(v for v, _ in pixels), sum(v for v, r in pixels if r)
    found = energy(heat, region, ignore)
    if not any(r for _, r in pixels):
        assert found is None
    elif not total:
        assert found == 0.0
    else:
        assert found == pytest.approx(float(Fraction(inside, total)), rel=1e-14)


@given(arrays(np.float64, (3, 4), elements=st.floats(0, 1e308)))
def test_everything_inside_is_exactly_1(heat: np.ndarray) -> None:
    assert energy(heat, np.ones((3, 4), dtype=bool)) == (1.0 if heat.any() else 0.0)


def test_class() -> None:
    case = make.boxed_case([[3.0, 1.0], [-8.0, 0.0]], [(0.0, 0.0, 1.0, 2.0)], [0])
    assert Energy().measure(case) == {"inside": 0.75, "inside-pair": 0.75}
    assert Energy(region="masks").measure(case) == {}
    masked = make.masked_case([[3.0, 1.0, 4.0]], [[1, 0, 0]], ignore=np.array([[False, False, True]]))
    assert Energy(region="masks").measure(masked)["inside"] == 0.75
    assert Energy(region="masks", ignore=False).measure(masked)["inside"] == 0.375


@pytest.mark.parametrize("heat", [[[0.0, 0.0]], [[-1.0, -2.0]]])
def test_a_map_that_claims_nothing_gets_0(heat: object) -> None:
    assert energy(heat, [[1, 0]]) == 0.0
    assert energy(heat, [[0, 0]]) is None


def test_constant_map_gets_the_area() -> None:
    assert energy(np.full((2, 4), 7.0), [[1, 0, 0, 0], [1, 0, 0, 0]]) == 0.25


def test_refusals() -> None:
    with pytest.raises(InputError, match="1 of 2 values"):
        energy([[np.nan, 1.0]], [[1, 0]])
    with pytest.raises(InputError, match=r"region .*got \(2, 2\)"):
        energy([[1.0, 1.0]], [[1, 0], [1, 0]])
