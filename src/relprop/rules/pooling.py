"""Rules for max pooling (whatever picks values by comparing them), average pooling (sums too) and upsampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_choice, check_flag
from relprop.errors import UnsupportedOperatorError
from relprop.graph import Node
from relprop.graph.place import Place, read_at_places
from relprop.rules.rule import Rule
from relprop.rules.shape import pulled_together
from relprop.tracing.flow import Flow, safe_divide
from relprop.tracing.masks import above, divided, picked, zeros_of
from relprop.tracing.memory import last_channels
from relprop.tracing.site import Site
from relprop.tracing.window import PoolWindow, Window, receptive

__all__ = ["AveragePool", "MaxPool"]

_POOLS = {
    "max_pool1d": 1, "max_pool2d": 2, "max_pool3d": 3,
    "max_pool1d_with_indices": 1, "max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3,
}  # fmt: skip


class MaxPool(Rule):
    """Max pooling: the winner of a window takes its relevance.

    So does whatever else finds values of its input by comparing them: `max` and `min`, `topk`, `sort`, `median`,
    `kthvalue`. Each value hands its relevance to the element that it is.

    Source: Montavon et al. 2017, sec. 5.1 (winner takes all). Conserves.

    Args:
        ties: "first": the first maximum, as the forward pass chose it; "share": equal maxima share.

    Raises:
        InputError: an unknown word for ties.
    """

    kinds = frozenset({"max_pool"})
    confines = True

    def __init__(self, ties: Literal["first", "share"] = "first") -> None:
        check_choice("ties", ties, ("first", "share"))
        self.ties = ties

    def cross(self, site: Site, flow: Any) -> list[Any]:
        """See `Rule.cross`; with indices among the results `flow` is a list."""
        dims = _POOLS.get(site.node.op)
        if isinstance(flow, list):
            if dims is None and self.ties == "first":
                return [pulled_together(site, flow)]
            flow = flow[0]
        if flow.window is not None:
            reached = _read(site, flow.window, dims) if dims is not None and self.ties == "first" else None
            if reached is not None:
                return [_confined(site, flow, *reached)]
            flow = flow.whole()
        if self.ties == "share":
            parts = [_shared(site, p) for p in flow.parts]
        elif dims is not None:
            found = site.trace.winners.get(site.node)
            pool = PoolWindow.of(site.node, dims)
            where = (_winners(site.x, dims, pool) if found is None else found).long()
            if dims == 2 and last_channels(site.x):
                parts = [_handed_back(p, where, site.x, pool) for p in flow.parts]
            else:
                parts = [_scatter(p, where, site.x, dims) for p in flow.parts]
        else:
            parts = [site.vjp(p)[0] for p in flow.parts]
        return [Flow(parts, flow.multiplier)]


def _read(site: Site, window: Window, dims: int) -> tuple[Window, tuple[int, ...]] | None:
    """What the pool reads for a window of its outputs, see `receptive`."""
    pool = PoolWindow.of(site.node, dims)
    return receptive(window, site.x.shape[-dims:], pool.kernel, pool.stride, pool.padding, pool.dilation)


def _confined(site: Site, flow: Flow, inside: Window, pads: tuple[int, ...]) -> Flow:
    """The winners' relevance, where only a window of the outputs has any."""
    dims = len(inside.shape)
    pool = replace(PoolWindow.of(site.node, dims), padding=(0,) * dims, ceil_mode=False)
    x = F.pad(inside.crop(site.x), pads, value=-torch.inf)
    where = _winners(x, dims, pool)
    sides = zip(pads[-2::-2], pads[::-2], x.shape[-dims:], strict=True)
    own = Window(tuple((before, size - after) for before, after, size in sides), tuple(x.shape[-dims:]))
    parts = [own.crop(_scatter(p, where, x, dims)) for p in flow.parts]
    return Flow(parts, flow.multiplier, window=inside)


def _winners(x: Tensor, dims: int, pool: PoolWindow) -> Tensor:
    """Flat spatial index of each window's winner, (N, C, *windows)."""
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]
    _, where = function(
        x, pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
    )
    return where


def _scatter(part: Tensor, where: Tensor, x: Tensor, dims: int) -> Tensor:
    out = part.new_zeros(part.shape[0], *x.shape)
    flat = out.flatten(-dims)
    flat.scatter_add_(
        -1, where.flatten(-dims).expand(part.shape[0], *flat.shape[1:-1], -1), part.flatten(-dims)
    )
    return out


def _handed_back(part: Tensor, where: Tensor, x: Tensor, pool: PoolWindow) -> Tensor:
    """`_scatter` by PyTorch's own kernel, which goes along the memory of maps with the channels last."""
    found = [
        torch.ops.aten.max_pool2d_with_indices_backward(
            p, x, pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, where
        )
        for p in part
    ]
    return found[0][None] if len(found) == 1 else torch.cat(found).unflatten(0, (len(found), -1))


