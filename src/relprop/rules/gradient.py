"""Rules that carry derivatives: multipliers are exactly dy/dx."""

from __future__ import annotations

from typing import Any, Literal

import torch

from relprop.checks import check_choice
from relprop.graph.fusion import is_affine
from relprop.graph.place import Place
from relprop.rules.merge import Add
from relprop.rules.norm import BatchNorm
from relprop.rules.pooling import MaxPool
from relprop.rules.rule import Rule
from relprop.rules.shape import Shape
from relprop.tracing.flow import Flow, behind_relu
from relprop.tracing.site import Site

__all__ = ["Gradient", "Rectify"]


# Where these rules carry multipliers, they carry derivatives, and need no second forward run.
_SAME_AS: dict[str, Rule] = {
    "shape": Shape(),
    "pass": Shape(),
    "negate": Shape(),
    "add": Add("value"),
    "max_pool": MaxPool(),
    "batch_norm": BatchNorm("affine"),
}


class Gradient(Rule):
    """The operator's own vector-Jacobian product, whatever operator it is.

    Multipliers stay derivatives: every operand that depends on the input gets its share, gates and
    norms included. Not a relevance rule: nothing is conserved.
    """

    def cross(self, site: Site, flow: Any) -> list[Any]:
        node = site.node
        if is_affine(site.fused.main):  # with the batch norms that are one step with it
            x = site.x
            return [Flow([site.linear.backward_plain(p, x, owned=flow.owned) for p in flow.parts], True)]
        if node.kind in _SAME_AS:
            return _SAME_AS[node.kind].cross(site, flow)
        if isinstance(flow, list):  # an operator with several outputs that isn't a shape operator
            count = len(next(f for f in flow if f is not None).parts)
            pulled = [site.vjp([None if f is None else f.parts[i] for f in flow]) for i in range(count)]
            return [Flow([p[i] for p in pulled], True, owned=False) for i in range(len(site.signals))]
        if node.op == "relu":
            return [Flow([behind_relu(p, site.y, owned=flow.owned) for p in flow.parts], True)]
        pulled = [site.vjp(p) for p in flow.parts]
        return [Flow([p[i] for p in pulled], True, owned=False) for i in range(len(site.signals))]


class Rectify(Rule):
    """The ReLU of DeconvNet and of guided backprop: only positive gradients go on.

    Source: Zeiler & Fergus 2014 ("deconvnet": max(g, 0)); Springenberg et al. 2015, fig. 1 ("guided":
    max(g, 0), and 0 where the ReLU's input was negative).

    Raises:
        InputError: an unknown form.
    """

    kinds = frozenset({"activation"})

    def __init__(self, form: Literal["deconvnet", "guided"] = "guided") -> None:
        check_choice("form", form, ("deconvnet", "guided"))
        self.form = form

    def accepts(self, place: Place) -> bool:
        """ReLUs only; other activations keep their gradient."""
        return place.node.op in ("relu", "relu6", "hardtanh") and super().accepts(place)

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        parts = [p.clamp(min=0) for p in flow.parts]
        if self.form == "guided":
            closed = (
                site.y == 0
                if site.node.op == "relu"
                else (site.vjp(torch.ones_like(site.y)[None])[0][0] == 0)
            )
            parts = [p.masked_fill_(closed, 0) for p in parts]
        return [Flow(parts, True)]
