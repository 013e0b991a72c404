"""Head: what a network does to its logits at the end, such as a sigmoid, and the way around it.

Rules share out a value in proportion to what it is made of, measured from 0. Behind a sigmoid that misleads: its
output is positive where the logit is negative, so that what spoke against the class would come out as for it.
Methods that propagate relevance therefore start at the logit, with the sign by which the output rises with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.graph import Graph, Node
from relprop.graph.place import Place, label
from relprop.propagate.composite import Composite
from relprop.rules.rule import Rule
from relprop.rules.shape import Shape
from relprop.rules.to_logit import ToLogit
from relprop.tracing.values import Values

__all__ = ["Behind", "Headed", "LogitHead", "head_of"]

#: f(0) != 0, and rising: what stands behind them is no measure of what is in front.
_OFFSET = frozenset("sigmoid hardsigmoid softplus log_sigmoid exp exp2 log log2 log10 logit".split())
#: Offset or not as their limits say.
_LIMITS = frozenset("clamp clamp_min clamp_max hardtanh".split())
#: f(0) = 0, and rising. Those of the second line flatten out: with a number added they are a sigmoid by hand.
_RISING = frozenset("relu leaky_relu relu6 hardshrink softshrink expm1 log1p sqrt".split())
_FLATTENING = frozenset("tanh softsign elu celu selu erf".split())
_ELEMENTWISE = _OFFSET | _LIMITS | _RISING | _FLATTENING
_BOUNDED = frozenset({"relu6", "hardtanh", "clamp"})
_SUMS = frozenset({"add", "sub", "rsub"})
#: Operators that move elements about and bring in none of their own.
_MOVES = frozenset(
    "view _unsafe_view reshape flatten unflatten squeeze unsqueeze permute transpose t numpy_T swapaxes movedim "
    "expand expand_as repeat split split_with_sizes chunk unbind getitem select slice narrow index_select "
    "pixel_shuffle pixel_unshuffle channel_shuffle roll flip view_as reshape_as tile hsplit vsplit index "
    "diagonal".split()
)
#: Those that put several together; `copy` and the scatters stand for `y[:, 0] = p`.
_JOINS = frozenset({"cat", "concat", "stack", "slice_scatter", "select_scatter"})

_PLACES = _MOVES | _JOINS | {"copy"}


@dataclass(frozen=True, eq=False)
class LogitHead:
    """The operators at the end of a network that turn its logits into outputs, one by one.

    Attributes:
        chain: from the logits (not among them) to the output, in order of execution.
        logits: the values that are explained in the outputs' place.
        activations: those of the chain on whose account there is a head.
    """

    chain: tuple[Node, ...]
    logits: tuple[Node, ...]
    activations: tuple[Node, ...]

    def where(self, graph: Graph) -> str:
        """The places of the logits, as a person calls them."""
        return ", ".join(dict.fromkeys(label(graph, node) for node in self.logits))

    def said(self, graph: Graph) -> str:
        """What a reader has to know, in a sentence."""
        ops = " and ".join(dict.fromkeys(node.op for node in self.activations))
        return (
            f"Explained is the value in front of the last {ops} (at {self.where(graph)}), not the output behind "
            "it; positive relevance speaks for a larger output."
        )


@dataclass(frozen=True, eq=False)
class Behind:
    """The logit behind each output of a trace.

    Attributes:
        values: shaped like the output (N, classes, ...).
        signs: +1 where the output rises with its logit, -1 where it falls, 0 for outputs that are constants.
    """

    values: Tensor
    signs: Tensor

    @classmethod
    def of(cls, head: LogitHead, trace: Values) -> Behind:
        """Look up the logits of a trace, moved about as the head moves them."""
        with torch.no_grad(), torch.inference_mode(False):
            found = {node: (trace.value(node), torch.ones_like(trace.value(node))) for node in head.logits}
            for node in head.chain:
                found[node] = _crossed(node, found, trace)
            return cls(*found[head.chain[-1]])


class Headed(Composite):
    """A composite that hands relevance on to the logits unchanged, and from there follows its own rules."""

    def __init__(self, composite: Composite, head: LogitHead) -> None:
        super().__init__(composite.rules, composite.otherwise, composite.name, fuse=composite.fuse)
        self._inner, self._chain = composite, frozenset(head.chain)

    @cached_property
    def adds(self) -> bool:  # type: ignore[override]
        """As the composite itself."""
        return self._inner.adds

    def rule_for(self, place: Place) -> Rule | None:
        """The composite's own rule below the head."""
        if place.node not in self._chain:
            return self._inner.rule_for(place)
        return Shape() if place.node.op in _PLACES or place.node.kind == "pass" else ToLogit()


