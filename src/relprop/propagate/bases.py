"""What happens where a composite says nothing: three bases."""

from __future__ import annotations

from typing import Literal

from relprop.graph.place import Place
from relprop.rules.activation import Identity
from relprop.rules.gradient import Gradient
from relprop.rules.linear import Epsilon, ZPlus
from relprop.rules.merge import Add, Gate, Scale
from relprop.rules.norm import BatchNorm, Norm
from relprop.rules.pooling import AveragePool, MaxPool
from relprop.rules.rule import Rule
from relprop.rules.shape import Shape

__all__ = ["base_rule"]

_COMMON: tuple[Rule, ...] = (Identity(), MaxPool(), AveragePool(), Gate(), Scale(), Shape())
_BASES: dict[str, tuple[Rule, ...]] = {
    "value": (Epsilon(0.0), Add("value"), BatchNorm("affine"), Norm("affine"), *_COMMON),
    # Positive-part rules lose least this way: adds by |x|, lone norms untouched.
    "positive": (ZPlus(), Add("absolute"), BatchNorm("identity"), Norm("identity"), *_COMMON),
    "gradient": (Gradient(),),
}


def base_rule(base: Literal["value", "positive", "gradient"], place: Place) -> Rule | None:
    """The base's rule for an operator, or None where it has none."""
    return next((rule for rule in _BASES[base] if rule.accepts(place)), None)
