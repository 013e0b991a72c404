"""Quotient: relevance divided by what it is shared out over, s = R / D, with accounts."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from relprop.tracing.ledger_sums import dot_sums, plain_sums
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
        # One look decides the common case: positive everywhere. A unit counts as dead where its
        # terms are so small that dividing by their sum would overflow.
        if not alive and denominator.numel() and not bool(denominator.amin() > tiny):
            size = denominator.abs()
            if not bool(size.amin() > tiny):
                self._dead = size.le_(tiny)
                denominator.add_(self._dead)  # nothing is divided by 0; the result there is taken away below
        self._denominator = denominator
        self._share: Tensor | None = None

    @cached_property
    def _stranded(self) -> Tensor | None:
        """The values of the dead units, 0 elsewhere; None: they are all 0, so that multipliers lose nothing."""
        if self._dead is None:
            return None
        found = self._dead * self.site.y
        return found if bool((found != 0).any()) else None

    def __call__(self, part: Tensor, multiplier: bool, *, owned: bool) -> Tensor:
        """The message s for one part (k, N, ...) of multipliers or relevance."""
        # Asked for only where it is needed: one that wasn't kept would have to be computed again.
        account = self.site.account
        if account.enabled:
            if self.arrives:
                total, size = dot_sums(part, self.site.y) if multiplier else plain_sums(part)
                account.arrive(total, size)
            # Relevance, other than multipliers, may sit on units whose value is 0.
            lost = self._dead if not multiplier else self._stranded
            if lost is not None:
                account.book("lost", dot_sums(part, lost)[0] * self.factor)
        if multiplier:
            if self._share is None:
                # R / D = c * (y / D): one product per target instead of two.
                self._share = torch.div(self.site.y, self._denominator, out=self._denominator)
                if self._dead is not None and self._stranded is not None:
                    self._share.mul_(1 - self._dead)
                if self.factor != 1.0:
                    self._share.mul_(self.factor)
            return part.mul_(self._share) if owned else part * self._share
        message = part.div_(self._denominator) if owned else part / self._denominator
        if self._dead is not None:
            message.mul_(1 - self._dead)
        return message.mul_(self.factor) if self.factor != 1.0 else message
