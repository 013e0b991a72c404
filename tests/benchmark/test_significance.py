from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.close import assert_close_to_rounding

from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.benchmark.paired import Paired
from relprop.benchmark.significance import enough, holm, least_draws, p_value


def _pairs(values, labels=None):
    labels = [0] * len(values) if labels is None else labels
    return Pairs.of([(k, label, float(v)) for k, (label, v) in enumerate(zip(labels, values, strict=True))])


def _names(count):
    return [f"{k:03}" for k in range(count)]


def _drawn(one, two, replicates=999, seed=0):
    paired = Paired({"one": one, "two": two}, "pair", [("one", "two")])
    paired.draw(Resampling(_names(int(max(one.images.max(), two.images.max())) + 1), replicates, seed))
    return paired


def test_p_is_the_level_at_which_the_interval_touches_zero():
    g = np.random.default_rng(0)
    paired = _drawn(_pairs(g.normal(0.2, 1, 60)), _pairs(np.zeros(60)))
    p = p_value(paired.gaps("one", "two"), paired.differing("one", "two"))
    assert 0.005 < p < 0.5
    assert paired.difference("one", "two", 1 - p - 0.01).low > 0
    assert paired.difference("one", "two", 1 - p + 0.01).low < 0


def test_p_under_the_null_is_rarely_small():
    g = np.random.default_rng(1)
    found = []
    for _ in range(400):
        paired = _drawn(_pairs(g.normal(size=40)), _pairs(g.normal(size=40)), 199)
        found.append(p_value(paired.gaps("one", "two"), 40))
    share = np.mean(np.array(found) <= 0.05)
    assert 0.01 < share < 0.10  # 0.05, and a little more as the percentile interval is a little short


def test_few_pictures_of_one_mind_are_not_certain():
    paired = _drawn(_pairs([0.5, 0.6, 0.7]), _pairs([0.4, 0.5, 0.6]))
    assert (paired.gaps("one", "two") > 0).all()
    assert p_value(paired.gaps("one", "two"), paired.differing("one", "two")) == 0.25
    assert not enough(5, 0.95)
    assert enough(6, 0.95)
    assert not enough(6, 0.99)


def test_equal_methods_differ_nowhere_in_spite_of_rounding():
    values = np.random.default_rng(0).random(30)
    paired = _drawn(_pairs(values), _pairs(values * (1 + 1e-15)))
    assert (paired.gaps("one", "two") == 0).all()
    assert paired.differing("one", "two") == 0
    assert p_value(paired.gaps("one", "two"), 0) == 1.0


def test_draws_bound_p_from_below():
    assert p_value(np.full(99, -1.0), 50) == 2 / 100
    assert p_value(np.full(9999, 1.0), 50) == 2 / 10000
    assert p_value(np.array([1.0, np.nan, 1.0]), 50) == 2 / 3
    assert p_value(np.array([]), 50) == 1.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
)
def test_holm_by_hand(values, expected):
    found, by_hand = (torch.tensor(v, dtype=torch.float64) for v in (holm(values), expected))
    assert_close_to_rounding(found, by_hand, terms=4, size=1.0)


def test_holm_keeps_single_false_findings_rare():
    g = np.random.default_rng(2)
    false = np.mean([min(holm(g.random(20).tolist())) <= 0.05 for _ in range(2000)])
    plain = np.mean([g.random(20).min() <= 0.05 for _ in range(2000)])
    assert false < 0.065
    assert plain > 0.5


def test_enough_draws_for_the_correction():
    for count in (1, 10, 171, 1000):
        smallest = 2 / (least_draws(count) + 1)
        assert count * smallest <= 0.05
        assert smallest > 2 / (least_draws(count) + 2)


def test_pairs_that_only_one_has_do_not_count_in_a_comparison():
    one, two = _pairs([0.9, 0.8, 0.1]), Pairs.of([(0, 0, 0.5), (1, 0, 0.4)])
    paired = _drawn(one, two)
    found = paired.difference("one", "two")
    assert (found.pairs, found.images) == (2, 2)
    assert found.value == pytest.approx(0.4, rel=1e-12)
    assert paired.estimate("one").value == pytest.approx(0.6, rel=1e-12)
    assert paired.ratio("one", "two").value == pytest.approx(0.85 / 0.45, rel=1e-12)


def test_paired_is_what_resampling_says_alone():
    g = np.random.default_rng(0)
    labels = g.integers(0, 3, 25)
    one, two = _pairs(g.random(25), labels), _pairs(g.random(25), labels)
    draws = Resampling(_names(25), 300, 4)
    paired = Paired({"one": one, "two": two}, "class", [("one", "two")])
    for part in Resampling.parts(_names(25), 300, 4, size=70):
        paired.draw(part)
    assert paired.estimate("one") == draws.estimate(one, "class")
    assert paired.difference("one", "two") == draws.difference(one, two, "class")
    ratio = paired.ratio("one", "two")
    assert ratio.low < ratio.value == one.mean("class") / two.mean("class") < ratio.high


def test_a_share_of_nothing_is_none():
    paired = _drawn(_pairs([0.5, 0.5]), _pairs([0.0, 0.0]))
    assert np.isnan(paired.ratio("one", "two").value)
