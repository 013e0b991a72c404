"""Rows: what a recipe can have in its table, by which metrics, and what each number depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from relprop.benchmark.baselines import BASELINES, Baseline
from relprop.benchmark.ceiling import WORLD, with_ceiling
from relprop.benchmark.controls import squared_label, squares
from relprop.benchmark.job import Asked
from relprop.benchmark.keys import map_key, method_key, metric_key, world_key
from relprop.benchmark.recipe import MethodEntry, Recipe
from relprop.methods.method import Method
from relprop.methods.registry import resolve
from relprop.metrics.metric import Metric
from relprop.metrics.registry import load_metric
from relprop.own_file import split_file
from relprop.registry import split_settings

__all__ = ["Rows", "load_metrics"]


class Rows:
    """Methods, baselines, squared maps and the world's own, each with its metrics.

    Args:
        recipe: what they are of.

    Attributes:
        methods: label -> (entry, the configured method or baseline).
        metrics: label -> metric.

    Raises:
        InputError: an unknown method, metric or setting.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.methods: dict[str, tuple[MethodEntry, Method | Baseline]] = {
            label: (entry, _method(recipe.located(entry.method)))
            for label, entry in zip(recipe.method_labels, recipe.rows, strict=True)
        }
        self.metrics = load_metrics(recipe)
        self.squares = squares(self.metrics) if recipe.squares else {}
        self.ceilings = with_ceiling(self.metrics) if recipe.ceiling else ()

    @cached_property
    def asked(self) -> Asked:
        """Row -> the metrics that it is judged by: all rows that the recipe can have in its table."""
        found = {}
        for label, (_, method) in self.methods.items():
            first = label == self.recipe.method_labels[0]
            found[label] = tuple(
                name for name, metric in self.metrics.items() if first or not metric.of_model
            )
            if self._is_squared(label, method):
                found[squared_label(label)] = tuple(self.squares)
        if self.ceilings:
            found[WORLD] = self.ceilings
        return found

    def _is_squared(self, label: str, method: Method | Baseline) -> bool:
        """Whether the method's map is judged once more, squared."""
        return bool(self.squares) and isinstance(method, Method) and self.methods[label][0].power == 1

    def base(self, row: str) -> str:
        """The label of the method whose maps a row is made of; the world makes its own."""
        return row if row in self.methods or row == WORLD else self._squared_of[row]

    @cached_property
    def _squared_of(self) -> dict[str, str]:
        return {squared_label(label): label for label in self.methods}

    @cached_property
    def row_keys(self) -> dict[str, str]:
        """Row -> what its numbers depend on, see `relprop.benchmark.keys`."""
        found = {}
        for row in self.asked:
            if row == WORLD:
                found[row] = world_key()
                continue
            entry, method = self.methods[self.base(row)]
            entry = entry if row in self.methods else replace(entry, power=2.0)
            found[row] = method_key(self.recipe, entry, seeded=isinstance(method, Baseline))
        return found

    @cached_property
    def map_keys(self) -> dict[str, str]:
        """Method -> what its maps depend on. A baseline's are drawn quicker than read."""
        return {
            label: map_key(self.recipe, entry)
            for label, (entry, method) in self.methods.items()
            if isinstance(method, Method)
        } | {WORLD: world_key()}

    @cached_property
    def metric_keys(self) -> dict[str, str]:
        """Metric -> what its numbers depend on."""
        entries = zip(self.recipe.metric_labels, self.recipe.metrics, strict=True)
        return {label: metric_key(self.recipe, entry) for label, entry in entries}

    @property
    def controls(self) -> tuple[str, ...]:
        """Labels of the rows that know nothing of what the network learned, or only sharpen another's map."""
        return tuple(
            label
            for label, (entry, method) in self.methods.items()
            if isinstance(method, Baseline) or entry.power != 1
        )

    @property
    def oracle(self) -> str:
        """Label of the row that was told the truth; "" where there is none."""
        told = (m for m, (_, made) in self.methods.items() if isinstance(made, Baseline) and made.oracle)
        return next(told, "")


def load_metrics(recipe: Recipe) -> dict[str, Metric]:
    """The metrics of a recipe by label.

    Raises:
        InputError: an unknown metric or setting.
    """
    return {
        label: load_metric(recipe.located(entry.name), **_located(recipe, entry.settings))
        for label, entry in zip(recipe.metric_labels, recipe.metrics, strict=True)
    }


def _located(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, with the path of the file where one is `file.py:Name`."""
    return {k: recipe.located(v) if isinstance(v, str) else v for k, v in settings.items()}


def _method(text: str) -> Method | Baseline:
    """The configured method or baseline."""
    name, settings = split_settings(text)
    if name in BASELINES:
        return BASELINES.make(name, settings)
    if split_file(name) is not None:
        own = BASELINES.find(name)
        if isinstance(own, type) and issubclass(own, Baseline):
            return BASELINES.make(name, settings)
    return resolve(text)
