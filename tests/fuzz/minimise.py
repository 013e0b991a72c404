"""Minimise: what is left of a failing network when everything that it doesn't need is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.generator import OWN, Recipe, Step

__all__ = ["minimised"]


def minimised(recipe: Recipe, fails: Callable[[Recipe], bool], most: int = 150) -> Recipe:
    """A smaller recipe that fails as well.

    Steps go one after another (who read one reads its operand then), then heads, then choices that differ
    from the first, then sizes.

    Args:
        recipe: fails.
        fails: whether a recipe fails in the same way; False for one that isn't a network.
        most: how many recipes are tried.
    """
    tried = 0
    found = True
    while found and tried < most:
        found = False
        for smaller in _smaller(recipe):
            tried += 1
            if fails(smaller):
                recipe, found = smaller, True
                break
            if tried >= most:
                break
    return recipe


def _smaller(recipe: Recipe) -> Iterator[Recipe]:
    for i in reversed(range(len(recipe.heads))):
        if len(recipe.heads) > 1:
            yield replace(recipe, heads=recipe.heads[:i] + recipe.heads[i + 1 :])
    for i in reversed(range(len(recipe.steps))):
        yield _without(recipe, i)
    for i, step in enumerate(recipe.steps):
        if step.y != OWN:
            yield _with(recipe, i, replace(step, y=OWN))  # a second operand of its own
        if step.x != -1:
            yield _with(recipe, i, replace(step, x=-1))
    for axis, size in enumerate(recipe.shape):
        for smaller in (2, size - 1):
            if smaller < size:
                yield replace(recipe, shape=(*recipe.shape[:axis], smaller, *recipe.shape[axis + 1 :]))


def _with(recipe: Recipe, i: int, step: Step) -> Recipe:
    return replace(recipe, steps=(*recipe.steps[:i], step, *recipe.steps[i + 1 :]))


def _without(recipe: Recipe, i: int) -> Recipe:
    """The recipe without step i: who read it reads its operand."""
    gone = recipe.steps[i]

    def moved(place: int) -> int:
        return gone.x if place == i else place - 1 if place > i else place  # OWN stays as it is

    steps = [replace(s, x=moved(s.x), y=moved(s.y)) for j, s in enumerate(recipe.steps) if j != i]
    heads = tuple(dict.fromkeys(max(moved(h), -1) for h in recipe.heads))
    return replace(recipe, steps=tuple(steps), heads=heads)
