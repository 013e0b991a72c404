"""Recipe text: a recipe as TOML, complete enough to be saved, changed and run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from relprop.benchmark.recipe import MethodEntry, ModelEntry, Recipe

__all__ = ["as_toml"]


def as_toml(recipe: Recipe) -> str:
    """A recipe as `read_recipe` reads it, with what it leaves to defaults; files of one's own by full path."""
    own = recipe.plain()
    parts = ("data", "model", "methods", "metrics", "published")
    lines = [f"{k} = {_value(v)}" for k, v in own.items() if k not in (*parts, "folder")]
    lines += ["", "[data]", *_pairs({**own["data"], "name": recipe.located(own["data"]["name"])})]
    model = {**_set(ModelEntry, own["model"]), "spec": recipe.located(own["model"]["spec"])}
    lines += ["", "[model]", *_pairs(model)]
    for entry in own["methods"]:
        told = {**_set(MethodEntry, entry), "method": recipe.located(entry["method"])}
        lines += ["", "[[methods]]", *_pairs(told)]
    for entry in own["metrics"]:
        label = {"label": entry["label"]} if entry["label"] else {}
        settings = {k: v for k, v in entry["settings"].items() if v is not None}
        lines += ["", "[[metrics]]", *_pairs({"name": recipe.located(entry["name"]), **label, **settings})]
    for column, numbers in own["published"].items():
        lines += ["", f"[published.{_key(column)}]", *_pairs(numbers)]
    return "\n".join(lines) + "\n"


def _set(kind: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What isn't as it is by default."""
    defaults = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return {k: v for k, v in entry.items() if v is not None and (k not in defaults or v != defaults[k])}


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{_key(k)} = {_value(v)}" for k, v in table.items())


def _key(text: str) -> str:
    return text if re.fullmatch("[A-Za-z0-9_-]+", text) else _value(text)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # JSON's texts, numbers and truths are TOML's, but for one sign.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
