"""Checks: settings refused with the valid values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relprop.errors import InputError

__all__ = ["Progress", "check_choice", "check_count", "check_progress", "place_name"]

Progress = Callable[[int, int], None]
"""Called with (done, total) after each forward and backward run."""


def check_choice(name: str, value: object, valid: Sequence[str]) -> None:
    """Refuse a word that isn't among the valid ones.

    Raises:
        InputError: with the valid words.
    """
    if value not in valid:
        raise InputError(f"Expected {name} to be one of {', '.join(map(repr, valid))} but got {value!r}.")


def check_count(name: str, value: Any) -> None:
    """Refuse what isn't a whole number >= 1.

    Raises:
        InputError: with the name of the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"Expected {name} to be a whole number >= 1 but got {value!r}.")


def check_progress(progress: object) -> None:
    """Refuse what can't be called.

    Raises:
        InputError: with what came.
    """
    if progress is not None and not callable(progress):
        raise InputError(f"Expected progress to be a function of (done, total) but got {progress!r}.")


def place_name(setting: str, value: object) -> str | None:
    """A setting that names a module or node; None stays None, 4 is the module "4" of a sequence.

    Raises:
        InputError: neither text nor a number.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"Expected {setting} to name a module or node but got {type(value).__name__}.")
