"""Window: the part of a map that relevance fills, so that nothing is computed outside of it.

What is asked of one output unit (one anchor of a detector, one pixel of a segmentation) fills only a
small part of the maps near the output. Rules that treat every unit by itself need no more of the values
than what that part reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from relprop.graph import Node

__all__ = ["PoolWindow", "Window", "receptive", "support"]


@dataclass(frozen=True)
class Window:
    """A box in the last axes of a value, outside of which relevance is 0.

    Attributes:
        spans: (begin, end) along each of these axes.
        shape: the whole size of each.

    >>> window = Window(((1, 3),), (4,))
    >>> window.crop(torch.arange(4)).tolist(), window.whole(torch.tensor([5, 6])).tolist()
    ([1, 2], [0, 5, 6, 0])
    """

    spans: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]

    @property
    def share(self) -> float:
        """The window's part of all positions."""
        return prod(b - a for a, b in self.spans) / prod(self.shape)

    def crop(self, value: Tensor) -> Tensor:
        """What of a value lies in the window (a view)."""
        index: tuple[Any, ...] = (..., *(slice(a, b) for a, b in self.spans))
        return value[index]

    def whole(self, part: Tensor) -> Tensor:
        """A cropped tensor back in its place, 0 around it."""
        out = part.new_zeros(*part.shape[: -len(self.shape)], *self.shape)
        self.crop(out).copy_(part)
        return out


def support(parts: Sequence[Tensor], dims: int) -> Window | None:
    """The smallest window of the last `dims` axes that holds all that isn't 0; None where all is 0.

    Relevance that reaches every edge is not looked at further.
    """
    shape = tuple(parts[0].shape[parts[0].ndim - dims :])
    everywhere = Window(tuple((0, n) for n in shape), shape)
    if dims and prod(shape):
        edges = [
            torch.stack([p.select(-1 - axis, side).any() for p in parts]).any()
            for axis in range(dims)
            for side in (0, -1)
        ]
        if bool(torch.stack(edges).all()):
            return everywhere
    if all(p.numel() == 0 or not bool(torch.stack(p.aminmax()).any()) for p in parts):
        return None
    if not dims:
        return everywhere
    filled = torch.stack([p.reshape(-1, *shape).any(0) for p in parts]).any(0)
    spans = []
    for axis in range(dims):
        where = filled.movedim(axis, 0).reshape(shape[axis], -1).any(1).nonzero()
        spans.append((int(where[0]), int(where[-1]) + 1))
    return Window(tuple(spans), shape)


@dataclass(frozen=True)
class PoolWindow:
    """How a pool slides over its input, a number for each axis.

    Attributes:
        kernel, stride, padding, dilation: as PyTorch has them.
        ceil_mode: whether a window may reach over the end.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    @classmethod
    def of(cls, node: Node, dims: int) -> PoolWindow:
        """The window of a pool (not of an adaptive one)."""

        def setting(name: str) -> tuple[int, ...]:
            given = node.argument(name)
            values = (given,) if isinstance(given, int) else tuple(given)
            return values * dims if len(values) == 1 else values

        kernel = setting("kernel_size")
        # An empty stride stands for the kernel's size.
        stride = setting("stride") or kernel
        return cls(kernel, stride, setting("padding"), setting("dilation"), bool(node.argument("ceil_mode")))


def receptive(
    window: Window,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Window, tuple[int, ...]] | None:
    """What a sliding operator reads for a window of its outputs: the window of its input, and its padding.

    Args:
        window: of the outputs.
        size: of the input, along each axis.
        kernel, stride, dilation: of the operator.
        before: its padding at the start of each axis.

    Returns:
        The input's window and the padding around it that gives just the asked outputs (`F.pad` order), or
        None where only padding is read.

    >>> receptive(Window(((0, 2),), (4,)), [8], [3], [2], [1], [1])
    (Window(spans=((0, 4),), shape=(8,)), (1, 0))
    """
    spans, pads = [], []
    for (a, b), n, k, s, p, d in zip(window.spans, size, kernel, stride, before, dilation, strict=True):
        low, high = a * s - p, (b - 1) * s - p + d * (k - 1) + 1
        begin, end = max(0, low), min(n, high)
        if begin >= end:
            return None
        spans.append((begin, end))
        pads.append((begin - low, high - end))
    return Window(tuple(spans), tuple(size)), tuple(v for pair in reversed(pads) for v in pair)
