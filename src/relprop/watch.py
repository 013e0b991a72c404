"""Watch: whoever waits for a long computation is told how far it is, and may end it there.

The engine calls `passing` at every operator of a forward run and of the way down, and where a network is asked
again and again. That costs next to nothing where nobody watches. To end a computation, the watch raises
`Stopped`, which passes through everything that handles errors, as Ctrl-C does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Stopped", "Watch", "passing", "watched"]

#: Called with what is being done, how many of its steps are done, and their number (0: nothing is counted).
Watch = Callable[[str, int, int], object]

_WATCH: ContextVar[Watch | None] = ContextVar("relprop_watch", default=None)


class Stopped(BaseException):
    """Whoever watches wants no more of a computation. No `Exception`: a failure is something else."""


def passing(what: str, done: int = 0, total: int = 0) -> None:
    """Tell the watch of this thread, if there is one, how far a computation is; total 0: nothing is counted.

    Raises:
        Stopped: the watch wants it to end.
    """
    watch = _WATCH.get()
    if watch is not None:
        watch(what, done, total)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have what runs inside, in this thread, tell `watch` how far it is.

    >>> with watched(lambda what, done, total: print(f"{what}: {done} of {total}")):
    ...     passing("forward run", 3, 10)
    forward run: 3 of 10
    """
    before = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(before)
