"""Streams: rules that carry relevance through a part of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.graph import Node
from relprop.graph.place import Place
from relprop.rules import Rule, ZBox, ZPlus
from relprop.rules.rule import Message, SharingRule
from relprop.tracing.flow import Flow
from relprop.tracing.masks import above, picked
from relprop.tracing.quotient import Quotient
from relprop.tracing.site import Site

__all__ = ["FLOOR", "Joins", "NearbyBox", "ZPlusPart"]

FLOOR = 1e-4
"""The least part of a term: where a stream has no term of its own, it takes the plain rule's way."""


class ZPlusPart(SharingRule):
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
        linear, x = site.linear, site.x
        share = self._share.clamp(min=FLOOR)
        part = x * share
        if site.nonneg:
            up = linear.forward(part, "+")
        else:
            up = linear.forward_by_sign(part.clamp(min=0), part.clamp(max=0))
        quotient = Quotient(site, up)

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            if site.nonneg:
                return linear.backward(s, "+", x).mul_(share)
            return picked(above(x), *linear.backward_by_sign(s, x)).mul_(share)

        return message


class NearbyBox(SharingRule):
    r"""The z^B rule with the box that each pixel goes through in its own and the neighbouring frames.

    .. math:: R_i = \sum_j \frac{u_i w^+_{ij} - d_i w^-_{ij}}{\sum_{i'} u_{i'} w^+_{i'j} - d_{i'} w^-_{i'j}} R_j,
        \qquad u_t = x_t - \min_{|τ| \le 1} x_{t+τ}, \quad d_t = \max_{|τ| \le 1} x_{t+τ} - x_t

    Deep Taylor's z^B with the root searched among values that the pixels have just had or are about to
    have. To u and d is added 10⁻⁴ of what they are in the inner rule's box. No bias; conserves.

    Args:
        inner: z^B, or z+, which is z^B with the box from min(x, 0) to max(x, 0).
        neighbours: :math:`x_{t-1}` and :math:`x_{t+1}`, each shaped like the input, where the camera moves: what
            lies at the same place of the scene then; a pixel whose place isn't seen then stands for itself. None:
            the pixel itself in these frames.
    """

    gives_multiplier = False

    def __init__(self, inner: ZBox | ZPlus, neighbours: tuple[Tensor, Tensor] | None = None) -> None:
        self.inner = inner
        self._neighbours = neighbours

    def prepare(self, site: Site) -> Message:
        linear, x, inner = site.linear, site.x, self.inner
        low, high = inner.box(x, site) if isinstance(inner, ZBox) else (x.clamp(max=0), x.clamp(min=0))
        if self._neighbours is None:
            above = x + F.max_pool3d(-x, (3, 1, 1), 1, (1, 0, 0))
            below = F.max_pool3d(x, (3, 1, 1), 1, (1, 0, 0)) - x
        else:
            before, after = self._neighbours
            above = x - torch.minimum(x, torch.minimum(before, after))
            below = torch.maximum(x, torch.maximum(before, after)) - x
        up, down = _changing(above, x - low), _changing(below, high - x)
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
        return self.inner.routes(place, node)

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        joining = self._joining[site.node]
        site.book("lost", -joining)
        whole = flow.relevance(site.y).parts[0] + joining
        return self.inner.cross(site, Flow([whole], False))
