"""Worlds: parts that are everything and don't overlap, and pictures with some of them."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from relprop.datasets import Scenes, SceneWorld
from relprop.errors import InputError

SCENES = Scenes(n=12, size=64, seed=3, split="test")


def world_with(objects: int) -> SceneWorld:
    return SceneWorld(next(scene for scene in SCENES if len(scene) == objects))


@pytest.mark.parametrize("index", range(6))
def test_parts_cover_the_picture_once(index: int) -> None:
    world = SceneWorld(SCENES[index])
    covered = sum(part.pixels.astype(int) for part in world.parts)
    assert np.array_equal(covered, np.ones((64, 64)))
    assert len(world) == len(world.parts) == 2 * len(world.scene) + 1
    names = [part.name for part in world.parts]
    assert len(set(names)) == len(names)
    assert [part.label for part in world.parts if part.label >= 0] == world.scene.labels.tolist()


@pytest.mark.parametrize("index", range(6))
def test_with_every_part_it_is_the_picture(index: int) -> None:
    world = SceneWorld(SCENES[index])
    assert np.array_equal(world.draw(range(len(world))), SCENES[index].image)
    assert np.array_equal(world.without(), SCENES[index].image)


def test_what_is_taken_away_changes_its_own_pixels_and_no_others() -> None:
    world = world_with(3)
    count = len(world.scene)
    for k, part in enumerate(world.parts[:count]):
        changed = (world.without(k) != world.scene.image).any(axis=2)
        shadow = (world.without(count + k) != world.scene.image).any(axis=2)
        outline = part.pixels.sum()
        assert (
            changed & part.pixels
        ).sum() > 0.95 * outline  # a pixel may have the colour behind it by chance
        # Beside them only the soft edge, at most a pixel wide, and the shadow.
        near = np.pad(world.scene.silhouettes[k], 1)
        rim = np.any(
            [near[1 + dy : 65 + dy, 1 + dx : 65 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0
        )
        assert not (changed & ~rim & ~shadow).any()
        assert shadow.any()
        # A shadow only darkens.
        assert (world.without(count + k).astype(int) >= world.scene.image.astype(int)).all()
        # An object takes its shadow along.
        assert np.array_equal(world.without(k), world.without(k, count + k))


def test_equal_sets_give_equal_pictures() -> None:
    world = world_with(2)
    everything = range(len(world))
    pictures: dict[frozenset[int], np.ndarray] = {}
    for kept in chain.from_iterable(combinations(everything, r) for r in range(len(world) + 1)):
        picture = world.draw(kept)
        assert np.array_equal(picture, pictures.setdefault(world.seen(kept), picture))
        other = world.draw(kept, draw=1)
        assert np.array_equal(picture, other) != world.by_chance(kept)
    assert len(pictures) == 2 * 3**2


def test_the_other_backdrop_is_none_of_the_scenes_own() -> None:
    world = world_with(1)
    alone = world.without(2)
    assert np.array_equal(alone, SceneWorld(world.scene).without(2))  # the same each time
    object_pixels = world.parts[0].pixels
    inner = object_pixels & np.roll(object_pixels, 1, 0) & np.roll(object_pixels, -1, 0)
    inner &= np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    assert np.array_equal(alone[inner], world.scene.image[inner])  # the same light on the same object
    assert (alone[~object_pixels] != world.scene.image[~object_pixels]).any(axis=-1).mean() > 0.95


def test_parts_that_are_not_there() -> None:
    world = world_with(1)
    for gone in (-1, 3):
        with pytest.raises(InputError, match="Expected parts from 0 to 2 but got"):
            world.without(gone)
