"""Wording: how Python's arguments, which errors name, are typed on a command line."""

from __future__ import annotations

from functools import cache

from relprop.catalogue import METHODS

__all__ = ["OPTIONS", "method_settings"]

#: As an error's text has it -> as it is typed.
OPTIONS = {
    "relprop.memory_limit('low')": "--memory low",
    "linearise=True": "--linearise",
    "Pass split and year.": "Set split and year under [data] of a recipe (FILE.toml).",
    "Pass year, for example": "Set year under [data] of a recipe (FILE.toml), for example",
    "Pass annotations.": "Set annotations under [data] of a recipe (FILE.toml).",
    "Expected output= to say": "Expected --output to say",
    "Leave output out.": "Leave --output out.",
    "pass output=": "pass --output ",
    "Say which: output=lambda outputs: ...": "Wrap the model so that it returns the scores alone.",
    "Expected region= only": "Expected --region only",
    "Give relprop.Composite(...), or call relprop.explain with the method.": "Take one of these; relprop explain "
    "takes all.",
    "as files, PIL pictures or tensors (1, C, H, W)": "as files",
}


@cache
def method_settings() -> frozenset[str]:
    """Names of all settings of all methods."""
    return frozenset(key for name in METHODS for key in METHODS.settings(name))
