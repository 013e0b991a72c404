"""Closed: a composite without a base."""

from __future__ import annotations

from collections.abc import Iterable

from relprop.graph.place import Place
from relprop.propagate.composite import Composite, Match
from relprop.rules import (
    AveragePool,
    BatchNorm,
    Gate,
    Gradient,
    Identity,
    MaxPool,
    Norm,
    Rule,
    Scale,
    Shape,
)  # fmt: skip

__all__ = ["Closed", "handed_on"]


class Closed(Composite):
    """A composite without a base: what its rules leave out is refused by name.

    It is built on the gradient base because that one keeps batch norms apart from convolutions.

    Args:
        rules, name: see `Composite`.
    """

    def __init__(self, rules: Iterable[tuple[Match, Rule]], name: str) -> None:
        super().__init__(rules, "gradient", name)

    def rule_for(self, place: Place) -> Rule | None:
        """See `Composite.rule_for`."""
        found = super().rule_for(place)
        return None if isinstance(found, Gradient) else found


def handed_on(add: Rule) -> list[tuple[Match, Rule]]:
    """Rules for everything but linear operators: sums by `add`, average pools by value, the rest hands on."""
    return [
        ("batch_norm", BatchNorm("identity")),
        ("norm", Norm("identity")),
        ("activation", Identity()),
        ("max_pool", MaxPool()),
        ("avg_pool", AveragePool()),
        ("upsample", AveragePool()),
        ("add", add),
        ("gate", Gate()),
        ("scale", Scale()),
        *[(kind, Shape()) for kind in ("shape", "pass", "negate")],
    ]
