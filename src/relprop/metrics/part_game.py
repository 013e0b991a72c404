"""Part game: what each part of a drawn world is worth to a score, found by drawing the world without it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_count
from relprop.datasets.world import World
from relprop.errors import InputError

__all__ = ["PartGame", "Score", "held", "shapley", "world_map"]

Array = NDArray[np.float64]

Score = Callable[[Sequence[NDArray[np.uint8]]], Array]
"""Pictures (or clips) as the world draws them -> (n,) or (n, scores)."""

_CHUNK = 8  # pictures that are scored together: small networks' activations stay in the processor's memory
_MOST = 16  # parts: more sets than 2^16 would run for weeks


def shapley(values: Array) -> Array:
    r"""Shapley's values of every player, from what every set of players is worth.

    .. math:: \varphi_k = \sum_{S \not\ni k} \frac{|S|!\,(n - |S| - 1)!}{n!} \left(v(S \cup \{k\}) - v(S)\right)

    Source: Shapley 1953. They add up to what all are worth together, less what nobody is.

    Args:
        values: (2^n, ...), v of each set: player k is in set number s where bit k of s is set.

    Returns:
        (n, ...).

    Raises:
        InputError: the number of sets is no power of two.

    >>> shapley(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
    [2.0, 3.0]
    """
    sets = np.arange(len(values))
    players = len(sets).bit_length() - 1
    if len(sets) != 2**players:
        raise InputError(f"Expected a value for each of 2^n sets but got {len(sets)}.")
    size = np.array([int(s).bit_count() for s in sets])
    # |S|! (n - |S| - 1)! / n! = 1 / (n C(n - 1, |S|)), and C(n - 1, s + 1) = C(n - 1, s) (n - 1 - s) / (s + 1).
    ways = [1.0]
    for s in range(players - 1):
        ways.append(ways[-1] * (players - 1 - s) / (s + 1))
    found = np.zeros((players, *values.shape[1:]))
    for k in range(players):
        without = sets[(sets >> k) & 1 == 0]
        weight = 1.0 / (players * np.array([ways[s] for s in size[without]]))
        gain = values[without | (1 << k)] - values[without]
        found[k] = np.tensordot(weight, gain, axes=(0, 0))
    return found


class PartGame:
    """Scores of a world with any of its parts, each asked for once.

    Args:
        world: the picture or clip in parts.
        score: what is asked of the pictures.
        draws: of other backdrops, where the world's own is missing; scores are means over them.

    Raises:
        InputError: too many parts, no draws, or scores of another form.
    """

    def __init__(self, world: World, score: Score, draws: int = 4) -> None:
        check_count("draws", draws, most=1000)
        if len(world) > _MOST:
            raise InputError(
                f"Expected a world of at most {_MOST} parts but got {len(world)}. Merge some of its parts."
            )
        self.world, self.score, self.draws = world, score, draws
        self._known: dict[frozenset[int], Array] = {}

    def scores(self, sets: Sequence[Collection[int]]) -> Array:
        """The scores with these parts alone, (sets, ...)."""
        seen = [self.world.seen(kept) for kept in sets]
        asked = [s for s in dict.fromkeys(seen) if s not in self._known]
        jobs = [(s, d) for s in asked for d in range(self.draws if self.world.by_chance(s) else 1)]
        found: dict[frozenset[int], list[Array]] = {s: [] for s in asked}
        for first in range(0, len(jobs), _CHUNK):
            group = jobs[first : first + _CHUNK]
            values = np.asarray(self.score([self.world.draw(*job) for job in group]), dtype=np.float64)
            if values.shape[:1] != (len(group),) or not np.isfinite(values).all():
                raise InputError(
                    f"Expected {len(group)} finite scores, one a picture, but got shape {values.shape}"
                    f"{'' if np.isfinite(values).all() else ' with NaN or infinity'}."
                )
            for (s, _), value in zip(group, values, strict=True):
                found[s].append(value)
        self._known |= {s: np.mean(values, axis=0) for s, values in found.items()}
        return np.stack([self._known[s] for s in seen])

    def removals(self) -> Array:
        """What the score loses when each part alone is taken away, (parts, ...)."""
        everything = range(len(self.world))
        scores = self.scores([everything, *([j for j in everything if j != k] for k in everything)])
        return scores[0] - scores[1:]

    def effects(self) -> Array:
        """Shapley's value of each part, (parts, ...)."""
        n = len(self.world)
        return shapley(self.scores([[k for k in range(n) if s >> k & 1] for s in range(2**n)]))


def held(effects: Array, own: Sequence[bool]) -> float | None:
    r"""The share of the positive effect that some of the parts hold.

    .. math:: \frac{\sum_{k \in \text{own}} \max(0, \varphi_k)}{\sum_k \max(0, \varphi_k)}

    This is what the energy of a map on these parts' pixels is if it puts on every part what that is worth.

    Args:
        effects: (parts,).
        own: which of them are meant, (parts,).

    Returns:
        From 0 to 1; None where no part has a positive effect.

    >>> held(np.array([6.0, 2.0, -5.0]), [True, False, False])
    0.75
    """
    positive = np.maximum(effects, 0.0)
    total = float(positive.sum())
    return float(positive[np.asarray(own, dtype=bool)].sum()) / total if total > 0 else None


def world_map(world: World, effects: Array) -> Array:
    """The map that the world itself would draw: every part's effect, spread evenly over the pixels that show it.

    Effects of parts that nothing is seen of (an object's shadow that lies behind it) are left out.

    Args:
        world: the picture or clip in parts.
        effects: (parts,).

    Returns:
        Of the parts' pixels' shape.
    """
    found = np.zeros(world.parts[0].pixels.shape)
    for part, effect in zip(world.parts, effects, strict=True):
        if part.pixels.any():
            found[part.pixels] = effect / part.pixels.sum()
    return found
