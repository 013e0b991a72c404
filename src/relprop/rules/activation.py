"""Rules for element-wise activations."""

from __future__ import annotations

from typing import Any

import torch

from relprop.graph.kinds import OFFSET_ACTIVATIONS
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow, behind_relu
from relprop.tracing.site import Site

__all__ = ["Identity", "Slope"]


class Identity(Rule):
    r"""An activation passes relevance on unchanged: R_in = R_out.

    For y = f(x) with f(0) = 0 the multiplier becomes c f(x)/x. Where f(0) != 0 (sigmoid, softplus,
    clamps that leave 0 out) relevance may sit at x = 0, and is carried as relevance.

    Source: Bach et al. 2015, sec. 2.3. Conserves.
    """

    kinds = frozenset({"activation"})
    confines = True

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        if not flow.multiplier:
            return [flow]
        if site.node.op == "relu":
            y = flow.crop(site.y)
            parts = [behind_relu(p, y, owned=flow.owned) for p in flow.parts]
            return [Flow(parts, True, window=flow.window)]
        if site.node.op in OFFSET_ACTIVATIONS:
            return [flow.relevance(site.y)]
        x = flow.crop(site.x)
        ratio = flow.crop(site.y) / x
        if bool(ratio.sum().isnan()):  # 0 / 0, mostly: a look at the sum costs less than one at every element
            ratio.masked_fill_(x == 0, 0)
        parts = [p.mul_(ratio) if flow.owned else p * ratio for p in flow.parts]
        return [Flow(parts, True, window=flow.window)]


class Slope(Rule):
    r"""An activation is replaced by its tangent: y = f'(x) x + (f(x) - f'(x) x), the rest is bias.

    With it LRP-0 is gradient × input on every network of affine and element-wise operators.
    """

    kinds = frozenset({"activation"})

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        y, x = site.y, site.x
        slope = site.vjp(torch.ones_like(y)[None])[0][0]
        offset = y - slope * x
        out = []
        for part in site.multipliers(flow):
            site.book("bias", part * offset)
            out.append(part * slope)
        return [Flow(out, True)]