def _shared(site: Site, part: Tensor) -> Tensor:
    """Each window's relevance in equal parts to all its maxima."""
    dims, x = _POOLS.get(site.node.op), site.x
    if dims is None or x.ndim != dims + 2:
        raise UnsupportedOperatorError(f"MaxPool(ties='share') has no form for {site.node.where()}.")
    best = site.y[0] if isinstance(site.y, (tuple, list)) else site.y
    pool = PoolWindow.of(site.node, dims)
    size, stride, padding, dilation = pool.kernel, pool.stride, pool.padding, pool.dilation
    outer = best.shape[2:]
    # One shifted view per kernel position; positions outside the picture hold -inf and never win.
    reach = [
        max(0, (o - 1) * s + d * (k - 1) + 1 - n - p)
        for o, s, d, k, n, p in zip(outer, stride, dilation, size, x.shape[2:], padding, strict=True)
    ]
    pads = [v for p, r in zip(reversed(padding), reversed(reach), strict=True) for v in (p, r)]
    wide = F.pad(x, pads, value=-torch.inf)
    offsets = torch.cartesian_prod(*[torch.arange(k) for k in size]).reshape(-1, dims).tolist()

    def view(t: Tensor, at: list[int]) -> Tensor:
        for axis, (a, s, d, o) in enumerate(zip(at, stride, dilation, outer, strict=True)):
            cut = slice(a * d, a * d + (o - 1) * s + 1, s)
            index: tuple[Any, ...] = (Ellipsis, cut, *[slice(None)] * (dims - 1 - axis))
            t = t[index]
        return t

    count = sum((view(wide, at) == best).to(x.dtype) for at in offsets)
    out = part.new_zeros(part.shape[0], *wide.shape)
    share = part / count
    for at in offsets:
        view(out, at).add_(share * (view(wide, at) == best))
    inner: tuple[Any, ...] = tuple(slice(p, p + n) for p, n in zip(padding, x.shape[2:], strict=True))
    return out[(Ellipsis, *inner)].contiguous()


class AveragePool(Rule):
    r"""Average pooling, means, sums and upsampling: in proportion to value, or evenly.

    .. math:: R_i = \sum_j \frac{a_{ij} x_i}{y_j} R_j \quad\text{or}\quad
        R_i = \sum_j \frac{a_{ij}}{\sum_{i'} a_{i'j}} R_j

    Conserves, but for y_j = 0 with R_j != 0 ("lost"). Where an interpolation reads at places that are computed
    from the input (deformable attention, spatial transformers), the a_ij are taken as constants, as the weights of
    attention are by `Gate`.

    Args:
        by: which values count: "value": all, as they are; "own": x⁺ where y >= 0 and x⁻ where y < 0, with the
            sign of y that its readers see (`Site.below`); "either": x⁺ where a window has any, else x⁻. With the
            last two shares lie in [0, 1]; they are not for bicubic upsampling, whose weights have both signs.
        uniform: share evenly instead of in proportion to value.

    Raises:
        InputError: another word.
    """

    kinds = frozenset({"avg_pool", "upsample"})

    def __init__(self, by: Literal["value", "own", "either"] = "value", *, uniform: bool = False) -> None:
        check_choice("by", by, ("value", "own", "either"))
        check_flag("uniform", uniform)
        self.by, self.uniform = by, uniform

    def accepts(self, place: Place) -> bool:
        """Whether the operator's weights are known to be >= 0, where that matters."""
        return super().accepts(place) and (self.by == "value" or self.uniform or not _is_bicubic(place.node))

    def routes(self, place: Place, node: Node) -> list[Node]:
        """What is averaged; the places where an interpolation reads get nothing."""
        return [read_at_places(node)] if place.kind == "upsample" else super().routes(place, node)

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        if self.uniform:
            whole = _averaged(site, torch.ones_like(site.x))
            relevance = flow.relevance(site.y)
            return [Flow([site.vjp(safe_divide(p, whole))[0] for p in relevance.parts], False)]
        if self.by == "value" or site.nonneg:
            return [Flow([site.vjp(p)[0] for p in site.multipliers(flow)], True, owned=False)]
        return [self._one_sided(site, flow)]

    def _one_sided(self, site: Site, flow: Flow) -> Flow:
        x = site.x
        whole = _averaged(site, x.clamp(min=0))
        below = site.below() if self.by == "own" else zeros_of(whole)
        if below is not None:
            whole = picked(below, _averaged(site, x.clamp(max=0)), whole)
        rising, lost = above(x), zeros_of(whole)
        found = []
        for part in flow.relevance(site.y).parts:
            if lost is not None:
                site.book("lost", part * lost)
            share = divided(part, whole, lost)
            if below is None:
                found.append(site.vjp(share)[0].mul_(rising))
            else:
                up, down = (site.vjp(share * side)[0] for side in (1 - below, below))
                found.append(picked(rising, up, down))
        return Flow(found, True)


def _averaged(site: Site, x: Tensor) -> Tensor:
    """The operator's value at another input."""
    value: Tensor = site.trace.evaluate(site.node, lambda n: x if n in site.signals else site.trace.value(n))
    return value


def _is_bicubic(node: Node) -> bool:
    """Whether an operator interpolates with weights of both signs."""
    return "bicubic" in node.op or node.argument("interpolation_mode", 0) == 2
