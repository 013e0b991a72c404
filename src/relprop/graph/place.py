"""Place: where an operator stands in the graph, and what a product of two values is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relprop.graph.attention import attention_weights
from relprop.graph.bottlenecks import bottleneck
from relprop.graph.fusion import Fused, is_affine
from relprop.graph.node import Graph, Node

__all__ = [
    "Place",
    "Places",
    "factors",
    "falls",
    "gate_signal",
    "label",
    "product_kind",
    "read_at_places",
    "resampled",
]


@dataclass(frozen=True)
class Place:
    """Where an operator stands among the linear operators of the graph.

    Attributes:
        node: the operator.
        kind: its kind, with products resolved ("gate", "scale").
        first: linear, and no linear operator lies between it and the model's input.
        last: linear, and no linear operator lies between it and the model's output.
        depth: 0 at the input, 1 at the output, counted in linear operators on the longest path.
        bottlenecks: the network is built of linear bottlenecks (`relprop.graph.bottlenecks`).
        attends: the network has attention (`relprop.graph.attention`).
    """

    node: Node
    kind: str
    first: bool
    last: bool
    depth: float
    bottlenecks: bool = False
    attends: bool = False


class Places:
    """Finds the place of a node; computes depths once."""

    def __init__(self, graph: Graph) -> None:
        self._known: dict[Node, Place] = {}
        self.before: dict[Node, int] = {}
        self.after: dict[Node, int] = {}
        self.bottlenecks = bottleneck(graph) is not None
        self.attends = bool(attention_weights(graph))
        for node in graph.nodes:
            ahead = max((self.before[n] + _is_linear(n) for n in node.signals()), default=0)
            self.before[node] = ahead
        for node in reversed(graph.nodes):
            self.after[node] = max((self.after[u] + _is_linear(u) for u in node.users), default=0)

    def __call__(self, fused: Fused) -> Place:
        """The place of a step: that of its main operator."""
        if fused.main not in self._known:
            self._known[fused.main] = self._found(fused.main)
        return self._known[fused.main]

    def _found(self, it: Node) -> Place:
        before, after = self.before[it], self.after[it]
        total = before + after
        kind = it.kind
        if it.is_complex or any(n.is_complex for n in it.operands()):
            kind = "other"
        elif kind == "multiply":
            kind = product_kind(it)
        elif kind == "linear" and not is_affine(it):
            # By a kernel or a matrix that depends on the input. What is added besides has no place in a product.
            plain = it.op != "addmm" and it.argument("bias", None) is None
            kind = product_kind(it) if plain else "other"
        elif (
            kind == "activation" and it.op == "pow" and not isinstance(it.argument("exponent"), (int, float))
        ):
            kind = "other"
        elif kind == "activation" and it.op.startswith("clamp") and len(it.signals()) > 1:
            kind = "homogeneous"  # by limits that are signals: the larger or the smaller of two
        elif kind == "homogeneous" and it.argument("ord", it.argument("p", None)) == 0:
            kind = "other"  # counts the values that aren't 0
        elif kind == "upsample" and it.signals() and read_at_places(it) not in it.signals():
            kind = "other"  # a constant, read at places that are computed from the input
        elif falls(it):
            kind = "other"
        return Place(
            node=it,
            kind=kind,
            first=kind == "linear" and before == 0,
            last=kind == "linear" and after == 0,
            depth=before / total if total else 1.0,
            bottlenecks=self.bottlenecks,
            attends=self.attends,
        )


def _is_linear(node: Node) -> int:
    """1 for what sums products of numbers: layers, and products of matrices by all functions of torch alike."""
    return int(node.dependent and (node.kind == "linear" or node.op in ("bmm", "einsum")))


def product_kind(node: Node) -> str:
    """What a product is to a rule.

    "scale": one operand depends on the input. "gate": one of two is a gate, or a divisor. "product": two signals
    (or more), or two gates. "other": a step function, or a quotient by the signal alone.
    """
    signals = [a for a in factors(node) if isinstance(a, Node) and a.dependent]
    if node.op == "div":
        if node.argument("rounding_mode", None) is not None or falls(node):
            return "other"  # nothing is in proportion to the signal
        return "scale" if len(signals) == 1 else "gate"  # by a norm computed from the signal, for example
    if len(signals) == 1:
        return "scale"
    return "product" if len(signals) != 2 or _gate_of(*signals) is None else "gate"


def read_at_places(node: Node) -> Node:
    """The value that an interpolation reads, apart from the places where it does."""
    values: Node = node.argument("input", node.argument("self", None))
    return values


def resampled(graph: Graph) -> frozenset[Node]:
    """The values that are computed from a map read at other places: their positions aren't the input's.

    Such as a box of a map that was scaled to a fixed size (RoIAlign), or a map that was turned upright.
    """
    return graph.descendants([node for node in graph.nodes if node.op == "grid_sampler" and node.dependent])


def falls(node: Node) -> bool:
    """Whether a value is the smaller, the larger its signal: no share of it can be the signal's.

    A number over the signal, (s + 1) / (s + 0.1), e to a power that is never above 0: similarities made of
    distances.
    """
    if _is_negative_power(node):
        return True
    if node.op == "exp":
        return node.dependent and node.signals()[0].bounds[1] <= 0
    if node.op != "div":
        return False
    above, below = factors(node)
    if not (isinstance(above, Node) and above.dependent):
        return isinstance(below, Node) and below.dependent
    return _shifted(above) is not above and _is_same(_shifted(above), _shifted(below))


def _shifted(value: Any) -> Any:
    """What a constant was added to, once or several times; the value itself where none was."""
    while isinstance(value, Node) and value.kind == "add" and len(value.signals()) == 1:
        value = value.signals()[0]
    return value


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values are one, such as the same part of the same value taken twice."""
    if not (isinstance(a, Node) and isinstance(b, Node)):
        return type(a) is type(b) and bool(a == b)
    alike = a.kind in ("shape", "pass") and a.target == b.target and len(a.args) == len(b.args)
    return a is b or (alike and all(map(_is_same, a.args, b.args)))


