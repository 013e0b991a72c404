"""Segments: which values of a forward run are kept, and in which stretches the others are computed again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree

from relprop.graph import Graph, Node
from relprop.graph.fusion import rectifiers
from relprop.graph.schedule import schedule

__all__ = ["Segments", "Sizes", "sizes_of"]

_STEP = 1.1  # from one tried size of a stretch to the next


@dataclass(frozen=True, eq=False)
class Sizes:
    """What the values of a forward run take, without running it.

    Attributes:
        shapes: of every value that is a tensor.
        held: bytes of every value that is stored: 0 for those that lie in another one's memory, and for those that
            a ReLU or a batch norm behind them is written over.
    """

    shapes: dict[Node, torch.Size]
    held: dict[Node, int]

    @property
    def total(self) -> int:
        """Bytes of all values together."""
        return sum(self.held.values())

    @property
    def largest(self) -> int:
        """Bytes of the largest value."""
        return max(self.held.values(), default=0)


def sizes_of(graph: Graph, params: Mapping[Node, Tensor], x: Tensor) -> Sizes:
    """The sizes of a graph's values for inputs like x; found once for every size of the batch."""
    key = (tuple(x.shape), x.dtype, x.device)
    if key not in graph.sizes:
        graph.sizes[key] = _sizes(graph, params, x)
    found: Sizes = graph.sizes[key]
    return found


def _sizes(graph: Graph, params: Mapping[Node, Tensor], x: Tensor) -> Sizes:
    shapes: dict[Node, torch.Size] = {}
    held: dict[Node, int] = {}
    relus = rectifiers(graph)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        values: dict[Node, Any] = {n: mode.from_tensor(p) for n, p in params.items()}
        values[graph.input] = mode.from_tensor(x)
        known = {_memory(v) for v in values.values() if isinstance(v, Tensor)}
        for node, spent in graph.derived(schedule):
            value = values[node] = node.run(values.__getitem__)
            tensors = [v for v in pytree.tree_leaves(value) if isinstance(v, Tensor)]
            fresh = [t for t in tensors if _memory(t) not in known]
            known |= {_memory(t) for t in fresh}
            held[node] = sum(t.numel() * t.element_size() for t in fresh)
            if node.op.startswith("max_pool") and isinstance(value, Tensor):
                held[node] += value.numel() * 4  # the winners
            if isinstance(value, Tensor):
                shapes[node] = torch.Size(value.shape)
            if node in relus:
                held[relus[node]] = 0
            for operand in spent:
                if operand.kind == "linear" and node.kind == "batch_norm":
                    held[operand] = 0
    return Sizes(shapes, held)


def _memory(value: Tensor) -> int:
    address: int = value.untyped_storage()._cdata
    return address


@dataclass(frozen=True, eq=False)
class Segments:
    """A forward run in stretches.

    Attributes:
        cuts: at which operator of the schedule each begins, ascending; the first at 0.
        kept: values that stay after the forward run: what is read behind a cut, and the last stretch.
        passing: values that are stored nowhere, since a ReLU or a batch norm behind them is written over them.
        place: of each node in the schedule.
        sizes: of all values.
        peak: bytes of what is kept and of the largest other stretch.
        least: the same where what lies behind a stretch was given up before it is computed again.
    """

    cuts: tuple[int, ...]
    kept: frozenset[Node]
    passing: frozenset[Node]
    place: dict[Node, int]
    sizes: Sizes
    peak: int
    least: int

    @classmethod
    def of(cls, graph: Graph, sizes: Sizes, limit: int) -> Segments | None:
        """The longest stretches under a limit, in bytes; the best there are if none meets it. None: all fits."""
        if limit and sizes.total <= limit:
            return None
        cutter = _Cutter(graph, sizes)
        found: list[Segments] = []
        size = float(max(sizes.largest, 1))
        while size < sizes.total * _STEP:
            found.append(cutter.cut(size))
            size *= _STEP
        fitting = [s for s in found if s.peak <= limit]
        best = fitting[-1] if fitting else min(found, key=lambda s: s.least, default=None)
        return best if best is not None and len(best.cuts) > 1 else None

    def around(self, node: Node) -> tuple[int, int] | None:
        """The stretch that a node lies in, as a range of the schedule; None for one that no run computes."""
        place = self.place.get(node)
        if place is None:
            return None
        i = bisect_right(self.cuts, place)
        return self.cuts[i - 1], self.cuts[i] if i < len(self.cuts) else len(self.place)


class _Cutter:
    """Cuts a schedule where no step is torn apart."""

    def __init__(self, graph: Graph, sizes: Sizes) -> None:
        self.sizes = sizes
        self.order = [node for node, _ in graph.derived(schedule)]
        self.place = {node: i for i, node in enumerate(self.order)}
        outputs = {n for n in graph.outputs if isinstance(n, Node)}
        self.last = {
            node: max([i for u in node.users if (i := self.place.get(u)) is not None], default=place)
            for node, place in self.place.items()
        }
        for node in outputs & self.last.keys():
            self.last[node] = len(self.order)
        # What a ReLU or a batch norm is written over is no value to begin from.
        passing = set(rectifiers(graph).values())
        passing |= {
            n for n in self.order if n.kind == "linear" and any(u.kind == "batch_norm" for u in n.users)
        }
        self.passing = frozenset(passing)
        self.closed = {
            cut for n in passing & self.place.keys() for cut in range(self.place[n] + 1, self.last[n] + 1)
        }

    def cut(self, size: float) -> Segments:
        """Stretches whose values take no more than so many bytes, where that can be."""
        held, cuts, filled, lengths = self.sizes.held, [0], 0, []
        for i, node in enumerate(self.order):
            if filled and filled + held[node] > size and i not in self.closed:
                cuts.append(i)
                lengths.append(filled)
                filled = 0
            filled += held[node]
        kept = [
            n
            for n in self.order
            if (after := bisect_right(cuts, self.place[n])) == len(cuts) or cuts[after] <= self.last[n]
        ]
        chosen = frozenset(kept)
        before = list(accumulate((held[n] if n in chosen else 0 for n in self.order), initial=0))
        stretches = list(zip(cuts, lengths, strict=False))
        return Segments(
            tuple(cuts),
            chosen,
            self.passing,
            self.place,
            self.sizes,
            peak=before[-1] + max(lengths, default=0),
            least=max([before[-1], *(before[begin] + length for begin, length in stretches)]),
        )
