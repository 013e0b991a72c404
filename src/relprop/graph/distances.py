"""Distances: how alike two embeddings are, written out in the operators that rules know."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from relprop.graph.fx_call import Call

__all__ = ["DISTANCES"]

aten = torch.ops.aten
_MOST = 2**27  # numbers a sample that a table of distances may take when it is written out


def _cosine(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out Σ (a / max(‖a‖, ε)) (b / max(‖b‖, ε))."""
    axis, epsilon = given["dim"], given["eps"]
    rank = max(given[name].meta["val"].ndim for name in ("x1", "x2"))
    axis = axis if axis < 0 else axis - rank  # counted in what the two are broadcast to
    sides = []
    for side in (given["x1"], given["x2"]):
        length = call(aten.linalg_vector_norm.default, side, 2, [axis], True)
        # PyTorch lifts short lengths without telling autograd: the derivative is that of the length itself.
        lift = call(aten.sub.Tensor, call(aten.clamp_min.default, length, epsilon), length)
        longer = call(aten.add.Tensor, length, call(aten.detach.default, lift))
        sides.append(call(aten.div.Tensor, side, longer))
    return call(aten.sum.dim_IntList, call(aten.mul.Tensor, *sides), [axis])


def _pairwise(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out ‖a - b + ε‖."""
    difference = call(aten.sub.Tensor, given["x1"], given["x2"])
    shifted = call(aten.add.Scalar, difference, given["eps"])
    return call(aten.linalg_vector_norm.default, shifted, given["p"], [-1], given["keepdim"])


def _dist(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out ‖a - b‖ of all their numbers."""
    return call(
        aten.linalg_vector_norm.default, call(aten.sub.Tensor, given["self"], given["other"]), given["p"]
    )


def _table(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """‖a_i - b_j‖ for every i and j; None where the differences would fill the memory."""
    a, b = call(aten.unsqueeze.default, given["x1"], -2), call(aten.unsqueeze.default, given["x2"], -3)
    difference = call(aten.sub.Tensor, a, b)
    if math.prod(size for size in difference.meta["val"].shape if isinstance(size, int)) > _MOST:
        return None
    return call(aten.linalg_vector_norm.default, difference, given["p"], [-1])


DISTANCES: dict[str, Callable[[Call, dict[str, Any]], fx.Node | None]] = {
    "cosine_similarity": _cosine,
    "pairwise_distance": _pairwise,
    "dist": _dist,
    "cdist": _table,
}
"""Name of an operator -> what writes it out."""
