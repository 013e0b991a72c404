"""Contraction: a call that multiplies tensors and sums over some of their axes, by whichever function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from relprop.graph.fx_call import by_schema, op_name

__all__ = ["CONTRACTIONS", "Contraction", "Operand", "contraction_of", "is_one"]


@dataclass(frozen=True)
class Operand:
    """A tensor and the names of its axes; an axis of length 1 is as long as others of its name (broadcasting)."""

    value: fx.Node
    axes: tuple[str, ...]

    def size(self, axis: str) -> Any:
        """The length of an axis: a number, or a symbol where it depends on the number of samples."""
        return self.value.meta["val"].shape[self.axes.index(axis)]


@dataclass(frozen=True)
class Contraction:
    """y = factor · Σ (product of the operands), summed over all axes that `out` doesn't name, + what is added.

    Attributes:
        operands: what is multiplied.
        out: the names of the result's axes.
        factor: a number.
        added: a tensor that broadcasts to the result and the number that it is multiplied by, or None.
        kept: axes of the result, counted with them, that have length 1 and no name.
        calls: the calls that are written out here, the last one first.
    """

    operands: tuple[Operand, ...]
    out: tuple[str, ...]
    factor: float = 1.0
    added: tuple[fx.Node, float] | None = None
    kept: tuple[int, ...] = ()
    calls: tuple[fx.Node, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys(axis for operand in self.operands for axis in operand.axes))

    def sums_a_product(self) -> bool:
        """Whether an axis that two operands have is summed over."""
        return any(
            sum(axis in o.axes and not is_one(o.size(axis)) for o in self.operands) > 1
            for axis in self.names
            if axis not in self.out
        )


def is_one(size: Any) -> bool:
    """Whether a length is the number 1, and no symbol."""
    return isinstance(size, int) and size == 1


def contraction_of(node: fx.Node) -> Contraction | None:
    """What a call contracts, with the sum that a constant is added by behind it; None where it doesn't."""
    if node.op != "call_function" or op_name(node) not in _FORMS:
        return None
    given = by_schema(node, node.target)
    found = _FORMS[op_name(node)](given)
    if found is None or any(len(set(o.axes)) < len(o.axes) for o in found.operands):
        return None  # a diagonal
    return replace(found, calls=(node, *found.calls))


def _rank(value: fx.Node) -> int:
    rank: int = value.meta["val"].ndim
    return rank


def _einsum(given: dict[str, Any]) -> Contraction | None:
    tensors = given["tensors"]
    left, arrow, right = given["equation"].replace(" ", "").partition("->")
    operands = []
    for term, tensor in zip(left.split(","), tensors, strict=True):
        before, dots, after = term.partition("...")
        wide = _rank(tensor) - len(before) - len(after) if dots else 0
        operands.append(Operand(tensor, (*before, *_broadcast(wide), *after)))
    widest = max(sum(len(axis) > 1 for axis in operand.axes) for operand in operands)
    if arrow:
        before, dots, after = right.partition("...")
        out = (*before, *(_broadcast(widest) if dots else ()), *after)
    else:
        letters = left.replace("...", "").replace(",", "")
        out = (*_broadcast(widest), *sorted(c for c in letters if letters.count(c) == 1))
    return Contraction(tuple(operands), out)


def _broadcast(count: int) -> tuple[str, ...]:
    """Names of axes that are told by their place from the last one."""
    return tuple(f"-{i}" for i in range(count, 0, -1))


def _matmul(given: dict[str, Any]) -> Contraction:
    return _product(given["self"], given["other" if "other" in given else "mat2"])


def _product(a: fx.Node, b: fx.Node) -> Contraction:
    """a_ik b_kj for any axes in front; a vector has k alone."""
    rows, columns = ("i",) * (_rank(a) > 1), ("j",) * (_rank(b) > 1)
    fronts = [_broadcast(max(0, _rank(t) - 2)) for t in (a, b)]
    return Contraction(
        (Operand(a, (*fronts[0], *rows, "k")), Operand(b, (*fronts[1], "k", *columns))),
        (*max(fronts, key=len), *rows, *columns),
    )


def _plus_product(first: str, second: str) -> Callable[[dict[str, Any]], Contraction]:
    def form(given: dict[str, Any]) -> Contraction:
        product = _product(given[first], given[second])
        return replace(product, factor=given["alpha"], added=(given["self"], given["beta"]))

    return form


def _inner(given: dict[str, Any]) -> Contraction | None:
    a, b = given["self"], given["other"]
    if not (_rank(a) and _rank(b)):
        return None
    first, second = (tuple(f"{name}{i}" for i in range(_rank(t) - 1)) for name, t in (("a", a), ("b", b)))
    return Contraction((Operand(a, (*first, "k")), Operand(b, (*second, "k"))), first + second)


