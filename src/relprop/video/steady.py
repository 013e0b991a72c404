"""Steady: values of clips that stand still, in which most slices of time are equal and computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relprop.graph import Node
from relprop.graph.fusion import rectifiers
from relprop.graph.schedule import schedule
from relprop.propagate.trace import Trace
from relprop.tracing.values import computed
from relprop.tracing.window import PoolWindow

__all__ = ["FewTrace", "Steady", "StillTrace"]

_BY_ELEMENT = frozenset({"activation", "batch_norm", "pass"})
_PAIRS = frozenset({"add", "sub", "mul", "div"})


@dataclass(frozen=True)
class Steady:
    """A value (N, C, T, H, W) whose slices are equal but for some at both ends, where padding reaches.

    Attributes:
        value: (N, C, left + m + right, H, W): of the equal slices only m >= 1 are there.
        left, right: how many slices at each end may differ.
        length: T.

    >>> steady = Steady(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1, 1), 1, 1, 5)
    >>> steady.whole().flatten().tolist(), float(steady.at(2)), float(steady.at(4))
    ([1.0, 2.0, 2.0, 2.0, 3.0], 2.0, 3.0)
    """

    value: Tensor
    left: int
    right: int
    length: int

    def at(self, t: int) -> Tensor:
        """Slice t, (N, C, H, W)."""
        if t < self.length - self.right:
            return self.value[:, :, min(t, self.left)]
        return self.value[:, :, t - self.length]

    def lasting(self, middle: int, left: int | None = None, right: int | None = None) -> Tensor:
        """The value as if `middle` of its equal slices were there, (N, C, left + middle + right, H, W).

        Args:
            middle: at least 1.
            left, right: as many slices at the ends, at least the value's own; None: those.
        """
        more = (0 if left is None else left - self.left) + (0 if right is None else right - self.right)
        found, count = self.value, self.value.shape[2] - self.left - self.right
        if count == middle + more:
            return found
        steady = found.narrow(2, self.left, 1).expand(-1, -1, middle + more, -1, -1)
        return torch.cat([found[:, :, : self.left], steady, found[:, :, found.shape[2] - self.right :]], 2)

    def whole(self) -> Tensor:
        """The value with all its slices, (N, C, T, H, W)."""
        return self.lasting(self.length - self.left - self.right)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole value."""
        n, c, _, *sides = self.value.shape
        return n, c, self.length, *sides


class FewTrace(Trace):
    """A forward run on clips (N, C, T, H, W) that keeps the values of a few places alone.

    Args:
        model, x: as for `relprop.trace`.
        places: names of nodes whose values are kept; `slice_of` reads them.
    """

    def __init__(self, model: nn.Module, x: Tensor, places: Sequence[str]) -> None:
        self._places = frozenset(places)
        self._kept: dict[str, Any] = {}
        super().__init__(model, x)

    def slice_of(self, place: str, row: int, t: int) -> Tensor:
        """Slice t of a place's value in one of the clips, (C, H, W)."""
        kept = self._kept[place]
        found: Tensor = kept.at(t)[row] if isinstance(kept, Steady) else kept[row, :, t]
        return found

    def _read(self) -> Any:
        """The input as the operators take it."""
        return self.input

    def _forward(self) -> list[Any]:
        relus = rectifiers(self.graph)
        values: dict[Node, Any] = {self.graph.input: self._read()}

        def get(node: Node) -> Any:
            return values[node] if node in values else self.params[node]

        def whole(node: Node) -> Any:
            value = get(node)
            return value.whole() if isinstance(value, Steady) else value

        for node, spent in self.graph.derived(schedule):
            found = _carried(node, get)
            values[node] = computed(node, whole) if found is None else found
            for place in (node, relus.get(node)):  # of a value that only a ReLU reads, what is behind that
                if place is not None and place.name in self._places:
                    self._kept[place.name] = values[node]
            for operand in spent:
                values.pop(operand, None)
        return [whole(out) if isinstance(out, Node) else out for out in self.graph.outputs]


class StillTrace(FewTrace):
    """The same on clips that show one frame all the time.

    A convolution over equal slices gives equal slices, but where it reaches over an end into the padding. Those in
    between are computed once: the operator runs on a shorter clip, whose ends are those of the long one. Operators
    that this doesn't know see the whole value.

    Args:
        model, places: as for `FewTrace`.
        x: clips whose frames are equal.
    """

    def _read(self) -> Any:
        return Steady(self.input[:, :, :1], 0, 0, self.input.shape[2])


