"""Rank accuracy: the order of pixels alone, ties by their share."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make

from relprop.errors import InputError
from relprop.metrics import RankAccuracy, rank_accuracy

MAPS = arrays(np.int16, (2, 3), elements=st.integers(-2, 2))
MASKS = arrays(np.bool_, (2, 3))


@given(MAPS, MASKS, MASKS)
def test_the_mean_over_all_orders_of_ties(heat: np.ndarray, region: np.ndarray, ignore: np.ndarray) -> None:
    pixels = [(int(v), bool(r)) for v, r, i in zip(heat.flat, region.flat, ignore.flat, strict=True) if not i]
    count = sum(r for _, r in pixels)
    found = rank_accuracy(heat, region, ignore)
    if not count:
        assert found is None
        return
    hits = [
        Fraction(sum(r for _, r in order[:count]), count)
        for order in itertools.permutations(pixels)
        if all(a[0] >= b[0] for a, b in itertools.pairwise(order))
    ]
    assert found == pytest.approx(float(sum(hits) / len(hits)), rel=1e-14)


@given(MAPS, MASKS)
def test_sharpening_changes_nothing(heat: np.ndarray, region: np.ndarray) -> None:
    cubed = heat.astype(float) ** 3
    assert rank_accuracy(cubed, region) == rank_accuracy(heat, region)


def test_class() -> None:
    case = make.boxed_case([[3.0, 1.0], [2.0, 0.0]], [(0.0, 0.0, 1.0, 2.0)], [0])
    assert RankAccuracy().measure(case) == {"share": 1.0, "share-pair": 1.0}
    assert RankAccuracy(region="masks").measure(case) == {}
    masked = make.masked_case([[3.0, 1.0, 4.0]], [[1, 0, 0]], ignore=np.array([[False, False, True]]))
    assert RankAccuracy(region="masks").measure(masked)["share"] == 1.0
    assert RankAccuracy(region="masks", ignore=False).measure(masked)["share"] == 0.0


def test_refusals() -> None:
    with pytest.raises(InputError, match="1 of 2 values"):
        rank_accuracy([[np.nan, 1.0]], [[1, 0]])
    with pytest.raises(InputError, match=r"region .*got \(2, 2\)"):
        rank_accuracy([[1.0, 1.0]], [[1, 0], [1, 0]])
