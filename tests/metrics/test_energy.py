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
from relprop.metrics.region import grown

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


@given(MASKS, st.floats(0, 6))
def test_grown_is_by_distance(region: np.ndarray, pixels: float) -> None:
    own = np.argwhere(region)
    expected = [
        [any((y - a) ** 2 + (x - b) ** 2 <= pixels**2 for a, b in own) for x in range(5)] for y in range(4)
    ]
    assert grown(region, pixels).tolist() == expected


def test_energy_within_some_pixels() -> None:
    # From the pixel at (0, 0): 1, 2, 3 pixels along the row; 1 and the square root of 2 in the second row.
    heat = [[4.0, 2.0, 1.0, 1.0], [0.5, 0.5, 0.0, -9.0], [0.0, 0.0, 0.0, 7.0]]
    region = np.zeros((3, 4), bool)
    region[0, 0] = True
    case = make.masked_case(heat, region)
    shares = {0.5: 4 / 16, 1: 6.5 / 16, 1.5: 7 / 16, 2: 8 / 16, 3: 9 / 16, 3.6: 9 / 16, 3.61: 1.0, 99: 1.0}
    for within, share in shares.items():
        found = Energy(region="masks", within=within).measure(case)
        assert found == {"inside": 0.25, "inside-pair": 0.25, "near": share, "near-pair": share}
    white = make.masked_case(heat, region, ignore=np.arange(12).reshape(3, 4) == 1)
    assert Energy(region="masks", within=2).measure(white)["near"] == pytest.approx(6 / 14, rel=1e-14)
    assert Energy(region="masks", within=2).measure(make.masked_case(heat, np.zeros((3, 4)))) == {}
    with pytest.raises(InputError, match="within to be >= 0 but got -1"):
        Energy(within=-1)


def test_the_distance_stands_in_the_title_where_one_is_asked() -> None:
    assert [o.title for o in Energy().reported()] == ["Energy inside", "Energy inside (pairs)"]
    titles = [o.title for o in Energy(within=3).reported()]
    assert titles[2:] == ["Energy within 3 px", "Energy within 3 px (pairs)"]
    assert {o.key for o in Energy(within=3).reported()} == {o.key for o in Energy.outcomes}
