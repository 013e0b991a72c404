"""Phases: the way back through a strided convolution that reads few channels, such as a network's first.

Its transposed convolution fills few channels of a large map, where a processor's vectors have room for many. The
positions of the input that lie at one offset to the strides, one phase, are a convolution of the message that
moves in steps of one. All phases together are one convolution with as many times the channels, whose results only
change places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.tracing.geometry import ConvGeometry
from relprop.tracing.memory import last_channels

__all__ = ["back_in_phases", "has_phases"]

_CHANNELS = 8  # that a convolution reads; with more its transposed convolution is as fast
_KERNEL = 4  # smaller ones have a phase or two of one number each


def has_phases(geometry: ConvGeometry, weight: Tensor) -> bool:
    """Whether the way back through a convolution is faster in phases, for maps with the channels last on a CPU."""
    g = geometry
    return (
        len(g.stride) == 2
        and g.stride[0] == g.stride[1] > 1
        and g.padding[0] == g.padding[1]
        and g.dilation == (1, 1)
        and g.groups == 1
        and not g.transposed
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.shape[1] <= _CHANNELS
        and weight.shape[2] == weight.shape[3] >= _KERNEL
    )


def back_in_phases(grad: Tensor, weight: Tensor, geometry: ConvGeometry, spatial: Sequence[int]) -> Tensor:
    r"""The transposed convolution of a message (N, out, H', W') to an input of this height and width.

    Along each axis, with stride s, padding p and kernel k,

    .. math:: c_{s m + a} = \sum_t w_{s t + a + p} \, g_{m - t}, \qquad a = 0 \dots s - 1

    so that phase a is a convolution of g with every s-th weight.
    """
    s, p, k = geometry.stride[0], geometry.padding[0], weight.shape[2]
    before = -p % s
    after = -(k + before) % s
    taps, shift = (before + k + after) // s, (before + p) // s
    parts = F.pad(weight, (before, after, before, after)).unflatten(3, (taps, s)).unflatten(2, (taps, s))
    # (out, in, taps, phase, taps, phase) as (in x phases, out, taps, taps), the taps in order of g
    parts = parts.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
    parts = parts.contiguous(memory_format=torch.channels_last)
    least = shift - (taps - 1)
    steps = [-(-n // s) for n in spatial]
    padding = max(0, -least, *(shift + n - m for n, m in zip(steps, grad.shape[2:], strict=True)))
    found = torch.conv2d(grad, parts, None, 1, padding)
    (height, width), begin = steps, padding + least
    found = found[:, :, begin : begin + height, begin : begin + width]
    found = F.pixel_shuffle(found, s)[:, :, : spatial[0], : spatial[1]]
    return found.contiguous(memory_format=torch.channels_last) if last_channels(grad) else found.contiguous()
