"""Tables of inputs of which each must end in one clear sentence: in time, and with nothing lost."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Tally", "TooLong", "limited", "snapshot", "unclear"]

#: What no error's text may hold: numbers of the system, Python's own words, lines of torch's log.
_FOREIGN = re.compile(
    r"Errno|Traceback|object has no attribute|NoneType|\[W\d|torch\.__|<class|run again with"
)


class TooLong(BaseException):
    """The time of one input is over; no `except Exception` catches it."""


@contextmanager
def limited(seconds: int, gigabytes: float = 1.0) -> Iterator[None]:
    """Raise `TooLong` where the block takes longer, or where the process has grown by more."""

    def over(*_: object) -> None:
        raise TooLong(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024**2
    if grown > gigabytes:
        raise TooLong(f"took {grown:.1f} GiB of memory")


def snapshot(folder: Path) -> dict[str, object]:
    """Every file below a folder with its content, and every other thing with its kind."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        regular = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if regular else path.lstat().st_mode
    return found


def unclear(text: str, pattern: str) -> str | None:
    """What is wrong with an error's text; None: nothing.

    Args:
        text: the error's.
        pattern: has to be found in it.
    """
    if _FOREIGN.search(text):
        return "speaks of what is inside"
    if len(text) > 1200:
        return f"is {len(text)} characters long"
    if not re.search(pattern, text):
        return f"lacks {pattern!r}"
    return None


@dataclass
class Tally:
    """How many inputs were tried, and which of them ended badly.

    Attributes:
        tried: number of inputs.
        unclear: those without one clear sentence and the right exit code.
        hang: those that took too long, or too much memory.
        lost: those that changed or left something.
    """

    tried: int = 0
    unclear: list[str] = field(default_factory=list)
    hang: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def clear(self) -> int:
        """Those that ended well."""
        return self.tried - len({*self.unclear, *self.hang, *self.lost})

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {len(getattr(self, name))}" for name in ("unclear", "hang", "lost"))
        lines = [f"tried {self.tried}, clear {self.clear}, {counts}"]
        for name in ("unclear", "hang", "lost"):
            lines += [f"{name}: {one}" for one in getattr(self, name)]
        return "\n".join(lines)
