"""Kinks: how far each unit of a piece-wise affine operator is from changing its piece, along a direction."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.piecewise.operators import CUTS
from relprop.tracing.window import PoolWindow

__all__ = ["steps_to_kink"]

Moving = Callable[[Any], tuple[Tensor, Tensor]]
"""An argument's value and its rate of change along the direction."""

Side = Literal[-1, 0, 1]
"""The piece of a unit exactly at its kink: -1 the lower, 1 the upper, 0 neither (any move leaves it)."""


def steps_to_kink(node: Node, moving: Moving, output: tuple[Tensor, Tensor]) -> Tensor | None:
    """For each element of the operator's output the smallest t >= 0 at which its piece ends, infinite for never.

    Args:
        node: the operator.
        moving: looks up the operands.
        output: the operator's value and its rate.

    Returns:
        Shaped like the output; None for operators of one piece.
    """
    if node.kind == "max_pool":
        steps = _overtaking(node, *moving(node.argument("self")), *output)
        return steps.expand_as(output[0])
    cuts = _cuts(node)
    if not cuts:
        return None
    found: Tensor | None = None
    value, rate = moving(node.argument("self"))
    for bound, side in cuts:
        at, its_rate = moving(bound)
        steps = _crossing(value - at, rate - its_rate, side)
        found = steps if found is None else torch.minimum(found, steps)
    return found


def _crossing(gap: Tensor, rate: Tensor, side: Side) -> Tensor:
    """When gap + t * rate is 0 and changes sign; at gap = 0 now, if the rate leads out of the side."""
    ahead = torch.sgn(gap) * torch.sgn(rate) < 0
    steps = torch.where(ahead, -gap / rate, torch.inf)
    leaves = (rate != 0) if side == 0 else (rate * side < 0)
    return torch.where((gap == 0) & leaves, 0.0, steps)


def _cuts(node: Node) -> list[tuple[Any, Side]]:
    """Where an element-wise operator's pieces meet, and which of them PyTorch's derivative takes there."""
    op = node.op
    if op in ("relu", "leaky_relu", "prelu"):
        return [(0.0, -1)]
    if op == "abs":
        return [(0.0, 0)]
    if op == "relu6":
        return [(0.0, -1), (6.0, 1)]
    if op == "hardtanh":
        return [(node.argument("min_val"), -1), (node.argument("max_val"), 1)]
    if op == "threshold":
        return [(node.argument("threshold"), -1)]
    if op in ("maximum", "minimum"):
        return [(node.argument("other"), 0)]
    if op in ("clamp", "clamp_min", "clamp_max"):
        sides: list[tuple[Any, Side]] = [(node.argument("min", None), 1), (node.argument("max", None), -1)]
        return [(bound, side) for bound, side in sides if bound is not None]
    assert op not in CUTS
    return []


def _overtaking(node: Node, x: Tensor, rate: Tensor, best: Tensor, best_rate: Tensor) -> Tensor:
    """When some other element of a window overtakes its winner: for each window."""
    if node.op in ("amax", "amin", "max", "min"):
        if node.op.endswith("in"):
            x, rate, best, best_rate = -x, -rate, -best, -best_rate
        dims = node.argument("dim", [])
        dims = [dims] if isinstance(dims, int) else list(dims) or list(range(x.ndim))
        shape = [1 if i in {d % x.ndim for d in dims} else n for i, n in enumerate(x.shape)]
        best, best_rate = best.reshape(shape), best_rate.reshape(shape)
        steps = _overtaken(best - x, rate - best_rate, equal=True)
        return steps.amin(dims, keepdim=node.argument("keepdim", False))
    spatial = best.ndim - 2
    index: tuple[Any, ...] = tuple(
        i.reshape(*[1] * (2 * axis), *i.shape, *[1] * (2 * (spatial - axis - 1)))
        for axis, i in enumerate(_windows(node, x.shape[2:], best.shape[2:]))
    )
    # (N, C, out, window, out, window, ...)
    shape = [*best.shape[:2], *[n for size in best.shape[2:] for n in (size, 1)]]
    best, best_rate = best.reshape(shape), best_rate.reshape(shape)
    gap, faster = best - x[(..., *index)], rate[(..., *index)] - best_rate
    return _overtaken(gap, faster).amin(tuple(range(3, 3 + 2 * spatial, 2)))


def _overtaken(gap: Tensor, faster: Tensor, *, equal: bool = False) -> Tensor:
    """When a rival behind by `gap` >= 0 and faster by `faster` is level; `equal`: equals share the slope now."""
    steps = torch.where(faster > 0, gap / faster, torch.inf)
    return torch.where((gap == 0) & (faster != 0), 0.0, steps) if equal else steps


def _windows(node: Node, size: torch.Size, out: torch.Size) -> list[Tensor]:
    """For each axis the positions that each output reads, (out, window); windows at the border repeat one."""
    pool = None if node.op.startswith("adaptive") else PoolWindow.of(node, len(size))
    found = []
    for axis, (n, o) in enumerate(zip(size, out, strict=True)):
        if pool is None:
            rows = [range(floor(i * n / o), ceil((i + 1) * n / o)) for i in range(o)]
        else:
            stride, padding, dilation = pool.stride[axis], pool.padding[axis], pool.dilation[axis]
            begins = [i * stride - padding for i in range(o)]
            rows = [range(b, b + dilation * pool.kernel[axis], dilation) for b in begins]
        inside = [[p for p in row if 0 <= p < n] for row in rows]
        longest = max(map(len, inside))
        found.append(torch.tensor([row + row[:1] * (longest - len(row)) for row in inside]))
    return found
