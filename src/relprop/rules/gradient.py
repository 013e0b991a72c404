"""Rules that carry derivatives: multipliers are exactly dy/dx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.graph.fusion import is_affine
from relprop.graph.place import Place
from relprop.rules.merge import Add
from relprop.rules.norm import BatchNorm
from relprop.rules.pooling import MaxPool
from relprop.rules.rule import Rule
from relprop.rules.shape import Shape
from relprop.tracing.flow import Flow, behind_relu
from relprop.tracing.ledger_sums import finite_dot_sums, totals
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
    r"""The operator's own vector-Jacobian product, whatever operator it is.

    .. math:: c_i = \sum_j c_j \frac{\partial y_j}{\partial x_i}, \quad R_i = c_i x_i

    Multipliers stay derivatives: every operand that depends on the input gets its share, gates and norms
    included. It conserves nothing: between relevance rules, what gradient times value doesn't pass on of the
    operator's relevance is booked as lost (a bias's part as bias). Relevance that comes as itself is
    divided by the operator's value first, :math:`c_j = R_j / y_j`; what lies on a value of 0 is lost.
    """

    def cross(self, site: Site, flow: Any) -> list[Any]:
        node, affine = site.node, is_affine(site.fused.main)
        if not affine and node.kind in _SAME_AS:
            return _SAME_AS[node.kind].cross(site, flow)
        derivatives = _as_multipliers(site, flow)
        # Summed before: owned parts may be overwritten.
        arrived = _sums_of(flow, site.y) if site.account.enabled else []
        outs = self._pulled(site, derivatives, affine=affine)
        if site.account.enabled:
            passed = [_sums_of(out, site.input(i)) for i, out in enumerate(outs)]
            for came, *gone in zip(arrived, *passed, strict=True):
                site.account.book("bias" if affine else "lost", _less(came, gone))
        return outs

    def _pulled(self, site: Site, flow: Any, *, affine: bool) -> list[Any]:
        node = site.node
        if affine and not site.linear.weight.is_complex():  # with the batch norms that are one step with it
            x = site.x
            return [Flow([site.linear.backward_plain(p, x, owned=flow.owned) for p in flow.parts], True)]
        if isinstance(flow, list):  # an operator with several outputs that isn't a shape operator
            count = len(next(f for f in flow if f is not None).parts)
            pulled = [site.vjp([None if f is None else f.parts[i] for f in flow]) for i in range(count)]
            return [Flow([p[i] for p in pulled], True, owned=False) for i in range(len(site.signals))]
        if node.op == "relu":
            return [Flow([behind_relu(p, site.y, owned=flow.owned) for p in flow.parts], True)]
        pulled = [site.vjp(p) for p in flow.parts]
        return [Flow([p[i] for p in pulled], True, owned=False) for i in range(len(site.signals))]


def _as_multipliers(site: Site, flow: Any) -> Any:
    """A flow (of an operator with several outputs a list, None for holes) as multipliers."""
    if all(f is None or f.multiplier for f in (flow if isinstance(flow, list) else [flow])):
        return flow
    if isinstance(flow, list):
        return [None if f is None else f.multipliers(v) for f, v in zip(flow, site.y, strict=True)]
    return flow.multipliers(site.y)


def _sums_of(flow: Any, value: Any) -> list[Tensor]:
    """Sums of relevance over all but targets and samples, (k, N) for each part."""
    if isinstance(flow, list):
        several = [_sums_of(f, v) for f, v in zip(flow, value, strict=True) if f is not None]
        return [_total(sums) for sums in zip(*several, strict=True)]
    if not flow.multiplier:
        return [totals(p) for p in flow.parts]
    return [finite_dot_sums(p, value)[0] for p in flow.parts]


def _total(sums: Sequence[Tensor]) -> Tensor:
    """The sum of (k, N) sums; over samples too where some don't tell them apart."""
    if len({s.shape for s in sums}) > 1:
        sums = [s.sum(-1, keepdim=True) for s in sums]
    return torch.stack(list(sums)).sum(0)


def _less(came: Tensor, gone: Sequence[Tensor]) -> Tensor:
    return _total([came, *(-sums for sums in gone)])


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
            slope = site.y if site.node.op == "relu" else site.vjp(torch.ones_like(site.y)[None])[0][0]
            open_ = torch.ne(slope, 0, out=torch.empty_like(slope))
            parts = [p.mul_(open_) for p in parts]
        return [Flow(parts, True)]
