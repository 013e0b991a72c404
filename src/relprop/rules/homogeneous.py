"""Rule for functions that grow in step with what they read, such as a length or the larger of two values."""

from __future__ import annotations

from typing import Any

import torch

from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["Homogeneous"]


class Homogeneous(Rule):
    r"""Functions with f(t x) = t f(x) for t > 0: by Euler's identity their value is their gradient times input.

    :math:`R_i = x_i \, \partial f / \partial x_i \, R / f(x)`. The larger of two values takes all, or of many
    that are scattered into one place; a length is shared by squares, a mean by value. What a constant operand
    contributes is booked as bias. Conserves.
    """

    kinds = frozenset({"homogeneous"})

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        node = site.node
        limits = [node.argument(name, None) for name in ("min", "max", "initial")]
        constant = any(isinstance(limit, (int, float)) for limit in limits)
        constant |= any(not n.dependent for n in node.operands() if n.kind != "symbol")
        pulled = []
        for part in site.multipliers(flow):
            backs = [torch.nan_to_num(b) for b in site.vjp(part)]  # a length of 0 has no slope
            if constant:
                site.book_beyond_tangent(part, backs)
            pulled.append(backs)
        return [Flow([p[i] for p in pulled], True, owned=False) for i in range(len(site.signals))]
