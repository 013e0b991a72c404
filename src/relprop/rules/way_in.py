"""The way in: what a model does to its input before the first linear operator reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.graph.place import product_kind
from relprop.tracing.site import Site

__all__ = ["way_from_input"]


def way_from_input(site: Site) -> Callable[[Tensor], Tensor] | None:
    """What leads from the model's input to what an operator reads: a function of the input.

    Only operators that move elements about, or scale and shift each by constants: what they make of the ends of a
    range are the ends of the range of what they make. None where the operator reads the input itself, or there are
    others on the way.
    """
    read, trace = site.signals[0], site.trace
    if read is trace.graph.input or not _straight(read, trace.graph.input):
        return None

    def way(x: Tensor) -> Tensor:
        found: dict[Node, Any] = {trace.graph.input: x}

        def value(node: Node) -> Any:
            if not node.dependent:
                return trace.value(node)
            if node not in found:
                found[node] = trace.evaluate(node, value)
            return found[node]

        with torch.no_grad():
            made: Tensor = value(read)
        return made

    return way


def _straight(read: Node, source: Node) -> bool:
    stack, seen = [read], {read}
    while stack:
        node = stack.pop()
        if node is source:
            continue
        if not _keeps_ends(node):
            return False
        fresh = [n for n in node.signals() if n not in seen]
        seen.update(fresh)
        stack += fresh
    return True


def _keeps_ends(node: Node) -> bool:
    if node.kind in ("shape", "pass"):
        return True
    if len(node.signals()) != 1:
        return False
    scales = node.kind == "multiply" and product_kind(node) == "scale"
    return scales or node.kind in ("add", "negate", "batch_norm")
