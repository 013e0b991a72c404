"""Rules for products: with gates, with constants, and of signals, element by element or as matrices."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.graph import Node
from relprop.graph.place import Place, factors, gate_signal
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow, safe_divide, sum_to_shape
from relprop.tracing.site import Site

__all__ = ["Gate", "Product", "Scale", "Softmax"]

By = Literal["value", "absolute"]
_ELEMENTWISE = ("mul", "div")


class Product(Rule):
    r"""A product of n signals: each gets an equal part of the relevance, in proportion to its own values.

    Element by element, y = a b: :math:`R_a = R_b = R / 2`. Of matrices, :math:`y_{ij} = \sum_k a_{ik} b_{kj}`:

    "value": :math:`R_{a,ik} = \frac{1}{2} \sum_j a_{ik} b_{kj} R_{ij} / y_{ij}`;
    "absolute": with |a|, |b| and :math:`\sum |a| |b|` in their places: bounded, and keeps signs.

    Both conserve; "value" loses what lies where y = 0. Source: Achtibat et al. 2024 (AttnLRP, arXiv 2402.05602),
    propositions 3.2 and 3.3, without their stabiliser; "absolute" is ours, as in `Add`.

    Args:
        by: one of the words above.

    Raises:
        InputError: another word.
    """

    kinds = frozenset({"product", "gate"})

    def __init__(self, by: By = "value") -> None:
        check_choice("by", by, ("value", "absolute"))
        self.by = by

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        count = len(site.signals)
        if not flow.multiplier and site.node.op in _ELEMENTWISE:
            shapes = [site.input(i).shape for i in range(count)]
            return [
                Flow([sum_to_shape(p / count, s) for p in flow.parts], False, owned=False) for s in shapes
            ]
        return _shared_out(site, flow, self.by, count)


class Gate(Rule):
    """A product of a signal and a gate computed from it: all relevance goes to the signal.

    The gate (the operand that stays within the narrower bounds, such as a sigmoid or the weights of attention;
    a divisor) is taken as a constant. Conserves. Sources: Arras et al. 2017 ("signal takes all"); for attention
    Ali et al. 2022 (arXiv 2202.07304).

    Args:
        by: how a sum of gated values is shared out, where the product is one of matrices: see `Product`.

    Raises:
        InputError: another word.
    """

    kinds = frozenset({"gate"})

    def __init__(self, by: By = "value") -> None:
        check_choice("by", by, ("value", "absolute"))
        self.by = by

    def routes(self, place: Place, node: Node) -> list[Node]:
        """The signal only."""
        return [gate_signal(node)]

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        if site.node.op not in _ELEMENTWISE:
            return _shared_out(site, flow, self.by, 1)
        shape = site.x.shape
        if not flow.multiplier:
            return [Flow([sum_to_shape(p, shape) for p in flow.parts], False, owned=False)]
        other = _other(site)
        return [Flow([sum_to_shape(p * other, shape) for p in flow.parts], True)]


class Scale(Gate):
    """A product with (or a quotient by) a parameter or a number: relevance passes unchanged.

    Matrix products whose constant differs from sample to sample are shared out as a `Gate` does; all others with
    constants are layers (`relprop.graph.layering`).
    """

    kinds = frozenset({"scale"})


class Softmax(Rule):
    r"""Softmax by its first-order Taylor expansion: the weights' relevance becomes that of the scores.

    :math:`R_i = x_i (R_i^{out} - s_i \sum_j R_j^{out})`. What the constant of the expansion holds is booked as
    bias, so that the account closes; scores of -inf (masked) get none. Source: Achtibat et al. 2024 (AttnLRP),
    proposition 3.1.

    Only inside the network: a softmax at its end is refused, as everywhere.
    """

    kinds = frozenset({"softmax"})

    def accepts(self, place: Place) -> bool:
        """Whether something reads the softmax's result."""
        return super().accepts(place) and bool(place.node.users)

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        found = []
        for part in site.multipliers(flow):
            backs = site.vjp(part)
            site.book_beyond_tangent(part, backs)
            found.append(backs[0])
        return [Flow(found, True)]


def _shared_out(site: Site, flow: Flow, by: By, count: int) -> list[Flow]:
    """Each signal's 1 / count of the relevance, in proportion to what its values contribute."""
    if by == "value":
        pulled = [site.vjp(p) for p in site.multipliers(flow)]
        return [Flow([p[i] / count for p in pulled], True, owned=False) for i in range(len(site.signals))]
    signals = set(site.signals)
    sizes = [site.input(i).abs() for i in range(len(site.signals))]

    def product(*leaves: Tensor) -> Any:
        following = iter(leaves)
        return site.node.run(lambda n: next(following) if n in signals else _size(site.trace.value(n)))

    with torch.no_grad():
        total = product(*sizes)
    found: list[list[Tensor]] = []
    for part in flow.relevance(site.y).parts:
        site.book("lost", part * (total == 0))
        found.append(site.vjp(safe_divide(part, total), product, at=sizes))
    return [Flow([p[i] * (size / count) for p in found], False) for i, size in enumerate(sizes)]


def _size(value: Any) -> Any:
    return value.abs() if isinstance(value, Tensor) else value


def _other(site: Site) -> Tensor | float:
    """What the signal is multiplied by."""
    node, signal = site.node, site.signals[0]
    a, b = factors(node)
    other = site.constant(b if a is signal else a)
    factor = other.to(site.y.dtype) if isinstance(other, Tensor) else float(other)
    return 1 / factor if node.op == "div" else factor
