"""Channels: which networks run with the channels of a pixel together in memory, and their weights in that order.

On a CPU PyTorch's convolutions and max pools are faster in that order (VGG-16 by a seventh, a max pool 16 times):
they compute with vectors of channels, and rearrange maps in the usual order around every call. A convolution
whose weights are in that order gives its output in it, and everything behind passes it on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor

from relprop.graph import Graph, Node
from relprop.tracing.memory import last_channels

__all__ = [
    "CACHE_BYTES", "USES", "Known", "convolved", "dilation_of", "fingerprint_of", "known_weights",
    "wants_last_channels",
]  # fmt: skip

CACHE_BYTES = 768 << 20
"""What is derived from weights and kept per graph; beyond it, it is made anew at each use."""

USES = 8
"""Uses of a weight, on inputs of one shape, after which it is packed."""

_PIXELS = 96 * 96  # of the input; on smaller maps the two orders take the same time
_MOVES = frozenset("as_strided as_strided_scatter as_strided_copy set resize resize_as _unsafe_view".split())
"""Operators that read or make memory by its addresses."""
_SMALL = 20_480  # numbers of an input up to which PyTorch doesn't take oneDNN for a single sample
_SAMPLE = 16  # numbers side by side, of every row, that are compared one by one
_FEW = 100  # pixels of a map below which the usual kernel reads weights faster


def wants_last_channels(graph: Graph, x: Tensor) -> bool:
    """Whether a network's maps are better laid out with the channels last: convolutions of pictures on a CPU."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 4
        and x.shape[2] * x.shape[3] >= _PIXELS
        and torch.backends.mkldnn.is_available()
        and graph.derived(_is_of_convolutions)
    )


def _is_of_convolutions(graph: Graph) -> bool:
    """Whether most linear operators are 2-D convolutions, at least four, and no operator goes by addresses."""
    linear = [n for n in graph.nodes if n.kind == "linear" and n.dependent]
    convolutions = [n for n in linear if n.op == "conv2d"]
    return not any(n.op in _MOVES for n in graph.nodes) and 2 * len(convolutions) >= max(8, len(linear))


@dataclass(eq=False)
class Known:
    """A convolution's weight as it was looked at in a run.

    Attributes:
        address: address, version and device of the model's own.
        probe: its `fingerprint_of`.
        plain: the model's own; while it is held, no other can get its address.
        weight: the same with the channels last.
        number: another for every other content.
        input: the shape of the network's input in the last run.
        uses: how often it was used for what, by runs in a row that had the same weight and inputs of this shape.
    """

    address: tuple[Any, ...]
    probe: tuple[Tensor, Tensor]
    plain: Tensor
    weight: Tensor
    input: torch.Size
    number: int = field(default_factory=count(1).__next__)
    uses: dict[Any, int] = field(default_factory=dict)

    def worth_packing(self, use: Any) -> bool:
        """Count a use; whether packing for it (`tracing.packed`) pays: it takes what some eight uses save."""
        self.uses[use] = self.uses.get(use, 0) + 1
        return self.uses[use] > USES


def known_weights(graph: Graph, params: dict[Node, Tensor], x: Tensor) -> dict[Node, Known]:
    """The weights of convolutions with the channels last, by their nodes; kept between calls.

    Kernels of one pixel lie in both orders at once. They, and weights that lie so already, are taken as they are.

    Args:
        graph: the network.
        params: its parameters as they are now.
        x: the network's input.
    """
    found: dict[Node, Known] = {}
    for weight in graph.derived(_kernels):
        plain = params.get(weight)
        if plain is None or plain.ndim != 4:
            continue
        there = plain.shape[2:] == (1, 1) or last_channels(plain)
        if not there and not plain.is_contiguous():
            continue
        probe = fingerprint_of(plain)
        address = (plain.data_ptr(), plain._version, plain.device)
        key = ("channels last", weight.name)
        known = graph.weights.get(key)
        if known is not None and known.address == address and all(map(torch.equal, known.probe, probe)):
            if known.input != x.shape:
                known.uses.clear()
                known.input = x.shape
        else:
            ordered = plain if there else plain.contiguous(memory_format=torch.channels_last)
            known = Known(address, probe, plain, ordered, x.shape)
            size = 0 if there else plain.numel() * plain.element_size()
            graph.weights.keep(key, known, size, CACHE_BYTES)
        found[weight] = known
    return found


def _kernels(graph: Graph) -> list[Node]:
    """The weights of 2-D convolutions, each once."""
    given = [node.argument("weight") for node in graph.nodes if node.op == "conv2d"]
    return list(dict.fromkeys(weight for weight in given if isinstance(weight, Node)))


def dilation_of(
    x: Tensor, weight: Tensor, dilation: tuple[int, ...], *, back: bool = False
) -> tuple[int, ...]:
    """The dilation to ask of a convolution: for kernels of one pixel, where it means nothing, 2.

    PyTorch computes those by a matrix product where it has one thread, and by oneDNN where it has several or where
    the kernel is dilated. With the channels last oneDNN takes half the time on some processors. On small inputs
    PyTorch never takes oneDNN, and what it has for dilated kernels is slow.

    Args:
        x: the input; oneDNN takes those in float32 on a CPU.
        weight, dilation: the convolution's.
        back: it is for the way back.
    """
    if weight.ndim != 4 or weight.shape[2:] != (1, 1) or x.numel() <= _SMALL or not last_channels(x):
        return dilation
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return dilation
    return (2, 2) if back or x.shape[2] * x.shape[3] >= _FEW else dilation


def convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.conv2d` with `dilation_of`."""
    return torch.conv2d(input, weight, bias, stride, padding, dilation_of(input, weight, dilation), groups)


def fingerprint_of(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers that change with any of the weights.

    Writes through `.data` change neither address nor version. The sum of every row sees single changes. Some
    numbers of each row, those that follow the ones taken from the row before, see what leaves sums alone, such as
    mirrored kernels, also where only some channels change.
    """
    flat = (weight.movedim(1, -1) if last_channels(weight) else weight).flatten(1)
    if flat.shape[0] <= 64:
        return flat.sum(1), flat.clone()
    width = min(_SAMPLE, flat.shape[1])
    apart = flat.shape[1] + width
    numbers = flat.reshape(-1)
    count = (len(numbers) - width) // apart + 1
    some = numbers.as_strided((count, width), (apart, 1), numbers.storage_offset())
    return flat.sum(1), some.clone()
