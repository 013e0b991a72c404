"""Written layer: a contraction of one signal with constants, as the linear operator that computes the same.

Which one it is follows from where its numbers lie. Contracted over axis 1 of (N, C, *positions) into the same
place: a convolution with kernels of size 1. One matrix for each of several groups: a grouped one. Else `linear`.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tag, fx

from relprop.graph.contraction import Contraction, Operand, is_one
from relprop.graph.fx_call import Call, by_schema, op_name
from relprop.graph.kinds import kind_of

__all__ = ["layer_of", "product_of"]

aten = torch.ops.aten
_CONVOLUTIONS = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}


def layer_of(
    call: Call, contraction: Contraction, signals: Collection[fx.Node], static: int | None
) -> fx.Node | None:
    """Write out a contraction as a layer; None where it isn't one.

    Args:
        call: puts a call into the program.
        contraction: of whatever.
        signals: the values that depend on the model's input; one of the operands has to be the only such.
        static: the batch size that the program is bound to, if any.
    """
    varying = [o for o in contraction.operands if o.value in signals]
    fixed = [o for o in contraction.operands if o.value not in signals]
    added = contraction.added
    if len(varying) != 1 or not fixed or not _same_numbers(contraction) or (added and added[0] in signals):
        return None
    x, weights = varying[0], [_bare(call, o, varying[0], contraction.out) for o in fixed]
    wanted = {*x.axes, *contraction.out}
    weight = weights[0] if len(weights) == 1 else _multiplied(call, weights, wanted)
    weight = _summed(call, weight, [a for a in weight.axes if a not in wanted])
    x = _narrowed(call, x, [a for a in x.axes if is_one(x.size(a)) and _is_longer(weight, a)])
    axes = _Axes.of(x, weight, contraction.out)
    if axes is None or not axes.keeps_samples(static):
        return None
    bias = None if added is None else _bias(call, added[0], axes, contraction)
    if added is not None and bias is None:
        return None
    if contraction.factor != 1:
        weight = replace(weight, value=call(aten.mul.Scalar, weight.value, contraction.factor))
    if bias is not None and added is not None and added[1] != 1:
        bias = call(aten.mul.Scalar, bias, added[1])
    axes = replace(axes, x=_summed(call, x, axes.alone))
    if axes.groups:
        y = _grouped(call, axes, weight, bias)
    elif axes.is_pointwise:
        y = _pointwise(call, axes, weight, bias)
    else:
        y = _linear(call, axes, weight, bias)
    return _placed(call, y, contraction)


def product_of(call: Call, contraction: Contraction) -> fx.Node | None:
    """Write out a contraction of several signals as one `einsum`, and what is added; None where it can't be."""
    names = dict(zip(contraction.names, string.ascii_letters, strict=False))
    if len(names) < len(contraction.names) or not _same_numbers(contraction):
        return None
    terms = ["".join(names[axis] for axis in o.axes) for o in contraction.operands]
    equation = ",".join(terms) + "->" + "".join(names[axis] for axis in contraction.out)
    y = call(aten.einsum.default, equation, [o.value for o in contraction.operands])
    if contraction.factor != 1:
        y = call(aten.mul.Scalar, y, contraction.factor)
    if contraction.added is not None:
        value, times = contraction.added
        y = call(aten.add.Tensor, y, value, alpha=times)
    return _placed(call, Operand(y, contraction.out), contraction)


