"""Samples: whether the samples of a batch meet on their way through a graph."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor

from relprop.graph.fusion import is_affine
from relprop.graph.node import Graph, Node
from relprop.graph.schedule import schedule

__all__ = ["meeting"]

_MOST = 4  # samples that are tried where the graph takes any number of them
_TOLERANCE = {torch.float64: 1e-9}  # of the largest value; other dtypes:
_COARSE = 1e-4


def meeting(graph: Graph, params: dict[Node, Tensor], x: Tensor) -> Node | None:
    """The first operator that puts values of one sample into another, or None.

    Most graphs are proven to keep samples apart, operator by operator. Others are run on the first samples,
    on other values for some of them in turn: what is computed from the rest must stay. That is done once.

    Args:
        graph: as captured; of a graph that runs at one batch size only the outputs are looked at.
        params: its parameters, buffers and constants.
        x: (N, C, *spatial). A single sample is tried beside another one.
    """
    if graph.derived(_proven):
        return None
    n = len(x) if graph.static_batch is not None else min(max(len(x), 2), _MOST)
    if n == 1:
        return None
    if n not in graph.meetings:
        graph.meetings[n] = _first(graph, params, _batches(x[:n], n))
    return graph.meetings[n]


def _batches(x: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    """The samples, and the same with some of them replaced: (batch, which rows were kept), at first all.

    Of any two samples each is kept once while the other is replaced: those are the sets of equal size (Sperner).
    """
    low, high = x.min(), x.max()
    draw = torch.rand((2 * n, *x.shape[1:]), generator=torch.Generator().manual_seed(0)).to(x)
    other = low + (high - low if high > low else 1) * draw
    own = torch.cat([x, other[n + len(x) :]])
    runs = next(k for k in range(2, n + 2) if comb(k, k // 2) >= n)
    homes = list(combinations(range(runs), runs // 2))[:n]
    found = [(own, torch.ones(n, dtype=torch.bool, device=x.device))]
    for run in range(runs):
        kept = torch.tensor([run in home for home in homes], device=x.device)
        found.append((torch.where(kept.reshape(-1, *[1] * (x.ndim - 1)), own, other[:n]), kept))
    return found


def _first(graph: Graph, params: dict[Node, Tensor], batches: list[tuple[Tensor, Tensor]]) -> Node | None:
    """Run the graph on all batches side by side, until a row that was kept differs."""
    wanted = [n for n in graph.outputs if isinstance(n, Node)]
    runs: list[dict[Node, Any]] = [{graph.input: batch} for batch, _ in batches]
    rows = [kept for _, kept in batches]
    found = None
    with torch.no_grad(), torch.inference_mode(False):
        for node, spent in graph.derived(schedule):
            for values in runs:
                values[node] = node.run(ChainMap(values, params).__getitem__)
            # In a graph for one batch size it may not be known where the samples lie.
            looked_at = node.per_sample or graph.static_batch is not None
            if node.dependent and looked_at and (found is None or node in wanted):
                first = runs[0][node]
                if not all(_same_rows(first, v[node], kept) for v, kept in zip(runs, rows, strict=True)):
                    found = found or node
                    # Captured for one batch size, a first axis of that length may be another one.
                    if graph.static_batch is None or node in wanted:
                        return found
            for operand in spent:
                for values in runs:
                    values.pop(operand, None)
    return None


def _same_rows(a: Any, b: Any, kept: Tensor) -> bool:
    if not isinstance(a, Tensor) or not a.is_floating_point() or not a.ndim or len(a) != len(kept):
        return True
    a, b = a[kept], b[kept]
    finite = a[torch.isfinite(a)]
    size = float(finite.abs().max()) if finite.numel() else 0.0
    most = _TOLERANCE.get(a.dtype, _COARSE) * size
    return torch.allclose(a, b, rtol=0, atol=most, equal_nan=True)


def _proven(graph: Graph) -> bool:
    """Whether every operator behind the input makes row i of its value from rows i of its operands alone."""
    if graph.static_batch is not None:
        return False
    behind = graph.descendants([graph.input])
    return all(
        _keeps_rows(n)
        for n in behind
        if n is not graph.input and n.kind != "symbol" and set(n.reads()) & behind
    )


# Where operands and result have the samples, and nothing else, on axis 0, these keep them where they are: an
# axis of symbolic length can't be taken for another one.
_KINDS = frozenset(
    "activation batch_norm max_pool avg_pool upsample add multiply norm pass negate shape".split()
)
_ALONE = frozenset(
    "abs sqrt rsqrt exp log log1p expm1 pow square reciprocal sin cos erf sign floor ceil round maximum minimum "
    "gt lt ge le eq ne logical_and logical_or logical_not logical_xor zero".split()
)
_ALONG_AXES = frozenset(
    "flip roll index_select index_copy index_fill gather scatter slice_scatter select_scatter softmax _softmax "
    "log_softmax _log_softmax cumsum cumprod unfold rot90 amax amin aminmax max min topk sort kthvalue median "
    "nanmedian mode cummax cummin index_add scatter_add scatter_reduce index_reduce".split()
)
_BY_INDEX = frozenset("index index_put".split())
_ANYWHERE = frozenset("as_strided as_strided_scatter diagonal_scatter masked_scatter take put".split())


def _keeps_rows(node: Node) -> bool:
    operands = [n for n in node.reads() if n.kind not in ("symbol", "parameter", "constant")]
    if not node.per_sample or not all(
        n.per_sample for n in operands if n.dependent or n.batch_axis is not None
    ):
        return False
    if node.op in _ANYWHERE:
        return False
    if node.op == "einsum":
        return _contracts_in_rows(node)
    if node.op in _ALONG_AXES:
        return all(axis > 0 for axis in _axes(node)) or _covers_all(node)
    if node.op in _BY_INDEX:
        indices = node.argument("indices")
        return bool(indices) and indices[0] is None
    return node.kind in _KINDS or node.op in _ALONE or node.op == "getitem" or is_affine(node)


def _contracts_in_rows(node: Node) -> bool:
    """Whether the letter of the result's first axis is that of every operand's first axis, and of no other."""
    terms, arrow, out = node.argument("equation").replace(" ", "").partition("->")
    return bool(arrow and out) and all(
        term[:1] == out[0] and term.count(out[0]) == 1 for term in (*terms.split(","), out)
    )


def _axes(node: Node) -> Iterator[int]:
    """The axes that an operator works along; 0 where that isn't said."""
    for name in ("dim", "dims", "dimension"):
        given = node.argument(name, None)
        if isinstance(given, int):
            yield given
            return
        if isinstance(given, (list, tuple)) and given:
            yield from (axis if isinstance(axis, int) else 0 for axis in given)
            return
    yield 0


def _covers_all(node: Node) -> bool:
    """Whether a `slice_scatter` replaces all there is along its axis (`z[:, ...] = y`)."""
    if node.op != "slice_scatter":
        return False
    start, end = node.argument("start"), node.argument("end")
    return start in (0, None) and (end is None or end == 2**63 - 1) and node.argument("step") == 1
