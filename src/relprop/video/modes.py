"""Modes: the ways to split a clip's relevance, with their settings. Nothing here imports torch."""

from __future__ import annotations

from typing import Any

from relprop.checks import check_known
from relprop.errors import InputError
from relprop.registry import split_settings

__all__ = ["ABOUT", "MODES", "mode_named"]

#: Mode -> its own settings with their defaults.
MODES: dict[str, dict[str, Any]] = {
    "naive": {"slice": "same", "normalise": None, "clamp": False},
    "conserving": {"camera": "auto"},
    "selective": {"padding": "replicate", "sigma": 1.0, "absolute": False},
}

#: Mode -> what it does, in a line for those who choose; the recommended one first.
ABOUT: dict[str, str] = {
    "conserving": "one account split in two parts that add up, the camera's own motion taken off",
    "naive": "each frame is shown standing still, and what is missing then is motion",
    "selective": "relevance that changes over time is motion",
}


def mode_named(text: str) -> dict[str, Any]:
    """The mode and its settings of `mode:key=value,...`, as `relprop.separate_motion` takes them.

    Raises:
        UnknownNameError: no such mode.
        InputError: a setting that the mode doesn't have.

    >>> mode_named("naive:slice=first")
    {'mode': 'naive', 'slice': 'first'}
    """
    name, settings = split_settings(text, "mode")
    check_known("mode", name, MODES)
    for key in settings:
        if key not in MODES[name]:
            valid = ", ".join(MODES[name]) or "none"
            raise InputError(f"Expected a setting of mode {name} but got {key!r}. Valid: {valid}.")
    return {"mode": name, **settings}
