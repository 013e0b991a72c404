"""Replay: run a network again from one of its layers on, on other values there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.piecewise.operators import between
from relprop.propagate.trace import Trace
from relprop.watch import passing

__all__ = ["replay", "replayed_output"]


def replay(run: Trace, at: Node, value: Tensor) -> Iterator[tuple[Node, dict[Node, Any]]]:
    """Run every operator behind a place, on other values there; what doesn't come from it stays.

    Yields:
        Each operator and the values known so far, its own among them, in order of execution. Values that no
        later operator reads are dropped.
    """
    found: dict[Node, Any] = {at: value}
    nodes = between(run.graph, at)
    inside = set(nodes)
    readers = {n: sum(u in inside for u in n.users) for n in [at, *nodes]}

    def get(node: Node) -> Any:
        return found[node] if node in found else run.value(node)

    for i, node in enumerate(nodes):
        passing("running the network again", i, len(nodes))
        found[node] = run.evaluate(node, get)
        yield node, found
        for operand in dict.fromkeys(node.operands()):
            if operand in readers:
                readers[operand] -= 1
                if not readers[operand]:
                    del found[operand]


def replayed_output(run: Trace, at: Node, value: Tensor) -> Tensor:
    """The network's output for other values at a place."""
    output: Tensor = value
    with torch.no_grad(), torch.inference_mode(False):
        for node, found in replay(run, at, value):
            if node is run.graph.output:
                output = found[node]
    return output
