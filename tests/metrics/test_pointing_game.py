"""Pointing Game: other people's cases, a brute-force closed form, and the edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make

from relprop.errors import InputError
from relprop.metrics import PointingGame, point, pointing_game


def one_hot(height: int, width: int, x: int, y: int) -> np.ndarray:
    heat = np.zeros((height, width))
    heat[y, x] = 1.0
    return heat


def test_cases_of_torchray(oracles: Path) -> None:
    cases = json.loads((oracles / "pointing_game.json").read_text(encoding="utf-8"))
    wrong = []
    for number, case in enumerate(cases):
        region = np.zeros((case["height"], case["width"]), dtype=bool)
        x0, y0, x1, y1 = case["box"]
        region[y0 : y1 + 1, x0 : x1 + 1] = True
        if pointing_game(one_hot(*region.shape, *case["point_xy"]), region) != (case["hit"] == 1):
            wrong.append(number)
    assert (len(cases), wrong) == (400, [])


@given(
    arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(-3, 3)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 5, 15]),
)
def test_every_distance_by_hand(heat: np.ndarray, seed: int, tolerance: float) -> None:
    region = np.random.default_rng(seed).random(heat.shape) < 0.1
    values = [(int(-v), i) for i, v in enumerate(heat.ravel())]
    _, first = min(values)
    py, px = first // heat.shape[1], first % heat.shape[1]
    distances = [
        (y - py) ** 2 + (x - px) ** 2
        for y in range(heat.shape[0])
        for x in range(heat.shape[1])
        if region[y, x]
    ]
    expected = None
    if distances:
        near = any(d < tolerance**2 or d == 0 for d in distances)
        expected = near and len(set(heat.ravel().tolist())) > 1
    assert pointing_game(heat, region, tolerance) is expected


@pytest.mark.parametrize(("distance", "hit"), [(14, True), (15, False), (16, False)])
def test_exactly_the_tolerance_is_a_miss(distance: int, hit: bool) -> None:
    region = np.zeros((1, 40), dtype=bool)
    region[0, distance] = True
    assert pointing_game(one_hot(1, 40, 0, 0), region) is hit
    assert pointing_game(one_hot(40, 1, 0, 0), region.T) is hit


def test_pythagorean_15_is_a_miss_and_just_less_a_hit() -> None:
    region = np.zeros((20, 20), dtype=bool)
    region[12, 9] = True  # 9² + 12² = 15²
    assert pointing_game(one_hot(20, 20, 0, 0), region) is False
    region[12, 8] = True
    assert pointing_game(one_hot(20, 20, 0, 0), region) is True


def test_tolerance_0_asks_for_the_pixel_itself() -> None:
    region = np.array([[False, True]])
    assert pointing_game([[0.0, 1.0]], region, 0) is True
    assert pointing_game([[1.0, 0.0]], region, 0) is False


def test_ties_go_to_the_first_in_reading_order() -> None:
    assert point([[0.0, 5.0], [5.0, 5.0]]) == (1, 0)
    assert point(torch.tensor([[0.0, 0.0], [5.0, 5.0]])) == (0, 1)


def test_constant_map_points_nowhere_and_an_empty_region_is_not_counted() -> None:
    everywhere = np.ones((3, 3), dtype=bool)
    assert pointing_game(np.full((3, 3), 2.0), everywhere) is False
    assert pointing_game(np.zeros((3, 3)), everywhere) is False
    assert pointing_game(np.ones((3, 3)), ~everywhere) is None
    assert pointing_game(np.eye(3), ~everywhere) is None


def test_all_negative_map_points_at_its_least_negative_pixel() -> None:
    assert pointing_game([[-3.0, -1.0]], [[0, 1]], 0) is True


def test_class_uses_the_union_of_all_boxes_of_the_class() -> None:
    heat = one_hot(4, 40, 39, 0)
    both = [(0.0, 0.0, 2.0, 2.0), (38.0, 0.0, 40.0, 2.0)]
    game = PointingGame()
    assert game.measure(make.boxed_case(heat, both, [0, 0])) == {"hit": 1.0}
    assert game.measure(make.boxed_case(heat, both, [0, 1])) == {"hit": 0.0}
    assert game.measure(make.boxed_case(heat, both, [1, 1])) == {}  # no box of the class


def test_auto_takes_boxes_where_there_are_some_and_else_masks() -> None:
    case = make.masked_case(one_hot(4, 6, 5, 3), [[0, 0, 0, 0, 0, 0]] * 3 + [[0, 0, 0, 0, 0, 1]])
    assert PointingGame(region="boxes").measure(case) == {}
    assert PointingGame(region="masks", tolerance=1).measure(case) == {"hit": 1.0}
    assert PointingGame(region="auto", tolerance=1).measure(case) == {"hit": 1.0}
    boxed = make.boxed_case(one_hot(4, 6, 5, 3), [(0.0, 0.0, 1.0, 1.0)], [0])
    assert PointingGame(region="auto", tolerance=1).measure(boxed) == {"hit": 0.0}


def test_accuracy_is_the_mean_over_classes_and_has_subsets() -> None:
    game = PointingGame(tolerance=0)
    boxes = [(0.0, 0.0, 1.0, 1.0), (5.0, 3.0, 6.0, 4.0)]
    for x, label in ((0, 0), (0, 0), (1, 0), (1, 1)):
        game.update(make.boxed_case(one_hot(4, 6, x, 0), boxes, [0, 1], label, predicted=label == 0))
    # Class 0: 2 of 3, class 1: 0 of 1; only class 0 is predicted; both are hard: small, in company.
    assert game.compute() == {"hit": 1 / 3, "hit[dif]": 1 / 3, "hit[all-p]": 2 / 3, "hit[dif-p]": 2 / 3}


@pytest.mark.parametrize(
    ("heat", "region", "tolerance", "text"),
    [
        ([[0.0, np.nan]], [[0, 1]], 15, "Expected a finite map but 1 of 2 values are NaN or infinite."),
        ([[0.0, 1.0]], [[0], [1]], 15, r"Expected a region of the map's shape \(1, 2\) but got \(2, 1\)\."),
        (
            [[0.0, 1.0]],
            [[0, 2]],
            15,
            "Expected a region of booleans or of 0 and 1 but got int64 with other values.",
        ),
        ([0.0, 1.0], [0, 1], 15, r"Expected a map \(H, W\) but got shape \(2,\)\."),
        ([[0.0, 1.0]], [[0, 1]], -1, "Expected tolerance to be a number of pixels >= 0 but got -1."),
        (
            [[0.0, 1.0]],
            [[0, 1]],
            float("nan"),
            "Expected tolerance to be a number of pixels >= 0 but got nan.",
        ),
    ],
)
def test_refusals(heat: object, region: object, tolerance: float, text: str) -> None:
    with pytest.raises(InputError, match=text):
        pointing_game(heat, region, tolerance)


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"region .*got 'box'"):
        PointingGame(region="box")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"tolerance .*got '15'"):
        PointingGame(tolerance="15")  # type: ignore[arg-type]
