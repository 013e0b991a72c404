"""Agreement: whether a run of the graph gives what the model gives, and how far rounding reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from relprop.graph.node import Graph, Node
from relprop.graph.schedule import schedule
from relprop.watch import passing

__all__ = ["disagreement", "reordering", "replay"]

_ROUNDINGS = 4
_REORDERED = (
    64  # a sum of thousands of terms in another order moves by dozens of roundings; a wrong one by all
)
_COARSER = 4  # how far the errors of another precision, scaled, may lie from this one's


def replay(graph: Graph, params: dict[Node, Tensor], x: Tensor) -> Any:
    """The output of the graph, operator by operator, in the precision of x and of the parameters given."""
    values: dict[Node, Any] = {graph.input: x}

    def get(node: Node) -> Any:
        return values[node] if node in values else params[node]

    order = graph.derived(schedule)
    for i, (node, spent) in enumerate(order):
        passing("checking the network", i, len(order))
        values[node] = node.run(get)
        for operand in spent:
            values.pop(operand, None)
    return graph.rebuild([get(out) if isinstance(out, Node) else out for out in graph.outputs])


def disagreement(
    graph: Graph, found: Any, expected: Any, dtype: torch.dtype, again: Callable[[torch.dtype], Any]
) -> str | None:
    """What differs between two outputs by more than rounding, as words that follow "the output"; None: nothing.

    Mostly the same operators run on the same numbers and the two are bit-equal. Where another kernel sums in
    another order (attention, a decomposed operator), every operator on the longest way through the graph adds
    about one rounding of the largest output, and those of independent sums grow like a random walk:
    sqrt(depth) x eps x max. Where that doesn't do, the graph runs once more in double precision: what the
    model's own precision costs is then known, and a difference of up to 4 times that is rounding as well
    (both are maxima over all outputs, of two errors of one size). A model in double precision runs once more in
    single precision, whose error is that of double precision times the ratio of their eps; that is an estimate,
    and counts 4 times more. A graph that doesn't run in the other precision has 4 times the random walk instead
    (RT-DETR in double precision needs 1.2).

    Args:
        graph: that gave `found`.
        found: the graph's output, of any structure.
        expected: the model's.
        dtype: the precision that the model computes in. Where it is narrower than float32, which is what
            `found` was computed in, the graph runs again in it and that output is compared. Where the model
            computes a part in less (`Graph.narrowest`), its rounding is that of the narrower one.
        again: gives the graph's output in another precision.
    """
    names, ours, structure = _leaves(found)
    _, theirs, other = _leaves(expected)
    if structure != other:
        return f"is a {_kind(found)} of another structure than the model's {_kind(expected)}"
    eps = max(torch.finfo(d).eps for d in (dtype, graph.narrowest) if d is not None)
    if dtype.itemsize < 4 and (narrow := _tried(again, dtype)) is not None:
        return _differing(graph, names, _leaves(narrow)[1], theirs, eps, lambda: found)
    double = torch.finfo(torch.float64).eps
    if eps > double:
        return _differing(graph, names, ours, theirs, eps, lambda: _tried(again, torch.float64))
    ratio = _COARSER * double / torch.finfo(torch.float32).eps
    return _differing(graph, names, ours, theirs, eps, lambda: _tried(again, torch.float32), ratio)


def reordering(graph: Graph, found: Any, usual: Any, times: int = _REORDERED) -> str | None:
    """What differs between two runs of a graph by more than sums in another order do, in words; None: nothing.

    Every operator may add a rounding of the largest output: some times the random walk of `disagreement`. Nothing
    is run again.

    Args:
        graph: the network.
        found: its output from maps that lie otherwise in memory.
        usual: its output from maps that lie as the model has them.
        times: how often the random walk.
    """
    names, ours, structure = _leaves(found)
    _, theirs, other = _leaves(usual)
    if structure != other:
        return "is of another structure"
    eps = times * max((torch.finfo(t.dtype).eps for t in theirs if _rounds(t)), default=0.0)
    return _differing(graph, names, ours, theirs, eps, lambda: usual, 0.0)


def _differing(
    graph: Graph,
    names: Sequence[str],
    ours: list[Any],
    theirs: list[Any],
    eps: float,
    other: Callable[[], Any],
    ratio: float = 1.0,
) -> str | None:
    """What differs by more than rounding: `ratio` times what the output of `other`'s precision differs by."""
    once_more: list[Any] | None = None
    for i, (name, a, b) in enumerate(zip(names, ours, theirs, strict=True)):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            if type(a) is not type(b) or (a is not b and bool(a != b)):
                return f"differs{name}: {a!r} in place of the model's {b!r}"
            continue
        if a.shape != b.shape:
            return f"has shape {tuple(a.shape)}{name} where the model's has {tuple(b.shape)}"
        if not _rounds(b) or not _rounds(a):
            if a.dtype != b.dtype or not torch.equal(a, b):
                return f"differs{name}, where nothing is rounded ({b.dtype})"
            continue
        gap, size = _gap(a, b)
        allowed = math.sqrt(graph.derived(depth)) * max(eps, torch.finfo(b.dtype).eps) * size
        if gap <= allowed:
            continue
        if once_more is None:
            once_more = _leaves(other())[1]
        again = once_more[i] if len(once_more) == len(ours) else None
        if isinstance(again, Tensor) and again.shape == a.shape:
            cost = _ROUNDINGS * ratio * _gap(a, again)[0]
            allowed = max(allowed, cost) if math.isfinite(cost) else allowed
        else:
            allowed *= _ROUNDINGS
        if not gap <= allowed:
            return (
                f"differs by up to {gap:.3g}{name}, where values reach {size:.3g} and rounding {allowed:.1g}"
            )
    return None


def depth(graph: Graph) -> int:
    """The number of operators on the longest way from the input to an output."""
    longest: dict[Node, int] = {}
    for node in graph.nodes:
        if node.dependent:
            longest[node] = 1 + max((longest.get(n, 0) for n in node.operands()), default=0)
    return max(longest.values(), default=1)


def _leaves(tree: Any) -> tuple[list[str], list[Any], Any]:
    flat, structure = pytree.tree_flatten_with_path(tree)
    names = [f" at output{pytree.keystr(path)}" if path else "" for path, _ in flat]
    return names, [leaf for _, leaf in flat], structure


def _rounds(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _gap(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The largest difference of two tensors, and the largest finite value of the second."""
    a, b = a.detach(), b.detach()
    if not b.numel():
        return 0.0, 0.0
    wide = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(wide), b.to(wide)
    same = (a == b) | (a.isnan() & b.isnan())
    gap = torch.where(same, torch.zeros_like(a), a - b).abs().max()
    finite = torch.where(b.isfinite(), b, torch.zeros_like(b)).abs().max()
    return float(gap), float(finite)


def _tried(again: Callable[[torch.dtype], Any], dtype: torch.dtype) -> Any:
    """None where the graph has operators that don't run in that precision."""
    try:
        return again(dtype)
    except Exception:
        return None


def _kind(tree: Any) -> str:
    return "tensor" if isinstance(tree, Tensor) else type(tree).__name__