@dataclass(frozen=True)
class _Axes:
    """What the axes of a signal and of its weight are to a layer.

    Attributes:
        x: the signal.
        contracted: that both have and the result hasn't.
        groups: that all three have.
        positions: that the signal hands on.
        outputs: that the weight brings.
        alone: that only the signal has: summed over before.
        sizes: the length of every axis.
        out: the result's axes.
    """

    x: Operand
    contracted: list[str]
    groups: list[str]
    positions: list[str]
    outputs: list[str]
    alone: list[str]
    sizes: dict[str, Any]
    out: tuple[str, ...]

    @classmethod
    def of(cls, x: Operand, weight: Operand, out: Sequence[str]) -> _Axes | None:
        """None where nothing is contracted, or a length isn't known."""
        own, theirs = set(x.axes), set(weight.axes)
        found = cls(
            x,
            contracted=[a for a in x.axes if a in theirs and a not in out],
            groups=[a for a in x.axes if a in theirs and a in out],
            positions=[a for a in x.axes if a not in theirs and a in out],
            outputs=[a for a in out if a not in own],
            alone=[a for a in x.axes if a not in theirs and a not in out],
            sizes={a: o.size(a) for o in (weight, x) for a in o.axes},
            out=tuple(out),
        )
        known = [*found.contracted, *found.groups, *found.outputs, *found.alone]
        if not found.contracted or not all(isinstance(found.sizes[a], int) for a in known):
            return None
        return found

    def keeps_samples(self, static: int | None) -> bool:
        """Whether the samples' axis is one of the positions, as far as that can be told."""
        if static is None:
            return any(not isinstance(self.sizes[a], int) for a in self.positions)
        first = self.x.axes[0]  # samples mostly lie there
        return bool(self.positions) and (first in self.positions or self.sizes[first] != static)

    @property
    def is_pointwise(self) -> bool:
        """Whether the contraction goes from axis 1 to axis 1 of one to three axes of positions, all in order."""
        samples, *rest = self.positions
        ours = [samples, *self.contracted, *rest]
        return (
            len(self.contracted) == 1
            and 1 <= len(rest) <= 3
            and not all(is_one(self.sizes[a]) for a in rest)
            and list(self.x.axes) == ours
            and list(self.out) == [samples, *self.outputs, *rest]
        )

    def lengths(self, axes: Sequence[str]) -> list[Any]:
        """How long these are."""
        return [self.sizes[a] for a in axes]


def _linear(call: Call, axes: _Axes, weight: Operand, bias: fx.Node | None) -> Operand:
    matrix = _matrix(call, weight, axes.outputs, axes.contracted)
    signal = _ordered(call, axes.x, [*axes.positions, *axes.contracted])
    value = _flattened(call, signal.value, len(axes.positions), len(axes.contracted))
    y = call(aten.linear.default, value, matrix, bias)
    return _unflattened(call, y, axes.positions, axes.outputs, [], axes)


def _pointwise(call: Call, axes: _Axes, weight: Operand, bias: fx.Node | None) -> Operand:
    samples, *rest = axes.positions
    matrix = _matrix(call, weight, axes.outputs, axes.contracted)
    for _ in rest:
        matrix = call(aten.unsqueeze.default, matrix, -1)
    y = call(_CONVOLUTIONS[len(rest)], axes.x.value, matrix, bias)
    return _unflattened(call, y, [samples], axes.outputs, rest, axes)


def _grouped(call: Call, axes: _Axes, weight: Operand, bias: fx.Node | None) -> Operand:
    """One matrix for each group, as a convolution in groups along the other positions in a row."""
    samples = next((a for a in axes.positions if not isinstance(axes.sizes[a], int)), axes.positions[0])
    rest = [a for a in axes.positions if a != samples]
    inside = [*axes.groups, *axes.contracted]
    value = _ordered(call, axes.x, [samples, *inside, *rest]).value
    value = _flattened(call, value, 1, len(inside))
    value = _flattened(call, value, 2, len(rest)) if rest else call(aten.unsqueeze.default, value, -1)
    matrix = _matrix(call, weight, [*axes.groups, *axes.outputs], axes.contracted)
    kernel = call(aten.unsqueeze.default, matrix, -1)
    count = 1
    for size in axes.lengths(axes.groups):
        count *= size
    y = call(aten.conv1d.default, value, kernel, bias, [1], [0], [1], count)
    if len(rest) > 1:
        y = call(aten.unflatten.int, y, 2, axes.lengths(rest))
    elif not rest:
        y = call(aten.squeeze.dim, y, -1)
    return _unflattened(call, y, [samples], [*axes.groups, *axes.outputs], rest, axes)


