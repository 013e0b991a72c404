"""Memory: the order in which the numbers of a value lie, so that a pass over several goes straight through.

PyTorch's convolutions run faster on maps that keep the channels of a pixel together ("channels last"). Relevance
is laid out like the value it belongs to: what mixes the two orders jumps through memory, several times slower.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["compact", "laid_like", "last_channels", "reuse_freed_memory", "rows", "some_of"]


def last_channels(value: Tensor, axis: int = 1) -> bool:
    """Whether the numbers along `axis`, the channels, are those that lie next to each other.

    >>> last_channels(torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    True
    >>> last_channels(torch.zeros(2, 3, 4, 4)), last_channels(torch.zeros(2, 3, 1, 1))
    (False, False)
    """
    strides = value.stride()
    if len(strides) <= axis + 1 or strides[axis] != 1 or value.is_contiguous():
        return False  # most are told by one look
    if axis == 1 and len(strides) == 4:
        return value.is_contiguous(memory_format=torch.channels_last)
    shape = value.shape
    apart = shape[axis]
    for i in range(len(shape) - 1, -1, -1):
        if i != axis and shape[i] != 1:
            if strides[i] != apart:
                return False
            apart *= shape[i]
    return True


def rows(part: Tensor, value: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Relevance (k, N, ...) as (k, N, m) and a value (N, ...) as (1, N, m), their numbers in one order.

    It is that of the memory where the two share it, so that nothing is copied.
    """
    if last_channels(part, 2) and (value is None or last_channels(value)):
        own = _as_it_lies(part, *part.shape[:2])
        return own, None if value is None else _as_it_lies(value, 1, len(value))
    flat = part.reshape(part.shape[0], part.shape[1], -1) if part.ndim > 1 else part.reshape(-1, 1, 1)
    return flat, None if value is None else value.reshape(1, value.shape[0], -1)


def _as_it_lies(value: Tensor, k: int, n: int) -> Tensor:
    """A map with the channels last as (k, N, m), its numbers in the order of memory."""
    m = value.numel() // (k * n)
    return value.as_strided((k, n, m), (n * m, m, 1))


def some_of(part: Tensor, value: Tensor, step: int) -> Tensor:
    """Every `step`th number of relevance (k, N, C, ...) in the order of the value (N, C, ...) it belongs to."""
    if part.ndim < 4:
        return part
    return (part.movedim(2, -1) if last_channels(value) else part).flatten(2)[..., ::step]


def compact(view: Tensor) -> Tensor:
    """A part of a map (N, C, H, W) in memory of its own, in the order of the map it was cut out of."""
    if view.ndim == 4 and view.shape[1] > 1 and view.stride(1) == 1:
        return view.contiguous(memory_format=torch.channels_last)
    return view.contiguous()


def laid_like(part: Tensor, value: Any) -> Tensor:
    """Relevance (k, N, C, H, W) in the order of the value (N, C, H, W) it belongs to; others as they are."""
    if not isinstance(value, Tensor) or value.ndim != 4 or part.shape[1:] != value.shape:
        return part
    if not last_channels(value) or last_channels(part, 2):
        return part
    return part.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, part.shape[:2])


@cache
def reuse_freed_memory() -> None:
    """Have freed maps of a few MB taken again, instead of being handed to the system and asked back zeroed.

    glibc learns from the largest block (below 32 MiB) that a program has freed which sizes it keeps. Maps of a
    network are smaller, and come and go at every operator: until a program has freed a large block by chance, page
    faults take up to a tenth of the time. This frees one, which was never written to. With other C libraries, and
    where the `MALLOC_` settings of a process say otherwise, it does nothing.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
