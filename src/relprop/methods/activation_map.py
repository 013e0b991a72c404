"""Activation maps: methods that weigh a feature map's activations by a gradient and stop there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import place_name
from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.place import label
from relprop.methods.feature_map import channel_axis, last_feature_map
from relprop.methods.method import SCORES, Method, Request, Result
from relprop.methods.source_map import source_maps
from relprop.methods.tokens import last_tokens, token_grid
from relprop.propagate.composite import DERIVATIVES
from relprop.propagate.trace import Trace

__all__ = ["ActivationMap"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class ActivationMap(Method):
    """A method whose map is made of a feature map and the gradient there. Subclasses write `weighed`.

    Where no place is named: of a detection, the map that the head of its anchor reads
    (`relprop.methods.source_map`), each target's own; of other networks the last feature map, of branches that
    meet in the head the last one that they have in common; else the last tokens.

    Args:
        at: module path or node name whose value is (N, C, *spatial), or (N, T, C) tokens of a picture.
    """

    takes = SCORES - {"start"}
    signed = False

    def __init__(self, *, at: str | None = None) -> None:
        self.at = place_name("at", at)

    def slopes(self, request: Request) -> Tensor:
        """The derivative of what is asked by the outputs, (K, N, classes, ...)."""
        return request.ones()

    def weighed(self, gradient: Tensor, value: Tensor) -> Tensor:
        """The map (K, N, 1, *spatial) of a gradient (K, N, C, *spatial) and activations (N, C, *spatial)."""
        raise NotImplementedError

    def explain(self, request: Request) -> Result:
        run = request.trace
        places = self._places(request)
        kinds = sorted(dict.fromkeys(places), key=lambda node: node.index)
        values: dict[Node, Tensor] = {}
        lay: dict[Node, Callable[[Tensor], Tensor]] = {}
        named = {name: run.graph.find(name) for name in request.layers}
        for node in (*kinds, *named.values()):
            values[node], lay[node] = self._checked(run, node), _layout(run, node)
        slopes = self.slopes(request)
        found: list[Tensor] = []
        layers: dict[str, list[Tensor]] = {name: [] for name in named}
        rows: list[int] = []
        plan = None
        for node in kinds:
            mine = [k for k, place in enumerate(places) if place is node]
            walked = request.run(
                slopes[mine], DERIVATIVES, stop=node, record=request.layers, multiplier=True, ledger=False,
                release=request.release and node is kinds[-1],
            )  # fmt: skip
            found.append(self.weighed(lay[node](walked.relevance), lay[node](values[node])))
            for name, gradient in walked.layers.items():
                at = named[name]
                layers[name].append(self.weighed(lay[at](gradient), lay[at](values[at])))
            rows += mine
            plan = plan or walked.plan
        order = sorted(range(len(rows)), key=rows.__getitem__)
        finest = max(range(len(kinds)), key=lambda i: found[i][0, 0].numel())
        labels = [label(run.graph, node) for node in places]
        where = self.at if self.at is not None else label(run.graph, kinds[finest])
        return Result(
            _joined(found, finest)[order],
            {name: torch.cat(maps)[order] for name, maps in layers.items()},
            plan,
            at=where,
            extras={"maps": labels} if len(kinds) > 1 else {},
            notes=(_resized(labels, where),) if len(kinds) > 1 else (),
        )

    def _places(self, request: Request) -> list[Node]:
        """A place for each of the K targets."""
        run, count = request.trace, len(request.ones())
        if self.at is not None:
            return [run.graph.find(self.at)] * count
        return source_maps(request) or [_last(run)] * count

    def _checked(self, run: Trace, node: Node) -> Tensor:
        value = run.value(node)
        if not isinstance(value, Tensor) or value.ndim < 3:
            got = tuple(value.shape) if isinstance(value, Tensor) else "a list"
            raise InputError(
                f"Expected a feature map (N, C, *spatial) for {self.name} but {node.name!r} is {got}. "
                "Name a place before the flattening or the pooling's squeeze."
            )
        return value


def _last(run: Trace) -> Node:
    """The last feature map; else the last tokens.

    Raises:
        InputError: neither; see `last_feature_map`.
    """
    try:
        return last_feature_map(run, branches=True)
    except InputError:
        tokens = last_tokens(run)
        if tokens is None:
            raise
        return tokens


def _layout(run: Trace, node: Node) -> Callable[[Tensor], Tensor]:
    """What brings values of the node, targets in front or not, into the order (..., C, *spatial)."""
    grid = token_grid(run, node)
    if grid is not None:
        return lambda tokens: grid.lay(tokens.mT)
    behind = run.stored(node).ndim - channel_axis(run, node)
    return lambda mixed: mixed.movedim(-behind, -(run.stored(node).ndim - 1))


def _joined(maps: Sequence[Tensor], finest: int) -> Tensor:
    """Maps of several grids as one tensor, on the finest grid."""
    size = tuple(maps[finest].shape[3:])
    return torch.cat([m if tuple(m.shape[3:]) == size else _on_grid(m, size) for m in maps])


def _on_grid(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    flat = maps.flatten(0, 1)
    resized = F.interpolate(flat, size=size, mode=_MODES[len(size)], align_corners=False)
    return resized.unflatten(0, maps.shape[:2])


def _resized(labels: Sequence[str], at: str) -> str:
    names = ", ".join(dict.fromkeys(labels))
    return f"The targets are explained at maps of their own ({names}); all were resized to the finest, {at}."
