"""Rules for normalisation: batch norm that stands alone, layer, group and instance norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import UnsupportedOperatorError
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow
from relprop.tracing.linear_map import batch_norm_affine
from relprop.tracing.site import Site

__all__ = ["BatchNorm", "Norm"]


class BatchNorm(Rule):
    """A batch norm that doesn't follow a convolution.

    Args:
        form: "affine": y = a x + b per channel, b is bias; "identity": relevance passes unchanged
            (for rules that look at positive parts only, which would lose much here); "proportional":
            it passes where a x is not 0 and is lost elsewhere, as in a division by a x.

    Raises:
        InputError: an unknown form.
    """

    kinds = frozenset({"batch_norm"})

    def __init__(self, form: Literal["affine", "identity", "proportional"] = "affine") -> None:
        check_choice("form", form, ("affine", "identity", "proportional"))
        self.form = form

    @property
    def weighs_by_output(self) -> bool:
        """What passes unchanged is turned into relevance first."""
        return self.form != "affine"

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        if self.form == "identity":
            return [flow.relevance(site.y) if flow.multiplier else flow]
        scale, shift = (
            v.reshape(-1, *[1] * (flow.parts[0].ndim - 3)) for v in batch_norm_affine(site.trace, site.node)
        )
        if self.form == "proportional":
            flow, alive = flow.relevance(site.y), (site.x * scale) != 0
            for part in flow.parts:
                site.book("lost", part * ~alive)
            return [Flow([part * alive for part in flow.parts], False)]
        parts = site.multipliers(flow)
        for part in parts:
            site.book("bias", part * shift)
        return [Flow([p * scale for p in parts], True)]


class Norm(Rule):
    r"""Layer, group, instance and RMS norm: y = γ (x - μ)/σ + β with σ taken as a constant (RMS norm: μ, β = 0).

    Args:
        form: "affine": the mean is part of the map (it is linear in x), β is bias; "identity":
            relevance passes unchanged.

    Raises:
        InputError: an unknown form.
    """

    kinds = frozenset({"norm"})

    def __init__(self, form: Literal["affine", "identity"] = "affine") -> None:
        check_choice("form", form, ("affine", "identity"))
        self.form = form

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        if self.form == "identity":
            return [flow.relevance(site.y) if flow.multiplier else flow]
        centre, weight, scale, shift = _normaliser(site)
        parts = site.multipliers(flow)
        if shift is not None:
            for part in parts:
                # One read of the relevance where the shift lies along its last axis.
                site.book("bias", part @ shift if shift.ndim == 1 else part * shift)
        # Centring is symmetric, and its own transpose.
        out = []
        for part in parts:
            weighed = part * scale if weight is None else (part * weight).mul_(scale)
            out.append(centre(weighed))
        return [Flow(out, True)]


def _normaliser(site: Site) -> tuple[Callable[[Tensor], Tensor], Tensor | None, Tensor, Tensor | None]:
    """Centring (linear in x, with leading axes for targets), the weight γ, the frozen 1/σ and the shift β."""
    op, x = site.node.op, site.x

    if op not in ("layer_norm", "group_norm", "instance_norm", "rms_norm"):
        raise UnsupportedOperatorError(f"No rule for {site.node.where()} in its affine form.")
    weight, shift = (site.constant(site.node.argument(name, None)) for name in ("weight", "bias"))
    eps = site.node.argument("eps")
    if op == "rms_norm":
        axes = tuple(range(-len(site.node.argument("normalized_shape")), 0))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return (lambda v: v), weight, torch.rsqrt(x.square().mean(axes, keepdim=True) + eps), None
    if op == "layer_norm":
        normalised = site.node.argument("normalized_shape")
        dims = tuple(range(-len(normalised), 0))
        scale = torch.native_layer_norm(x, normalised, None, None, eps)[2]
        return (lambda v: v.sub_(v.mean(dims, keepdim=True))), weight, scale, shift
    groups = int(site.node.argument("num_groups")) if op == "group_norm" else x.shape[1]
    if not site.node.argument("use_input_stats", True):
        raise UnsupportedOperatorError(f"No rule for {site.node.where()} with running statistics.")

    def centre(v: Tensor) -> Tensor:
        grouped = v.reshape(-1, groups, v[0, 0].numel() // groups)
        return (grouped - grouped.mean(-1, keepdim=True)).reshape(v.shape)

    grouped = x.reshape(x.shape[0], groups, -1)
    scale = torch.rsqrt(grouped.var(-1, correction=0, keepdim=True) + eps)
    scale = scale.expand_as(grouped).reshape(x.shape)
    shape = (-1, *[1] * (x.ndim - 2))
    weight = None if weight is None else weight.reshape(shape)
    return centre, weight, scale, None if shift is None else shift.reshape(shape)
