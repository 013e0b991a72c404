"""Sums of relevance over everything but targets and samples: what the books are made of.

Sums run in the relevance's own precision over a block and in float64 between blocks: as exact as the
books need at the price of one read. Products go through one buffer that stays: writing into fresh
memory costs several times the arithmetic.
"""

from __future__ import annotations

import math
import threading
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from relprop.tracing.memory import rows

__all__ = ["dot_sums", "dot_totals", "finite_dot_sums", "plain_sums", "root_mean_square", "totals"]

_BLOCK = 1 << 20  # elements of a product taken at once on a CPU
_LITTLE = 1 << 15  # elements for which calls cost more than arithmetic
_VIEWS = 1000  # shapes whose place in the buffer is remembered
_local = threading.local()


def totals(part: Tensor) -> Tensor:
    """Sum of relevance (k, N, ...), as float64 (k, N)."""
    return _wide(rows(part)[0].sum(-1))


def plain_sums(part: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and sum of absolute values of relevance (k, N, ...), as float64 (k, N) each.

    Relevance that an operator hands on as it is is summed once: the last tensor's sums are remembered.
    """
    last: tuple[Any, int, tuple[Tensor, Tensor]] | None = _local.__dict__.get("last")
    if last is not None and last[0]() is part and not part.is_inference() and last[1] == part._version:
        return last[2]
    sums = _sums(*rows(part))
    if not part.is_inference():  # those don't say when they are overwritten
        _local.last = ref(part), part._version, sums
    return sums


def dot_sums(part: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """`plain_sums` of c * value for a multiplier c (k, N, ...)."""
    if part.ndim < 2:
        return plain_sums(part * value)
    return _sums(*rows(part, value))


def finite_dot_sums(part: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """`dot_sums`; an infinite value without relevance (what a max pool is padded with) has none."""
    sums = dot_sums(part, value)
    if all(map(math.isfinite, sums[0].flatten().tolist())):
        return sums
    empty = torch.isinf(value) & (part == 0).all(0)
    return dot_sums(part, value.masked_fill(empty, 0))


def dot_totals(part: Tensor, value: Tensor) -> Tensor:
    """The sum alone, of `dot_sums`."""
    if part.ndim < 2:
        return totals(part * value)
    flat, other = rows(part, value)
    if other is not None and flat.device.type == "cpu" and _LITTLE < flat.numel() <= _BLOCK:
        return torch.mul(flat, other, out=_buffer(flat)).sum(-1).double()
    return _sums(flat, other)[0]


def root_mean_square(value: Tensor) -> Tensor:
    """Root of the mean of the squares of a value (N, ...) per sample, (N,)."""
    flat = rows(value[None])[0][0]
    if flat.device.type == "cpu":
        squares = torch.stack([_square_sum(row) for row in flat])
    else:
        squares = flat.square().sum(-1)
    found = squares.div_(flat.shape[-1]).sqrt_()
    if all(map(math.isfinite, found.tolist())):
        return found
    size = flat.abs().amax(1).clamp(min=1)  # the squares outgrew the precision, the values needn't
    return root_mean_square(flat / size[:, None]) * size if bool(torch.isfinite(size).all()) else found


def _square_sum(row: Tensor) -> Tensor:
    """Sum of squares of (m,): one read, in blocks that are summed in float64."""
    if row.numel() <= _BLOCK:
        return torch.dot(row, row)
    return (
        torch.stack([torch.dot(block, block) for block in row.split(_BLOCK)])
        .sum(dtype=torch.float64)
        .to(row.dtype)
    )


def _sums(flat: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor]:
    count = flat.numel()
    if flat.device.type != "cpu":
        product = flat if other is None else flat * other
        return _wide(product.sum(-1)), _wide(product.abs().sum(-1))
    if count <= _LITTLE:
        product = flat if other is None else flat * other
        return product.sum(-1, dtype=torch.float64), product.abs().sum(-1, dtype=torch.float64)
    if count <= _BLOCK:
        buffer = _buffer(flat)
        product = flat if other is None else torch.mul(flat, other, out=buffer)
        total = product.sum(-1).double()
        # Where nothing is below 0, as under z+, the sum is the size: one look, not two passes. What had both signs
        # the last time is not looked at: relevance mostly keeps them on its way.
        if not _local.__dict__.get("signed", False) and product.amin().item() >= 0:
            return total, total.clone()
        size = torch.abs(product, out=buffer).sum(-1).double()
        _local.signed = not torch.equal(total, size)
        return total, size
    k, n, m = flat.shape
    step = max(1, _BLOCK // (k * n))
    total, size = flat.new_zeros(2, k, n, dtype=torch.float64)
    for begin in range(0, m, step):
        product = flat[..., begin : begin + step]
        out = _buffer(product) if product.numel() <= _BLOCK else None
        if other is not None:
            product = torch.mul(product, other[..., begin : begin + step], out=out)
        total.add_(product.sum(-1))
        size.add_(torch.abs(product, out=out).sum(-1))
    return total, size


def _wide(sums: Tensor) -> Tensor:
    return (sums.cpu() if sums.device.type == "mps" else sums).double()  # mps has no float64


def _buffer(like: Tensor) -> Tensor:
    """Memory for a product shaped like (k, N, m), at most `_BLOCK` numbers, which the next one overwrites."""
    views: dict[Any, Tensor] = _local.__dict__.setdefault("views", {})
    key = (like.dtype, like.shape)
    found = views.get(key)
    if found is None:
        whole: dict[torch.dtype, Tensor] = _local.__dict__.setdefault("buffers", {})
        if like.dtype not in whole:
            whole[like.dtype] = torch.empty(_BLOCK, dtype=like.dtype)
        if len(views) > _VIEWS:
            views.clear()
        found = views[key] = whole[like.dtype][: like.numel()].view(like.shape)
    return found
