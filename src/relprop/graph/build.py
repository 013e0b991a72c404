"""Build: from an exported program to a graph of nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from relprop.errors import CaptureError
from relprop.graph.casts import is_narrow, rounded_to, rounding, widened
from relprop.graph.dependence import carries_derivative, outputs_of
from relprop.graph.expand import expand
from relprop.graph.fx_call import (
    FIRST_ONLY,
    arguments_of,
    functional,
    module_of,
    op_name,
    source_of,
    tensors_of,
)
from relprop.graph.kinds import kind_of
from relprop.graph.layering import write_layers
from relprop.graph.node import Graph, Node
from relprop.graph.ranges import range_of
from relprop.graph.spelling import spell_out
from relprop.graph.writes import EMPTY, WRITTEN, kind_of_write, written_args, zeroed

__all__ = ["build"]


def build(program: ExportedProgram, static: int | None) -> Graph:
    """The graph of an exported program; `static` is the batch size that it is bound to, if any."""
    expand(program)
    spell_out(program.graph)
    write_layers(program, static)
    nodes: list[Node] = []
    of: dict[fx.Node, Node] = {}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    constants: dict[str, Tensor] = {}
    entry: Node | None = None
    widths: set[tuple[bool, bool]] = set()  # of dependent values: whether double, whether complex
    for fx_node in program.graph.nodes:
        if fx_node.op == "output":
            continue
        index = len(nodes)
        if fx_node.op == "placeholder":
            spec = specs[fx_node.name]
            if spec.kind == InputKind.USER_INPUT:
                node = Node(index, "input", "input", "input", dependent=True)
                entry = node
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                node = Node(index, fx_node.name, "parameter", "parameter", fqn=str(spec.target))
            else:
                node = Node(index, fx_node.name, "constant", "constant", fqn=str(spec.target))
                constants[node.fqn] = program.constants[node.fqn]
        elif fx_node.op == "call_function":
            source = fx_node.args[0] if fx_node.args else None
            if op_name(fx_node) == "getitem" and isinstance(source, fx.Node) and of[source].op in FIRST_ONLY:
                of[fx_node] = of[source]  # the operator was taken for its first result
                continue
            node = _operator(index, fx_node, of, static)
        else:
            raise CaptureError(
                f"Can't capture the model: it holds {fx_node.op!r} ({fx_node.name!r}), no tensor operator."
            )
        of[fx_node] = node
        nodes.append(node)
        if node.dependent:
            widths |= {
                (t.dtype in (torch.float64, torch.complex128), t.is_complex()) for t in tensors_of(fx_node)
            }
    if entry is None:
        raise CaptureError("Can't capture the model: it doesn't take a tensor.")
    for node in nodes:
        for operand in dict.fromkeys(node.operands()):
            operand.users.append(node)
    spec = program.call_spec.out_spec
    outputs = [_swap(out, of) for out in outputs_of(program)]
    return Graph(
        nodes, entry, outputs, lambda flat: pytree.tree_unflatten(flat, spec), constants, static,
        narrowest=_narrowest(program), mixed=len(widths) > 1,
        double=all(double for double, _ in widths),
    )  # fmt: skip


def _narrowest(program: ExportedProgram) -> torch.dtype | None:
    found = {t.dtype for node in program.graph.nodes for t in tensors_of(node) if is_narrow(t.dtype)}
    return max(found, key=lambda dtype: torch.finfo(dtype).eps, default=None)


def _operator(index: int, fx_node: fx.Node, of: dict[fx.Node, Node], static: int | None) -> Node:
    op = op_name(fx_node)
    arguments = {name: _swap(value, of) for name, value in arguments_of(fx_node).items()}
    if op in ("clamp", "clamp_min") and _clamps_at_zero(arguments):
        op = "relu"  # by another name
    module, modules, call = module_of(fx_node)
    args = widened(_swap(fx_node.args, of))
    kwargs = {k: widened(_swap(v, of)) for k, v in fx_node.kwargs.items()}
    target = functional(fx_node)
    if op in EMPTY:
        target = zeroed(target)
    elif op in WRITTEN:
        target, args, kwargs = WRITTEN[op], written_args(arguments), {}
    rounds = rounded_to(fx_node)
    if rounds is not None:
        target = rounding(target, rounds)
    node = Node(
        index, fx_node.name, op, kind_of_write(arguments) or kind_of(op), target, args, kwargs, arguments,
        module, modules, call, source_of(fx_node), rounds=rounds,
    )  # fmt: skip
    if op in ("sym_size", "sym_numel") or (
        not isinstance(fx_node.target, torch._ops.OpOverload) and op != "getitem"
    ):
        node.kind = "symbol"  # arithmetic on sizes: no tensor, no relevance
    else:
        node.dependent = carries_derivative(fx_node) and any(n.dependent for n in node.reads())
        node.is_complex = any(t.is_complex() for t in tensors_of(fx_node))
        node.bounds = range_of(node)
        node.batch_axis, node.per_sample = _batch_axis(fx_node, node, static)
    return node


def _clamps_at_zero(arguments: dict[str, Any]) -> bool:
    low = arguments["min"]
    return isinstance(low, (int, float)) and low == 0 and arguments.get("max") is None


def _batch_axis(fx_node: fx.Node, node: Node, static: int | None) -> tuple[int | None, bool]:
    """The axis of a value whose size depends on the batch size, and whether it is axis 0 and nothing but it."""
    value = fx_node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    if not isinstance(value, Tensor):
        return 0, True
    symbolic = [i for i, size in enumerate(value.shape) if not isinstance(size, int)]
    if not symbolic:
        return (None, False) if static is None else _followed(fx_node, node, value.shape, static)
    size: Any = value.shape[symbolic[0]]  # a SymInt: the batch size itself, or a product with it
    return symbolic[0], symbolic[0] == 0 and bool(size.node.expr.is_symbol)


_PERMUTES = frozenset("permute transpose movedim swapaxes swapdims t mT numpy_T".split())


def _followed(fx_node: fx.Node, node: Node, shape: torch.Size, static: int) -> tuple[int | None, bool]:
    """`_batch_axis` where a graph is bound to one batch size, which tells itself from no other size.

    Samples lie first in the input; where they go is followed from operand to operand.
    """
    before = next((n for n in node.operands() if n.dependent), None)
    if before is None or not node.dependent:
        return 0, True
    axis = before.batch_axis
    if axis is None or not shape:
        return None, False
    source = next((a for a in fx_node.args if isinstance(a, fx.Node)), None)
    if node.op in _PERMUTES and source is not None:
        # Each axis is known by its length: where does the samples' go?
        probe = torch.empty([2 + i for i in range(source.meta["val"].ndim)], device="meta")
        moved = fx_node.target(*(probe if a is source else a for a in fx_node.args))  # type: ignore[operator]
        axis = list(moved.shape).index(2 + axis)
        return axis, axis == 0 and moved.ndim == len(shape) and shape[0] == static
    taken = node.arguments.get("dim")
    taken = taken if isinstance(taken, (list, tuple)) else [taken]
    held = source.meta["val"].ndim if source is not None and isinstance(source.meta["val"], Tensor) else 0
    if len(shape) < held and (axis in taken or axis - held in taken):
        return None, False  # the samples' own axis is gone, whatever the length of the next
    if axis == 0:
        return (0, shape[0] == static) if shape[0] % static == 0 else (None, False)
    return (axis, False) if len(shape) > axis and shape[axis] == static else (None, False)


def _swap(tree: Any, of: dict[fx.Node, Node]) -> Any:
    if isinstance(tree, fx.Node):
        return of[tree]
    if isinstance(tree, (list, tuple)):
        return (
            type(tree)(_swap(part, of) for part in tree)
            if type(tree) in (list, tuple)
            else [_swap(part, of) for part in tree]
        )
    return tree
