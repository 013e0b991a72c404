"""Ranges: between which numbers the graph proves a value to lie, whatever the input is."""

from __future__ import annotations

import math
from typing import Any

import torch

from relprop.graph.node import Node

__all__ = ["ANY", "Range", "range_of"]

Range = tuple[float, float]
"""The lowest and the highest number that a value can take."""

ANY: Range = (-math.inf, math.inf)
_POSITIVE: Range = (0.0, math.inf)

_ALWAYS: dict[str, Range] = {
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax", "_softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "erf", "softsign", "sin", "cos"), (-1.0, 1.0)),
    **dict.fromkeys(("abs", "square", "softplus", "sqrt", "rsqrt"), _POSITIVE),
    **dict.fromkeys(("linalg_vector_norm", "norm", "frobenius_norm"), _POSITIVE),
    "relu6": (0.0, 6.0),
    "log_sigmoid": (-math.inf, 0.0),
}  # fmt: skip
_KEEPS = frozenset({"max_pool", "shape", "pass", "upsample"})
_OVERSHOOTS = frozenset({"upsample_bicubic2d", "_upsample_bicubic2d_aa", "grid_sampler"})
_WIDENS = frozenset({"expand", "expand_as", "unsqueeze"})
_ADDS_ZEROS = frozenset({"im2col", "tril", "triu", "diag_embed", "max_unpool2d", "max_unpool3d"})
# Read a place or a shape from tensors of their own, and values from the first.
_PICKS = frozenset(
    "view expand index index_select gather expand_as view_as reshape_as type_as take max_unpool2d "
    "max_unpool3d".split()
)
# Constants that are no parameters.
_MADE: dict[str, Range] = {
    **dict.fromkeys("zeros zeros_like new_zeros empty empty_like new_empty".split(), (0.0, 0.0)),
    **dict.fromkeys("ones ones_like new_ones".split(), (1.0, 1.0)),
}
# Sums are in the kind of averages, but grow with the number of their terms.
_SUMS = frozenset({"sum", "nansum", "cumsum", "col2im", "index_add", "scatter_add"})


def range_of(node: Node) -> Range:
    """Between which numbers `node`'s value lies, given the ranges of its operands.

    Only what the operators themselves guarantee counts: a parameter's values are not looked at, since they
    may change after the proof. What is empty is filled with zeros here.

    >>> range_of(Node(0, "sigmoid", "sigmoid", "activation", dependent=True))
    (0.0, 1.0)
    """
    if node.op == "softplus" and not _at_least(node.argument("beta"), 0):
        return ANY
    if node.op in _ALWAYS:
        return _ALWAYS[node.op]
    if node.op in _MADE:
        return _MADE[node.op]
    read = node.reads()
    if not read:
        return ANY
    low, high = read[0].bounds
    if node.op == "exp":
        return _exp(low), _exp(high)
    if node.op == "pow" and _is_even(node.argument("exponent")):
        return _POSITIVE
    if node.op == "relu":
        return max(low, 0.0), max(high, 0.0)
    if node.op in ("hardtanh", "clamp", "clamp_min", "clamp_max"):
        return _clamped(node, low, high)
    if node.kind == "add" or node.op in ("mul", "div"):
        left, right = (_of_argument(argument) for argument in node.pair)
        return _sum(node, left, right) if node.kind == "add" else _combined(node, left, right)
    if node.kind == "negate":
        return -high, -low
    if node.kind in _KEEPS or node.kind == "avg_pool":
        return _kept(node)
    return ANY


def _exp(number: float) -> float:
    """The exponential; infinite where it outgrows every precision."""
    return math.exp(number) if number < 88 else math.inf


def _is_even(exponent: Any) -> bool:
    return isinstance(exponent, (int, float)) and exponent % 2 == 0


def _clamped(node: Node, low: float, high: float) -> Range:
    names = ("min_val", "max_val") if node.op == "hardtanh" else ("min", "max")
    least, most = (node.argument(name, None) for name in names)
    if any(isinstance(limit, Node) for limit in (least, most)):
        return ANY
    least, most = (-math.inf if least is None else least), (math.inf if most is None else most)
    return min(max(low, least), most), min(max(high, least), most)


