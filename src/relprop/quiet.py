"""Quiet: warnings, log lines and printed text of the calling thread alone are kept back.

`warnings.catch_warnings`, `contextlib.redirect_stderr` and logger levels belong to the whole process: two
threads that use them in turns leave each other's behind. What stands here is told by the thread that it
is for, and is taken away again piece by piece.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

__all__ = ["no_log", "no_prints", "no_warnings"]


# Of what `torch.export` imports when it first runs, this brings a warning filter along.
_BROUGHT = "sympy"


class _Here:
    """Matches every text, in the thread that made it, until it is over."""

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()

    def match(self, _text: str) -> bool:
        """Whether the calling thread is the one that made this; so `warnings` asks its filters."""
        return threading.get_ident() == self.thread


@contextmanager
def no_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore this thread's warnings of a category; those of other threads go their usual way.

    >>> with no_warnings():
    ...     warnings.warn("not seen", stacklevel=1)
    """
    # A filter's pattern may be anything that has `match`. Not `catch_warnings`: it replaces the filters of
    # all threads, and may put back a list that another thread has changed or left by then.
    here = _Here()
    entry: Any = ("ignore", here, category, None, 0)
    brought = _BROUGHT not in sys.modules
    filters: Any = warnings.filters
    filters.insert(0, entry)
    try:
        yield
    finally:
        # Another thread that went into `catch_warnings` meanwhile holds copies, also some that it puts back later.
        here.thread = None
        lists: tuple[Any, Any] = filters, warnings.filters
        for held in lists:
            for one in [entry, *(f for f in list(held) if brought and _is_from(_BROUGHT, f[2]))]:
                with suppress(ValueError):  # it isn't in this list, or another thread has just taken it away
                    held.remove(one)


def _is_from(package: str, category: type) -> bool:
    return category.__module__.partition(".")[0] == package


@contextmanager
def no_log(names: Sequence[str]) -> Iterator[None]:
    """Drop what this thread says to the loggers of these names; their levels stay as they are."""
    thread = threading.get_ident()

    def others(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(others)


@contextmanager
def no_prints(names: Sequence[str]) -> Iterator[None]:
    """Drop what this thread prints in these modules, while `sys.stderr` stays; for one thread at a time."""
    thread = threading.get_ident()

    def others(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != thread:
            builtins.print(*args, **kwargs)  # noqa: T201

    # Imported here: what is imported only by the code inside would print the first time.
    spaces = [vars(import_module(name)) for name in names]
    for space in spaces:
        space["print"] = others  # found before the builtin of that name
    try:
        yield
    finally:
        for space in spaces:
            space.pop("print", None)
