"""Collector: Python's garbage collector waits while much is made that stays.

It looks through all objects again each time that enough new ones were made. Importing torch's tracer and
capturing a network make hundreds of thousands, nearly all of which stay, beside the million of torch itself.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_waits"]

_lock = threading.Lock()
_inside = [0]  # threads that are in such a block


@contextmanager
def collector_waits() -> Iterator[None]:
    """No collections inside, in any thread; afterwards it is as it was before the first thread came in.

    Only what refers to itself in a circle waits to be freed meanwhile.
    """
    with _lock:
        waits = gc.isenabled() or _inside[0] > 0  # else somebody else has switched it off, and it stays so
        if waits:
            _inside[0] += 1
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            if waits:
                _inside[0] -= 1
                if _inside[0] == 0:
                    gc.enable()
