"""Paths: where results go, and one sentence where they can't go there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from relprop.errors import InputError, OutputError

__all__ = ["named_path", "tells_where"]

P = ParamSpec("P")
R = TypeVar("R")


def named_path(given: Any) -> Path:
    """A path as it was given, "~" filled in.

    Raises:
        InputError: it is neither text nor a path, or can't be the name of a file.

    >>> named_path(None)
    Traceback (most recent call last):
    relprop.errors.InputError: Expected a path but got NoneType. Give text or a pathlib.Path.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(f"Expected a path but got {type(given).__name__}. Give text or a pathlib.Path.")
    try:
        path = Path(given).expanduser()
        if b"\0" in os.fsencode(path):
            raise ValueError("it holds a NUL character")
        if path.is_symlink():
            path.resolve()
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"Expected a path but {str(given)[:80]!r} can't be one: {reason}. Use another one."
        ) from None
    return path


def tells_where(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function that writes to its argument `path` say in one sentence why it can't.

    Raises:
        InputError: no path, or a place that can't be written to (no permission, full disk, name too long, a file
            in the way); what was begun there is gone by then.
    """
    takes = signature(function)

    @wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        given = takes.bind(*args, **kwargs)
        path = given.arguments["path"] = named_path(given.arguments["path"])
        try:
            return function(*given.args, **given.kwargs)
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            shown = str(path) if len(str(path)) <= 160 else f"{str(path)[:150]}…"
            raise OutputError(
                f"Expected a place that can be written to but {shown!r} is none: {reason}. Use another path, "
                "or make room there."
            ) from error

    return telling
