"""Streams: rules that carry relevance through a part of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.engine.composite import Composite, Place
from relprop.engine.flow import Flow
from relprop.engine.plan import Plan, Step
from relprop.engine.quotient import Quotient
from relprop.engine.site import Site
from relprop.graph import Node
from relprop.rules import Rule, ZBox, ZPlus
from relprop.rules.rule import LinearRule, Message

__all__ = ["FLOOR", "Joins", "NearbyBox", "Stream", "ZPlusPart", "reads_pixels"]

FLOOR = 1e-4
"""The least part of a term: where a stream has no term of its own, it takes the plain rule's way."""


class ZPlusPart(LinearRule):
    r"""The z+ rule through a part of each input.

    .. math:: R_i = \sum_j \frac{(w_{ij} e_i x_i)^+}{\sum_{i'} (w_{i'j} e_{i'} x_{i'})^+} R_j, \qquad
        10^{-4} \le e \le 1

    No bias; conserves but for units without positive contributions ("lost").

    Args:
        share: e, shaped like the input.
    """

    def __init__(self, share: Tensor) -> None:
        self._share = share

    def prepare(self, site: Site) -> Message:
        """See `LinearRule.prepare`."""
        linear, x = site.linear, site.x
        share = self._share.clamp(min=FLOOR)
        part = x * share
        up = linear.forward(part if site.nonneg else part.clamp(min=0), linear.part("+"))
        if not site.nonneg:
            up += linear.forward(part.clamp(max=0), linear.part("-"))
        quotient = Quotient(site, up)

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            c = linear.backward(s, linear.part("+"), x)
            if not site.nonneg:
                c = torch.where(x > 0, c, linear.backward(s, linear.part("-"), x))
            return c.mul_(share)

        return message


class NearbyBox(LinearRule):
    r"""The z^B rule with the box that each pixel goes through in its own and the neighbouring frames.

    .. math:: R_i = \sum_j \frac{u_i w^+_{ij} - d_i w^-_{ij}}{\sum_{i'} u_{i'} w^+_{i'j} - d_{i'} w^-_{i'j}} R_j,
        \qquad u_t = x_t - \min_{|τ| \le 1} x_{t+τ}, \quad d_t = \max_{|τ| \le 1} x_{t+τ} - x_t

    Deep Taylor's z^B with the root searched among values that the pixels have just had or are about to
    have. To u and d is added 10⁻⁴ of what they are in the inner rule's box. No bias; conserves.

    Args:
        inner: z^B, or z+, which is z^B with the box from min(x, 0) to max(x, 0).
    """

    gives_multiplier = False

    def __init__(self, inner: ZBox | ZPlus) -> None:
        self.inner = inner

    def prepare(self, site: Site) -> Message:
        """See `LinearRule.prepare`."""
        linear, x, inner = site.linear, site.x, self.inner
        low, high = inner.box(x) if isinstance(inner, ZBox) else (x.clamp(max=0), x.clamp(min=0))
        up = _changing(x + F.max_pool3d(-x, (3, 1, 1), 1, (1, 0, 0)), x - low)
        down = _changing(F.max_pool3d(x, (3, 1, 1), 1, (1, 0, 0)) - x, high - x)
        plus, minus = linear.part("+"), linear.part("-")
        quotient = Quotient(site, linear.forward(up, plus) - linear.forward(down, minus))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            relevance = linear.backward(s, plus, x).mul_(up)
            return relevance.sub_(linear.backward(s, minus, x).mul_(down))

        return message


def _changing(nearby: Tensor, whole: Tensor) -> Tensor:
    whole = whole.clamp_(min=0)  # a pixel may lie outside its box by a rounding
    return torch.minimum(nearby, whole).add_(whole, alpha=FLOOR)


class Joins(Rule):
    """Further relevance that starts at an activation: added there, booked as lost with a minus.

    Args:
        inner: the rule that carries the sum on.
        joining: relevance by node.
    """

    def __init__(self, inner: Rule, joining: Mapping[Node, Tensor]) -> None:
        self.inner = inner
        self._joining = joining

    def routes(self, place: Place, node: Node) -> list[Node]:
        """As the inner rule."""
        return self.inner.routes(place, node)

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        """See `Rule.cross`."""
        joining = self._joining[site.node]
        site.book("lost", -joining)
        whole = flow.relevance(site.y).parts[0] + joining
        return self.inner.cross(site, Flow([whole], False))


class Stream(Composite):
    """The rules of a plan, through a part of what is there.

    Args:
        plan: how relevance was carried.
        joining: relevance by activation, which starts there (`Joins`).
        shares: the part of what inner linear operators read (`ZPlusPart`).
        nearby: whether pixels count by how they change (`NearbyBox`); False: by the plan's rule.
        name: how the composite is called.
    """

    adds = True

    def __init__(
        self,
        plan: Plan,
        joining: Mapping[Node, Tensor],
        shares: Mapping[Node, Tensor],
        *,
        nearby: bool,
        name: str,
    ) -> None:
        super().__init__((), "positive", f"{plan.composite}, {name}")
        self._rules: dict[Node, Rule] = {}
        for step in plan.steps.values():
            rule = step.rule
            if step.node in joining:
                rule = Joins(rule, joining)
            elif step.unit is not None and step.signals[0] in shares:
                rule = ZPlusPart(shares[step.signals[0]])
            elif nearby and isinstance(rule, (ZBox, ZPlus)) and reads_pixels(step):
                rule = NearbyBox(rule)
            self._rules[step.unit.linear if step.unit else step.node] = rule

    def rule_for(self, place: Place) -> Rule | None:
        """See `Composite.rule_for`."""
        return self._rules[place.node]


def reads_pixels(step: Step) -> bool:
    """Whether no linear operator lies between a linear step and the model's input."""
    stack, seen = list(step.signals), set(step.signals)
    while stack:
        node = stack.pop()
        if node.kind == "linear":
            return False
        fresh = [n for n in node.signals() if n not in seen]
        seen.update(fresh)
        stack += fresh
    return True
