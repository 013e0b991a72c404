"""Casts: dtypes that a model changes to inside of its forward pass.

No value narrower than float32 stands in a graph: what a model computes in half precision is computed in
float32, and a cast to a narrower dtype rounds the value and keeps it in float32. A cast to float64 stays one.
The derivative of each of them is the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from relprop.errors import CaptureError
from relprop.graph.fx_call import op_name, place_of, tensors_of

__all__ = ["is_narrow", "rounded_to", "rounding", "widened"]


def is_narrow(dtype: Any) -> bool:
    """Whether this is a floating-point dtype narrower than float32."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize < 4


def widened(tree: Any) -> Any:
    """A call's arguments with float32 in the place of narrower dtypes."""
    if isinstance(tree, dict):
        return {key: widened(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(widened(value) for value in tree)
    return torch.float32 if is_narrow(tree) else tree


def rounded_to(fx_node: fx.Node) -> torch.dtype | None:
    """The dtype that a cast rounds its value to; None for other calls, and where nothing is rounded.

    Raises:
        CaptureError: the bits of a narrow value are read as another dtype.
    """
    source = fx_node.args[0] if fx_node.args else None
    if not isinstance(source, fx.Node) or not (len(tensors_of(fx_node)) == len(tensors_of(source)) == 1):
        return None
    (before,), (after,) = tensors_of(source), tensors_of(fx_node)
    if fx_node.target is torch.ops.aten.view.dtype:
        if is_narrow(before.dtype) or is_narrow(after.dtype):
            raise CaptureError(
                f"Can't capture the model: {place_of(fx_node)} reads the bits of {before.dtype} as {after.dtype}, "
                "but values of half precision are computed in float32. Pass the part of the model without it."
            )
        return None
    if op_name(fx_node) not in _CASTS or not after.is_floating_point():
        return None
    return after.dtype if after.dtype.itemsize < before.dtype.itemsize else None


_CASTS = frozenset("to _to_copy type_as".split())


def rounding(cast: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """A cast that gives the values as `dtype` holds them, in float32 where that is narrower; differentiable."""

    def rounded(*args: Any, **kwargs: Any) -> Tensor:
        return cast(*args, **kwargs).to(dtype).to(torch.float32 if is_narrow(dtype) else dtype)

    return rounded
