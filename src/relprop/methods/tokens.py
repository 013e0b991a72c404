"""Tokens: how a transformer's list of tokens lies on its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from relprop.graph import Node
from relprop.graph.attention import attention_weights, weighed
from relprop.propagate.trace import Trace

__all__ = ["TokenGrid", "last_tokens", "token_grid"]

_LEAST = 4  # patches; fewer are no grid
_MOST_OTHERS = 64  # class, distillation and register tokens


@dataclass(frozen=True)
class TokenGrid:
    """Where the patches stand among tokens, and the grid that they are the cells of.

    Attributes:
        patches: the map that became tokens, the patch embedding: its value is (N, C, *spatial).
        spatial: the grid, such as (14, 14), row by row.
        offset: tokens in front of the patches, such as 1 for a class token.
    """

    patches: Node
    spatial: tuple[int, ...]
    offset: int

    def lay(self, tokens: Tensor) -> Tensor:
        """One number a token, (..., T), laid on the grid: (..., *spatial); other tokens are left out.

        >>> import torch
        >>> TokenGrid(None, (2, 2), 1).lay(torch.tensor([9.0, 1.0, 2.0, 3.0, 4.0])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        """
        count = math.prod(self.spatial)
        cells = tokens[..., self.offset : self.offset + count]
        return cells.reshape(*tokens.shape[:-1], *self.spatial)


def token_grid(run: Trace, node: Node) -> TokenGrid | None:
    """The grid under a value (N, T, C) of tokens; None where it is no list of patches of a map.

    The last map (N, C, *spatial) before it with as many positions as there are tokens, or a few less: the others
    are put in front or behind by a concatenation, which tells how many are in front.
    """
    value = run.stored(node)
    rank = run.input.ndim
    if not isinstance(value, Tensor) or value.ndim != 3 or rank < 4:
        return None
    before = run.graph.ancestors([node])
    for place in sorted(before, key=lambda n: -n.index):
        shape = _shape(run, place)
        if len(shape) != rank or place is run.graph.input:
            continue
        count = math.prod(shape[2:])
        if _LEAST <= count <= value.shape[1] <= count + _MOST_OTHERS:
            between = [n for n in before | {node} if place.index < n.index]
            offset = _offset(run, between, count, value.shape[1])
            if offset is not None:
                return TokenGrid(place, tuple(shape[2:]), offset)
    return None


def _offset(run: Trace, between: list[Node], count: int, length: int) -> int | None:
    """How many tokens concatenations put in front of `count` patches on the way to `length` tokens."""
    offset, now = 0, count
    for node in sorted(between, key=lambda n: n.index):
        shape = _shape(run, node)
        if node.op not in ("cat", "concat") or len(shape) != 3 or node.argument("dim", 0) not in (1, -2):
            continue
        parts = node.argument("tensors")
        lengths = [_shape(run, p)[1] for p in parts]
        holder = next((i for i, n in enumerate(lengths) if n in (now, count) and parts[i].dependent), None)
        if holder is None:
            continue
        # A part of exactly the patches has left behind what stood in front of them.
        offset = sum(lengths[:holder]) + (offset if lengths[holder] == now else 0)
        now = shape[1]
    return offset if now == length else None


def last_tokens(run: Trace) -> Node | None:
    """The value (N, T, C) that the last attention reads; without attention, the last one before the output.

    Behind the last attention only the class token matters to the scores, so patches are judged in front of it.
    """
    order = sorted(run.graph.ancestors([run.graph.output]), key=lambda n: -n.index)
    tokens = next((n for n in order if n.dependent and token_grid(run, n) is not None), None)
    found = attention_weights(run.graph)
    if tokens is None or not found:
        return tokens
    width = _shape(run, tokens)
    before = run.graph.ancestors([found[-1]])
    for values in weighed(run.graph, found[-1]):
        before &= run.graph.ancestors([values])
    likely = sorted((n for n in before if _shape(run, n) == width), key=lambda n: -n.index)
    return likely[0] if likely else tokens


def _shape(run: Trace, node: Node) -> tuple[int, ...]:
    """The shape of a value, () where it isn't kept: nothing is computed to learn it."""
    return tuple(run.known_shape(node) or ())
