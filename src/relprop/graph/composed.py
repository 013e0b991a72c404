"""Composed: operators that PyTorch itself writes in simpler ones, such as `hstack`, taken in those."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from relprop.graph.alias import unsafe_writes
from relprop.graph.dependence import carries_derivative
from relprop.graph.fx_call import op_name, tensors_of
from relprop.graph.kinds import kind_of

__all__ = ["Composed", "composed"]

_KEY = "CompositeImplicitAutograd"
"""What PyTorch calls an operator that has no derivative of its own: that of its parts is taken."""


@dataclass(frozen=True)
class Composed:
    """The calls that one consists of, in order of execution, and its result or results."""

    parts: list[fx.Node]
    result: Any


def composed(graph: fx.Graph, node: fx.Node, known: Container[str]) -> Composed | None:
    """Put the operators that a call consists of in front of it; None where it stays one operator.

    It stays where it gives a size, and where a part that depends on what the call reads has no rule: its refusal
    names what the user wrote.

    Args:
        graph: of the program.
        node: a call in it.
        known: names of operators that are written out themselves.
    """
    target = node.target
    if not (
        tensors_of(node)
        and isinstance(target, torch._ops.OpOverload)
        and torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), _KEY)
    ):
        return None
    traced = _traced(node)
    if traced is None or unsafe_writes(traced) or not _is_known(traced, known):
        return None
    return _put_in(graph, node, traced)


def _leaves(node: fx.Node) -> tuple[list[Any], Any]:
    return pytree.tree_flatten((node.args, node.kwargs))


def _traced(node: fx.Node) -> fx.Graph | None:
    """What the operator does with values like the call's, symbolic sizes included."""
    leaves, spec = _leaves(node)
    target: Any = node.target

    def run(*values: Any) -> Any:
        following = iter(values)
        args, kwargs = pytree.tree_unflatten(
            [next(following) if isinstance(leaf, fx.Node) else leaf for leaf in leaves], spec
        )
        return target.decompose(*args, **kwargs)

    try:
        with torch.no_grad():
            return make_fx(run)(*[leaf.meta["val"] for leaf in leaves if isinstance(leaf, fx.Node)]).graph
    except Exception:  # PyTorch can't, with sizes that aren't known: it stays one operator
        return None


def _is_known(traced: fx.Graph, known: Container[str]) -> bool:
    varying = {n for n in traced.nodes if n.op == "placeholder"}
    for node in traced.nodes:
        if node.op == "get_attr":
            return False  # a constant of its own
        carries = node.op == "call_function" and tensors_of(node) and carries_derivative(node)
        if carries and varying & set(node.all_input_nodes):
            varying.add(node)
            if kind_of(op_name(node)) == "other" and op_name(node) not in known:
                return False
    return True


def _put_in(graph: fx.Graph, node: fx.Node, traced: fx.Graph) -> Composed:
    operands = iter([leaf for leaf in _leaves(node)[0] if isinstance(leaf, fx.Node)])
    of: dict[fx.Node, fx.Node] = {}
    made: list[fx.Node] = []
    result: Any = None
    for part in traced.nodes:
        if part.op == "placeholder":
            of[part] = next(operands)
        elif part.op == "output":
            result = fx.node.map_arg(part.args[0], of.__getitem__)
        else:
            with graph.inserting_before(node):
                of[part] = graph.node_copy(part, of.__getitem__)
            of[part].meta = {k: v for k, v in node.meta.items() if k != "val"} | {"val": part.meta["val"]}
            made.append(of[part])
    return Composed(made, result)
