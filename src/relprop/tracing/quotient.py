"""Quotient: relevance divided by what it is shared out over, s = R / D, with accounts."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from relprop.tracing.ledger_sums import dot_totals, plain_sums
from relprop.tracing.site import Site

__all__ = ["Quotient"]


class Quotient:
    """s_j = R_j / D_j for every unit j; where D_j = 0 nothing can be shared out and R_j is lost.

    Args:
        site: the operator; its account gets what arrived and what was lost.
        denominator: D, shaped like the output (N, ...). Overwritten.
        factor: multiplies s (alpha or -beta of the alpha-beta rule).
        arrives: book what arrived (only one of several quotients of a rule should).
        alive: D is known to be nowhere 0.
    """

    def __init__(
        self,
        site: Site,
        denominator: Tensor,
        factor: float = 1.0,
        *,
        arrives: bool = True,
        alive: bool = False,
    ) -> None:
        self.site = site
        self.factor = factor
        self.arrives = arrives
        tiny = 1e-20 if denominator.dtype == torch.float32 else 1e-150
        self._dead: Tensor | None = None  # 1 there, 0 elsewhere
        # One look, or two, decide the common cases: positive everywhere, or negative. A unit counts as dead where
        # its terms are so small that dividing by their sum would overflow.
        alive = alive or not denominator.numel() or bool(denominator.amin() > tiny)
        if not alive and not bool(denominator.amax() < -tiny):
            size = denominator.abs()
            if not bool(size.amin() > tiny):
                self._dead = size.le_(tiny)
                denominator.add_(self._dead)  # nothing is divided by 0; the result there is taken away below
        self._denominator = denominator

    @cached_property
    def _stranded(self) -> Tensor | None:
        """The values of the dead units, 0 elsewhere; None: they are all 0, so that multipliers lose nothing."""
        if self._dead is None:
            return None
        found = self._dead * self.site.y
        return found if bool((found != 0).any()) else None

    def __call__(self, part: Tensor, multiplier: bool, *, owned: bool) -> Tensor:
        """The message s for one part (k, N, ...) of multipliers or relevance."""
        account = self.site.account
        # Asked for only where it is needed: a value that wasn't kept would have to be computed again.
        if account.enabled:
            # Relevance, other than multipliers, may sit on units whose value is 0.
            lost = self._dead if not multiplier else self._stranded
            if lost is not None:
                account.book("lost", dot_totals(part, lost) * self.factor)
        if multiplier and not self.arrives:
            # R itself isn't asked for. R / D = c * (y / D): one product a target.
            return part.mul_(self._share) if owned else part * self._share
        if multiplier:
            part, owned = part.mul_(self.site.y) if owned else part * self.site.y, True
        if account.enabled and self.arrives:
            account.arrive(*plain_sums(part))
        message = part.div_(self._denominator) if owned else part / self._denominator
        if self._dead is not None:
            message.mul_(1 - self._dead)
        return message.mul_(self.factor) if self.factor != 1.0 else message

    @cached_property
    def _share(self) -> Tensor:
        """Y / D times the factor, written over D."""
        share = torch.div(self.site.y, self._denominator, out=self._denominator)
        if self._dead is not None and self._stranded is not None:
            share.mul_(1 - self._dead)
        return share.mul_(self.factor) if self.factor != 1.0 else share
