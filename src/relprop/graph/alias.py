"""Alias check: may the graph's in-place operators be run as pure functions?

An in-place operator is pure unless somebody reads *another* name of the same storage afterwards: a
view taken before the write, the written view's base, or the written value itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

__all__ = ["aliased", "in_place", "unsafe_writes", "without_writes"]

# Return their argument itself where they have nothing to do. PyTorch's decompositions copy it, and its
# symbolic tensors have other strides than the tensors to come may have.
_DROPS = frozenset("dropout alpha_dropout feature_dropout feature_alpha_dropout".split())
_MAYBE_ALIAS = _DROPS | frozenset(
    "flatten reshape contiguous chunk to getitem type_as float double half expand_as view_as reshape_as "
    "ravel".split()
)

# Return views although their schemas deny it.
_aten = torch.ops.aten
_DENYING = {
    _aten.unsafe_chunk.default: _aten.chunk.default,
    _aten.unsafe_split.Tensor: _aten.split.Tensor,
    _aten.unsafe_split_with_sizes.default: _aten.split_with_sizes.default,
}


def in_place(node: fx.Node) -> bool:
    """Whether the operator writes into one of its arguments."""
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def unsafe_writes(graph: fx.Graph) -> list[fx.Node]:
    """The in-place operators whose write somebody sees through another name later."""
    family: dict[fx.Node, set[fx.Node]] = {}
    order = {node: i for i, node in enumerate(graph.nodes)}
    unsafe = []
    for node in graph.nodes:
        members = {node}.union(*(family[s] for s in aliased(node) if s in family))
        for member in members:
            family[member] = members
        if in_place(node):
            written = node.args[0] if _writes_first(node) else None
            group = family.get(written, set()) if isinstance(written, fx.Node) else set()
            earlier = [m for m in group if order[m] < order[node]]
            if (
                not group
                or any(m.op == "placeholder" for m in earlier)
                or any(order[user] > order[node] for m in earlier for user in m.users)
            ):
                unsafe.append(node)
    return unsafe


def without_writes(program: ExportedProgram) -> ExportedProgram:
    """The same program without writes, where every name of a storage sees what is written through another."""
    for node in list(program.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _DENYING:
            node.target = _DENYING[node.target]
        elif _base(node.target) in _DROPS:
            _drop(program, node)
    return program.run_decompositions({})


def _drop(program: ExportedProgram, node: fx.Node) -> None:
    """Put the argument of a dropout, which is off, in the place of its result."""
    argument = node.args[0]
    assert isinstance(argument, fx.Node)
    node.replace_all_uses_with(argument)
    program.graph_signature.replace_all_uses(node.name, argument.name)
    program.graph.erase_node(node)


def _writes_first(node: fx.Node) -> bool:
    """Whether an operator writes to its first argument and to no other."""
    schema = getattr(node.target, "_schema", None)
    assert schema is not None
    written = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
    return bool(node.args) and written[0] and sum(written) == 1


def aliased(node: fx.Node) -> list[fx.Node]:
    """The operands whose storage a call's value may share."""
    if node.op != "call_function":
        return []
    name = _base(node.target)
    schema = getattr(node.target, "_schema", None)
    if name in _MAYBE_ALIAS:
        return [a for a in node.args if isinstance(a, fx.Node)]
    own = _storages(node)
    found = [n for n in node.all_input_nodes if own & _storages(n)]
    if schema is not None and any(r.alias_info is not None for r in schema.returns):
        for argument, value in zip(schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and isinstance(value, fx.Node):
                found.append(value)
    return found


def _storages(node: fx.Node) -> set[int]:
    """Which storages the symbolic value of a node has; a sparse tensor has none of its own."""
    value = node.meta.get("val")
    leaves = value if isinstance(value, (list, tuple)) else [value]
    dense = [v for v in leaves if isinstance(v, Tensor) and v.layout == torch.strided]
    return {v.untyped_storage()._cdata for v in dense}


def _base(target: Any) -> str:
    return str(getattr(target, "_opname", None) or getattr(target, "__name__", target))
