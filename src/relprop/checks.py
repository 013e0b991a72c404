"""Checks: settings refused with the valid values, and under names that they had before."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeVar

from relprop.errors import InputError, unknown_name
from relprop.files import brief

__all__ = [
    "Progress",
    "check_choice",
    "check_count",
    "check_flag",
    "check_index",
    "check_known",
    "check_number",
    "check_progress",
    "check_seed",
    "check_spelling",
    "layer_names",
    "parsed_scale",
    "place_name",
    "refuses_old_spellings",
]

P = ParamSpec("P")
R = TypeVar("R")

_RENAMED: dict[str, tuple[str, ...]] = {
    "start": ("seed", "at"),
    "stop": ("at",),
    "layer": ("at",),
    "contrast": ("contrast_at",),
    "base": ("otherwise",),
}
"""Old name of a setting -> new ones; whichever the callable takes is meant."""

Progress = Callable[[int, int], None]
"""Called with (done, total) after each forward and backward run."""


def check_choice(name: str, value: object, valid: Sequence[str]) -> None:
    """Refuse a word that isn't among the valid ones.

    Raises:
        InputError: with the valid words.
    """
    if value not in valid:
        raise InputError(f"Expected {name} to be one of {', '.join(map(repr, valid))} but got {value!r}.")


def check_known(what: str, name: str, valid: Collection[str]) -> None:
    """Refuse a name that isn't among the valid ones.

    Raises:
        UnknownNameError: with the closest and all valid names.
    """
    if name not in valid:
        raise unknown_name(what, name, valid)


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """Refuse what isn't a whole number from 1 to `most`.

    Args:
        name: of the setting.
        value: as it came.
        most: where more would only run for weeks or fill the memory; None: any number.

    Raises:
        InputError: with the name of the setting.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1 or (most is not None and value > most):
        wanted = ">= 1" if most is None else f"from 1 to {most}"
        raise InputError(f"Expected {name} to be a whole number {wanted} but got {brief(value)}.")


def check_index(name: str, value: object, count: int) -> None:
    """Refuse what isn't the index of one of `count` things.

    Raises:
        InputError: no int, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise InputError(f"Expected {name} to be an index from 0 to {count - 1} but got {value!r}.")


def check_seed(value: Any) -> None:
    """Refuse a seed that isn't a whole number, or more than torch's generators take (64 bits).

    Raises:
        InputError: with what came.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not -(2**63) <= value < 2**64:
        raise InputError(f"Expected seed to be a whole number of at most 64 bits but got {brief(value)}.")


def check_number(name: str, value: Any, least: float | None = None) -> None:
    """Refuse what isn't a finite number, or is too small.

    Raises:
        InputError: with the name of the setting.

    >>> check_number("epsilon", -1, least=0)
    Traceback (most recent call last):
    relprop.errors.InputError: Expected epsilon to be >= 0 but got -1.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise InputError(f"Expected {name} to be a finite number but got {value!r:.80}.")
    if least is not None and value < least:
        raise InputError(f"Expected {name} to be >= {least:g} but got {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Refuse what isn't True or False: the word "no" would count as yes.

    Raises:
        InputError: with the name of the setting.
    """
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if not isinstance(plain, bool):
        raise InputError(f"Expected {name} to be True or False but got {value!r:.80}.")


def check_progress(progress: object) -> None:
    """Refuse what can't be called.

    Raises:
        InputError: with what came.
    """
    if progress is not None and not callable(progress):
        bar = " For a bar give explain progress=True." if progress is True else ""
        raise InputError(f"Expected progress to be a function of (done, total) but got {progress!r}.{bar}")


def layer_names(layers: Iterable[Any]) -> tuple[Any, ...]:
    """A list of modules or nodes; 4 is the module "4" of a sequence.

    Raises:
        InputError: one text, which would be taken letter by letter, or no list.
    """
    if isinstance(layers, (str, bytes)) or not isinstance(layers, Iterable):
        kind = "string" if isinstance(layers, str) else type(layers).__name__
        raise InputError(f"Expected layers to be a list of names but got the {kind} {layers!r:.80}.")
    return tuple(str(int(name)) if _is_index(name) else name for name in layers)


def _is_index(value: object) -> bool:
    """Whether it is a whole number, numpy's among them."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def place_name(setting: str, value: object) -> str | None:
    """A setting that names a module or node; None stays None, 4 is the module "4" of a sequence.

    Raises:
        InputError: neither text nor a number.
    """
    if value is None or isinstance(value, str):
        return value
    if _is_index(value) or isinstance(value, float):
        return str(value)
    raise InputError(f"Expected {setting} to name a module or node but got {type(value).__name__}.")


def parsed_scale(scale: str | float) -> Literal["symmetric", "shared"] | float:
    """The value of --scale.

    Raises:
        InputError: another word, or a number that is none or not above 0.
    """
    if scale == "symmetric":
        return "symmetric"
    if scale == "shared":
        return "shared"
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"Expected --scale symmetric, shared or a number above 0 but got {scale!r}.")
    return value


def check_spelling(owner: str, given: Iterable[str], valid: Collection[str]) -> None:
    """Refuse a setting under a name that it had before, with the name that it has now.

    Args:
        owner: whose setting it is, for the text.
        given: names as they came; those that were never valid are let pass.
        valid: the names that the owner takes.

    Raises:
        InputError: with the new name.

    >>> check_spelling("rsp", ["start"], ["mode", "at"])
    Traceback (most recent call last):
    relprop.errors.InputError: Expected at=... for rsp but got start=...: the setting has another name now.
    """
    for old in given:
        new = next((name for name in _RENAMED.get(old, ()) if name in valid), None)
        if new is not None and old not in valid:
            raise InputError(
                f"Expected {new}=... for {owner} but got {old}=...: the setting has another name now."
            )


def refuses_old_spellings(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function, or a class's `__init__`, refuse keywords under names that they had before.

    Raises:
        InputError: when it is called so; see `check_spelling`.
    """
    valid = frozenset(signature(function).parameters)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not valid.issuperset(kwargs):
            check_spelling(function.__qualname__.removesuffix(".__init__"), kwargs, valid)
        return function(*args, **kwargs)

    return checked
