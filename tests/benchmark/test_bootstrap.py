from __future__ import annotations

import math

import numpy as np
import pytest
from tests.refusals import assert_refused

from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.errors import InputError
from relprop.metrics.metric import Tally


def _made(seed: int = 0, images: int = 12, classes: int = 4) -> list[tuple[int, int, float]]:
    g = np.random.default_rng(seed)
    return [
        (image, int(label), float(g.normal()))
        for image in range(images)
        for label in g.choice(classes, size=g.integers(1, 4), replace=False)
    ]


def _names(count: int) -> list[str]:
    return [f"{k:03}" for k in range(count)]


@pytest.mark.parametrize("average", ["class", "pair"])
def test_value_is_the_tally_mean_bit_for_bit(average):
    rows = _made()
    tally = Tally()
    for _, label, value in rows:
        tally.add(label, value)
    found = Resampling(_names(12)).estimate(Pairs.of(rows), average)
    assert found.value == tally.mean(average)
    assert found.pairs == len(rows)
    assert found.images == 12
    assert found.low < found.value < found.high


@pytest.mark.parametrize("average", ["class", "pair"])
def test_each_draw_is_the_mean_of_the_records_it_holds(average):
    rows = _made(3)
    draws = Resampling(_names(12), replicates=40, seed=5)
    means = draws.means(Pairs.of(rows), average)
    for b in range(40):
        tally = Tally()
        for image, label, value in rows:
            for _ in range(draws.weights[image, b]):
                tally.add(label, value)
        assert means[b] == pytest.approx(tally.mean(average), rel=1e-12, abs=1e-14)


def test_draws_take_as_many_pictures_as_there_are():
    draws = Resampling(_names(7), replicates=50, seed=1)
    assert draws.weights.shape == (7, 50)
    assert (draws.weights.sum(axis=0) == 7).all()


def test_classes_that_vanish_leave_the_mean():
    draws = Resampling(["a", "b"], replicates=200)
    means = draws.means(Pairs.of([(0, 0, 0.0), (1, 1, 1.0)]), "class")
    by_weight = {0: 1.0, 1: 0.5, 2: 0.0}  # times that picture a, which alone holds class 0, was drawn
    assert means.tolist() == [by_weight[int(w)] for w in draws.weights[0]]
    assert set(means.tolist()) == {0.0, 0.5, 1.0}


def test_draws_without_any_pair_are_left_out():
    draws = Resampling(_names(3), replicates=500)
    pairs = Pairs.of([(0, 0, 0.25), (1, 0, 0.75)])
    means = draws.means(pairs, "class")
    assert np.isnan(means).sum() == (draws.weights[2] == 3).sum() > 0
    found = draws.estimate(pairs, "class")
    assert (found.low, found.high) == (0.25, 0.75)


def test_interval_of_three_pictures_by_hand():
    # Hits 0, 0, 1: of 27 draws 8 have mean 0, 12 1/3, 6 2/3 and 1 (3.7 %) mean 1.
    pairs = Pairs.of([(0, 0, 0.0), (1, 0, 0.0), (2, 0, 1.0)])
    draws = Resampling(_names(3), replicates=4000)
    wide, narrow = draws.estimate(pairs, "class", 0.95), draws.estimate(pairs, "class", 0.90)
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.0, 2 / 3)


def test_interval_covers_about_as_often_as_it_says():
    g = np.random.default_rng(11)
    draws = Resampling(_names(60), replicates=300)
    inside = 0
    for _ in range(200):
        values = g.normal(0.3, 1.0, 60)
        found = draws.estimate(Pairs.of([(k, 0, float(v)) for k, v in enumerate(values)]), "pair", 0.8)
        inside += found.low <= 0.3 <= found.high
    assert 140 <= inside <= 178  # 160 expected, standard deviation 5.7


def test_one_picture_has_no_interval():
    found = Resampling(_names(5)).estimate(Pairs.of([(3, 0, 0.5), (3, 1, 1.0)]), "class")
    assert (found.value, found.pairs, found.images) == (0.75, 2, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_no_pair_has_no_value():
    found = Resampling(_names(5)).estimate(Pairs.of([]), "class")
    assert (found.pairs, found.images) == (0, 0)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    empty = Resampling([]).estimate(Pairs.of([]), "pair")
    assert math.isnan(empty.value)


def test_same_names_and_seed_same_draws_in_any_order():
    one, two = Resampling(["x", "y", "z"], seed=4), Resampling(["z", "x", "y"], seed=4)
    assert one.images == two.images == ("x", "y", "z")
    assert np.array_equal(one.weights, two.weights)
    assert not np.array_equal(one.weights, Resampling(["x", "y", "z"], seed=5).weights)


def test_order_of_pairs_changes_no_digit():
    rows = _made(7)
    draws = Resampling(_names(12))
    assert draws.estimate(Pairs.of(rows), "class") == draws.estimate(Pairs.of(rows[::-1]), "class")


def test_paired_difference_is_narrower_than_the_means():
    rows = _made(2, images=30)
    higher = [(i, label, value + 0.1) for i, label, value in rows]
    draws = Resampling(_names(30))
    found = draws.difference(Pairs.of(higher), Pairs.of(rows), "class")
    assert (found.low, found.value, found.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-12)
    alone = draws.estimate(Pairs.of(rows), "class")
    assert alone.high - alone.low > 0.2


def test_difference_uses_shared_pairs_only():
    one = Pairs.of([(0, 0, 1.0), (1, 0, 1.0), (2, 0, 0.0)])
    two = Pairs.of([(0, 0, 0.5), (1, 0, 0.5), (2, 1, 9.0)])
    found = Resampling(_names(3)).difference(one, two, "pair")
    assert (found.value, found.low, found.high, found.pairs, found.images) == (0.5, 0.5, 0.5, 2, 2)


def test_difference_is_antisymmetric():
    one, two = Pairs.of(_made(1)), Pairs.of([(i, c, v * v) for i, c, v in _made(1)])
    draws = Resampling(_names(12))
    a, b = draws.difference(one, two, "class"), draws.difference(two, one, "class")
    assert (a.value, a.low, a.high) == pytest.approx((-b.value, -b.high, -b.low), rel=1e-12)


def test_refusals():
    assert_refused(
        InputError,
        (lambda: Resampling(["a"], replicates=0), "replicate but got 0"),
        (lambda: Resampling(["a", "a"]), "name of each picture once"),
        (lambda: Pairs.of([(0, 0, math.nan), (1, 0, 1.0)]), "1 of 2 are not"),
    )
    pairs = Pairs.of([(0, 0, 1.0), (1, 0, 0.0)])
    for level in (0.0, 1.0, 95):
        with pytest.raises(InputError, match="level between 0 and 1"):
            Resampling(["a", "b"]).estimate(pairs, "class", level)
