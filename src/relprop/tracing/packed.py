"""Packed: the weights of a convolution in the layout that oneDNN computes with.

PyTorch hands convolutions on a CPU to oneDNN and rearranges the weights at every call. Where a network has many
weights and few pixels, as ResNet-50 has, that takes a third of the call. Networks that are explained again and
again, on inputs of one shape, keep them rearranged. The kernels are the same, and so are the numbers.

The operators are those that `torch.compile` uses on a CPU. PyTorch doesn't promise to keep them: whether they are
there and right is tried out once, and without them convolutions run as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from relprop.graph import WeightCache
from relprop.tracing.channels import CACHE_BYTES, dilation_of
from relprop.tracing.geometry import ConvGeometry
from relprop.tracing.memory import last_channels

__all__ = ["Packed", "pack_into", "packed_for", "packs"]


class Packed:
    """A weight for one direction.

    Args:
        weight: (out, in / groups, height, width), float32 on a CPU.
        geometry: the convolution's.
        x: an input like those to come. Others give the same sums, added up in another order.
        back: for the way back.
    """

    def __init__(self, weight: Tensor, geometry: ConvGeometry, x: Tensor, *, back: bool) -> None:
        self._geometry = geometry
        self._kernel = weight.shape[2:]
        g, operators = geometry, torch.ops.mkldnn
        shape = list(x.shape)
        if back:
            grown = _left_over(g, self._kernel, self._output(shape[2:]), shape[2:])
            like = [shape[0], weight.shape[0], *self._output(shape[2:])]
            self._weight: Tensor = operators._reorder_convolution_transpose_weight(
                weight, g.padding, grown, g.stride, g.dilation, g.groups, like
            )
        else:
            self._weight = operators._reorder_convolution_weight(
                weight, g.padding, g.stride, g.dilation, g.groups, shape
            )

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The convolution of x (N, C, H, W)."""
        g = self._geometry
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, bias, g.padding, g.stride, g.dilation, g.groups, "none", [], ""
        )
        return found

    def backward(self, grad: Tensor, spatial: torch.Size) -> Tensor:
        """The transposed convolution of (N, out, H', W') to an input of this height and width."""
        g = self._geometry
        left_over = _left_over(g, self._kernel, grad.shape[2:], spatial)
        found: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            grad, self._weight, None, g.padding, left_over, g.stride, g.dilation, g.groups, "none", [], ""
        )
        return found

    def _output(self, spatial: list[int]) -> list[int]:
        g = self._geometry
        return [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(spatial, g.padding, g.dilation, self._kernel, g.stride, strict=True)
        ]


def packed_for(x: Tensor) -> tuple[torch.Size, int]:
    """What weights are packed for: inputs of this shape, and so many threads; oneDNN chooses a layout by both."""
    return x.shape, torch.get_num_threads()


def pack_into(
    held: WeightCache,
    key: Any,
    weight: Tensor,
    geometry: ConvGeometry,
    x: Tensor,
    *,
    back: bool,
    entry: Callable[[Packed | None], Any],
) -> Packed | None:
    """Pack a weight and keep it; None where PyTorch computes otherwise than with oneDNN, or nothing more fits.

    Args:
        held, key: where it is kept.
        weight, geometry, x, back: see `Packed`.
        entry: what to keep of it; also of None, so that it isn't tried again.
    """
    size = weight.numel() * weight.element_size()
    found = None
    if _takes_onednn(weight, geometry, x, back=back):
        if not held.has_room(key, size, CACHE_BYTES):
            return None
        found = Packed(weight, geometry, x, back=back)
    held.keep(key, entry(found), 0 if found is None else size, CACHE_BYTES)
    return found


def _takes_onednn(weight: Tensor, geometry: ConvGeometry, x: Tensor, *, back: bool) -> bool:
    """Whether PyTorch itself would compute this with oneDNN, so that packing changes no number."""
    g = geometry
    if g.transposed or g.extra or weight.dtype != torch.float32 or not last_channels(x):
        return False
    backend = torch._C._select_conv_backend(
        x,
        weight,
        None,
        g.stride,
        g.padding,
        dilation_of(x, weight, g.dilation, back=back),
        False,
        (0, 0),
        g.groups,
    )
    return str(backend.name) == "Mkldnn"


def _left_over(geometry: ConvGeometry, kernel: torch.Size, output: Any, spatial: Any) -> list[int]:
    """What a transposed convolution has to add at the end, since several sizes give one output's size."""
    g = geometry
    return [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, s, p, d, k in zip(spatial, output, g.stride, g.padding, g.dilation, kernel, strict=True)
    ]


@cache
def packs() -> bool:
    """Whether this PyTorch has the operators, and they give what its usual ones give."""
    try:
        return all(_is_right(groups, stride) for groups in (1, 4, 16) for stride in (1, 2))
    except (AttributeError, RuntimeError, TypeError):  # gone, refusing, or taking other arguments
        return False


def _is_right(groups: int, stride: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    lasting: Any = {"memory_format": torch.channels_last}
    with torch.no_grad(), torch.inference_mode(False):
        x = torch.randn(2, 16, 12, 11, generator=generator).contiguous(**lasting)
        weight = torch.randn(32, 16 // groups, 3, 3, generator=generator)
        geometry = ConvGeometry((stride,) * 2, (1, 1), (1, 1), False, (0, 0), groups)
        usual = torch.conv2d(x, weight, None, stride, 1, 1, groups)
        back = torch.ops.aten.convolution_backward(
            usual, x, weight, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], groups, [True, False, False]
        )[0]
        pairs = [
            (usual, Packed(weight, geometry, x, back=False).forward(x)),
            (back, Packed(weight, geometry, x, back=True).backward(usual, x.shape[2:])),
        ]
        _takes_onednn(weight, geometry, x, back=False)  # raises where PyTorch can't be asked that
        return all(torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max())) for a, b in pairs)
