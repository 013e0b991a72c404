"""Expand: operators that are several in one, such as attention, written out in those that rules know.

Most forms are the definition in PyTorch's documentation. Of other operators that no rule knows PyTorch itself is
asked (`relprop.graph.composed`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from relprop.graph.composed import composed
from relprop.graph.contraction import CONTRACTIONS
from relprop.graph.dependence import carries_derivative, computed_from_input
from relprop.graph.distances import DISTANCES
from relprop.graph.fx_call import Call, by_schema, op_name
from relprop.graph.kinds import kind_of
from relprop.graph.recurrent import RECURRENT, cell, layers

__all__ = ["caller", "expand"]

aten = torch.ops.aten


def expand(program: ExportedProgram) -> None:
    """Write out every operator of `_FORMS`, and those that no rule knows where PyTorch can, in place."""
    varying = computed_from_input(program, carries_derivative)
    for node in list(program.graph.nodes):
        if node.op == "call_function":
            name = op_name(node)
            unknown = node in varying and kind_of(name) == "other" and name not in CONTRACTIONS
            _expanded(program.graph, node, unknown=unknown)


def _expanded(graph: fx.Graph, node: fx.Node, *, unknown: bool) -> None:
    name = op_name(node)
    call, given = caller(graph, node), by_schema(node, node.target)
    written: Any = None
    if name in _FORMS:
        written = _FORMS[name](call, given)
    elif name in RECURRENT:
        written = layers(call, given, node)
    elif name.removesuffix("_cell") in RECURRENT:
        written = cell(call, given, node)
    elif unknown and (found := composed(graph, node, _FORMS)) is not None:
        _replace(graph, node, found.result)
        for part in found.parts:
            _expanded(graph, part, unknown=False)
        return
    if written is not None:
        _replace(graph, node, written)


def _replace(graph: fx.Graph, node: fx.Node, written: fx.Node | Sequence[fx.Node | None]) -> None:
    """Have everything read what was written out; of an operator with several results each its own."""
    if isinstance(written, fx.Node):
        node.replace_all_uses_with(written)
    else:
        for user in list(node.users):
            result = written[user.args[1]]  # type: ignore[index]
            if result is not None:  # None: nobody reads it
                user.replace_all_uses_with(result)
            graph.erase_node(user)
    graph.erase_node(node)


def caller(graph: fx.Graph, node: fx.Node) -> Call:
    """What puts calls in front of a node, as if they stood in its place in the code."""

    def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        with graph.inserting_before(node):
            made = graph.call_function(target, args, kwargs)
        made.meta = {k: v for k, v in node.meta.items() if k != "val"}
        if target is operator.getitem:
            made.meta["val"] = args[0].meta["val"][args[1]]
            return made
        values: Any = fx.node.map_arg((args, kwargs), lambda n: n.meta["val"])
        fake = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, FakeTensor)]
        # Composite operators in Python: before torch 2.7 or so, those in C++ can't take symbolic sizes.
        with fake[0].fake_mode if fake else nullcontext(), enable_python_dispatcher():
            made.meta["val"] = target(*values[0], **values[1])
        return made

    return call


def _attention(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """softmax(q kᵀ · scale + mask) v, as the documentation of PyTorch's function states it."""
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    if given["dropout_p"]:
        return None  # draws random numbers: refused by name
    if given["enable_gqa"]:
        times = query.meta["val"].shape[-3] // key.meta["val"].shape[-3]
        key, value = (call(aten.repeat_interleave.self_int, t, times, -3) for t in (key, value))
    scale = given["scale"]
    if scale is None:
        scale = 1 / math.sqrt(query.meta["val"].shape[-1])
    scores = call(
        aten.mul.Scalar, call(aten.matmul.default, query, call(aten.transpose.int, key, -2, -1)), scale
    )
    if given["is_causal"]:
        rows, columns = scores.meta["val"].shape[-2:]
        device = scores.meta["val"].device
        every = call(aten.ones.default, [rows, columns], dtype=torch.bool, device=device, pin_memory=False)
        mask = call(aten.tril.default, every)
    if mask is not None and mask.meta["val"].dtype == torch.bool:
        scores = call(aten.masked_fill.Scalar, scores, call(aten.logical_not.default, mask), -math.inf)
    elif mask is not None:
        scores = call(aten.add.Tensor, scores, mask)
    # Where every key is masked, the weights are 0, and not 0 / 0.
    weights = aten.softmax.int if mask is None or given["is_causal"] else aten._safe_softmax.default
    return call(aten.matmul.default, call(weights, scores, -1), value)


def _glu(call: Call, given: dict[str, Any]) -> fx.Node:
    """A · σ(b) for the two halves a and b."""
    source, axis = given["self"], given["dim"]
    half = source.meta["val"].shape[axis] // 2
    signal = call(aten.slice.Tensor, source, axis, 0, half)
    return call(
        aten.mul.Tensor,
        signal,
        call(aten.sigmoid.default, call(aten.slice.Tensor, source, axis, half, 2 * half)),
    )