def _unflattened(
    call: Call, y: fx.Node, front: Sequence[str], middle: Sequence[str], back: Sequence[str], axes: _Axes
) -> Operand:
    """Give the axis behind those in front its own axes back."""
    if not middle:
        y = call(aten.squeeze.dim, y, len(front))
    elif len(middle) > 1:
        y = call(aten.unflatten.int, y, len(front), axes.lengths(middle))
    return Operand(y, (*front, *middle, *back))


def _matrix(call: Call, weight: Operand, rows: Sequence[str], columns: Sequence[str]) -> fx.Node:
    """A weight as (rows, columns)."""
    value = _ordered(call, weight, [*rows, *columns]).value
    value = _flattened(call, value, len(rows), len(columns))
    return _flattened(call, value, 0, len(rows)) if rows else call(aten.unsqueeze.default, value, 0)


def _flattened(call: Call, value: fx.Node, start: int, count: int) -> fx.Node:
    return call(aten.flatten.using_ints, value, start, start + count - 1) if count > 1 else value


def _ordered(call: Call, operand: Operand, axes: Sequence[str]) -> Operand:
    order = [operand.axes.index(a) for a in axes]
    if order == list(range(len(order))):
        return operand
    return Operand(call(aten.permute.default, operand.value, order), tuple(axes))


def _placed(call: Call, y: Operand, contraction: Contraction) -> fx.Node:
    """The result with its axes in order, and those of length 1 put in."""
    value = _ordered(call, y, contraction.out).value
    for axis in contraction.kept:
        value = call(aten.unsqueeze.default, value, axis)
    return value


def _summed(call: Call, operand: Operand, axes: Sequence[str]) -> Operand:
    if not axes:
        return operand
    places = [operand.axes.index(a) for a in axes]
    rest = tuple(a for a in operand.axes if a not in axes)
    return Operand(call(aten.sum.dim_IntList, operand.value, places), rest)


def _multiplied(call: Call, operands: Sequence[Operand], wanted: Collection[str]) -> Operand:
    """The product of several constants, summed over the axes that nothing else has."""
    every = list(dict.fromkeys(a for o in operands for a in o.axes))
    product = Contraction(tuple(operands), tuple(a for a in every if a in wanted))
    names = dict(zip(every, string.ascii_letters, strict=False))
    terms = ",".join("".join(names[a] for a in o.axes) for o in operands)
    equation = terms + "->" + "".join(names[a] for a in product.out)
    return Operand(call(aten.einsum.default, equation, [o.value for o in operands]), product.out)


# Axes along which a constant is always the same -----------------------------------------------------


def _bare(call: Call, constant: Operand, x: Operand, out: Sequence[str]) -> Operand:
    """A constant without the axes along which it says nothing: of length 1, or the same all along."""
    idle = []
    for i, axis in enumerate(constant.axes):
        one, handed_on = is_one(constant.size(axis)), axis in x.axes and axis in out
        if handed_on:
            drop = one or _is_uniform(constant.value, i)
        else:
            drop = one and (not is_one(x.size(axis)) if axis in x.axes else axis not in out)
        idle += [axis] if drop else []
    return _without(call, constant, idle)


def _without(call: Call, operand: Operand, axes: Sequence[str]) -> Operand:
    """The first slice along these axes."""
    for axis in axes:
        rest = tuple(a for a in operand.axes if a != axis)
        operand = Operand(call(aten.select.int, operand.value, operand.axes.index(axis), 0), rest)
    return operand


