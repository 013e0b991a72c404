"""Rule for operators that move, copy, join or drop values without changing them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["Shape", "brings_constants", "pulled_together"]

_RESHAPES = frozenset(
    "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as reshape_as".split()
)
_JOINS = frozenset({"cat", "concat", "stack"})
_PADS = frozenset({"pad", "constant_pad_nd"})
_ZEROS = frozenset({"tril", "triu", "diag_embed", "max_unpool2d", "max_unpool3d"})
# Operators that put one value into another: the arguments whose values come out.
_WRITES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter", "scatter"),
        ("self", "src"),
    ),
    **dict.fromkeys(("index_copy", "masked_scatter", "put"), ("self", "source")),
    **dict.fromkeys(("index_fill", "masked_fill"), ("self", "value")),
    "index_put": ("self", "values"),
    "where": ("self", "other"),
}


class Shape(Rule):
    """Views, permutations, joins, splits, padding, copies, assignments, negation: each value keeps its relevance.

    Exact: the vector-Jacobian product of the operator. What is joined, padded or written in from
    constants keeps its share as bias. Conserves.
    """

    kinds = frozenset({"shape", "pass", "negate"})

    def cross(self, site: Site, flow: Any) -> list[Any]:
        """See `Rule.cross`; for operators that return a list `flow` is a list with None for holes."""
        node = site.node
        if node.op == "getitem":
            return [flow]
        if node.kind == "pass":
            if node.rounds is not None and flow.multiplier and site.account.enabled:
                for part in flow.parts:  # y = x + (y - x): what rounding adds is a constant
                    site.book("bias", part * (site.y - site.x))
            return [flow]
        if isinstance(flow, list):
            return [pulled_together(site, flow)]
        if node.op in _RESHAPES:
            shape = site.x.shape
            return [Flow([p.reshape(p.shape[0], *shape) for p in flow.parts], flow.multiplier, flow.owned)]
        if node.kind == "negate":
            return [Flow([-p for p in flow.parts], True)] if flow.multiplier else [flow]
        _book_constants(site, flow)
        pulled = [site.vjp(p) for p in flow.parts]
        return [Flow([p[i] for p in pulled], flow.multiplier, owned=False) for i in range(len(site.signals))]


def pulled_together(site: Site, flows: list[Flow | None]) -> Flow:
    """What comes to the one signal of an operator with several results, where each moves values of it."""
    values = site.trace.value(site.node)
    multiplier = all(f.multiplier for f in flows if f is not None)
    if not multiplier:
        flows = [None if f is None else f.relevance(v) for f, v in zip(flows, values, strict=True)]
    count = len(next(f for f in flows if f is not None).parts)
    parts = [site.vjp([None if f is None else f.parts[i] for f in flows])[0] for i in range(count)]
    return Flow(parts, multiplier, owned=False)


def brings_constants(node: Node) -> bool:
    """Whether the operator may put values next to its signals' that don't depend on the input."""
    if node.op in _JOINS:
        parts = node.argument("tensors")
    elif node.op in _WRITES:
        parts = [node.argument(name, 0.0) for name in _WRITES[node.op]]
    else:
        return node.op in _ZEROS or (node.op in _PADS and node.argument("mode", "constant") == "constant")
    return any(not isinstance(part, Node) or not part.dependent for part in parts)


def _book_constants(site: Site, flow: Flow) -> None:
    """What joined, padded or written constants carry: the operator's value with its signals at zero."""
    node = site.node
    if not (site.account.enabled and brings_constants(node)):
        return
    # A multiplier times 0 is nothing; relevance itself may have come to lie on zeros.
    zeros = node.op in _ZEROS or (node.op in _PADS and not node.argument("value"))
    if zeros and flow.multiplier:
        return
    signals = set(site.signals)

    def at(fill: float) -> Tensor:
        value: Tensor = site.trace.evaluate(
            node,
            lambda n: torch.full_like(site.trace.stored(n), fill) if n in signals else site.trace.value(n),
        )
        return value

    constant = (at(0.0) == at(1.0)) & torch.isfinite(site.y)
    for part in flow.parts:
        kept = torch.where(constant, part, 0)
        site.book("bias", kept * torch.where(constant, site.y, 0) if flow.multiplier else kept)