def _addcmul(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out self + value · a · b."""
    product = call(aten.mul.Tensor, given["tensor1"], given["tensor2"])
    return call(aten.add.Tensor, given["self"], product, alpha=given["value"])


def _baddbmm(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write β self + α a b."""
    product = call(aten.bmm.default, given["batch1"], given["batch2"])
    start = given["self"] if given["beta"] == 1 else call(aten.mul.Scalar, given["self"], given["beta"])
    return call(aten.add.Tensor, start, product, alpha=given["alpha"])


def _lerp(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out (1 - w) a + w b, for a weight that is a tensor or a number."""
    weight, a, b = given["weight"], given["self"], given["end"]
    if isinstance(weight, fx.Node):
        rest = call(aten.rsub.Scalar, weight, 1)
        return call(aten.add.Tensor, call(aten.mul.Tensor, rest, a), call(aten.mul.Tensor, weight, b))
    return call(aten.add.Tensor, call(aten.mul.Scalar, a, 1 - weight), call(aten.mul.Scalar, b, weight))


def _addcdiv(call: Call, given: dict[str, Any]) -> fx.Node:
    """Write out self + value · a / b."""
    quotient = call(aten.div.Tensor, given["tensor1"], given["tensor2"])
    return call(aten.add.Tensor, given["self"], quotient, alpha=given["value"])


def _larger(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """`torch.max` of two values."""
    return call(aten.maximum.default, given["self"], given["other"]) if "other" in given else None


def _smaller(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """`torch.min` of two values."""
    return call(aten.minimum.default, given["self"], given["other"]) if "other" in given else None


def _index_add(call: Call, given: dict[str, Any]) -> fx.Node | None:
    return _onto(
        call,
        given["self"],
        aten.index_add.default,
        given["dim"],
        given["index"],
        given["source"],
        alpha=given["alpha"],
    )


def _scatter_add(call: Call, given: dict[str, Any]) -> fx.Node | None:
    return _onto(call, given["self"], aten.scatter_add.default, given["dim"], given["index"], given["src"])


def _scatter(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """`scatter(reduce="add")`, which has no derivative under that name."""
    return _scattered_sum(call, given) if given.get("reduce") == "add" and "src" in given else None


def _scatter_reduce(call: Call, given: dict[str, Any]) -> fx.Node | None:
    return _scattered_sum(call, given) if given["reduce"] == "sum" and given["include_self"] else None


def _scattered_sum(call: Call, given: dict[str, Any]) -> fx.Node:
    return _scatter_add(call, given) or call(
        aten.scatter_add.default, given["self"], given["dim"], given["index"], given["src"]
    )


def _index_put(call: Call, given: dict[str, Any]) -> fx.Node | None:
    if not given["accumulate"]:
        return None
    return _onto(
        call, given["self"], aten.index_put.default, given["indices"], given["values"], accumulate=True
    )


def _put(call: Call, given: dict[str, Any]) -> fx.Node | None:
    if not given["accumulate"]:
        return None
    return _onto(call, given["self"], aten.put.default, given["index"], given["source"], accumulate=True)


def _quantile(call: Call, given: dict[str, Any]) -> fx.Node | None:
    """Of one share along one axis: between two of the sorted values."""
    source, q, axis = given["self"], given["q"], given["dim"]
    length = None if axis is None else source.meta["val"].shape[axis]
    if not isinstance(q, float) or not isinstance(length, int):
        return None
    rank = q * (length - 1)
    low, high = math.floor(rank), math.ceil(rank)
    ordered = call(operator.getitem, call(aten.sort.default, source, axis), 0)
    below, above = (call(aten.select.int, ordered, axis, place) for place in (low, high))
    weight = {"linear": rank - low, "lower": 0.0, "higher": 1.0, "midpoint": 0.5 if low < high else 0.0}.get(
        given["interpolation"], float(round(rank) - low)
    )
    found = below
    if weight:
        shares = (call(aten.mul.Scalar, below, 1 - weight), call(aten.mul.Scalar, above, weight))
        found = above if weight == 1 else call(aten.add.Tensor, *shares)
    return call(aten.unsqueeze.default, found, axis) if given["keepdim"] else found


def _onto(call: Call, base: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node | None:
    """What is added to a base in some places: the base plus the same on zeros. None where the base is zeros."""
    if op_name(base) in _ZEROS:
        return None
    zeros = call(aten.zeros_like.default, base)
    return call(aten.add.Tensor, base, call(target, zeros, *args, **kwargs))


_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})

_FORMS: dict[str, Callable[[Call, dict[str, Any]], fx.Node | None]] = {
    "scaled_dot_product_attention": _attention,
    "glu": _glu,
    "addcmul": _addcmul,
    "baddbmm": _baddbmm,
    "lerp": _lerp,
    **DISTANCES,
    "addcdiv": _addcdiv,
    "max": _larger,
    "min": _smaller,
    "index_add": _index_add,
    "scatter_add": _scatter_add,
    "scatter": _scatter,
    "scatter_reduce": _scatter_reduce,
    "index_put": _index_put,
    "quantile": _quantile,
    "put": _put,
}
