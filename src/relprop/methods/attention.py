"""The two published ways of relevance through attention, as rules of a composite."""

from __future__ import annotations

from typing import Literal

from relprop.checks import check_choice
from relprop.graph.place import Place
from relprop.propagate.composite import Match
from relprop.rules import Gate, Product, Rule, Scale, Softmax

__all__ = ["Attention", "attention_rules"]

Attention = Literal["constant", "shared"]
"""How relevance crosses softmax(q kᵀ) v.

"constant": the weights are constants and the values take all, which conserves (CP-LRP, Ali et al. 2022,
arXiv 2202.07304). "shared": weights and values take half each, the softmax by its Taylor expansion, whose constant
is booked as bias, and queries and keys half each again (AttnLRP, Achtibat et al. 2024, arXiv 2402.05602).
"""


def attention_rules(attention: Attention) -> list[tuple[Match, Rule]]:
    """Rules for products and softmax, to stand in front of those for linear operators.

    Raises:
        InputError: another word.
    """
    check_choice("attention", attention, ("constant", "shared"))
    shared: list[tuple[Match, Rule]] = [("softmax", Softmax()), (_multiplies_matrices, Product())]
    plain: list[tuple[Match, Rule]] = [("gate", Gate()), ("scale", Scale()), ("product", Product())]
    return plain if attention == "constant" else shared + plain


def _multiplies_matrices(place: Place) -> bool:
    return place.kind in ("gate", "product") and place.node.op not in ("mul", "div")
