"""Rules for normalisation: batch norm that stands alone, layer, group and instance norm."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from relprop.errors import InputError, UnsupportedOperatorError
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow, safe_divide
from relprop.tracing.linear_map import batch_norm_affine
from relprop.tracing.site import Site

__all__ = ["BatchNorm", "Norm"]


class BatchNorm(Rule):
    """A batch norm that doesn't follow a convolution.

    Args:
        form: "affine": y = a x + b per channel, b is bias; "identity": relevance passes unchanged
            (for rules that look at positive parts only, which would lose much here).

    Raises:
        InputError: an unknown form.
    """

    kinds = frozenset({"batch_norm"})

    def __init__(self, form: Literal["affine", "identity"] = "affine") -> None:
        if form not in ("affine", "identity"):
            raise InputError(f"Expected form to be 'affine' or 'identity' but got {form!r}.")
        self.form = form

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        """See `Rule.cross`."""
        if self.form == "identity":
            return [flow.relevance(site.y) if flow.multiplier else flow]
        scale, shift = (
            v.reshape(-1, *[1] * (site.y.ndim - 2)) for v in batch_norm_affine(site.trace, site.node)
        )
        parts = _divided(site, flow)
        for part in parts:
            site.book("bias", part * shift)
        return [Flow([p * scale for p in parts], True)]


class Norm(Rule):
    r"""Layer, group and instance norm: y = γ (x - μ)/σ + β with σ taken as a constant.

    Args:
        form: "affine": the mean is part of the map (it is linear in x), β is bias; "identity":
            relevance passes unchanged.

    Raises:
        InputError: an unknown form.
    """

    kinds = frozenset({"norm"})

    def __init__(self, form: Literal["affine", "identity"] = "affine") -> None:
        if form not in ("affine", "identity"):
            raise InputError(f"Expected form to be 'affine' or 'identity' but got {form!r}.")
        self.form = form

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        """See `Rule.cross`."""
        if self.form == "identity":
            return [flow.relevance(site.y) if flow.multiplier else flow]
        centre, factor, shift = _normaliser(site)
        parts = _divided(site, flow)
        if shift is not None:
            for part in parts:
                site.book("bias", part * shift)
        return [Flow([site.vjp(p, lambda x: centre(x) * factor)[0] for p in parts], True, owned=False)]


def _divided(site: Site, flow: Flow) -> list[Tensor]:
    """The flow as multipliers."""
    if flow.multiplier:
        return flow.parts
    for part in flow.parts:
        site.book("lost", part * (site.y == 0))
    return [safe_divide(p, site.y) for p in flow.parts]


def _normaliser(site: Site) -> tuple[Any, Tensor, Tensor | None]:
    """Centring (linear in x), the frozen factor γ/σ and the shift β."""
    op, x = site.node.op, site.x

    def tensor(position: int, name: str) -> Tensor | None:
        value = site.argument(position, name)
        return None if value is None else site.constant(value)

    if op == "layer_norm":
        dims = tuple(range(-len(site.argument(1, "normalized_shape")), 0))
        weight, shift, eps = tensor(2, "weight"), tensor(3, "bias"), site.argument(4, "eps", 1e-5)

        def centre(v: Tensor) -> Tensor:
            return v - v.mean(dims, keepdim=True)

        sigma = torch.sqrt(x.var(dims, correction=0, keepdim=True) + eps)
    elif op in ("group_norm", "instance_norm"):
        if op == "group_norm":
            groups = int(site.argument(1, "num_groups"))
            weight, shift, eps = tensor(2, "weight"), tensor(3, "bias"), site.argument(4, "eps", 1e-5)
        else:
            groups = x.shape[1]
            weight, shift, eps = tensor(1, "weight"), tensor(2, "bias"), site.argument(7, "eps", 1e-5)
            if not site.argument(5, "use_input_stats", True):
                raise UnsupportedOperatorError(f"No rule for {site.node.where()} with running statistics.")

        def centre(v: Tensor) -> Tensor:
            grouped = v.reshape(v.shape[0], groups, -1)
            return (grouped - grouped.mean(-1, keepdim=True)).reshape(v.shape)

        grouped = x.reshape(x.shape[0], groups, -1)
        deviation = torch.sqrt(grouped.var(-1, correction=0, keepdim=True) + eps)
        sigma = deviation.expand_as(grouped).reshape(x.shape)
        shape = (-1, *[1] * (x.ndim - 2))
        weight = None if weight is None else weight.reshape(shape)
        shift = None if shift is None else shift.reshape(shape)
    else:
        raise UnsupportedOperatorError(f"No rule for {site.node.where()} in its affine form.")
    return centre, (1 / sigma if weight is None else weight / sigma), shift
