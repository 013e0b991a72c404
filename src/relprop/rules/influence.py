r"""Influence: relevance by how much a weight matters, whatever its sign, then shifted back to its total.

Notation as for convolutions and products: :math:`t_{ij} = w_{ij} x_i`, :math:`z^+_j = \sum_i t_{ij}^+`,
:math:`z^-_j = \sum_i t_{ij}^-`. No bias anywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from relprop.checks import check_flag
from relprop.rules.rule import Message, SharingRule
from relprop.rules.section import shift
from relprop.tracing.flow import Flow, safe_divide
from relprop.tracing.ledger_sums import plain_sums, totals
from relprop.tracing.linear_map import LinearMap
from relprop.tracing.masks import above, picked
from relprop.tracing.quotient import Quotient
from relprop.tracing.site import Site

__all__ = ["AbsoluteInfluence", "RelativeInfluence"]


class AbsoluteInfluence(SharingRule):
    r"""Shares by the size of contributions: RAP's first step.

    .. math:: R_i = \sum_j \frac{|t_{ij}|}{\sum_{i'} |t_{i'j}|} R_j

    Source: Nam et al. 2020, in the form of the published code. Conserves; a unit without any
    contribution loses what it was given ("lost").
    """

    def prepare(self, site: Site) -> Message:
        linear, x = site.linear, site.x
        weight = linear.part("all").abs()
        quotient = Quotient(site, linear.forward(x.abs(), weight))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            return linear.backward(s, weight, x).mul_(x.sign())

        return message


class RelativeInfluence(SharingRule):
    r"""RAP's rule below its first step: positive and negative influence, and a uniform shift.

    .. math:: C_i = \sum_j \frac{t_{ij}^+}{z^+_j} R^+_j + \frac{t_{ij}^-}{z^-_j} R^-_j
        + \frac{|t_{ij}^-|}{z^+_j - z^-_j} R_j, \qquad
        R_i = C_i - \frac{\sum C - \sum R_j}{\#(C \ne 0)} \text{ where } C_i \ne 0

    (R± are the parts of R by sign). With `one_way`, negative relevance of matrix products follows
    positive contributions too (:math:`R_j` in place of :math:`R^+_j` in the first term, the second left
    out), as in the published code, where products and convolutions differ.

    Source: Nam et al. 2020, in the form of the published code. The shift keeps the total; only where
    nothing at all has a share it is lost.

    Args:
        one_way: see above.
    """

    gives_multiplier = False

    def __init__(self, *, one_way: bool = False) -> None:
        check_flag("one_way", one_way)
        self.one_way = one_way

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        flow = flow.relevance(site.y) if flow.multiplier else flow
        sums = [plain_sums(part) for part in flow.parts]
        (shared,) = super().cross(site, flow)
        for part, (total, size) in zip(shared.parts, sums, strict=True):
            site.account.arrive(total, size)
            alive = torch.ne(part, 0, out=torch.empty_like(part))
            shift(part, totals(part) - total, alive)
            site.account.book("lost", total * (alive.flatten(2).amax(-1) == 0))
        return [shared]

    def prepare(self, site: Site) -> Message:
        """See `LinearRule.prepare`; messages are relevance, not yet shifted."""
        linear, x = site.linear, site.x
        nonneg = site.nonneg
        up = site.sum("z+", lambda: _contributions(linear, x, nonneg, 1))
        down = site.sum("z-", lambda: _contributions(linear, x, nonneg, -1))
        both = up - down
        one_way = self.one_way and linear.conv is None

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s_up = safe_divide(part if one_way else part.clamp(min=0), up)
            s_down = safe_divide(part, both).neg_()
            if not one_way:
                s_down += safe_divide(part.clamp(max=0), down)
            c = linear.backward(s_up, "+", x)
            c += linear.backward(s_down, "-", x)
            if not nonneg:
                other = linear.backward(s_up, "-", x)
                other += linear.backward(s_down, "+", x)
                c = picked(above(x), c, other)
            return c.mul_(x)

        return message


def _contributions(linear: LinearMap, x: Tensor, nonneg: bool, sign: int) -> Tensor:
    """z+ (sign 1) or z- (sign -1)."""
    same, other = (linear.part("+"), linear.part("-"))[::sign]
    if nonneg:
        return linear.forward(x, same)
    return linear.forward(x.clamp(min=0), same).add_(linear.forward(x.clamp(max=0), other))
