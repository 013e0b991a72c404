"""Ahead: pictures are read and decoded in other threads while earlier ones are explained."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

S = TypeVar("S")
T = TypeVar("T")

_READERS = min(4, os.cpu_count() or 1)


def ahead(items: Iterable[S], make: Callable[[S], T], most: int) -> Generator[T, None, None]:
    """What `make` gives for each item, in order; up to `most` of them are made before they are asked for.

    The items themselves are drawn in the caller's thread. An error of `make` is raised where its item would come.

    >>> list(ahead([1, 2, 3], lambda n: n * n, most=2))
    [1, 4, 9]
    """
    source = iter(items)
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="relprop-reader")
    coming: deque[Future[T]] = deque()
    try:
        while True:
            coming.extend(pool.submit(make, item) for item in islice(source, most - len(coming)))
            if not coming:
                return
            yield coming.popleft().result()
    finally:  # done, interrupted, or nobody wants more
        pool.shutdown(wait=True, cancel_futures=True)
