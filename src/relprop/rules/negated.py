"""Negated: a rule with the weights' signs turned over, for the dual of a class."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from relprop.graph import WeightCache
from relprop.rules.rule import Message, SharingRule
from relprop.tracing.site import Site

__all__ = ["Negated"]


class Negated(SharingRule):
    """The given rule of a convolution or product, as if its weights had the other sign.

    Contributions against the class become contributions for its dual. The forward run is not
    repeated: the inputs are
    those of the real network, whose parameters are left alone. With `Excitation` or `ZPlus` (which have
    no bias) the shares are those of the negative weights.

    Args:
        rule: a rule for linear operators.
    """

    def __init__(self, rule: SharingRule) -> None:
        self.rule = rule
        self._inner = rule

    def prepare(self, site: Site) -> Message:
        linear = site.linear
        bias = None if linear.bias is None else -linear.bias
        turned = copy(site)
        # An empty cache of its own: parts of the real weights are kept under the same key.
        turned._linear = replace(linear, weight=-linear.weight, bias=bias, cache=WeightCache())
        return self._inner.prepare(turned)
