"""Place: where an operator stands in the graph, and what a product of two values is."""

from __future__ import annotations

from dataclasses import dataclass

from relprop.graph.fusion import Fused, is_affine
from relprop.graph.kinds import BOUNDED_GATES, PASSING
from relprop.graph.node import Graph, Node

__all__ = ["Place", "Places", "gate_signal", "label", "product_kind"]


@dataclass(frozen=True)
class Place:
    """Where an operator stands among the linear operators of the graph.

    Attributes:
        node: the operator.
        kind: its kind, with products resolved ("gate", "scale").
        first: linear, and no linear operator lies between it and the model's input.
        last: linear, and no linear operator lies between it and the model's output.
        depth: 0 at the input, 1 at the output, counted in linear operators on the longest path.
    """

    node: Node
    kind: str
    first: bool
    last: bool
    depth: float


class Places:
    """Finds the place of a node; computes depths once."""

    def __init__(self, graph: Graph) -> None:
        self.before: dict[Node, int] = {}
        self.after: dict[Node, int] = {}
        for node in graph.nodes:
            ahead = max((self.before[n] + _is_linear(n) for n in node.signals()), default=0)
            self.before[node] = ahead
        for node in reversed(graph.nodes):
            self.after[node] = max((self.after[u] + _is_linear(u) for u in node.users), default=0)

    def __call__(self, fused: Fused) -> Place:
        """The place of a step: that of its main operator."""
        it = fused.main
        before, after = self.before[it], self.after[it]
        total = before + after
        kind = it.kind
        if kind == "linear" and not is_affine(it):
            kind = "other"
        if kind == "multiply":
            kind = product_kind(it)
        return Place(
            node=it,
            kind=kind,
            first=kind == "linear" and before == 0,
            last=kind == "linear" and after == 0,
            depth=before / total if total else 1.0,
        )


def _is_linear(node: Node) -> int:
    return int(node.kind == "linear" and node.dependent)


def product_kind(node: Node) -> str:
    """Either "scale" (one operand depends on the input), "gate" (one of two is a gate) or "other"."""
    dependent = [isinstance(a, Node) and a.dependent for a in node.pair]
    if node.op == "div" and node.argument("rounding_mode", None) is not None:
        return "other"  # steps: nothing is in proportion to the signal
    if sum(dependent) == 1:
        return "scale" if dependent[0] or node.op == "mul" else "other"
    if node.op == "div":
        return "gate"  # by a norm computed from the signal: the divisor is the gate
    return "gate" if sum(_is_gate(a) for a in node.pair) == 1 else "other"


def gate_signal(node: Node) -> Node:
    """The operand of a product that carries the signal."""
    a, b = node.pair
    if node.op == "div" or not (isinstance(b, Node) and b.dependent):
        return _as_node(a)
    if not (isinstance(a, Node) and a.dependent):
        return _as_node(b)
    return b if _is_gate(a) else a


def _as_node(value: object) -> Node:
    assert isinstance(value, Node)
    return value


def _is_gate(node: object) -> bool:
    while isinstance(node, Node):
        if node.op in BOUNDED_GATES:
            return True
        if node.op not in PASSING:
            return False
        node = next((n for n in node.operands() if n.dependent), None)
    return False


def label(graph: Graph, node: Node) -> str:
    """What a person calls this value: the outermost module that returns it, else the node's name."""
    if node is graph.input:
        return "input"
    for path in node.modules:
        if path and graph.find(path) is node:
            return path
    return node.name
