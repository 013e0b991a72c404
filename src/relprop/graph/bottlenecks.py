"""Linear bottlenecks: whether a network is built of inverted residuals, as MobileNet v2 and EfficientNet are."""

from __future__ import annotations

from collections.abc import Iterator

from relprop.graph.node import Graph, Node

__all__ = ["bottleneck"]

_LINEAR = frozenset({"batch_norm", "add", "pass"})
_BETWEEN = frozenset({"batch_norm", "norm", "activation", "multiply", "pass", "shape"})


def bottleneck(graph: Graph) -> Node | None:
    """The first convolution whose result another one reads without an activation between, behind a grouped one.

    That is the last convolution of an inverted residual (Sandler et al. 2018): widen, convolve each channel by
    itself, narrow. The next block's first convolution then reads values of both signs. None: there is no such.
    """
    found = graph.derived(_bottlenecks)
    return found[0] if found else None


def _bottlenecks(graph: Graph) -> list[Node]:
    narrow = {n for e in graph.nodes if _is_conv(e, grouped=False) for n in _behind(e, _LINEAR)}
    return [
        n
        for n in sorted(narrow, key=lambda n: n.index)
        if _is_conv(n, grouped=False) and any(_is_conv(d, grouped=True) for d in _behind(n, _BETWEEN))
    ]


def _is_conv(node: Node, *, grouped: bool) -> bool:
    """Whether it is a plain convolution of the signal, with several groups or with one."""
    plain = node.kind == "linear" and node.op.startswith("conv") and "transpose" not in node.op
    # As many groups as samples, say: a size that the graph leaves open is no 1.
    return plain and node.dependent and (node.argument("groups", 1) != 1) == grouped


def _behind(node: Node, crossed: frozenset[str]) -> Iterator[Node]:
    """The linear operators that a node reads through operators of these kinds alone."""
    waiting, seen = list(node.signals()), set[Node]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if one.kind == "linear":
            yield one
        elif one.kind in crossed:
            waiting += one.signals()
