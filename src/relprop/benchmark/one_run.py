"""OneRun: what a recipe's method says of some pictures, from one forward run for all methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from relprop.benchmark.recipe import MethodEntry
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.explanation.inquiry import Inquiry
from relprop.methods.method import Method
from relprop.models.loaded import LoadedModel

__all__ = ["OneRun", "map_of", "maps_at", "maps_on"]


class OneRun:
    """One forward run for all methods, made when the first of them asks: baselines need none.

    Entries of a recipe that only treat a map otherwise (smoothed, summed up differently) and stand one behind the
    other share the explanation.
    """

    def __init__(self, make: Callable[[], Inquiry]) -> None:
        self._make = make
        self._made: Inquiry | None = None
        self._last: tuple[tuple[str, tuple[str, ...]], Explanation] | None = None

    def __enter__(self) -> OneRun:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.close()

    def explained(self, entry: MethodEntry, method: Method) -> Explanation:
        """What a method says. A model that can't be run is refused anew for each of them."""
        asked = entry.method, _layers(entry)
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        self._last = None  # one explanation at a time
        if self._made is None:
            self._made = self._make()
        found: Any = self._made.answer(method, asked[1], last=False)
        self._last = asked, found
        answer: Explanation = found
        return answer


def map_of(found: Explanation, entry: MethodEntry, k: int, row: int) -> Tensor:
    """The map (h, w) of a target of a sample."""
    return _reduced(_relevance(found, entry)[k, row], entry.reduce)


def maps_on(
    net: nn.Module, model: LoadedModel, x: Tensor, targets: list[int], entry: MethodEntry, method: Method
) -> list[Tensor]:
    """The maps (h, w) of targets at an input (1, C, h, w) on another network than the model's own."""
    found = explanation_of(net, x, targets, method, _layers(entry), facts=model.facts)
    return [_reduced(r, entry.reduce).cpu() for r in _relevance(found, entry)[:, 0]]


def maps_at(
    x: Tensor, model: LoadedModel, target: int, entry: MethodEntry, method: Method, batch: int
) -> Tensor:
    """The maps (N, h, w) of a target at other inputs (N, C, h, w), `batch` at a time."""
    maps = []
    for part in x.split(batch):
        found = explanation_of(model.module, part, target, method, _layers(entry), facts=model.facts)
        maps += [_reduced(r, entry.reduce).cpu() for r in _relevance(found, entry)]
    return torch.stack(maps)


def _layers(entry: MethodEntry) -> tuple[str, ...]:
    return (entry.at,) if entry.at else ()


def _relevance(found: Explanation, entry: MethodEntry) -> Tensor:
    return found.layers[entry.at] if entry.at else found.relevance


def _reduced(relevance: Tensor, how: str) -> Tensor:
    """(C, h, w) -> (h, w)."""
    if relevance.dim() != 3:
        raise InputError(
            f"Expected relevance (C, h, w) for a map but got shape {tuple(relevance.shape)}. "
            "Name a place before the flattening (at = ...)."
        )
    if how == "max-abs":
        return relevance.abs().amax(0)
    total = relevance.sum(0)
    return total.clamp(min=0) if how == "positive" else total
