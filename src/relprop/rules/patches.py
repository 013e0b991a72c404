"""Patches: what each output position of a convolution or product reads of one sample, as rows of a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.tracing.linear_map import LinearMap

__all__ = ["Patches"]

_BAND = 1 << 19  # elements of a band of rows: it should stay in cache
_BAND_ELSEWHERE = 1 << 26  # on accelerators, where small kernels cost more than memory


class Patches:
    """The input x of one sample, cut into the patches that a layer's weights are multiplied with.

    With U (positions, taps * channels), a convolution with weights w (out, taps * channels) is U wᵀ, its
    weight derivative for a message s (positions, out) is sᵀ U, and its input derivative the rows of s w
    added up where the patches lie (`add`). Transposed convolutions are convolutions over an input with
    zeros in between (in another order of taps, which weights that are made from patches never see).

    Args:
        linear: the layer; only its geometry is used, never its weights.
        x: (channels, *spatial) for convolutions, (..., channels) for products.
        spatial: the layer's output axes without channels.

    Attributes:
        groups: number of groups; every matrix has them in front.
        width: taps * channels of a group.
        positions: number of output positions.

    >>> import relprop
    >>> from relprop.graph.fusion import Fused
    >>> from relprop.tracing.account import Account
    >>> from relprop.tracing.site import Site
    >>> run = relprop.trace(torch.nn.Conv1d(1, 1, 3, padding=1), torch.tensor([[[1.0, 2.0, 3.0]]]))
    >>> conv = run.graph.output
    >>> linear = Site(run, Fused(conv), conv.signals(), Account(False)).linear
    >>> Patches(linear, run.input[0], (3,)).rows(0, 3).tolist()
    [[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]]
    """

    def __init__(self, linear: LinearMap, x: Tensor, spatial: tuple[int, ...]) -> None:
        conv = linear.conv
        if conv is None:
            self.groups, dims = 1, 1
            self.kernel: tuple[int, ...] = (1,)
            self.stride: tuple[int, ...] = (1,)
            self.dilation: tuple[int, ...] = (1,)
            self.spatial: tuple[int, ...] = (prod(spatial),)
            self._pad: list[int] = [0, 0]
            self._spread: tuple[int, ...] = (1,)
            grid = x.reshape(-1, x.shape[-1])
        else:
            self.groups, dims = conv.groups, len(conv.stride)
            self.kernel, self.dilation, self.spatial = tuple(linear.weight.shape[2:]), conv.dilation, spatial
            sides = [(p, p) for p in conv.padding]
            self.stride, self._spread = conv.stride, (1,) * dims
            if conv.transposed:
                reach = [d * (k - 1) for d, k in zip(conv.dilation, self.kernel, strict=True)]
                sides = [
                    (r - p, r - p + o)
                    for r, p, o in zip(reach, conv.padding, conv.output_padding, strict=True)
                ]
                self.stride, self._spread = (1,) * dims, conv.stride
            extra = conv.extra + (0,) * (2 * dims - len(conv.extra))  # last axis first, as F.pad has it
            flat = [n for pair in reversed(sides) for n in pair]
            self._pad = [a + b for a, b in zip(flat, extra, strict=True)]
            grid = x.movedim(0, -1)
        self._inner = grid.shape
        if any(s > 1 for s in self._spread):
            apart = grid.new_zeros(self._apart())
            apart[tuple(slice(None, None, s) for s in self._spread)] = grid
            grid = apart
        self._grid = F.pad(grid, [0, 0, *self._pad]).contiguous()
        self.positions = prod(self.spatial)
        self.channels = grid.shape[-1]
        self.width = prod(self.kernel) * self.channels // self.groups

    def _apart(self) -> list[int]:
        sizes = [(n - 1) * s + 1 for n, s in zip(self._inner[:-1], self._spread, strict=True)]
        return [*sizes, self._inner[-1]]

    def _view(self) -> Tensor:
        """(*positions, *taps, channels), a view."""
        steps = self._grid.stride()[:-1]
        strides = [step * s for step, s in zip(steps, self.stride, strict=True)]
        strides += [step * d for step, d in zip(steps, self.dilation, strict=True)]
        return self._grid.as_strided((*self.spatial, *self.kernel, self.channels), (*strides, 1))

    def _matrix(self, cut: Tensor, count: int) -> Tensor:
        if self.groups == 1:
            return cut.reshape(1, count, self.width)
        taps = prod(self.kernel)
        grouped = cut.reshape(count, taps, self.groups, -1)
        return grouped.permute(2, 0, 1, 3).reshape(self.groups, count, self.width)

    def bands(self) -> Iterator[tuple[int, int]]:
        """Ranges of positions, whole lines of the first axis each, whose patches fit a cache."""
        line = prod(self.spatial[1:])
        size = _BAND if self._grid.device.type == "cpu" else _BAND_ELSEWHERE
        step = max(1, size // (line * self.width * self.groups)) * line
        for begin in range(0, self.positions, step):
            yield begin, min(begin + step, self.positions)

    def rows(self, begin: int, end: int) -> Tensor:
        """Patches of a range of positions (whole lines): (groups, positions, width)."""
        line = prod(self.spatial[1:])
        return self._matrix(self._view()[begin // line : end // line], end - begin)

    def take(self, where: Tensor) -> Tensor:
        """Patches of some positions (P,), ascending: (groups, P, width)."""
        if len(where) == self.positions:
            return self.rows(0, self.positions)
        return self._matrix(self._view()[torch.unravel_index(where, self.spatial)], len(where))

    def empty(self) -> Tensor:
        """A buffer to sum patches in."""
        return torch.zeros_like(self._grid)

    def add(self, total: Tensor, patches: Tensor, where: Tensor | None, begin: int, end: int) -> None:
        """Add patches (groups, P, width) to a buffer; `where`: the P positions, or None for begin ... end.

        With `where`, positions are counted from `begin` on.
        """
        if where is not None:
            full = patches.new_zeros(self.groups, end - begin, self.width)
            patches = full.index_copy_(1, where, patches)
        line = prod(self.spatial[1:])
        if self.groups > 1:
            patches = patches.unflatten(2, (prod(self.kernel), -1)).permute(1, 2, 0, 3)
        grid = patches.reshape(-1, *self.spatial[1:], *self.kernel, self.channels)
        dims = len(self.spatial)
        lines = total[begin // line * self.stride[0] :]
        axes = list(zip(self.dilation, grid.shape[:dims], self.stride, strict=True))
        for tap in product(*map(range, self.kernel)):
            at = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s) for t, (d, n, s) in zip(tap, axes, strict=True)
            )
            lines[at] += grid[(slice(None),) * dims + tap]

    def input_of(self, total: Tensor) -> Tensor:
        """A buffer's values at the input: (channels, *spatial), or (positions, channels) of a product."""
        inner = F.pad(total, [0, 0, *[-p for p in self._pad]])
        if any(s > 1 for s in self._spread):
            inner = inner[tuple(slice(None, None, s) for s in self._spread)]
        return inner