def _tensordot(given: dict[str, Any]) -> Contraction:
    tensors, dims = (given["self"], given["other"]), (given["dims_self"], given["dims_other"])
    named = []
    for side, tensor, summed in zip("ab", tensors, dims, strict=True):
        axes = [f"{side}{i}" for i in range(_rank(tensor))]
        for k, dim in enumerate(summed):
            axes[dim] = f"k{k}"
        named.append(Operand(tensor, tuple(axes)))
    return Contraction(tuple(named), tuple(a for o in named for a in o.axes if not a.startswith("k")))


def _vecdot(given: dict[str, Any]) -> Contraction:
    return _summed([given["x"], given["y"]], [given["dim"]], False)


def _linear(given: dict[str, Any]) -> Contraction:
    x, weight, bias = given["input"], given["weight"], given["bias"]
    front = tuple(f"a{i}" for i in range(_rank(x) - 1))
    rows = ("o",) * (_rank(weight) > 1)
    return Contraction(
        (Operand(x, (*front, "k")), Operand(weight, (*rows, "k"))),
        front + rows,
        added=None if bias is None else (bias, 1.0),
    )


def _bilinear(given: dict[str, Any]) -> Contraction:
    bias = given["bias"]
    front = tuple(f"a{i}" for i in range(_rank(given["input1"]) - 1))
    sides = (Operand(given["input1"], (*front, "i")), Operand(given["input2"], (*front, "j")))
    weight = Operand(given["weight"], ("o", "i", "j"))
    return Contraction((*sides, weight), (*front, "o"), added=None if bias is None else (bias, 1.0))


def _multi_dot(given: dict[str, Any]) -> Contraction:
    tensors = given["tensors"]
    axes = [tuple(f"m{i + k}" for k in range(_rank(t))) for i, t in enumerate(tensors)]
    if _rank(tensors[0]) == 1:
        axes[0] = ("m1",)
    every = [axis for own in axes for axis in own]
    operands = tuple(Operand(t, own) for t, own in zip(tensors, axes, strict=True))
    return Contraction(operands, tuple(axis for axis in every if every.count(axis) == 1))


def _sum(given: dict[str, Any]) -> Contraction | None:
    """The sum of a product that nothing else reads, over axes along which factors vary together."""
    dims, product = given.get("dim"), given["self"]
    if op_name(product) != "mul" or not dims or given["dtype"] is not None:
        return None
    calls: list[fx.Node] = []
    tensors, factor = _factors(product, calls)
    if len(set(tensors)) < len(tensors) or not tensors:
        return None  # the sum of a square is a length
    found = _summed(tensors, dims, given["keepdim"])
    return replace(found, factor=factor, calls=tuple(calls)) if calls and found.sums_a_product() else None


def _factors(value: Any, calls: list[fx.Node]) -> tuple[list[fx.Node], float]:
    """The tensors that a value is the product of, and the product of the numbers; puts the products in `calls`."""
    if not isinstance(value, fx.Node):
        return [], value
    if op_name(value) != "mul" or len(value.users) > 1:
        return [value], 1.0
    calls.append(value)
    given = by_schema(value, value.target)
    tensors, factor = _factors(given["self"], calls)
    others, number = _factors(given["other"], calls)
    return tensors + others, factor * number


def _mean(given: dict[str, Any]) -> Contraction | None:
    found = _sum(given)
    if found is None:
        return None
    count: Any = 1
    for dim in given["dim"]:
        count *= given["self"].meta["val"].shape[dim]
    return replace(found, factor=found.factor / count) if isinstance(count, int) else None


def _summed(tensors: Sequence[fx.Node], dims: Sequence[int], keepdim: bool) -> Contraction:
    """The sum of what several tensors are one by one, broadcast, over some of its axes."""
    every = _broadcast(max(_rank(t) for t in tensors))
    summed = {dim % len(every) for dim in dims}
    return Contraction(
        tuple(Operand(t, every[len(every) - _rank(t) :]) for t in tensors),
        tuple(axis for i, axis in enumerate(every) if i not in summed),
        kept=tuple(sorted(summed)) if keepdim else (),
    )


_FORMS: dict[str, Callable[[dict[str, Any]], Contraction | None]] = {
    "einsum": _einsum,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": lambda given: _product(given["self"], given["vec"]),
    "addmm": _plus_product("mat1", "mat2"),
    "addmv": _plus_product("mat", "vec"),
    "inner": _inner,
    "tensordot": _tensordot,
    "linalg_vecdot": _vecdot,
    "linalg_multi_dot": _multi_dot,
    "linear": _linear,
    "bilinear": _bilinear,
    "sum": _sum,
    "mean": _mean,
}

CONTRACTIONS = frozenset(_FORMS)
"""Names of the functions that may be one."""
