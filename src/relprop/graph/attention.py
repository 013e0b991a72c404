"""Attention: which softmaxes of a graph are weights of values, by scores between queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relprop.graph.node import Graph, Node

__all__ = ["attention_weights", "weighed"]

_MATRICES = frozenset({"matmul", "bmm", "einsum", "mm"})
_JOINS = frozenset({"shape", "pass", "add", "negate"})
_SCALES = frozenset({"multiply", "linear"})


def attention_weights(graph: Graph) -> list[Node]:
    """Every softmax of products of two signals whose result multiplies a third, in order; usually none.

    Scaled, shifted, masked and mixed over heads they are attention's weights too (Vaswani et al. 2017, eq. 1). The
    softmax of a selective kernel, or of a router, weighs values by scores of one signal: that is no attention.
    """
    return graph.derived(_find)


def weighed(graph: Graph, weights: Node) -> list[Node]:
    """What attention's weights are multiplied with as matrices: the values."""
    after = graph.descendants([weights])
    products = _products(weights.users, lambda n: n.users)
    return [n for p in products for n in p.signals() if n not in after]


def _find(graph: Graph) -> list[Node]:
    return [
        n
        for n in graph.nodes
        if n.kind == "softmax" and n.dependent and _products(n.signals(), Node.signals) and weighed(graph, n)
    ]


def _products(start: Iterable[Node], step: Callable[[Node], list[Node]]) -> list[Node]:
    """The products of two signals as matrices that are met first, through what only moves, scales or mixes."""
    found, waiting, seen = [], list(start), set[Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op in _MATRICES and len(node.signals()) == 2:
            found.append(node)
        elif node.kind in _JOINS or (node.kind in _SCALES and len(node.signals()) == 1):
            waiting += step(node)
    return found
