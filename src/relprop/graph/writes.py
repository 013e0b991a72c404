"""Writes: what an assignment to a whole tensor or to a part of it (`y[:, 1:] = x`) puts there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["EMPTY", "WRITTEN", "kind_of_write", "written_args", "zeroed"]


# Their arguments are called as in the operators' own schemas.


def _copied(src: Tensor, self: Tensor, non_blocking: bool = False) -> Tensor:
    """`self.copy_(src)` without a write; unlike `aten.copy` it has a derivative."""
    return torch.empty_like(self).copy_(src, non_blocking)


def _filled(value: Any, self: Tensor) -> Tensor:
    """`self.fill_(value)` without a write; the value may be a tensor of one element."""
    return torch.empty_like(self).fill_(value)


def zeroed(target: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes an empty tensor, with zeros in it: what lies in memory would come out as NaN."""
    return lambda *args, **kwargs: target(*args, **kwargs).zero_()


EMPTY = frozenset("empty empty_like new_empty empty_strided new_empty_strided empty_permuted".split())
"""Operators that make a tensor with nothing in it."""

WRITTEN: dict[str, Callable[..., Any]] = {"copy": _copied, "fill": _filled}
"""Operator -> the same as a function of (what is written, what is written over)."""


def written_args(arguments: Mapping[str, Any]) -> tuple[Any, Any]:
    """The arguments of a function in `WRITTEN`: what is written over comes last, for it lends its shape only."""
    return arguments["src" if "src" in arguments else "value"], arguments["self"]


_REDUCTIONS = frozenset("sum mean amax amin max min".split())


def kind_of_write(arguments: Mapping[str, Any]) -> str | None:
    """The kind of an operator that combines what it writes to one place; None for those that don't.

    Sums, means, largest and smallest values grow in step with all that they read; products don't.
    """
    if arguments.get("accumulate"):
        return "avg_pool"
    reduce = arguments.get("reduce")
    if reduce is None:
        return None
    return "homogeneous" if reduce in _REDUCTIONS else "other"
