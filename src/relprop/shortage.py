"""Shortage: memory that can't be had, as one sentence that says how much was asked for and what to do."""

from __future__ import annotations

import ctypes
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from relprop.errors import OutOfMemoryError, RelpropError

__all__ = ["amount", "give_back_memory", "is_shortage", "short_of_memory", "tells_shortage"]

P = ParamSpec("P")
R = TypeVar("R")

_SIGNS = ("allocate memory", "not enough memory", "bad_alloc", "out of memory")
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def is_shortage(error: BaseException) -> bool:
    """Whether an error of torch's or Python's means that memory ran out.

    >>> is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."))
    True
    """
    if isinstance(error, RelpropError):
        return False
    if isinstance(error, MemoryError):
        return True
    # torch's own class for accelerators is a RuntimeError too.
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def short_of_memory(what: Callable[[], str]) -> Iterator[None]:
    """Inside, an allocation that fails becomes an `OutOfMemoryError`.

    What the failed call held is given back, so that a session can go on.

    Args:
        what: words that follow "memory for": what was being computed, and how large it is.

    Raises:
        OutOfMemoryError: with what was asked for, and what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        asked = re.search(r"allocate ([0-9.]+) ?(bytes|[KMG]iB)", str(error))
        size = "more" if asked is None else amount(float(asked[1]) * _UNITS[asked[2].lower()]) + " more"
        traceback.clear_frames(error.__traceback__)
        raise OutOfMemoryError(
            f"Expected enough memory for {what()} but {size} can't be had. Explain fewer samples or targets at a "
            "time, keep less with relprop.memory_limit('low'), or take a smaller input."
        ) from error


def tells_shortage(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function say so in one sentence where memory runs out; for every entry point that explains."""

    @wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        with short_of_memory(lambda: "this explanation"):
            return function(*args, **kwargs)

    return telling


def give_back_memory() -> None:
    """Hand freed memory back to the system, where the C library has a way.

    Pictures of many sizes leave glibc's heap in pieces: without this a process holds up to three times what it
    needs.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def amount(size: float) -> str:
    """Bytes in words.

    >>> amount(3 * 2**30), amount(5e6)
    ('3.0 GiB', '4.8 MiB')
    """
    unit = "GiB" if size >= 2**30 else "MiB"
    return f"{size / _UNITS[unit.lower()]:.1f} {unit}"