def head_of(graph: Graph) -> LogitHead | None:
    """The head of a network; None where outputs are explained as they are.

    Walked from the output through element-wise rising functions, sums and products with constants, shape
    operators and joins, until something else. A head is there if one of these functions isn't 0 at 0 (sigmoid,
    softplus, exp), or is made so by a number that is added (``(tanh(x) + 1) / 2``).
    """
    return graph.derived(_find)


def _find(graph: Graph) -> LogitHead | None:
    outputs = [n for n in graph.outputs if isinstance(n, Node) and n.dependent]
    if len(outputs) != 1:
        return None
    whole: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in whole and node is not graph.input and _passes(node):
            whole.add(node)
            stack += _ahead(node)
    last_first = sorted(whole, key=lambda n: -n.index)
    shifted: set[Node] = set()  # a number is added behind them
    bounded: set[Node] = set()  # they are cut at both ends behind
    for node in last_first:
        users = [u for u in node.users if u in whole]
        if any(u in shifted or _adds(u) for u in users):
            shifted.add(node)
        if any(u in bounded or u.op in _BOUNDED for u in users):
            bounded.add(node)
    reasons = {
        n
        for n in whole
        if _is_offset(n) or (n.op in _FLATTENING and n in shifted) or (_adds(n) and n in bounded)
    }
    chain: list[Node] = []
    for node in reversed(last_first):
        if node in reasons or any(n in chain for n in _ahead(node)):
            chain.append(node)
    if not chain:
        return None
    logits = dict.fromkeys(n for node in chain for n in _ahead(node) if n not in chain)
    activations = [n for n in chain if n in reasons and n.op in _ELEMENTWISE] or [
        n for n in chain if n.op in _BOUNDED
    ]
    return LogitHead(tuple(chain), tuple(logits), tuple(activations))


def _passes(node: Node) -> bool:
    """Whether every element of the result comes from one element of a signal, by a rising or falling function."""
    if not node.dependent:
        return False
    signals = node.signals()
    if node.op in _ELEMENTWISE or node.kind in ("pass", "negate"):
        return len(signals) == 1
    if node.op in _SUMS or node.op == "mul":
        return len(signals) == 1
    if node.op == "div":
        return signals == [node.pair[0]] and node.argument("rounding_mode", None) is None
    if node.op in _JOINS:
        return True
    if node.op == "copy":
        return bool(_ahead(node))
    return node.op in _MOVES and (len(signals) == 1 or node.op.endswith("_as"))


def _ahead(node: Node) -> list[Node]:
    """The signals that the elements of the result come from."""
    signals = node.signals()
    if node.op == "copy":
        return [n for n in signals if n is node.argument("src")]
    return signals if node.op in _JOINS else signals[:1]


def _adds(node: Node) -> bool:
    return node.op in _SUMS


def _is_offset(node: Node) -> bool:
    if node.op not in _LIMITS:
        return node.op in _OFFSET
    if len(node.operands()) > 1:
        return True  # limits that are tensors
    return bool(node.run(lambda _: torch.zeros(1)) != 0)


def _crossed(node: Node, found: dict[Node, tuple[Tensor, Tensor]], trace: Values) -> Any:
    """The logits (and the signs) behind one operator's result."""
    if node.op in _PLACES:
        return _moved(node, found, trace, 0), _moved(node, found, trace, 1)
    (signal,) = _ahead(node)
    value, sign = found[signal]
    turn = _turn(node, trace)
    shape = torch.broadcast_shapes(value.shape, getattr(turn, "shape", ()))
    return value.expand(shape), (sign * turn).expand(shape)


def _moved(node: Node, found: dict[Node, Any], trace: Values, which: Literal[0, 1]) -> Any:
    def lookup(operand: Node) -> Any:
        if operand in found:
            held = found[operand]
            return held[which]
        value = trace.value(operand)
        return torch.zeros_like(value) if node.op in _JOINS else value

    return node.run(lookup)


def _turn(node: Node, trace: Values) -> Any:
    """1 where the result rises with the signal, -1 where it falls."""
    if node.kind == "negate":
        return -1.0
    if node.op in _SUMS:
        alpha = float(node.argument("alpha"))
        weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[node.op]
        own = next(w for a, w in zip(node.pair, weights, strict=True) if isinstance(a, Node) and a.dependent)
        other = next(a for a in node.pair if not (isinstance(a, Node) and a.dependent))
        spread = torch.ones_like(trace.value(other)).sign() if isinstance(other, Node) else 1.0
        return (1.0 if own > 0 else -1.0 if own < 0 else 0.0) * spread
    if node.op in ("mul", "div"):
        other = next(a for a in node.pair if not (isinstance(a, Node) and a.dependent))
        value = trace.value(other) if isinstance(other, Node) else torch.tensor(float(other))
        return value.sign()
    return 1.0