def _kept(node: Node) -> Range:
    """Of operators that pick, move or average values."""
    if node.op in _OVERSHOOTS or node.op == "nan_to_num" or _computes(node):
        return ANY
    read = [n for n in node.reads() if n.kind != "symbol"]
    found = [n.bounds for n in (read[:1] if node.op in _PICKS else read)]
    if node.op in ("pad", "constant_pad_nd"):
        value = node.argument("value")
        if isinstance(value, Node):
            return ANY
        found.append((float(value or 0), float(value or 0)))
    else:  # a number that is written into the value: masked_fill, scatter, where
        numbers = [node.argument(name, None) for name in ("self", "other", "value")]
        found += [(float(n), float(n)) for n in numbers if isinstance(n, (int, float))]
    if node.op in _ADDS_ZEROS:
        found.append((0.0, 0.0))
    if node.kind == "avg_pool":
        found.append((0.0, 0.0))  # zeros at the border count
        divisor = node.argument("divisor_override", None)
        if node.op in _SUMS or divisor is not None:
            grows = (divisor is None or divisor > 0) and _at_least(node.argument("alpha", 1), 0)
            return _POSITIVE if grows and all(low >= 0 for low, _ in found) else ANY
    return min(low for low, _ in found), max(high for _, high in found)


def _computes(node: Node) -> bool:
    """Whether an operator that moves values does more than that here: adds to what is there, counts, or wraps."""
    if node.op == "getitem" and node.item and node.reads()[0].kind != "shape":
        return True  # the second result of an operator, such as the places of the largest values
    dtype = node.argument("dtype", None)
    whole = isinstance(dtype, torch.dtype) and not dtype.is_floating_point
    return bool(node.argument("accumulate", False) or node.argument("reduce", None)) or whole


def _of_argument(argument: Any) -> Range:
    if isinstance(argument, complex):
        return ANY
    return argument.bounds if isinstance(argument, Node) else (float(argument), float(argument))


def _sum(node: Node, left: Range, right: Range) -> Range:
    alpha = node.argument("alpha")
    if not isinstance(alpha, (int, float)):
        return ANY
    first, second = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[node.op]
    a, b = _times(left, (first, first)), _times(right, (second, second))
    return a[0] + b[0], a[1] + b[1]


def _combined(node: Node, left: Range, right: Range) -> Range:
    if node.op == "mul":
        return _times(left, right)
    if node.argument("rounding_mode", None) is not None:
        return ANY
    if left[0] >= 0 and _is_total(node.pair[1], node.pair[0]):
        return 0.0, 1.0
    low, high = right
    if high < 0:  # both turned round
        low, high, left = -high, -low, (-left[1], -left[0])
    if low < 0 or high == 0:
        return ANY
    return _times(left, (1 / high, 1 / low if low else math.inf))


def _is_total(divisor: Any, value: Any) -> bool:
    """Whether the divisor is a sum over the value, beside its own terms; it may have been kept away from 0."""
    made_room: list[int] = []  # the axes of length 1 that were put in, first to last
    while isinstance(divisor, Node) and (divisor.op in _WIDENS or _grows(divisor)):
        if made_room and divisor.op.startswith("expand"):
            return False  # axes in front would move the others
        if divisor.op == "unsqueeze":
            made_room.insert(0, divisor.argument("dim"))
        divisor = divisor.reads()[0]
    if not isinstance(divisor, Node) or divisor.op != "sum" or divisor.operands()[:1] != [value]:
        return False
    if divisor.argument("dtype", None) is not None:
        return False
    axes = divisor.argument("dim", None)
    if not axes or divisor.argument("keepdim", False):
        return not made_room
    axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    return made_room == axes and (len(axes) == 1 or (axes == sorted(axes) and axes[0] >= 0))


def _grows(node: Node) -> bool:
    """Whether the operator gives its first operand or a larger number."""
    if node.op == "clamp_min":
        return True
    if node.op == "clamp":
        return node.argument("max", None) is None
    if node.op != "add" or not isinstance(node.pair[0], Node):
        return False
    return _at_least(node.argument("alpha"), 0) and _of_argument(node.pair[1])[0] >= 0


def _at_least(number: Any, least: float) -> bool:
    return isinstance(number, (int, float)) and number >= least


def _times(a: Range, b: Range) -> Range:
    products = [0.0 if x == 0 or y == 0 else x * y for x in a for y in b]
    return min(products), max(products)
