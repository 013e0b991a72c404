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
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

__all__ = ["no_log", "no_prints", "warnings_as"]


class _Here:
    """Matches every text, in the thread that made it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def match(self, _text: str) -> bool:
        """Whether the calling thread is the one that made this; so `warnings` asks its filters."""
        return threading.get_ident() == self.thread


@contextmanager
def warnings_as(action: Literal["ignore", "error"], category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore this thread's warnings of a category, or raise them; those of other threads go their usual way.

    >>> with warnings_as("ignore"):
    ...     warnings.warn("not seen", stacklevel=1)
    """
    # A filter's pattern may be anything that has `match`. Not `catch_warnings`: it replaces the filters of
    # all threads, and may put back a list that another thread has changed or left by then.
    entry: Any = (action, _Here(), category, None, 0)
    imported = set(sys.modules)
    filters: Any = warnings.filters
    filters.insert(0, entry)
    try:
        yield
    finally:
        now: Any = warnings.filters  # another list while another thread is inside of `catch_warnings`
        for held in (filters, now):
            # Filters that a library brought along when it was imported here go as well.
            for one in [f for f in held if f is entry or getattr(f[2], "__module__", "sys") not in imported]:
                held.remove(one)


@contextmanager
def no_log(names: Sequence[str]) -> Iterator[None]:
    """Drop what this thread says to the loggers of these names; their levels stay as they are."""
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

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
