"""Layering: weights that a network applies by something other than its layers become the layers they are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from relprop.graph.contraction import Contraction, contraction_of, is_one
from relprop.graph.dependence import carries_derivative, computed_from_input
from relprop.graph.expand import caller
from relprop.graph.fusion import PRODUCTS
from relprop.graph.fx_call import Call, by_schema, module_of, op_name, tensors_of
from relprop.graph.kinds import kind_of
from relprop.graph.written_layer import layer_of, product_of

__all__ = ["write_layers"]

aten = torch.ops.aten

_RULED = frozenset("einsum matmul mm bmm linear".split())
"""Products of two signals by these have rules."""

_SIGNS = {"add": (1.0, 1.0), "sub": (1.0, -1.0), "rsub": (-1.0, 1.0)}


def write_layers(program: ExportedProgram, static: int | None) -> None:
    """Write out, in place, what multiplies and sums.

    A contraction of a signal with constants becomes a `linear` or a convolution, with the constant for each output
    that is added to it as its bias; one of several signals, by a function that rules don't know, an `einsum`.

    Args:
        program: what was exported.
        static: the batch size that it is bound to, if any.
    """
    signals = computed_from_input(program, lambda node: bool(tensors_of(node)) and carries_derivative(node))
    for node in list(program.graph.nodes):
        if node.op != "call_function":
            continue
        if kind_of(op_name(node)) == "linear" and op_name(node) not in PRODUCTS:
            _add_to_convolution(program.graph, node, signals)
            continue
        found = contraction_of(node)
        if found is None or not _in_one_module(found):
            continue
        count = sum(operand.value in signals for operand in found.operands)
        if count > 1 and (found.added is not None or op_name(node) not in _RULED):
            _write(program.graph, found.calls, signals, partial(product_of, contraction=found))
        elif count == 1:
            biased = _with_bias(found, signals)
            form = partial(layer_of, signals=signals, static=static)
            if biased is not None and _write(
                program.graph, biased.calls, signals, partial(form, contraction=biased)
            ):
                continue
            if not _is_layer(found, signals):
                sum_ = partial(_layer, found=found, signals=signals, static=static)
                _write(program.graph, found.calls, signals, sum_)


def _layer(
    call: Call, found: Contraction, signals: Collection[fx.Node], static: int | None
) -> fx.Node | None:
    """A layer; where what is added is no bias, the sum of both."""
    layer = layer_of(call, found, signals, static)
    if layer is not None or found.added is None:
        return layer
    layer = layer_of(call, replace(found, added=None), signals, static)
    value, times = found.added
    return None if layer is None else call(aten.add.Tensor, layer, value, alpha=times)


def _is_layer(found: Contraction, signals: Collection[fx.Node]) -> bool:
    """Whether the call is one that rules take for a layer as it stands."""
    first, second = found.operands[:2]
    added = found.added
    return (
        op_name(found.calls[0]) in PRODUCTS
        and first.value in signals
        and len(second.axes) == 2
        and (added is None or (added[0] not in signals and added[0].meta["val"].ndim == 1))
    )


def _write(
    graph: fx.Graph,
    calls: tuple[fx.Node, ...],
    signals: set[fx.Node],
    write: Callable[[Call], fx.Node | None],
) -> bool:
    """Put what `write` makes in the place of calls, the last of which comes first; False: it makes nothing."""
    put = caller(graph, calls[0])
    made: list[fx.Node] = []

    def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        made.append(put(target, *args, **kwargs))
        return made[-1]

    written = write(call)
    if written is None:
        for node in reversed(made):
            graph.erase_node(node)
        return False
    calls[0].replace_all_uses_with(written)
    for node in calls:
        graph.erase_node(node)
        for operand in dict.fromkeys(node.all_input_nodes):
            if (
                op_name(operand) == "unsqueeze" and not operand.users
            ):  # it made room for what is written out now
                graph.erase_node(operand)
    signals.update(n for n in made if any(operand in signals for operand in n.all_input_nodes))
    return True


def _in_one_module(found: Contraction) -> bool:
    """Whether all calls stand in one module, so that no place with a name goes."""
    first, *rest = (module_of(node)[1:] for node in found.calls)
    return all(place == first for place in rest)


def _with_bias(found: Contraction, signals: Collection[fx.Node]) -> Contraction | None:
    """With the constant that is added behind it in the same module, if there is one."""
    if found.added is not None:
        return None
    behind = _constant_behind(found.calls[0], signals)
    if behind is None:
        return None
    add, constant, sign, times = behind
    return replace(found, factor=found.factor * sign, added=(constant, times), calls=(add, *found.calls))


def _constant_behind(
    node: fx.Node, signals: Collection[fx.Node]
) -> tuple[fx.Node, fx.Node, float, float] | None:
    """The sum that alone reads a value: its call, what it adds, and what it multiplies both by, value first."""
    (user,) = node.users if len(node.users) == 1 else (None,)
    if user is None or user.op != "call_function" or op_name(user) not in _SIGNS:
        return None
    given = by_schema(user, user.target)
    a, b, alpha = given["self"], given["other"], given["alpha"]
    constant = b if a is node else a
    if (
        not isinstance(constant, fx.Node)
        or constant in signals
        or not isinstance(alpha, (int, float))
        or module_of(user)[1:] != module_of(node)[1:]
    ):
        return None
    first, second = _SIGNS[op_name(user)]
    if op_name(user) == "rsub":
        first *= alpha
    else:
        second *= alpha
    return (user, constant, first, second) if a is node else (user, constant, second, first)


def _add_to_convolution(graph: fx.Graph, node: fx.Node, signals: set[fx.Node]) -> None:
    """Make a constant for each channel that is added to a convolution without bias its bias."""
    given = by_schema(node, node.target)
    behind = _constant_behind(node, signals)
    if behind is None or given["bias"] is not None or given["weight"] in signals or behind[2] != 1:
        return
    add, constant, _, times = behind
    like, shape = constant.meta["val"], node.meta["val"].shape
    first = len(shape) - like.ndim
    sizes = {first + i: size for i, size in enumerate(like.shape) if not is_one(size)}
    if (
        first < 0
        or like.dtype != node.meta["val"].dtype
        or any(k != 1 or v != shape[1] for k, v in sizes.items())
    ):
        return

    def write(call: Call) -> fx.Node:
        bias = call(aten.flatten.using_ints, constant)
        bias = bias if sizes else call(aten.expand.default, bias, [shape[1]])
        bias = bias if times == 1 else call(aten.mul.Scalar, bias, times)
        return call(node.target, *(given | {"bias": bias}).values())

    _write(graph, (add, node), signals, write)
