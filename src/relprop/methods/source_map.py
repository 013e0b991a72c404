"""Source map: the map that a detector's head reads for one of its anchors, and where parallel branches begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from relprop.graph import Graph, Node
from relprop.graph.place import resampled
from relprop.methods.method import Request
from relprop.propagate.composite import DERIVATIVES
from relprop.propagate.layout import Layout
from relprop.propagate.plan import places_of
from relprop.propagate.trace import Trace

__all__ = ["common_map", "source_maps"]

_CARRIES = frozenset({"pass", "activation"})
_JOINS = frozenset({"cat", "concat"})
_READERS = frozenset({"max_pool", "avg_pool"})


def source_maps(request: Request) -> list[Node] | None:
    """For each of the K targets, the map that the head of its anchor reads; None for models without anchors.

    The last map that everything said at the anchor (classes, offsets, objectness) is computed from, of those
    behind which the anchor's outputs see more than one position: SSD's source of that level, the level of a
    feature pyramid in front of the two towers, what the neck of a YOLO hands to its head. A map that only 1 × 1
    convolutions follow shows one position, and is passed by for the one before it. Boxes of a map that were scaled
    to one size (RoIAlign) have positions of their own: the map that they were read from is taken. The head's
    operators are run backward for it, not the trunk.

    Models have anchors where they say so themselves, by a `layout` of their own (`relprop.propagate.layout`).

    Args:
        request: whose targets; (K, N, ...) of them.

    Returns:
        K nodes, or None also where an anchor's outputs are computed from no such map (a transformer's queries).

    >>> import relprop
    >>> from relprop.detectors import DetectionUnit, Layout, load
    >>> unit = DetectionUnit(load("scenes-ssd").raw, Layout(9, background=0)).at(400)
    >>> relprop.explain(unit, torch.zeros(1, 3, 112, 112), 1, "odam").at
    'raw.features.relu5_2'
    """
    if not isinstance(getattr(request.model, "layout", None), Layout):
        return None
    layout, output = request.layout, request.output
    asked = (request.ones() != 0).any(1)  # (K, D * width, ...)
    anchors = asked.reshape(len(asked), layout.anchors, -1).any(-1)
    sets, which = anchors.unique(dim=0, return_inverse=True)
    # Different weights, so that two outputs that are each other's opposite don't cancel.
    weights = torch.linspace(1, 2, layout.width, dtype=output.dtype, device=output.device)
    marks = (sets[..., None] * weights).reshape(len(sets), 1, -1, *[1] * (output.ndim - 2))
    found = [_source(request, mark.expand_as(output)[None]) for mark in marks]
    chosen = [node for node in found if node is not None]
    return None if len(chosen) < len(found) else [chosen[int(i)] for i in which]


def common_map(run: Trace, nodes: Sequence[Node]) -> Node | None:
    """The last map that all of these values are computed from; None: they have nothing in common but the input."""
    return next(_maps_above(run, nodes), None)


def _source(request: Request, seed: Tensor) -> Node | None:
    """The map for one set of anchors; the last one of all where none shows several positions."""
    run = request.trace
    graph = run.graph
    last = [fused.last for place, fused, _ in places_of(graph, DERIVATIVES, [graph.output]) if place.last]
    if not last:
        return None
    stop, *more = last
    walked = request.run(seed, DERIVATIVES, stop=stop, record=more, multiplier=True, ledger=False)
    arrived = {stop: walked.relevance, **{node: walked.layers[node.name] for node in more}}
    live = [signal for node in last if bool(arrived[node].any()) for signal in node.signals()]
    begin, first = None, None
    for node in _maps_above(run, live):
        # Everything that reaches the next map comes through this one.
        seed = request.run(seed, DERIVATIVES, start=begin, stop=node, multiplier=True, ledger=False).relevance
        begin, first = node, first or node
        if int((seed != 0).flatten(0, 1).any(1).flatten(1).sum(1).amax()) > 1:
            return node
    return first


def _maps_above(run: Trace, nodes: Sequence[Node]) -> Iterator[Node]:
    """Maps that all of these values are computed from, the last one first; the input isn't among them."""
    gates = run.graph.derived(_gates)
    known = [node for node in nodes if node in gates]
    if not known:
        return
    node = known[0]
    for other in known[1:]:
        node = _meet(gates, node, other)
    while node is not run.graph.input:
        if _is_map(run, node):
            yield node
        node = gates[node]


def _is_map(run: Trace, node: Node) -> bool:
    """Whether a value is (N, C, *spatial), as a convolution or a pool reads it, with several positions.

    Padded, cropped and turned maps aren't: their positions lie elsewhere on the input than a map's do.
    """
    if node.kind == "shape" and node.op not in _JOINS:
        return False
    shape = run.known_shape(node)
    if shape is None or len(shape) != run.input.ndim or len(shape) < 3 or shape[0] != run.batch:
        return False
    if max(shape[2:]) <= 1 or not node.per_sample or node in run.graph.derived(resampled):
        return False
    waiting, seen = list(node.users), set[Node]()
    while waiting:
        user = waiting.pop()
        if user in seen:
            continue
        seen.add(user)
        if (
            user.kind in _READERS
            or user.op == "grid_sampler"
            or (user.kind == "linear" and user.op.startswith("conv"))
        ):
            return True
        if user.kind in _CARRIES or "pad" in user.op:
            waiting += user.users
    return False


def _gates(graph: Graph) -> dict[Node, Node]:
    """For each value, the last one before it that all its ways from the input go through (immediate dominators).

    Source: Cooper, Harvey, Kennedy, A Simple, Fast Dominance Algorithm, 2001; one pass, as there are no loops.
    """
    found = {graph.input: graph.input}
    for node in graph.nodes:
        before = [n for n in node.signals() if n in found]
        if node is graph.input or not before:
            continue
        gate = before[0]
        for other in before[1:]:
            gate = _meet(found, gate, other)
        found[node] = gate
    return found


def _meet(gates: dict[Node, Node], a: Node, b: Node) -> Node:
    while a is not b:
        if a.index < b.index:
            a, b = b, a
        a = gates[a]
    return a
