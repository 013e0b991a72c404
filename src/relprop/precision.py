"""Precision: `torch.autocast` around a call doesn't reach what relprop computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["full_precision", "no_autocast"]

P = ParamSpec("P")
R = TypeVar("R")

# The device types of torch that have an autocast of their own; a last one has the name that its owner gives it.
_TYPES = [
    kind
    for kind in ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "ipu", "maia")
    if torch.amp.autocast_mode.is_autocast_available(kind)
]


@contextmanager
def no_autocast() -> Iterator[None]:
    """Compute in the tensors' own dtypes, whatever autocast the caller is inside of; for this thread.

    Autocast that is entered inside works as ever. Contexts may nest.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16), no_autocast():
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    enabled = [
        kind
        for kind in (*_TYPES, torch._C._get_privateuse1_backend_name())
        if torch.is_autocast_enabled(kind)
    ]
    for kind in enabled:
        torch.set_autocast_enabled(kind, False)
    try:
        yield
    finally:
        for kind in enabled:
            torch.set_autocast_enabled(kind, True)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute as outside of `torch.autocast`; for every entry point that runs a network."""

    @wraps(function)
    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        with no_autocast():
            return function(*args, **kwargs)

    return outside
