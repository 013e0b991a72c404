"""Spelling: a softmax that is written in other operators, put back as the one operator it is.

What a value is to a rule doesn't depend on how it is written: exp(x) / sum(exp(x)), with the largest score or
any other number of each row taken off before, and some of the exponentials masked; exp(log_softmax(x));
exp(x - logsumexp(x)); and (exp(x) v) / sum(exp(x)), where the quotient comes behind the product with the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx

from relprop.graph.expand import caller
from relprop.graph.fx_call import by_schema, op_name

__all__ = ["spell_out"]

aten = torch.ops.aten
_LOG_SOFTMAX = ("log_softmax", "_log_softmax")
_PRODUCTS = ("matmul", "bmm")


@dataclass(frozen=True)
class _Softmax:
    """A softmax that was found.

    Attributes:
        scores: what competes.
        axis: along which axis.
        product: the product of matrices that the weights go into in front of the quotient, if any.
        hidden: mask of the scores that have no weight, if any.
        shown: mask of those that have one, likewise.
    """

    scores: fx.Node
    axis: int
    product: fx.Node | None = None
    hidden: fx.Node | None = None
    shown: fx.Node | None = None


def spell_out(graph: fx.Graph) -> None:
    """Write `softmax` for everything in a program that is one, in place."""
    for node in list(graph.nodes):
        given = _given(node)  # nothing for arithmetic on sizes
        form = _FORMS.get(op_name(node)) if given else None
        found = None if form is None else form(given)
        if found is None:
            continue
        call = caller(graph, node)
        scores, hidden = found.scores, found.hidden
        if found.shown is not None:
            hidden = call(aten.logical_not.default, found.shown)
        if hidden is not None:
            scores = call(aten.masked_fill.Scalar, scores, hidden, -math.inf)
        written = call(aten.softmax.int, scores, found.axis)
        if found.product is not None:
            written = call(found.product.target, written, found.product.args[1])
        node.replace_all_uses_with(written)
        _drop(graph, node)


def _drop(graph: fx.Graph, node: fx.Node) -> None:
    """Take away a call that nobody reads, and what only it has read."""
    idle, gone = [node], set()
    while idle:
        last = idle.pop()
        if last.op == "call_function" and not last.users and last not in gone:
            idle += last.all_input_nodes
            graph.erase_node(last)
            gone.add(last)


def _exponential(given: dict[str, Any]) -> _Softmax | None:
    """Of exp(log_softmax(x)) and exp(x - logsumexp(x))."""
    inner = given["self"]
    inside = _given(inner)
    if _is(inner, *_LOG_SOFTMAX):
        return _Softmax(inside["self"], inside["dim"]) if inside.get("dtype") is None else None
    if not _is(inner, "sub") or inside.get("alpha") != 1:
        return None
    axis = _axis_of(inside["other"], "logsumexp", inside["self"])
    return None if axis is None else _Softmax(inside["self"], axis)


def _quotient(given: dict[str, Any]) -> _Softmax | None:
    """Of exp(x) / sum(exp(x)), and of exp(x) v / sum(exp(x))."""
    return None if given.get("rounding_mode") is not None else _shares(given["self"], given["other"])


def _product(given: dict[str, Any]) -> _Softmax | None:
    """Of exp(x) · 1 / sum(exp(x))."""
    for value, factor in ((given["self"], given["other"]), (given["other"], given["self"])):
        if _is(factor, "mul") and _given(factor)["other"] == 1:  # how 1 / x is exported
            factor = _given(factor)["self"]
        inside = _given(factor)
        if _is(factor, "reciprocal") or (_is(factor, "pow") and inside["exponent"] == -1):
            return _shares(value, inside["self"])
        if _is(factor, "div") and inside["self"] == 1:
            return _shares(value, inside["other"])
    return None


_FORMS: dict[str, Callable[[dict[str, Any]], _Softmax | None]] = {
    "exp": _exponential,
    "div": _quotient,
    "mul": _product,
}


def _shares(value: Any, total: Any) -> _Softmax | None:
    product: fx.Node | None = value if _is(value, *_PRODUCTS) else None
    weights: Any = value if product is None else product.args[0]
    exponential, masks = _unmasked(weights)
    axis = _axis_of(total, "sum", weights) if _is(exponential, "exp") else None
    if axis is None or _shape(exponential) != _shape(weights):
        return None
    if product is not None and axis != len(_shape(weights)) - 1:
        return None
    return _Softmax(_scores(exponential.args[0], axis), axis, product, **masks)


def _unmasked(weights: Any) -> tuple[Any, dict[str, Any]]:
    """What some elements of were set to 0, and which."""
    inside = _given(weights)
    if _is(weights, "masked_fill") and inside["value"] == 0:
        return inside["self"], {"hidden": inside["mask"]}
    if _is(weights, "where") and _is_zero(inside.get("other")):
        return inside["self"], {"shown": inside["condition"]}
    if _is(weights, "mul"):
        for value, mask in ((inside["self"], inside["other"]), (inside["other"], inside["self"])):
            if _is(mask, "to", "_to_copy", "type_as"):
                mask = _given(mask)["self"]
            if _is(value, "exp") and isinstance(mask, fx.Node) and mask.meta["val"].dtype == torch.bool:
                return value, {"shown": mask}
    return weights, {}


def _is_zero(value: Any) -> bool:
    """Whether this is the number 0, or a tensor that holds it."""
    if _is(value, "scalar_tensor"):
        value = _given(value)["s"]
    return (isinstance(value, (int, float)) and value == 0) or _is(value, "zeros", "zeros_like", "new_zeros")


def _scores(exponent: Any, axis: int) -> Any:
    """The exponent without what is the same all along the axis: that changes nothing in a softmax."""
    while _is(exponent, "sub"):
        inside = _given(exponent)
        if _shape(inside["self"]) != _shape(exponent) or not _is_same_along(inside["other"], axis, exponent):
            break
        exponent = inside["self"]
    return exponent


def _is_same_along(value: Any, axis: int, beside: fx.Node) -> bool:
    shape = _shape(_unexpanded(value))
    place = axis - len(_shape(beside)) + len(shape)  # axes that are missing in front are 1 long
    return place < 0 or shape[place] == "1"


def _axis_of(node: Any, op: str, source: Any) -> int | None:
    """Along which axis a value is the sum (or what else `op` does) of a source, laid beside its elements."""
    node = _uncut(_unexpanded(node))
    place = None
    if _is(node, "unsqueeze"):
        place = _given(node)["dim"] % len(_shape(node))
        node = _uncut(_given(node)["self"])
    inside = _given(node)
    if not _is(node, op) or not _is_same(inside["self"], source) or inside.get("dtype") is not None:
        return None
    axes = inside.get("dim")
    if (
        not isinstance(axes, (list, tuple))
        or len(axes) != 1
        or bool(inside["keepdim"]) == (place is not None)
    ):
        return None
    axis: int = axes[0] % len(_shape(source))
    return axis if place in (None, axis) else None


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values are one, or the exponentials of one."""
    return a is b or (_is(a, "exp") and _is(b, "exp") and a.args[0] is b.args[0])


def _unexpanded(node: Any) -> Any:
    while _is(node, "expand", "expand_as") and len(_shape(_given(node)["self"])) == len(_shape(node)):
        node = _given(node)["self"]
    return node


def _uncut(node: Any) -> Any:
    """What is in front of slices that take everything (`x[:, None]`)."""
    while _is(node, "slice") and _shape(_given(node)["self"]) == _shape(node) and _given(node)["step"] == 1:
        node = _given(node)["self"]
    return node


def _is(node: Any, *ops: str) -> TypeGuard[fx.Node]:
    return isinstance(node, fx.Node) and node.op == "call_function" and op_name(node) in ops


def _given(node: Any) -> dict[str, Any]:
    return by_schema(node, node.target) if isinstance(node, fx.Node) and node.op == "call_function" else {}


def _shape(node: Any) -> list[str]:
    """Sizes as text: symbolic ones can be compared, and nothing is assumed of them."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return [str(size) for size in value.shape] if isinstance(value, Tensor) else []