def factors(node: Node) -> list[Any]:
    """What a product multiplies: nodes and plain numbers, in order."""
    if node.op == "einsum":
        return list(node.argument("tensors"))
    usual = ("self", "other") if node.kind == "multiply" or node.op == "matmul" else ("input", "weight")
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "bmm": ("self", "mat2")}.get(node.op, usual)
    return [node.argument(name) for name in names]


def gate_signal(node: Node) -> Node:
    """The operand of a product with one signal that carries the signal."""
    first, *rest = [a for a in factors(node) if isinstance(a, Node) and a.dependent]
    if node.op == "div" or not rest:
        return first
    return rest[0] if _gate_of(first, rest[0]) is first else first


def _gate_of(a: Node, b: Node) -> Node | None:
    """Which of two signals is the gate: the one that stays within the narrower bounds; None where neither does.

    It goes by what the graph proves of the values, not by how the gate is written: a sigmoid, a softmax,
    (1 + tanh) / 2, 1 / (1 + exp), relu6(x + 3) / 6. A product with 1 / b is a quotient by b, and weights of
    attention that a layer has mixed over the heads (talking heads, Shazeer et al. 2020, arXiv 2003.02436) are
    weights of attention.
    """
    turned = [n for n in (a, b) if _is_reciprocal(n)]
    if len(turned) == 1:
        return turned[0]
    if a is b:
        return None
    widths = [n.bounds[1] - n.bounds[0] for n in (a, b)]
    if widths[0] == widths[1]:
        mixed = [n for n in (a, b) if _mixes_softmax(n)]
        return mixed[0] if len(mixed) == 1 else None
    return a if widths[0] < widths[1] else b


def _is_reciprocal(node: Node) -> bool:
    """Whether the value is 1 over something, whatever has been scaled or reshaped since."""
    while node.kind in ("shape", "pass") or (node.op == "mul" and len(node.signals()) == 1):
        if not node.signals():
            return False
        node = node.signals()[0]
    return _is_negative_power(node) or (node.op == "div" and not isinstance(node.pair[0], Node))


def _is_negative_power(node: Node) -> bool:
    exponent = node.argument("exponent") if node.op == "pow" else None
    return node.op in ("rsqrt", "reciprocal") or (isinstance(exponent, (int, float)) and exponent < 0)


def _mixes_softmax(node: Node) -> bool:
    """Whether the value is a softmax, or what layers and constants alone make of one."""
    while node.kind in ("shape", "pass", "batch_norm", "add") or node.op == "mul" or is_affine(node):
        if len(node.signals()) != 1:
            return False
        node = node.signals()[0]
    return node.kind == "softmax"


def label(graph: Graph, node: Node) -> str:
    """What a person calls this value: the outermost module that returns it, else the node's name."""
    if node is graph.input:
        return "input"
    for path in node.modules:
        if path and graph.find(path) is node:
            return path
    return node.name
