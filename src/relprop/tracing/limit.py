"""Limit: how many bytes the values of a forward run may take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from relprop.errors import InputError

__all__ = ["current_limit", "memory_limit", "parsed_limit"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)


@contextmanager
def memory_limit(limit: int | str | None = "low") -> Iterator[None]:
    """Within this context relprop keeps less of a forward run, and computes the rest again on the way back.

    The way back needs the value of nearly every operator. Under a limit only some are kept, from which those of
    one stretch of the network at a time are computed anew, when relevance gets there, and dropped behind it.
    Maps and ledgers are the same; every walk that a method makes costs up to one more forward run.

    The limit is about these values alone. Weights, and what a rule works with at a single operator (its input,
    output, sums and relevance: some four times the largest value, and once more for every further target), come
    on top.

    Args:
        limit: bytes, as a number or in words ("2GB", "500 MiB"); "low": as little as there may be; None: none.
            One that can't be met counts as "low".

    Raises:
        InputError: no such limit.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with relprop.memory_limit("low"):
    ...     e = relprop.explain(net, torch.ones(1, 2), 0, "lrp-epsilon")
    >>> e.ledger.closes
    True
    """
    token = _LIMIT.set(parsed_limit(limit))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def current_limit() -> int | None:
    """Bytes; 0 for as little as there may be, None for no limit. That of this thread."""
    return _LIMIT.get()


def parsed_limit(limit: object) -> int | None:
    """A limit as bytes: 0 for "low".

    >>> parsed_limit("1.5 GB"), parsed_limit("low"), parsed_limit(None)
    (1500000000, 0, None)
    """
    if limit is None:
        return None
    if isinstance(limit, str):
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]?i?)b?\s*", limit.lower())
        if limit.strip().lower() == "low":
            return 0
        if found is not None and found[2] in _UNITS and float(found[1]) > 0:
            return max(1, int(float(found[1]) * _UNITS[found[2]]))
    elif isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        return limit
    raise InputError(
        f"Expected a memory limit in bytes (a whole number above 0), in words such as '2GB' or '500MiB', or "
        f"'low', but got {limit!r:.80}."
    )
