"""Unit: a convolution or matrix product together with the batch norms around it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from relprop.errors import InputError
from relprop.graph import Node

__all__ = ["Unit", "is_affine", "outside", "unit_of"]

_PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm"})
_FACTORS = {"matmul": "self", "mm": "self", "addmm": "mat1"}  # what is multiplied by the weight; else "input"


@dataclass(frozen=True, eq=False)
class Unit:
    """One affine map of the executed graph: [batch norm, [zero padding]] linear [batch norm].

    Attributes:
        linear: the convolution or product.
        after: the batch norm behind it, or None.
        before: the batch norm in front of it, or None.
        pad: explicit zero padding between `before` and `linear`, or None.
    """

    linear: Node
    after: Node | None = None
    before: Node | None = None
    pad: Node | None = None

    @property
    def end(self) -> Node:
        """The node whose value is the unit's output."""
        return self.after or self.linear

    @property
    def head(self) -> Node:
        """The node whose operand is the unit's input."""
        return self.before or self.linear

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product, no convolution."""
        return self.linear.op in _PRODUCTS

    @property
    def inner(self) -> set[Node]:
        """The nodes that disappear into the unit."""
        return {n for n in (self.linear, self.before, self.pad) if n is not None and n is not self.end}


def unit_of(node: Node) -> Unit | None:
    """The unit that ends in `node`, or None."""
    linear, after = node, None
    if node.kind == "batch_norm":
        before = _signal(node)
        if not _takes_batch_norm(before, node):
            return None
        linear, after = before, node
    if not is_affine(linear):
        return None
    if linear.op in _PRODUCTS:
        return Unit(linear, after)
    front = _signal(linear)
    pad = None
    if front.op in ("pad", "constant_pad_nd") and _pads_zeros(front) and front.users == [linear]:
        pad, front = front, _signal(front)
    reader = pad or linear
    if front.kind != "batch_norm" or front.users != [reader]:
        return Unit(linear, after)
    if _takes_batch_norm(_signal(front), front):
        return Unit(linear, after)  # it belongs to the convolution in front of it
    return Unit(linear, after, front, pad)


def is_affine(node: Node) -> bool:
    """Whether the node is a convolution or product of the signal with a weight that doesn't depend on it."""
    if node.kind != "linear":
        return False
    return node.signals() == [node.argument(_FACTORS.get(node.op, "input"))]


def outside(node: Node, upstream: Container[Node]) -> Node:
    """Where relevance at `node` is read when units are one operator: at the unit's end.

    A convolution's value in front of its batch norm has no relevance of its own: it is the unit's.

    Raises:
        InputError: the node is inside a unit that has its batch norm in front.
    """
    if len(node.users) == 1 and _takes_batch_norm(node, node.users[0]) and node.users[0] in upstream:
        return node.users[0]
    reader = node.users[0] if len(node.users) == 1 else None
    if reader is not None and reader.op in ("pad", "constant_pad_nd") and len(reader.users) == 1:
        reader = reader.users[0]
    unit = unit_of(reader) if reader is not None and reader in upstream else None
    if unit is not None and node in (unit.before, unit.pad):
        raise InputError(
            f"Relevance at {node.name!r} ({node.where()}) is not defined: the batch norm and {unit.linear.name!r} "
            f"are one operator to a rule. Ask at {_signal(unit.head).name!r} or {unit.end.name!r}."
        )
    return node


def _signal(node: Node) -> Node:
    return next(n for n in node.operands() if n.dependent)


def _takes_batch_norm(linear: Node, norm: Node) -> bool:
    return (
        is_affine(linear)
        and norm.kind == "batch_norm"
        and linear.op not in _PRODUCTS
        and linear.users == [norm]
    )


def _pads_zeros(node: Node) -> bool:
    return node.argument("mode", "constant") == "constant" and not node.argument("value")
