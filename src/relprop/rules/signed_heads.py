"""Switch: w+ for most outputs of a head, w- for those whose value is negative."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

from torch import Tensor

from relprop.graph import Node
from relprop.rules import ZPlus
from relprop.rules.negated import Negated
from relprop.rules.rule import SharingRule
from relprop.tracing.account import Account
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["Switch"]


class Switch(SharingRule):
    r"""w+ for most outputs of a convolution or product, w- for the marked ones.

    .. math:: R_i = \sum_j \frac{(w_{ij} x_i)^{±}}{\sum_{i'} (w_{i'j} x_{i'})^{±}} R_j,
        \quad ± = - \text{ where } j \text{ is marked, else } +

    Source: Tsunakawa et al. 2019 (localisation layers: w- where an offset is negative). No bias. A unit
    without terms of its sign loses its relevance ("lost").

    Args:
        marked: operator -> which of its outputs take w-, booleans shaped like its value (N, ...).
            Operators that are missing take w+ throughout.
    """

    confines = True

    def __init__(self, marked: Mapping[Node, Tensor]) -> None:
        self._marked = marked

    def cross(self, site: Site, flow: Flow) -> list[Flow]:
        mask = self._marked.get(site.node)
        if mask is None:
            return ZPlus().cross(site, flow)
        # Two rules, each with its own outputs: the shares of the negative terms are those of w+ with
        # negated weights.
        mask = flow.crop(mask)
        total: Flow | None = None
        accounts = []
        for rule, other in ((ZPlus(), mask), (Negated(ZPlus()), ~mask)):
            own = copy(site)
            own.account = Account(site.account.enabled, site.account.per_sample)
            accounts.append(own.account)
            parts = [p.masked_fill(other, 0) for p in flow.parts]
            (out,) = rule.cross(own, Flow(parts, flow.multiplier, window=flow.window))
            total = out if total is None else total.add(out, site.x)
        site.account.merge(accounts)
        assert total is not None
        return [total]
