"""Rule for operators that move, copy, join or drop values without changing them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.graph.place import Place
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["Shape"]

_RESHAPES = frozenset(
    "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as reshape_as".split()
)
_AS_OTHER = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})
_JOINS = frozenset({"cat", "concat", "stack"})


class Shape(Rule):
    """Views, permutations, joins, splits, padding, copies, negation: each value keeps its relevance.

    Exact: the vector-Jacobian product of the operator. What is joined or padded in from constants
    keeps its share as bias. Conserves.
    """

    kinds = frozenset({"shape", "pass", "negate"})

    def routes(self, place: Place, node: Node) -> list[Node]:
        """All operands; of `view_as` and the like only the first (the other lends its shape)."""
        return node.signals()[:1] if node.op in _AS_OTHER else node.signals()

    def cross(self, site: Site, flow: Any) -> list[Any]:
        """See `Rule.cross`; for operators that return a list `flow` is a list with None for holes."""
        node = site.node
        if node.op == "getitem":
            return [flow]
        if node.kind == "pass":
            return [flow]
        if isinstance(flow, list):
            return self._split(site, flow)
        if node.op in _RESHAPES:
            shape = site.x.shape
            return [Flow([p.reshape(p.shape[0], *shape) for p in flow.parts], flow.multiplier, flow.owned)]
        if node.kind == "negate":
            return [Flow([-p for p in flow.parts], True)] if flow.multiplier else [flow]
        _book_constants(site, flow)
        pulled = [site.vjp(p) for p in flow.parts]
        return [Flow([p[i] for p in pulled], flow.multiplier, owned=False) for i in range(len(site.signals))]

    def _split(self, site: Site, flows: list[Flow | None]) -> list[Flow]:
        values = site.trace.value(site.node)
        multiplier = all(f.multiplier for f in flows if f is not None)
        if not multiplier:
            flows = [None if f is None else f.relevance(v) for f, v in zip(flows, values, strict=True)]
        count = len(next(f for f in flows if f is not None).parts)
        parts = [site.vjp([None if f is None else f.parts[i] for f in flows])[0] for i in range(count)]
        return [Flow(parts, multiplier, owned=False)]


def _book_constants(site: Site, flow: Flow) -> None:
    """What joined or padded constants carry: the operator's value with its signals at zero."""
    node = site.node
    joined = node.op in _JOINS and any(
        isinstance(a, Node) and not a.dependent for a in node.argument("tensors")
    )
    pads = node.op in ("pad", "constant_pad_nd") and node.argument("mode", "constant") == "constant"
    # A multiplier times 0 is nothing; relevance itself may have come to lie on zeros.
    if not joined and not (pads and (node.argument("value") or not flow.multiplier)):
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
