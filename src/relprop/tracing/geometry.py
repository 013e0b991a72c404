"""Geometry: how a convolution slides over its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from relprop.graph import Graph, Node

__all__ = ["ConvGeometry", "geometry_of"]


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution's settings, one number an axis each.

    Attributes:
        stride, padding, dilation, transposed, output_padding, groups: as PyTorch names them.
        extra: explicit zero padding before the convolution, as `torch.nn.functional.pad` takes it.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    extra: tuple[int, ...] = ()


def geometry_of(graph: Graph, node: Node, kernel: torch.Size) -> ConvGeometry:
    """A convolution's geometry; found out once a graph.

    Args:
        graph, node: which.
        kernel: the kernel's size, one number an axis.
    """
    known = graph.derived(_geometries)
    if (node, kernel) not in known:
        known[node, kernel] = _geometry(node, kernel)
    return known[node, kernel]


def _geometries(_: Graph) -> dict[tuple[Node, torch.Size], ConvGeometry]:
    """Those of a graph's convolutions, filled as they are asked for."""
    return {}


def _geometry(node: Node, kernel: torch.Size) -> ConvGeometry:
    dims = len(kernel)
    dilation = _tuple(node.argument("dilation"), dims)
    extra: tuple[int, ...] = ()
    padding = node.argument("padding")
    if padding == "valid":
        padding = 0
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if all(t % 2 == 0 for t in totals):
            padding = [t // 2 for t in totals]
        else:  # even kernels: one more row or column on the right
            padding = 0
            extra = tuple(p for t in reversed(totals) for p in (t // 2, t - t // 2))
    return ConvGeometry(
        stride=_tuple(node.argument("stride"), dims),
        padding=_tuple(padding, dims),
        dilation=dilation,
        transposed=node.op.startswith("conv_transpose") or bool(node.argument("transposed", False)),
        output_padding=_tuple(node.argument("output_padding", 0), dims),
        groups=int(node.argument("groups")),
        extra=extra,
    )


def _tuple(value: Any, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) if len(value) == dims else tuple(value) * dims