def _carried(node: Node, get: Callable[[Node], Any]) -> Any:
    """The value of an operator that leaves equal slices equal; None where that isn't known of it."""
    steady = [value for n in node.operands() if isinstance(value := get(n), Steady)]
    if not steady:
        return None
    if node.kind == "symbol":  # a size
        return node.run(lambda n: _shape_of(get(n)))
    if node.op in ("conv3d", "max_pool3d", "avg_pool3d") and len(steady) == 1:
        return _slid(node, get)
    joins = node.op == "cat" and node.argument("dim") in (1, -4)
    if node.op in ("pad", "constant_pad_nd"):
        return _padded(node, steady[0])
    if node.kind in _BY_ELEMENT or node.op in _PAIRS or joins:
        return _by_slice(node, get, steady, joins=joins)
    return None


def _shape_of(value: Any) -> Any:
    return value.value.new_empty(()).expand(value.shape) if isinstance(value, Steady) else value


def _by_slice(node: Node, get: Callable[[Node], Any], steady: list[Steady], *, joins: bool) -> Steady | None:
    """An operator that treats every slice of time by itself."""
    left, right = max(s.left for s in steady), max(s.right for s in steady)
    length = steady[0].length
    others = [value for n in node.operands() if isinstance(value := get(n), Tensor)]
    if (
        any(s.length != length for s in steady)
        or left + right >= length
        or any(joins or (t.ndim > 2 and t.shape[-3] != 1) for t in others)
    ):
        return None

    def few(n: Node) -> Any:
        value = get(n)
        return value.lasting(1, left, right) if isinstance(value, Steady) else value

    y = computed(node, few)
    return Steady(y, left, right, length) if isinstance(y, Tensor) and y.ndim == 5 else None


def _padded(node: Node, x: Steady) -> Steady | None:
    """A constant put around a value."""
    pad = (*node.argument("pad"), *[0] * 6)
    before, after = pad[4], pad[5]
    constant = node.argument("mode", "constant") == "constant" and not any(pad[6:])
    if not constant or not all(isinstance(n, int) and n >= 0 for n in (before, after)):
        return None
    y = computed(node, lambda n: x.value)
    return Steady(y, x.left + before, x.right + after, x.length + before + after)


def _slid(node: Node, get: Callable[[Node], Any]) -> Steady | None:
    """A convolution or pool that slides along time."""
    window = _window(node, get)
    if window is None:
        return None
    kernel, stride, padding = window
    (source,) = (n for n in node.operands() if isinstance(get(n), Steady))
    x: Steady = get(source)
    count = (x.length + 2 * padding - kernel) // stride + 1
    # Output t reads from t stride - padding on, `kernel` slices.
    left = -(-(x.left + padding) // stride)
    last = (x.length - x.right - kernel + padding) // stride
    spare = last - left  # so many outputs more than one read equal slices alone
    if spare < 1:
        return None
    short = x.lasting(x.length - x.left - x.right - spare * stride)
    y = computed(node, lambda n: short if n is source else get(n))
    return Steady(y, left, count - 1 - last, count)


def _window(node: Node, get: Callable[[Node], Any]) -> tuple[int, int, int] | None:
    """Kernel (from its first to its last slice), stride and padding along time; None where not known."""
    if node.op == "conv3d":
        stride, padding, dilation = (node.argument(name) for name in ("stride", "padding", "dilation"))
        if isinstance(padding, str):
            return None
        kernel: int = get(node.argument("weight")).shape[2]
        return (kernel - 1) * _first(dilation) + 1, _first(stride), _first(padding)
    if node.argument("ceil_mode"):
        return None
    if node.op == "max_pool3d":
        pool = PoolWindow.of(node, 3)
        return (pool.kernel[0] - 1) * pool.dilation[0] + 1, pool.stride[0], pool.padding[0]
    kernel = _first(node.argument("kernel_size"))
    return kernel, _first(node.argument("stride") or kernel), _first(node.argument("padding"))


def _first(setting: Any) -> int:
    return setting if isinstance(setting, int) else int(setting[0])
