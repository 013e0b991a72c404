"""Alias check: may the graph's in-place operators be run as pure functions?

An in-place operator is pure unless somebody reads *another* name of the same storage afterwards: a
view taken before the write, the written view's base, or the written value itself.
"""

from __future__ import annotations

from typing import Any

from torch import fx

__all__ = ["in_place", "unsafe_writes"]

# May return their argument's storage without saying so in the schema.
_MAYBE_ALIAS = frozenset(
    "flatten reshape contiguous dropout chunk to getitem alpha_dropout feature_dropout type_as "
    "float expand_as view_as".split()
)


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
        sources = _aliased(node)
        members = {node}.union(*(family[s] for s in sources if s in family))
        for member in members:
            family[member] = members
        if in_place(node):
            written = node.args[0]
            group = family.get(written, set()) if isinstance(written, fx.Node) else set()
            earlier = [m for m in group if order[m] < order[node]]
            if any(m.op == "placeholder" for m in earlier) or any(
                order[user] > order[node] for m in earlier for user in m.users
            ):
                unsafe.append(node)
    return unsafe


def _aliased(node: fx.Node) -> list[fx.Node]:
    if node.op != "call_function":
        return []
    name = _base(node.target)
    schema = getattr(node.target, "_schema", None)
    found: list[fx.Node] = []
    if name in _MAYBE_ALIAS:
        found = [a for a in node.args if isinstance(a, fx.Node)]
    elif schema is not None and any(r.alias_info is not None for r in schema.returns):
        for argument, value in zip(schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and isinstance(value, fx.Node):
                found.append(value)
    return found


def _base(target: Any) -> str:
    return str(getattr(target, "_opname", None) or getattr(target, "__name__", target))
