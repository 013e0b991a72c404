"""Part game: Shapley's values against their definition, and what they say of worlds that are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import permutations

import numpy as np
import pytest
import torch
from tests.close import assert_close_to_rounding

from relprop.datasets import Scenes, SceneWorld, World, WorldPart
from relprop.errors import InputError
from relprop.metrics import PartGame, energy, held, shapley, world_map


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal but for the rounding of sums over all orders of the players."""
    assert_close_to_rounding(torch.from_numpy(found), torch.from_numpy(wanted), 1000)


class Strips(World):
    """Three strips of a row of pixels; strip k is white where it is there, and grey by chance where it is not."""

    def __init__(self, widths: Sequence[int] = (2, 3, 1), chance: bool = False) -> None:
        self.widths, self.chance = tuple(widths), chance

    @cached_property
    def parts(self) -> tuple[WorldPart, ...]:
        owner = np.repeat(np.arange(len(self.widths)), self.widths)[None]
        return tuple(WorldPart(f"strip {k}", k, owner == k) for k in range(len(self.widths)))

    def by_chance(self, kept: Collection[int]) -> bool:
        return self.chance and len(kept) < len(self.parts)

    def draw(self, kept: Collection[int], draw: int = 0) -> np.ndarray:
        picture = np.full((1, sum(self.widths), 3), 10 * draw if self.by_chance(kept) else 0, np.uint8)
        for k in kept:
            picture[self.parts[k].pixels] = 100
        return picture


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_shapley_is_the_mean_gain_over_all_orders(players: int) -> None:
    values = np.random.default_rng(players).normal(size=(2**players, 2))
    wanted = np.zeros((players, 2))
    orders = list(permutations(range(players)))
    for order in orders:
        there = 0
        for k in order:
            wanted[k] += (values[there | 1 << k] - values[there]) / len(orders)
            there |= 1 << k
    found = shapley(values)
    assert found.shape == (players, 2)
    close(found, wanted)
    close(found.sum(0), values[-1] - values[0])


def test_shapley_refuses() -> None:
    with pytest.raises(InputError, match="a value for each of 2"):
        shapley(np.zeros(3))


def test_a_score_that_adds_up_gives_every_part_its_own() -> None:
    weights = np.array([3.0, 3.0, -1.0, -1.0, -1.0, 2.0])

    def score(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([p[0, :, 0] @ weights / 100 for p in pictures])

    game = PartGame(Strips(), score)
    close(game.effects(), np.array([6.0, -3.0, 2.0]))
    close(game.removals(), np.array([6.0, -3.0, 2.0]))
    assert held(game.effects(), [True, False, False]) == 0.75
    heat = world_map(game.world, game.effects())
    close(heat, weights[None])
    # The energy of that map on the parts' pixels is the share that they hold.
    assert energy(heat, game.world.parts[0].pixels) == pytest.approx(0.75)


def test_what_two_parts_only_do_together_is_shared() -> None:
    def both(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[float(p[0, 0, 0] == 100 and p[0, -1, 0] == 100), 1.0] for p in pictures])

    game = PartGame(Strips(), both)
    close(game.effects(), np.array([[0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]))
    close(game.removals()[:, 0], np.array([1.0, 0.0, 1.0]))


def test_every_picture_is_scored_once_and_chance_is_averaged() -> None:
    asked: list[int] = []

    def brightness(pictures: Sequence[np.ndarray]) -> np.ndarray:
        asked.append(len(pictures))
        return np.array([float(p[0, 2, 0]) for p in pictures])

    game = PartGame(Strips(chance=True), brightness, draws=5)
    game.effects()
    assert sum(asked) == 1 + 7 * 5
    game.removals()
    game.effects()
    assert sum(asked) == 1 + 7 * 5
    assert game.scores([[]])[0] == 20.0  # the mean of 0, 10, 20, 30, 40

    scene = SceneWorld(next(s for s in Scenes(n=9, size=32, seed=3) if len(s) == 2))
    asked.clear()
    PartGame(scene, lambda pictures: np.array([float(asked.append(1) or 0) for _ in pictures]), 2).effects()
    assert len(asked) == 3**2 * (1 + 2)  # a shadow without its object isn't seen


def test_held_without_anything_positive() -> None:
    assert held(np.array([-1.0, 0.0]), [True, False]) is None
    assert held(np.array([1.0, 0.0]), [True, False]) == 1.0


@pytest.mark.parametrize("returned", [np.zeros(1), np.zeros(()), np.full(99, np.nan)])
def test_scores_of_another_form_are_refused(returned: np.ndarray) -> None:
    game = PartGame(Strips(), lambda pictures: returned[: len(pictures)] if returned.ndim else returned)
    with pytest.raises(InputError, match="finite scores, one a picture"):
        game.effects()


def test_too_many_parts_and_no_draws_are_refused() -> None:
    with pytest.raises(InputError, match="at most 16 parts but got 17"):
        PartGame(Strips([1] * 17), lambda pictures: np.zeros(len(pictures)))
    with pytest.raises(InputError, match="Expected draws"):
        PartGame(Strips(), lambda pictures: np.zeros(len(pictures)), draws=0)
