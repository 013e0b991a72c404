"""Methods as written on the command line: `name` or `name:key=value,key=value`."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

from relprop.checks import check_spelling
from relprop.errors import InputError, unknown_name
from relprop.methods.method import Method
from relprop.methods.registry import METHODS

__all__ = ["method_from", "slug", "with_settings"]


def method_from(text: str, bounds: Any = None, progress: Any = None, multi_label: bool = False) -> Method:
    """The configured method.

    Values are Python literals (`2`, `0.25`, `None`, `(0, 1)`), or else text.

    Args:
        text: `name` or `name:key=value,key=value`.
        bounds: box of the input, for methods with a z-box that the text gives no bounds.
        progress: called with (done, total) by methods of many runs.
        multi_label: the model's scores are sigmoids, so that methods which compare a class with hostile
            ones take the predicted classes, unless the text says otherwise.

    Raises:
        InputError: unknown method or setting, or a value that the method refuses.
    """
    name, given = with_settings(text)
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    kind = METHODS[name]
    known = [n for n in inspect.signature(kind).parameters if n not in ("args", "kwargs")]
    valid = [n for n in known if n != "progress"]
    check_spelling(name, given, valid)
    wrong = [key for key in given if key not in valid]
    if wrong:
        raise InputError(
            f"Expected a setting of {name} but got {wrong[0]!r}. Valid: {', '.join(valid) or 'none'}."
        )
    boxed = "first" not in known or given.get("first") == "z-box"
    if bounds is not None and boxed and "bounds" in known:
        given.setdefault("bounds", bounds)
    if multi_label and "hostile" in known:
        given.setdefault("hostile", "predicted")
    if "progress" in known:
        given["progress"] = progress
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        settings = text.partition(":")[2]
        raise InputError(f"Expected settings that {name} accepts but got {settings!r}: {error}.") from error


def with_settings(text: str, what: str = "method") -> tuple[str, dict[str, Any]]:
    """The name and the settings of `name:key=value,key=value`; values are Python literals, or else text.

    Raises:
        InputError: a setting without "=".

    >>> with_settings("naive:slice=first,clamp=True")
    ('naive', {'slice': 'first', 'clamp': True})
    """
    name, _, settings = text.partition(":")
    return name, dict(_pair(part, text, what) for part in _split(settings))


def _split(settings: str) -> list[str]:
    # At commas outside of brackets: bounds=(0,1),alpha=2
    parts = re.split(r",(?![^(\[{]*[)\]}])", settings)
    return [part.strip() for part in parts if part.strip()]


def _pair(part: str, text: str, what: str) -> tuple[str, Any]:
    key, equals, value = part.partition("=")
    if not equals:
        raise InputError(f"Expected a {what} as name:key=value,key=value but got {text!r}.")
    try:
        return key.strip().replace("-", "_"), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return key.strip().replace("-", "_"), value.strip()


def slug(text: str) -> str:
    """A file name for a method as written.

    >>> slug("lrp-alpha-beta:alpha=2,bounds=(0, 1)")
    'lrp-alpha-beta_alpha-2_bounds-0_1'
    """
    return "_".join(p for p in re.split(r"[^\w.+-]+", text.replace("=", "-").replace("-(", "-")) if p)