def _narrowed(call: Call, operand: Operand, axes: Sequence[str]) -> Operand:
    """A signal without these axes, along which it has length 1; what only put them in goes too."""
    source = operand.value
    if axes and op_name(source) == "unsqueeze" and len(source.users) == 1:
        given = by_schema(source, source.target)
        if operand.axes[given["dim"] % len(operand.axes)] == axes[0]:
            place = operand.axes.index(axes[0])
            return _narrowed(
                call, Operand(given["self"], operand.axes[:place] + operand.axes[place + 1 :]), axes[1:]
            )
    return _without(call, operand, axes)


def _is_longer(weight: Operand, axis: str) -> bool:
    return axis in weight.axes and not is_one(weight.size(axis))


def _bias(call: Call, value: fx.Node, axes: _Axes, contraction: Contraction) -> fx.Node | None:
    """What is added, as one number for each output (and group); None where positions differ in it."""
    rank = value.meta["val"].ndim
    if contraction.kept or rank > len(contraction.out):
        return None
    bias = Operand(value, contraction.out[len(contraction.out) - rank :])
    idle = [
        a for i, a in enumerate(bias.axes)
        if is_one(bias.size(a))
        or (a in axes.positions and str(bias.size(a)) == str(axes.sizes[a]) and _is_uniform(value, i))
    ]  # fmt: skip
    bias = _without(call, bias, idle)
    if any(a in axes.positions or bias.size(a) != axes.sizes[a] for a in bias.axes):
        return None
    wanted = [*axes.groups, *axes.outputs]
    if not wanted:
        return call(aten.unsqueeze.default, bias.value, 0)
    missing = [a for a in wanted if a not in bias.axes]
    for axis in missing:
        bias = Operand(call(aten.unsqueeze.default, bias.value, -1), (*bias.axes, axis))
    flat = _ordered(call, bias, wanted).value
    flat = call(aten.expand.default, flat, axes.lengths(wanted)) if missing else flat
    return _flattened(call, flat, 0, len(wanted))


_FILLED = frozenset("zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full".split())
_MOVED = frozenset("permute transpose movedim swapaxes t mT numpy_T".split())


def _is_uniform(value: fx.Node, axis: int) -> bool:
    """Whether a constant is proven to be the same all along an axis."""
    like = value.meta["val"]
    stride = like.stride()[axis]
    if is_one(like.shape[axis]) or (isinstance(stride, int) and stride == 0):
        return True
    op = op_name(value)
    if op in _FILLED:
        return True
    if value.op != "call_function":
        return False
    given = by_schema(value, value.target)
    source = given.get("self")
    if not isinstance(source, fx.Node):
        return False
    if kind_of(op) == "pass":
        return _is_uniform(source, axis)
    if op in _MOVED:
        probe = torch.empty([2 + i for i in range(like.ndim)], device="meta")
        moved = value.target(*(probe if a is source else a for a in value.args))  # type: ignore[operator]
        return _is_uniform(source, moved.shape[axis] - 2)
    if op in ("repeat", "tile"):
        times = given["repeats" if op == "repeat" else "dims"]
        own = axis - like.ndim + source.meta["val"].ndim
        if own < 0 or is_one(source.meta["val"].shape[own]):
            return True
        count = times[axis - like.ndim] if like.ndim - axis <= len(times) else 1
        return is_one(count) and _is_uniform(source, own)
    if Tag.pointwise in getattr(value.target, "tags", ()):
        return all(
            axis - like.ndim < -n.meta["val"].ndim or _is_uniform(n, axis - like.ndim + n.meta["val"].ndim)
            for n in value.all_input_nodes
        )
    return False


def _same_numbers(contraction: Contraction) -> bool:
    """Whether all of it is of one dtype of real numbers: what isn't follows rules of conversion of its own."""
    values = [o.value for o in contraction.operands] + ([contraction.added[0]] if contraction.added else [])
    dtypes = {v.meta["val"].dtype for v in values}
    return len(dtypes) == 1 and all(d.is_floating_point for d in dtypes)
