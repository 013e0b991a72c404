"""Adapted: a recipe with other data, another model, other methods or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import Any

from relprop.benchmark.recipe import MethodEntry, MetricEntry, Recipe, read_recipe
from relprop.errors import InputError
from relprop.files import expanded
from relprop.registry import parameters, split_settings

__all__ = ["adapted"]


def adapted(
    recipe: str | Path,
    *,
    data: Path | None = None,
    difficult: Path | None = None,
    model: str | None = None,
    weights: Path | None = None,
    labels: Path | None = None,
    multi_label: bool | None = None,
    random_weights: bool = False,
    methods: Sequence[str] | None = None,
    add_methods: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    add_metrics: Sequence[str] | None = None,
    complete: bool = True,
    **numbers: int | None,
) -> Recipe:
    """A recipe with changes; None leaves its own.

    Args:
        recipe: a name or a .toml file.
        data: the folder or file that its data set is read from.
        difficult: a list of difficult pairs.
        model: another specification.
        weights: a state dict.
        labels: class names.
        multi_label: sigmoid or softmax scores.
        random_weights: seeded random weights instead of published ones.
        methods: as written on the command line; those that the recipe has keep their reduction and smoothing.
        add_methods: the same, beside the others.
        metrics: as written on the command line; those that the recipe has, by label or name, keep their settings.
            Published numbers of others are dropped.
        add_metrics: the same, beside the others.
        complete: refuse a recipe whose data set needs a folder that wasn't given.
        numbers: limit, seed, chunk, batch, threads; maps.

    Raises:
        InputError: the recipe needs a folder that wasn't given, or a change that can't be made.
    """
    base = read_recipe(recipe)
    changes: dict[str, Any] = _given(**numbers)
    if methods or add_methods:
        own = dict(zip(base.method_labels, base.rows, strict=True))
        entries = [own.get(text, MethodEntry(text)) for text in methods or ()] or list(base.methods)
        entries += [own.get(text, MethodEntry(text)) for text in add_methods or ()]
        changes["methods"] = tuple({entry.label or entry.method: entry for entry in entries}.values())
    if metrics or add_metrics:
        judges = [_metric(base, text) for text in metrics or ()] or list(base.metrics)
        judges += [_metric(base, text) for text in add_metrics or ()]
        changes["metrics"] = tuple({metric.label or metric.name: metric for metric in judges}.values())
        columns = tuple(f"{metric.label or metric.name}." for metric in changes["metrics"])
        changes["published"] = {k: v for k, v in base.published.items() if k.startswith(columns)}
    changes["model"] = replace(
        base.model,
        **_given(
            spec=model,
            weights=None if weights is None else str(weights.absolute()),
            labels=None if labels is None else str(labels.absolute()),
            multi_label=multi_label,
            random_weights=random_weights or None,
        ),
    )
    return replace(base, data=_data(base, data, difficult, complete), **changes)


def _metric(recipe: Recipe, text: str) -> MetricEntry:
    """The recipe's metric of that label or name; else one with the settings that are written behind its name."""
    for known in (recipe.metric_labels, [entry.name for entry in recipe.metrics]):
        if known.count(text) == 1:
            return recipe.metrics[known.index(text)]
    name, settings = split_settings(text, "metric")
    return MetricEntry(name, text if settings else "", settings)


def _data(recipe: Recipe, data: Path | None, difficult: Path | None, complete: bool) -> dict[str, Any]:
    options = dict(recipe.data)
    place = next(iter(getattr(recipe.data_set, "places", ())), None)
    needed = place is not None and parameters(recipe.data_set)[place].default is Parameter.empty
    if data is not None:
        if place is None:
            raise InputError(f"Expected no --data, for the data set {options['name']} is made, not read.")
        options[place] = str(expanded(data).absolute())
    elif complete and needed and place not in options:
        raise InputError(
            f"Expected --data PATH: recipe {recipe.name} reads the data set {options['name']} from a {place} of "
            "yours."
        )
    if difficult is not None:
        options["difficult"] = str(expanded(difficult).absolute())
    return options


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
