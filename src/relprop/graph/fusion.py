"""Fused: neighbouring operators that are one step to a rule, such as convolution, batch norm and ReLU."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from relprop.errors import InputError
from relprop.graph.node import Graph, Node

__all__ = ["PRODUCTS", "Fused", "fuse", "is_affine", "outside", "rectifiers"]

PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm"})
"""Linear operators that are matrix products."""

_FACTORS = {"matmul": "self", "mm": "self", "addmm": "mat1"}  # what is multiplied by the weight; else "input"
_PADS = ("pad", "constant_pad_nd")
_RECTIFIED = ("linear", "batch_norm", "add")


@dataclass(frozen=True, eq=False)
class Fused:
    """One step of a walk: [batch norm] [zero padding] operator [batch norm] [ReLU].

    Batch norms and padding belong to convolutions and products only, which are one affine map with them.

    Attributes:
        main: the operator itself.
        norm: the batch norm behind it, or None.
        norm_before: the batch norm in front of it, or None.
        pad: explicit zero padding in front of `main` (behind `norm_before`, where both are), or None. As in a
            convolution that pads by itself, nothing of relevance lands on it.
        relu: the ReLU that alone reads it, or None.
    """

    main: Node
    norm: Node | None = None
    norm_before: Node | None = None
    pad: Node | None = None
    relu: Node | None = None

    @property
    def nodes(self) -> tuple[Node | None, ...]:
        """Its operators by place, in order of execution: equal for equal steps."""
        return self.norm_before, self.pad, self.main, self.norm, self.relu

    @property
    def last(self) -> Node:
        """The last operator in front of the ReLU: where both are, the batch norm."""
        return self.norm or self.main

    @property
    def end(self) -> Node:
        """The node whose value is the step's output."""
        return self.relu or self.last

    @property
    def head(self) -> Node:
        """The node whose operand is the step's input."""
        return self.norm_before or self.pad or self.main

    @property
    def is_product(self) -> bool:
        """Whether the operator is a matrix product."""
        return self.main.op in PRODUCTS

    @property
    def name(self) -> str:
        """How tables call it: "conv2d + batch_norm + relu"."""
        return " + ".join(n.op for n in self.nodes if n is not None)

    @property
    def inner(self) -> set[Node]:
        """The nodes that disappear into the step."""
        nodes = (self.norm_before, self.pad, self.main, self.norm)
        return {n for n in nodes if n is not None and n is not self.end}


def fuse(node: Node) -> Fused:
    """The step that ends in `node`: a convolution or product with its batch norms, or the node alone."""
    linear, norm = node, None
    if node.kind == "batch_norm":
        before = _signal(node)
        if not _takes_batch_norm(before, node):
            return Fused(node)
        linear, norm = before, node
    if not is_affine(linear):
        return Fused(node)
    if linear.op in PRODUCTS:
        return Fused(linear, norm)
    front = _signal(linear)
    pad = None
    if _pads_zeros(front, linear) and front.users == [linear]:
        pad, front = front, _signal(front)
    reader = pad or linear
    if front.kind != "batch_norm" or front.users != [reader]:
        return Fused(linear, norm, None, pad)
    if _takes_batch_norm(_signal(front), front):
        return Fused(linear, norm, None, pad)  # it belongs to the convolution in front of it
    return Fused(linear, norm, front, pad)


def rectifiers(graph: Graph) -> dict[Node, Node]:
    """Every ReLU that alone reads a convolution, product, batch norm or sum, with the value it reads.

    The value before such a ReLU is stored nowhere: the ReLU's output is written over it.
    """
    return graph.derived(_rectifiers)


def _rectifiers(graph: Graph) -> dict[Node, Node]:
    outputs = [n for n in graph.outputs if isinstance(n, Node)]
    found = {}
    for node in graph.nodes:
        if node.op == "relu" and node.kind == "activation":
            (z,) = node.operands()
            if z.users == [node] and z not in outputs and z.kind in _RECTIFIED:
                found[node] = z
    return found


def is_affine(node: Node) -> bool:
    """Whether the node is a convolution or product of the signal with a weight that doesn't depend on it."""
    if node.kind != "linear":
        return False
    return node.signals() == [node.argument(_FACTORS.get(node.op, "input"))]


def outside(node: Node, upstream: Container[Node]) -> Node:
    """Where relevance at `node` is read when convolution and batch norm are one step: at the step's end.

    A convolution's value in front of its batch norm has no relevance of its own: it is the step's.

    Raises:
        InputError: the node is inside a step that has its batch norm or its padding in front.
    """
    if len(node.users) == 1 and _takes_batch_norm(node, node.users[0]) and node.users[0] in upstream:
        return node.users[0]
    reader = node.users[0] if len(node.users) == 1 else None
    if reader is not None and reader.op in _PADS and len(reader.users) == 1:
        reader = reader.users[0]
    if reader is None or reader not in upstream:
        return node
    fused = fuse(reader)
    if node in (fused.norm_before, fused.pad):
        raise InputError(
            f"Relevance at {node.name!r} ({node.where()}) is not defined: {node.op} and {fused.main.name!r} "
            f"are one operator to a rule. Ask at {_signal(fused.head).name!r} or {fused.end.name!r}."
        )
    return node


def _signal(node: Node) -> Node:
    return next(n for n in node.operands() if n.dependent)


def _takes_batch_norm(linear: Node, norm: Node) -> bool:
    return (
        is_affine(linear)
        and norm.kind == "batch_norm"
        and linear.op not in PRODUCTS
        and linear.users == [norm]
    )


def _pads_zeros(node: Node, conv: Node) -> bool:
    """Whether a node adds zeros (and cuts nothing off) along the axes that a convolution slides over."""
    if node.op not in _PADS or node.argument("mode", "constant") != "constant" or node.argument("value"):
        return False
    digits = [c for c in conv.op if c.isdigit()]
    axes = int(digits[0]) if digits else len(conv.argument("stride"))
    pads = node.argument("pad")
    return len(pads) <= 2 * axes and all(isinstance(n, int) and n >= 0 for n in pads)
