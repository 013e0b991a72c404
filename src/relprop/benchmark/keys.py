"""Keys: what a map and a measurement depend on, as texts under which they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from relprop.benchmark.recipe import MethodEntry, MetricEntry, ModelEntry, Recipe
from relprop.datasets.data_set import DataSet
from relprop.own_file import code_of, without_folder

__all__ = ["data_key", "map_key", "method_key", "metric_key", "model_key", "world_key"]

_OF_THE_MAP = ("method", "reduce", "at")


def map_key(recipe: Recipe, entry: MethodEntry) -> str:
    """What a method's maps depend on, beside the facts of the file: method, settings, reduction, layer, own code.

    Neither its label nor what is done with a map later: blur and power.
    """
    return _text({k: v for k, v in _entry(recipe, entry).items() if k in (*_OF_THE_MAP, "code")})


def method_key(recipe: Recipe, entry: MethodEntry, seeded: bool) -> str:
    """What a row's numbers depend on, beside the metric and the facts of the file.

    Args:
        recipe: which says where files lie.
        entry: the row.
        seeded: the recipe's seed decides its maps, as a baseline's.
    """
    return _text({**_entry(recipe, entry), **({"seed": recipe.seed} if seeded else {})})


def world_key() -> str:
    """What the world's own map depends on: the facts of the file."""
    return _text({"world": True})


def metric_key(recipe: Recipe, entry: MetricEntry) -> str:
    """What a metric's numbers depend on, beside the map: its name, settings and own code.

    A setting may name a file, too, such as a network to compare with.
    """
    texts = {k: v for k, v in entry.settings.items() if isinstance(v, str)}
    settings = {**entry.settings, **{k: without_folder(v) for k, v in texts.items()}}
    return _text(
        {
            "name": without_folder(entry.name),
            **({"settings": settings} if settings else {}),
            **_code(recipe, entry.name, *texts.values()),
        }
    )


def data_key(recipe: Recipe, data: DataSet) -> str:
    """Hash of what pictures and annotations are read: fingerprint, options (but where they lie), own code."""
    places = getattr(recipe.data_set, "places", ())
    options = {k: v for k, v in recipe.data.items() if k not in places}
    options["name"] = without_folder(options["name"])
    return _hash({"read": data.fingerprint(), "options": options, **_code(recipe, recipe.data["name"])})


def model_key(recipe: Recipe) -> str:
    """Hash of how the model is used: its name, sizes, colours, geometry, classes.

    Not where its weights and labels lie: what is in them are facts of their own.
    """
    told = {k: v for k, v in _set(recipe.model).items() if k not in ("weights", "labels")}
    return _hash({**told, "spec": without_folder(recipe.model.spec)})


def _entry(recipe: Recipe, entry: MethodEntry) -> dict[str, Any]:
    told = {k: v for k, v in _set(entry).items() if k != "label"}
    return {**told, "method": without_folder(entry.method), **_code(recipe, entry.method)}


def _set(entry: MethodEntry | ModelEntry) -> dict[str, Any]:
    """What isn't as it is by default: a new setting of entries leaves old keys as they are."""
    told = {f.name: getattr(entry, f.name) for f in fields(entry)}
    defaults = {f.name: f.default for f in fields(entry) if f.default is not MISSING}
    return {k: v for k, v in told.items() if k not in defaults or v != defaults[k]}


def _code(recipe: Recipe, *texts: str) -> dict[str, str]:
    code = " ".join(filter(None, (code_of(recipe.located(text)) for text in texts)))
    return {"code": code} if code else {}


def _text(told: Mapping[str, Any]) -> str:
    return json.dumps(told, sort_keys=True)


def _hash(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(told).encode()).hexdigest()
