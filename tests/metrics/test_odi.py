"""ODI: shares in whole numbers, whose pixels are the others', and what is left out."""

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
from relprop.metrics import Case, ObjectDiscrimination, object_discrimination

MAPS = arrays(np.int16, (4, 5), elements=st.integers(-64, 64))
MASKS = arrays(np.bool_, (4, 5))


@given(MAPS, MASKS, MASKS, MASKS)
def test_share_in_fractions(
    heat: np.ndarray, own: np.ndarray, others: np.ndarray, ignore: np.ndarray
) -> None:
    pixels = [
        (max(0, int(v)), bool(a), bool(b))
        for v, a, b, i in zip(heat.flat, own.flat, others.flat, ignore.flat, strict=True)
        if not i
    ]
    total, away = sum(v for v, a, b in pixels if a or b), sum(v for v, _, b in pixels if b)
    found = object_discrimination(heat, own, others, ignore)
    if not any(a for _, a, _ in pixels) or not any(b for _, _, b in pixels):
        assert found is None
    elif not total:
        assert found == 1.0
    else:
        assert found == pytest.approx(float(Fraction(away, total)), rel=1e-14)


def case(heat: Any, masks: dict[int, Any], label: int = 0, **more: Any) -> Case:
    array = np.asarray(heat, dtype=np.float64)
    truth: dict[str, Any] = {
        "masks": {c: np.asarray(m, dtype=bool) for c, m in masks.items()},
        "labels": tuple(sorted(masks)),
    }
    return Case(make.sample(array.shape, **(truth | more)), label, array)


def test_class_on_masks() -> None:
    masks = {0: [[1, 0, 0, 0, 0]], 1: [[0, 1, 0, 0, 0]], 2: [[0, 0, 1, 0, 0]]}
    heat = [[6.0, 1.0, 1.0, 50.0, -9.0]]
    metric = ObjectDiscrimination(region="masks")
    assert metric.measure(case(heat, masks)) == pytest.approx(
        {"share": 0.25, "share-pair": 0.25, "even": 2 / 3}
    )
    ignored = case(heat, masks, ignore=np.array([[False, False, True, False, False]]))
    assert metric.measure(ignored) == pytest.approx({"share": 1 / 7, "share-pair": 1 / 7, "even": 0.5})
    assert ObjectDiscrimination(region="masks", ignore=False).measure(ignored)["share"] == pytest.approx(0.25)
    for alone in (case(heat, {0: masks[0]}), case(heat, masks, label=-1), case(heat, masks, label=3)):
        assert metric.measure(alone) == {}
    assert ObjectDiscrimination(region="boxes").measure(case(heat, masks)) == {}
    assert ObjectDiscrimination(region="auto").measure(case(heat, masks))["share"] == pytest.approx(0.25)


def test_boxes_that_overlap_count_as_the_others() -> None:
    boxed = make.boxed_case([[4.0, 2.0, 2.0]], [(0, 0, 2, 1), (1, 0, 3, 1)], [0, 1])
    assert ObjectDiscrimination().measure(boxed) == pytest.approx(
        {"share": 0.5, "share-pair": 0.5, "even": 2 / 3}
    )


def test_a_map_that_claims_nothing_discriminates_nothing() -> None:
    assert object_discrimination([[0.0, -1.0, 5.0]], [[1, 0, 0]], [[0, 1, 0]]) == 1.0
    assert object_discrimination([[1e308, 1e308]], [[1, 0]], [[0, 1]]) == 0.5


def test_refusals() -> None:
    assert_refused(
        InputError,
        (lambda: object_discrimination([[np.nan, 0.0]], [[1, 0]], [[0, 1]]), "1 of 2 values"),
        (
            lambda: object_discrimination([[0.0, 0.0]], [[1, 0]], [[0, 1, 0]]),
            r"shape \(1, 2\) but got \(1, 3\)",
        ),
        (lambda: ObjectDiscrimination(region="box"), r"region .*got 'box'"),  # type: ignore[arg-type]
    )
