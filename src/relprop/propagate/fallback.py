"""Fallback: what happens where a composite says nothing."""

from __future__ import annotations

from typing import Literal

from relprop.graph.place import Place
from relprop.rules.activation import Identity
from relprop.rules.gradient import Gradient
from relprop.rules.homogeneous import Homogeneous
from relprop.rules.linear import Epsilon, ZPlus
from relprop.rules.merge import Add
from relprop.rules.norm import BatchNorm, Norm
from relprop.rules.pooling import AveragePool, MaxPool
from relprop.rules.product import Gate, Product, Scale
from relprop.rules.rule import Rule
from relprop.rules.shape import Shape

__all__ = ["Otherwise", "fallback_rule", "handed_on"]

Otherwise = Literal["value", "positive", "gradient"] | None

_HANDS_ON = BatchNorm("identity")
_COMMON: tuple[Rule, ...] = (Identity(), MaxPool(), AveragePool(), Homogeneous(), Shape())
_BY_VALUE = AveragePool()
_PRODUCTS = (Gate(), Scale(), Product())
_BOUNDED = (Gate("absolute"), Scale("absolute"), Product("absolute"))
_FALLBACKS: dict[str | None, tuple[Rule, ...]] = {
    "value": (Epsilon(0.0), Add("value"), BatchNorm("affine"), Norm("affine"), *_PRODUCTS, *_COMMON),
    # Positive-part rules lose least this way: adds by |x|, lone norms untouched.
    "positive": (ZPlus(), Add("absolute"), _HANDS_ON, Norm("identity"), *_BOUNDED, *_COMMON),
    "gradient": (Gradient(),),
    None: (),
}


def fallback_rule(otherwise: Otherwise, place: Place) -> Rule | None:
    """The fallback's rule for an operator, or None where it has none."""
    return next((rule for rule in _FALLBACKS[otherwise] if rule.accepts(place)), None)


def handed_on(add: Rule, batch_norm: Rule = _HANDS_ON, average: Rule = _BY_VALUE) -> list[tuple[str, Rule]]:
    """Rules for everything but linear operators: sums by `add`, average pools by `average`, the rest hands on.

    For composites without a fallback (``otherwise=None``), which refuse whatever else there is.
    """
    return [
        ("batch_norm", batch_norm),
        ("norm", Norm("identity")),
        ("activation", Identity()),
        ("max_pool", MaxPool()),
        ("avg_pool", average),
        ("upsample", average),
        ("add", add),
        ("homogeneous", Homogeneous()),
        ("gate", Gate("absolute")),
        ("scale", Scale("absolute")),
        ("product", Product("absolute")),
        *[(kind, Shape()) for kind in ("shape", "pass", "negate")],
    ]
