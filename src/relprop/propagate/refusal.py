"""Refusal: what to say of an operator that has no rule, and the calls that get by it."""

from __future__ import annotations

from collections.abc import Sequence

from relprop.graph import Graph, Node
from relprop.graph.place import falls

__all__ = ["refusal"]

_SCORES = frozenset({"softmax", "_softmax", "log_softmax", "_log_softmax"})


def refusal(graph: Graph, nodes: Sequence[Node], composite: str) -> str:
    """The text for operators without a rule; each call that it names can be made as it stands there.

    Args:
        graph: the model.
        nodes: the operators, as relevance comes to them: the first is named, rules are advised for all.
        composite: the name of the rules in use.
    """
    first = nodes[0]
    return f"No rule for {first.where()} under {composite}. {_why(first)}{_ways(graph, nodes)}"


def _why(node: Node) -> str:
    if node.op == "div" and node.argument("rounding_mode", None) is not None:
        return "It rounds, so that nothing is in proportion to its signal. "
    if node.dependent and falls(node):
        return (
            "It is the smaller, the larger its signal, so that no share of it is the signal's. Ask at the "
            "embedding what makes it alike (docs/something-else.md, 'How alike two inputs are'). "
        )
    return ""


def _ways(graph: Graph, nodes: Sequence[Node]) -> str:
    node = nodes[0]
    if node.op in _SCORES and _ends(graph, node):
        return (
            "Explain the scores before it: pass the model without its softmax, or start there "
            f"(relprop.trace(model, x).propagate(seed, composite, start={node.signals()[0].name!r}))."
        )
    rules = ", ".join(f"('op:{op}', relprop.rules.Gradient())" for op in dict.fromkeys(n.op for n in nodes))
    return (
        "Use a gradient method (method='gradient-x-input'), or give such operators a rule "
        f"(method=relprop.LRP(composite=relprop.Composite([{rules}]))), or stop "
        f"behind it (relprop.trace(model, x).propagate(seed, composite, stop={_behind(node).name!r}))."
    )


def _ends(graph: Graph, node: Node) -> bool:
    """Whether the model returns the value of a node as it is, or rearranged."""
    while node not in graph.outputs:
        if len(node.users) != 1 or node.users[0].kind not in ("shape", "pass"):
            return False
        node = node.users[0]
    return True


def _behind(node: Node) -> Node:
    """The value that an operator gives: of one with several results the first that is read."""
    return next((user for user in node.users if user.op == "getitem" and user.dependent), node)
