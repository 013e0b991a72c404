"""What the renderer says a class is worth to a network: Shapley's values of the parts of a drawn scene.

Parts are the objects of a class, and everything else. A part is taken away by drawing the scene without it; where
everything else goes, the objects' own pixels stand on another scene without any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import factorial

import numpy as np

from benchmarks.crp_truth import Picture, without
from relprop.datasets import Scene
from relprop.datasets._drawn import SPLITS
from relprop.datasets._render import paint

__all__ = ["coalitions", "empty", "shapley", "shares"]

FRESH = 1_000_000  # added to a scene's index: a scene that no object of the measured ones stood in


def empty(scene: Scene) -> Picture:
    """Another scene of the same world, without any object."""
    image, _, _ = paint((), scene.seed, SPLITS[scene.split], FRESH + scene.index, scene.image.shape[0])
    return image


def coalitions(scene: Scene, labels: Sequence[int]) -> dict[frozenset[int], Picture]:
    """The scene with some of its parts: part k is the objects of class `labels[k]`, the last one all else."""
    other = len(labels)
    nothing = empty(scene)
    found: dict[frozenset[int], Picture] = {}
    for size in range(other + 1):
        for chosen in combinations(range(other), size):
            gone = [
                i for i, label in enumerate(scene.labels.tolist())
                if label in labels and labels.index(label) not in chosen
            ]  # fmt: skip
            found[frozenset((*chosen, other))] = without(scene, *gone) if gone else scene.image
            own = np.isin(scene.labels, [labels[k] for k in chosen])
            mask = scene.masks[own].any(0)
            found[frozenset(chosen)] = np.where(mask[..., None], scene.image, nothing)
    return found


def shapley(values: Callable[[frozenset[int]], float], players: int) -> list[float]:
    """Shapley's values of a game.

    >>> shapley(lambda team: 2.0 * (0 in team) + 3.0 * (0 in team and 1 in team), 2)
    [3.5, 1.5]
    """
    found = []
    for k in range(players):
        rest = [j for j in range(players) if j != k]
        total = 0.0
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for team in combinations(rest, size):
                total += weight * (values(frozenset((*team, k))) - values(frozenset(team)))
        found.append(total)
    return found


def shares(worth: Sequence[float]) -> list[float] | None:
    """Each part's share of what is positive; None where nothing is."""
    positive = [max(0.0, value) for value in worth]
    total = sum(positive)
    return [value / total for value in positive] if total > 0 else None
