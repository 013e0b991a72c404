"""Removed parts: what the numbers say of maps and effects that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr

from relprop.datasets import Sample, SceneSamples
from relprop.errors import InputError
from relprop.metrics import Case, PartGame, RemovedParts, removed_parts, world_map
from relprop.metrics.removed_parts import part_sums

SAMPLE = next(s for s in SceneSamples(n=9, size=48, seed=3) if len(s.boxes) == 2)


def red(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Two scores: the mean of red, and of what isn't."""
    means = np.array([[p[..., 0].mean(), 255.0 - p[..., 0].mean()] for p in pictures])
    return np.asarray(means / 255.0)


def case(heat: np.ndarray, target: int = 0, sample: Sample = SAMPLE, signed: bool = True) -> Case:
    assert SAMPLE.world is not None
    return Case(sample, 0, heat, signed=signed, target=target, game=PartGame(SAMPLE.world, red, draws=2))


def test_the_worlds_own_removals_get_everything() -> None:
    assert SAMPLE.world is not None
    for target in (0, 1):
        effects = PartGame(SAMPLE.world, red, draws=2).removals()[:, target]
        found = RemovedParts().measure(case(world_map(SAMPLE.world, effects), target))
        assert found == {"sign": 1.0, "rank": pytest.approx(1.0), "top": 1.0}
        against = RemovedParts().measure(case(-world_map(SAMPLE.world, effects), target))
        assert against == {"sign": 0.0, "rank": pytest.approx(-1.0), "top": 0.0}
    # The scores are opposites, so a map that is right about one is wrong about the other.
    first = PartGame(SAMPLE.world, red, draws=2).removals()[:, 0]
    assert RemovedParts().measure(case(world_map(SAMPLE.world, first), 1))["sign"] == 0.0


def test_numbers_by_hand() -> None:
    effects = [8.0, -2.0, 0.1, 0.0]
    assert removed_parts([1.0, 3.0, -5.0, 0.0], effects) == {
        "sign": 0.5,  # of the first two; the others are below 5 % of 8
        "rank": pytest.approx(spearmanr([1.0, 3.0, -5.0, 0.0], effects).statistic),
        "top": 0.0,
    }
    assert removed_parts([1.0, 3.0, -5.0, 0.0], effects, least=0.01)["sign"] == pytest.approx(1 / 3)
    assert removed_parts([0.0, -3.0, 0.0, 0.0], effects)["sign"] == 0.5  # 0 claims nothing
    ties = [2.0, 2.0, 1.0, 1.0]
    assert removed_parts(ties, effects)["top"] == 0.5
    assert removed_parts(ties, effects)["rank"] == pytest.approx(spearmanr(ties, effects).statistic)
    assert removed_parts([1.0, 1.0], [1.0, 2.0])["rank"] == 0.0
    assert "rank" not in removed_parts([1.0, 2.0], [1.0, 1.0])


def test_what_means_nothing_is_left_out() -> None:
    assert removed_parts([1.0, 2.0], [0.0, 0.0]) == {}
    assert removed_parts([1.0], [2.0]) == {}
    assert removed_parts([], []) == {}
    assert set(removed_parts([1.0, 2.0], [1.0, -2.0], signed=False)) == {"rank", "top"}
    heat = np.ones(SAMPLE.size)
    assert "sign" not in RemovedParts().measure(case(heat, signed=False))
    assert RemovedParts().measure(Case(SAMPLE, 0, heat)) == {}


def test_sums_are_over_the_parts_pixels() -> None:
    assert SAMPLE.world is not None
    heat = np.random.default_rng(0).normal(size=SAMPLE.size)
    sums = part_sums(heat, SAMPLE.world)
    assert sums.sum() == pytest.approx(heat.sum())
    for value, part in zip(sums, SAMPLE.world.parts, strict=True):
        assert value == pytest.approx(heat[part.pixels].sum())
    with pytest.raises(InputError, match=r"picture's shape \(48, 48\) but got \(3, 3\)"):
        part_sums(np.ones((3, 3)), SAMPLE.world)


@pytest.mark.parametrize(("sums", "effects"), [([1.0], [1.0, 2.0]), ([np.nan, 1.0], [1.0, 2.0])])
def test_lists_that_dont_fit(sums: list[float], effects: list[float]) -> None:
    with pytest.raises(InputError, match="a finite sum and effect for each part"):
        removed_parts(sums, effects)


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_settings(least: float) -> None:
    with pytest.raises(InputError, match="Expected least"):
        RemovedParts(least=least)
