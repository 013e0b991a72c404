"""Negated, Less: a rule with the weights' signs turned over, or one output's weights taken off all others."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from torch import Tensor

from relprop.errors import InputError
from relprop.graph import WeightCache
from relprop.rules.rule import Message, SharingRule
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["Less", "Negated"]


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
        # What the rule hands on is its own kind of message.
        self.gives_multiplier = rule.gives_multiplier  # type: ignore[misc]

    def prepare(self, site: Site) -> Message:
        linear = site.linear
        bias = None if linear.bias is None else -linear.bias
        turned = copy(site)
        # An empty cache of its own: parts of the real weights are kept under the same key.
        turned._linear = replace(linear, weight=-linear.weight, bias=bias, cache=WeightCache(), known=None)
        return self._inner.prepare(turned)


class Less(SharingRule):
    r"""The given rule of a convolution or product, as if each output were itself less one of them.

    .. math:: \bar w_{ij} = w_{ij} - w_{ik}

    Relevance at output j is then that of the difference j - k. The forward run is not repeated, as for `Negated`.
    Rules that look at the output's value, or at the bias, don't fit: it is `ZPlus` and `ZBox` that do.

    Args:
        rule: a rule for linear operators.
        rival: k.

    Raises:
        InputError: an operator whose outputs don't read the same inputs (groups), or a transposed convolution.
    """

    def __init__(self, rule: SharingRule, rival: int) -> None:
        self.rule, self.rival = rule, rival
        self.gives_multiplier = rule.gives_multiplier  # type: ignore[misc]
        self._rows: tuple[Tensor, Tensor | None] | None = None

    def cross(self, site: Site, flow: Flow) -> list[Flow]:
        linear, k = site.linear, self.rival
        if linear.conv is not None and (linear.conv.transposed or linear.conv.groups > 1):
            raise InputError(
                f"Expected a last operator whose outputs read the same inputs for versus= but {site.node.where()} "
                "is transposed or has groups. Take a method that starts from two classes, such as lrp-composite."
            )
        # Taken here: below there may be a part of the outputs alone, without the rival.
        bound = copy(self)
        bias = linear.bias
        bound._rows = linear.part("all")[k : k + 1], None if bias is None else bias[k : k + 1]
        return super(Less, bound).cross(site, flow)

    def prepare(self, site: Site) -> Message:
        assert self._rows is not None
        linear, (weight, bias) = site.linear, self._rows
        compared = copy(site)
        compared._linear = replace(
            linear,
            weight=linear.part("all") - weight,
            scale=None,
            scale_in=None,
            bias=None if linear.bias is None or bias is None else linear.bias - bias,
            cache=WeightCache(),
            known=None,
        )
        return self.rule.prepare(compared)
