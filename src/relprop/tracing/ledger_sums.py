"""Sums of relevance over everything but targets and samples: what the books are made of.

Sums run in the relevance's own precision over a block and in float64 between blocks: as exact as the
books need at the price of one read. Products go through one buffer that stays: writing into fresh
memory costs several times the arithmetic.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from relprop.tracing.memory import rows

__all__ = ["dot_sums", "finite_dot_sums", "plain_sums", "root_mean_square", "totals"]

_BLOCK = 1 << 20  # elements of a product taken at once on a CPU
_LITTLE = 1 << 15  # elements for which calls cost more than arithmetic
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
    if bool(torch.isfinite(sums[0]).all()):
        return sums
    empty = torch.isinf(value) & (part == 0).all(0)
    return dot_sums(part, value.masked_fill(empty, 0))


def root_mean_square(value: Tensor) -> Tensor:
    """Root of the mean of the squares of a value (N, ...) per sample, (N,)."""
    flat, _ = rows(value[None])
    found = (_sums(flat, flat, squares=True)[0][0].to(value.dtype) / flat.shape[-1]).sqrt()
    if bool(torch.isfinite(found).all()):
        return found
    size = flat[0].abs().amax(1).clamp(min=1)  # the squares outgrew the precision, the values needn't
    return root_mean_square(flat[0] / size[:, None]) * size if bool(torch.isfinite(size).all()) else found


def _sums(flat: Tensor, other: Tensor | None, *, squares: bool = False) -> tuple[Tensor, Tensor]:
    k, n, m = flat.shape
    if flat.device.type != "cpu":
        product = flat if other is None else flat * other
        return _wide(product.sum(-1)), _wide(product.abs().sum(-1))
    if k * n * m <= _LITTLE:
        product = flat if other is None else flat * other
        return product.sum(-1, dtype=torch.float64), product.abs().sum(-1, dtype=torch.float64)
    buffer = _buffer(flat.dtype)
    step = max(1, _BLOCK // (k * n))
    total: Tensor | None = None
    size: Tensor | None = None
    for begin in range(0, m, step):
        product = flat[..., begin : begin + step]
        out = buffer[: product.numel()].view(product.shape) if product.numel() <= _BLOCK else None
        if other is not None:
            product = torch.mul(product, other[..., begin : begin + step], out=out)
        one = product.sum(-1).double()
        # Where nothing is below 0, as under z+, the sum is the size: one look, not two passes. What had both
        # signs the last time is not looked at: relevance mostly keeps them on its way.
        two = one
        if not squares and (_local.__dict__.get("signed", False) or product.amin().item() < 0):
            two = torch.abs(product, out=out).sum(-1).double()
            _local.signed = not torch.equal(one, two)
        total = one if total is None else total.add_(one)
        size = two.clone() if size is None else size.add_(two)
    if total is None or size is None:
        return torch.zeros(k, n, dtype=torch.float64), torch.zeros(k, n, dtype=torch.float64)
    return total, size


def _wide(sums: Tensor) -> Tensor:
    return (sums.cpu() if sums.device.type == "mps" else sums).double()  # mps has no float64


def _buffer(dtype: torch.dtype) -> Tensor:
    buffers: dict[torch.dtype, Tensor] = _local.__dict__.setdefault("buffers", {})
    if dtype not in buffers:
        buffers[dtype] = torch.empty(_BLOCK, dtype=dtype)
    return buffers[dtype]
