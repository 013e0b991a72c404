"""Contexts: `no_grad`, `inference_mode`, `enable_grad` and `autocast` inside a model's forward pass.

`torch.export` puts what runs in such a context into a graph of its own. Here all graphs become one, and what ran
without autograd becomes a constant of the explanation, as it is one to autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from relprop.errors import CaptureError
from relprop.graph.alias import aliased, in_place
from relprop.graph.dependence import carries_derivative, computed_from_input, outputs_of
from relprop.graph.fx_call import op_name, place_of, tensors_of

__all__ = ["make_flat"]

_GRAD, _AUTOCAST = "wrap_with_set_grad_enabled", "wrap_with_autocast"


def make_flat(program: ExportedProgram) -> None:
    """Bring a program's nested graphs into one, with a `detach` behind what ran without autograd.

    Where nothing would be left to explain, because everything runs without autograd (a forward pass that is
    decorated with `no_grad` or `inference_mode`), these contexts count for nothing: they save memory there, and
    say nothing of what may be explained.

    What `autocast` computes in half precision is computed in float32, as models of half precision are.

    Raises:
        CaptureError: every way from the input to the outputs is detached; or a write, in such a context, to a
            value from outside of it.
    """
    tracked = _inlined(program.graph_module, program.graph)
    untracked = {node for node, seen in tracked.items() if not seen}
    _write_out_detach(program.graph)
    if untracked and _left(program, lambda node: node not in untracked):
        _detach(program.graph, untracked)
    elif not _left(program) and _left(program, detached=True):
        raise CaptureError(_all_detached(program))
    program.graph.lint()
    program.graph_module.recompile()


def _left(
    program: ExportedProgram,
    hands_on: Callable[[fx.Node], bool] = lambda node: True,
    *,
    detached: bool = False,
) -> bool:
    """Whether an output depends on the input by nodes that hand on (through detached ones, too)."""
    found = computed_from_input(
        program,
        lambda node: (
            (carries_derivative(node) or (detached and op_name(node) == "detach")) and hands_on(node)
        ),
    )
    return any(isinstance(out, fx.Node) and out in found for out in outputs_of(program))


# One graph ------------------------------------------------------------------------------------------


def _inlined(owner: Any, graph: fx.Graph) -> dict[fx.Node, bool]:
    """Put what runs in contexts where it is called; return for calls in a context whether autograd sees them."""
    tracked: dict[fx.Node, bool] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if op_name(node) == _GRAD:
            enabled, source, *operands = node.args
            _inline(owner, node, source, operands, bool(enabled), tracked)
        elif op_name(node) == _AUTOCAST:
            source, *operands = node.args[4:]
            _inline(owner, node, source, operands, None, tracked)
        elif _in_inference_mode(node):
            tracked[node] = False
    return tracked


def _inline(
    owner: Any,
    call: fx.Node,
    source: Any,
    operands: list[Any],
    enabled: bool | None,
    tracked: dict[fx.Node, bool],
) -> None:
    """Copy the graph that `source` gets from `owner` in front of its call, and take the call away."""
    inner = getattr(owner, source.target).graph
    known = _inlined(getattr(owner, source.target), inner)
    following, of = iter(operands), dict[fx.Node, Any]()
    results: Any = ()
    with call.graph.inserting_before(call):
        for node in inner.nodes:
            if node.op == "placeholder":
                of[node] = next(following)
            elif node.op == "output":
                results = fx.map_arg(node.args[0], of.__getitem__)
            else:
                of[node] = copied = call.graph.node_copy(node, of.__getitem__)
                state = known.get(node, enabled)
                if state is not None:
                    tracked[copied] = state
    for reader in list(call.users):  # items of the tuple that it returns
        reader.replace_all_uses_with(results[reader.args[1]])
        call.graph.erase_node(reader)
    call.graph.erase_node(call)
    if not source.users:
        call.graph.erase_node(source)


def _in_inference_mode(node: fx.Node) -> bool:
    """Whether a call ran in `inference_mode`, which `torch.export` tells by nothing else."""
    return any(value.is_inference() for value in tensors_of(node))


# Constants to autograd -------------------------------------------------------------------------------


def _write_out_detach(graph: fx.Graph) -> None:
    """`y.detach_()` as a value of its own, which every later reader of y reads."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not torch.ops.aten.detach_.default:
            continue
        node.target = torch.ops.aten.detach.default
        written = node.args[0]
        for reader in list(written.users):
            if order[reader] > order[node]:
                reader.replace_input_with(written, node)


def _detach(graph: fx.Graph, untracked: set[fx.Node]) -> None:
    """Put a `detach` between what runs without autograd and its readers outside."""
    for node in untracked:
        if in_place(node):
            _check_write(node, untracked)
    for node in untracked:
        outside = [reader for reader in node.users if reader not in untracked]
        if not outside or not isinstance(node.meta.get("val"), Tensor):
            continue  # a list of values is read item by item
        with graph.inserting_after(node):
            constant = graph.call_function(torch.ops.aten.detach.default, (node,))
        constant.meta = dict(node.meta)
        for reader in outside:
            reader.replace_input_with(node, constant)


def _check_write(node: fx.Node, untracked: set[fx.Node]) -> None:
    """Refuse a write to a value from outside of the context: autograd goes by the value that was there before."""
    written: Any = node.args[0]
    while isinstance(written, fx.Node) and written in untracked:
        sources = aliased(written)
        if not sources:
            return
        written = sources[0]
    if isinstance(written, fx.Node) and written.op != "placeholder":  # the model's own: refused as such
        raise CaptureError(
            f"Can't capture the model: {place_of(node)} writes in place, under no_grad, to a value from outside "
            "of it, so that autograd doesn't see the write. Take the write out of no_grad, or write to a copy."
        )


def _all_detached(program: ExportedProgram) -> str:
    node = next(
        n for n in reversed(program.graph.nodes) if n.op == "call_function" and op_name(n) == "detach"
    )
    return (
        f"Can't capture the model: every way from its input to its output is detached, at the last by "
        f"{place_of(node)}, so that nothing can be explained. Take the detach() out, or pass the part of the "
        "model without it."
    )
