"""Rule for what brings values together: sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.graph import Node
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow, sum_to_shape
from relprop.tracing.masks import above, zeros_of
from relprop.tracing.site import Site

__all__ = ["Add"]

By = Literal["value", "absolute", "positive", "own", "either", "halves"]


class Add(Rule):
    r"""Addition (and subtraction) of terms t_1 + t_2 = y.

    "value": :math:`R_k = t_k R / (y + ε \operatorname{sign} y)`, exact, and what LRP-0 needs;
    "absolute": :math:`R_k = |t_k| R / \sum |t|`, bounded, loses nothing, keeps signs;
    "positive": :math:`R_k = t_k^+ R / \sum t^+`, loses relevance where no term is positive;
    "own": :math:`R_k = t_k^± R / \sum t^±` with the sign of y that its readers see (`Site.below`): bounded, as
    "positive" where y > 0, and lost only where a constant alone gives y its sign;
    "either": as "positive" where any term is positive, else by the negative ones;
    "halves": equal shares.

    An added constant takes its share as bias under "value" and none under the others.

    Args:
        by: one of the words above.
        epsilon: stabiliser of "value", an absolute number.

    Raises:
        InputError: unknown word, or epsilon without "value".
    """

    kinds = frozenset({"add"})

    @property
    def weighs_by_output(self) -> bool:
        """Shares of a sum multiply by the sum; parts by value don't."""
        return self.by not in ("value", "halves")

    def __init__(self, by: By = "value", epsilon: float = 0.0) -> None:
        check_choice("by", by, get_args(By))
        check_number("epsilon", epsilon)
        if epsilon < 0 or (epsilon and by != "value"):
            raise InputError(
                f"Expected epsilon >= 0, and only with by='value', but got {epsilon} with {by!r}."
            )
        self.by = by
        self.epsilon = epsilon

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        signs, constant = _terms(site)
        shapes = [site.input(i).shape for i in range(len(site.signals))]
        if self.by == "value":
            return self._by_value(site, flow, signs, shapes, constant)
        relevance_only = self.by == "halves" or len(site.signals) == 1
        if relevance_only:
            whole = flow.relevance(site.y)
            count = len(site.signals)
            return [
                Flow(
                    [sum_to_shape(p if count == 1 else p / count, shape) for p in whole.parts],
                    False,
                    owned=False,
                )
                for shape in shapes
            ]
        bare = not isinstance(constant, Tensor) and constant == 0
        made = site.kept((self.key, flow.multiplier), lambda: self._made(site, flow.multiplier, signs, bare))
        if made.lost is not None:
            for part in flow.parts:
                site.book("lost", part * made.lost)
        parts = [p.mul_(made.share) if flow.owned else p * made.share for p in flow.parts]
        outs = []
        for direction, sign, shape in zip(made.directions, signs, shapes, strict=True):
            if direction is None:
                own = parts if sign == 1 else [p * sign for p in parts]
            else:
                own = [p * direction for p in parts]
            outs.append(Flow([sum_to_shape(p, shape) for p in own], True, owned=direction is not None))
        return outs

    def _below(self, site: Site, terms: list[Tensor]) -> Tensor | None:
        """Where negative terms count in place of positive ones; None: nowhere."""
        if self.by == "own":
            return site.below()
        if self.by != "either":
            return None
        none = torch.ones_like(site.y)
        for term in terms:
            none *= 1 - above(term)
        return none if bool(none.amax() > 0) else None

    def _directions(
        self, terms: list[Tensor], unsigned: list[bool], below: Tensor | None
    ) -> list[Tensor | None]:
        """A term's sign, or 1 where it counts (> 0, and < 0 where the sum is `below` 0); None: 1 everywhere."""
        if self.by == "absolute":
            return [None if known else torch.sgn(t) for t, known in zip(terms, unsigned, strict=True)]
        turned = None if below is None else 1 - 2 * below
        return [
            None if known else above(term) if turned is None else (term * turned).gt_(0)
            for term, known in zip(terms, unsigned, strict=True)
        ]

    def _made(self, site: Site, multiplier: bool, signs: list[float], bare: bool) -> _Shares:
        """What a sum hands to each term, for a whole relevance of 1 (or a multiplier of 1).

        Args:
            site: the sum.
            multiplier: shares are for multipliers.
            signs: the terms' factors.
            bare: no constant is added.
        """
        y = site.y
        terms = [site.input(i) * sign if sign != 1 else site.input(i) for i, sign in enumerate(signs)]
        below = self._below(site, terms)
        unsigned = [
            below is None and n.nonneg and sign > 0 for n, sign in zip(site.signals, signs, strict=True)
        ]
        directions = self._directions(terms, unsigned, below)
        counted = [t if d is None else t * d for t, d in zip(terms, directions, strict=True)]
        fresh = [c for c, d in zip(counted, directions, strict=True) if d is not None and c.shape == y.shape]
        if len(counted) > 1 and fresh:
            total = fresh[0].add_(counted[0] if fresh[0] is counted[1] else counted[1])
        else:
            total = counted[0] + counted[1] if len(counted) > 1 else counted[0].expand_as(y).clone()
        lost = None
        if multiplier and bare and self.by == "absolute":
            # |y| <= total: where the total is 0 there is no relevance, so nothing can be lost.
            share = torch.div(y, total.clamp_(min=torch.finfo(y.dtype).tiny), out=total)
        else:
            zeros = zeros_of(total)
            if zeros is not None:
                total.add_(zeros)
                lost = zeros * y if multiplier else zeros
                lost = lost if bool((lost != 0).any()) else None
            share = torch.div(y, total, out=total) if multiplier else total.reciprocal_()
            if zeros is not None and lost is not None:
                share.mul_(1 - zeros)
        pairs = zip(directions, signs, strict=True)
        return _Shares(share, [d if d is None or sign == 1 else d.mul_(sign) for d, sign in pairs], lost)

    def _by_value(
        self, site: Site, flow: Flow, signs: list[float], shapes: list[torch.Size], constant: Tensor | float
    ) -> list[Flow]:
        parts = flow.parts
        if self.epsilon:
            y = site.y
            stable = y + torch.copysign(torch.full_like(y, self.epsilon), y)
            for part in parts:
                relevance = part * y if flow.multiplier else part
                site.book("stabiliser", relevance * (1 - y / stable))
            parts = [p * (y / stable) if flow.multiplier else p / stable for p in parts]
        else:
            parts = site.multipliers(flow)
        if isinstance(constant, Tensor) or constant != 0:
            if isinstance(constant, Tensor):  # a mask of attention: no relevance comes to what it hides
                constant = torch.where(torch.isinf(constant), 0, constant)
            for part in parts:
                site.book("bias", part * constant)
        return [
            Flow([sum_to_shape(p if sign == 1 else p * sign, shape) for p in parts], True, owned=False)
            for sign, shape in zip(signs, shapes, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class _Shares:
    """What a sum hands to its terms: nothing here depends on relevance.

    Attributes:
        share: shaped like the sum.
        directions: what a term takes of the share: its sign, or 1 where it counts and 0 elsewhere, times its
            factor; None for a term that takes all of it times its factor.
        lost: what has nowhere to go; None: nothing.
    """

    share: Tensor
    directions: list[Tensor | None]
    lost: Tensor | None

    @property
    def size(self) -> int:
        """Bytes."""
        held = [t for t in (self.share, self.lost, *self.directions) if t is not None]
        return sum(t.numel() * t.element_size() for t in held)


def _terms(site: Site) -> tuple[list[float], Tensor | float]:
    """The factors of the terms that relevance goes to, and what is added to them."""
    node = site.node
    alpha = float(node.argument("alpha"))
    weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[node.op]
    signs: list[float] = []
    constant: Tensor | float = 0.0
    for argument, weight in zip(node.pair, weights, strict=True):
        if isinstance(argument, Node) and argument.dependent:
            signs.append(weight)
        else:
            value = site.constant(argument)
            # A Python number takes the signal's precision; float32 of 0.1 would leak in float64.
            value = value.to(site.y.dtype) if isinstance(value, Tensor) else float(value)
            constant = constant + value * weight
    return signs, constant
