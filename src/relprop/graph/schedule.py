"""Schedule: which operators a run of a graph computes, and which values it can drop on the way."""

from __future__ import annotations

from relprop.graph.node import Graph, Node

__all__ = ["schedule"]

Schedule = tuple[tuple[Node, tuple[Node, ...]], ...]


def schedule(graph: Graph) -> Schedule:
    """The operators that the outputs need, in order, each with the operands that nothing reads after it.

    For `Graph.derived`: it is the same for every run.
    """
    wanted = {n for n in graph.outputs if isinstance(n, Node)}
    needed = graph.ancestors(list(wanted))
    readers = {n: len(n.users) + (n in wanted) for n in graph.nodes}
    found = []
    for node in graph.nodes:
        if node.target is None or node not in needed:
            continue
        operands = tuple(dict.fromkeys(node.operands()))
        for operand in operands:
            readers[operand] -= 1
        found.append((node, tuple(n for n in operands if not readers[n])))
    return tuple(found)
