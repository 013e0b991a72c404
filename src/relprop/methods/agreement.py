"""Agreement: where two explanations of a margin agree, one blind to weights and one that reads them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_number, place_name
from relprop.methods.bounds import Bounds
from relprop.methods.facts import Facts
from relprop.methods.lrp import LRPGamma
from relprop.methods.margin import Rivals, margin_slopes
from relprop.methods.margin_rsp import MarginRSP
from relprop.methods.method import Method, Request, Result

__all__ = ["Agreement", "smoothed"]

_REACH = 4  # of the Gaussian, in σ


class Agreement(Method):
    r"""Agreement: margin RSP, kept where LRP-γ of the same margin says so too. A display: it conserves nothing.

    With A the map of `MarginRSP` and Γ that of LRP-γ, started from the same margin (slope times logit), both
    summed over channels,

    .. math:: B_p = \frac{A_p^+ \, (G_σ * Γ^+)_p}{\sum_{p'} A_{p'}^+ \, (G_σ * Γ^+)_{p'}}

    `MarginRSP` follows activations and has their sharp outlines, but doesn't read the weights below its start;
    LRP-γ reads them all, and is grainy. The product has what both see.

    **A product of two maps is no share of anything**: B's total is 1 because it is scaled to it, and nothing in
    front of the input adds up to it. It says where, not how much; for amounts take `MarginRSP`. The ledger is that
    map's own (`extras["ledger_of"]`), and layers hold its relevance.

    Source: ours; multiplying a map of regions with one of pixels is what Guided Grad-CAM does (Selvaraju et al.
    2017, sec. 3.2). Shapes: (N, C, *spatial), the same in every channel; never negative. 0 everywhere if the
    two nowhere agree.

    Args:
        sigma: of the Gaussian G, as a share of the picture's longer side (1/56: 2 pixels of 112), cut at 4 σ,
            edges repeated; over the last two axes. 0: as it is.
        gamma: of LRP-γ, see `relprop.rules.Gamma`.
        rivals, include_background, ratio, bounds, at: see `MarginRSP`.

    Raises:
        InputError: sigma < 0; what `MarginRSP` refuses.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net[3].weight.data = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, -3.0]]]]), [0, 1], "agreement")
    >>> e.relevance.flatten(1).tolist()  # left for class 0, right for class 1
    [[1.0, 0.0], [0.0, 1.0]]
    """

    name = "agreement"
    for_classes = True
    takes = MarginRSP.takes
    signed = False
    summary = "Agreement: margin RSP where LRP-gamma of the same margin agrees; a display, conserves nothing"
    reading = "Shown is where two explanations of the class's margin agree: it says where, not how much."

    def __init__(
        self,
        *,
        sigma: float = 1 / 56,
        gamma: float = 0.25,
        rivals: Rivals = "softmax",
        include_background: bool = True,
        ratio: float = 2.0,
        bounds: Bounds = "auto",
        at: str | None = None,
    ) -> None:
        check_number("sigma", sigma, least=0)
        check_number("gamma", gamma, least=0)
        self.sigma, self.gamma = sigma, gamma
        self.rivals: Rivals = rivals
        self.include_background = include_background
        self.ratio, self.bounds, self.at = ratio, bounds, place_name("at", at)
        self._regions = MarginRSP(
            rivals=rivals, include_background=include_background, ratio=ratio, bounds=bounds, at=at
        )
        self._pixels = LRPGamma(gamma=gamma).as_composite()

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def explain(self, request: Request) -> Result:
        slopes = margin_slopes(request, include_background=self.include_background, rivals=self.rivals)
        alone = replace(request, layers=(), release=False)
        pixels = alone.propagate(slopes * request.logits, self._pixels, ledger=False).relevance
        found = self._regions.explain(request)
        regions = _positive(found.relevance)
        agreed = regions * smoothed(_positive(pixels), self.sigma)
        total = agreed.flatten(2).double().sum(-1)
        share = torch.where(total > 0, 1 / total, 0).to(agreed)
        channels = found.relevance.shape[2]
        shown = agreed * (share / channels).reshape(*share.shape, *[1] * (agreed.ndim - 2))
        found.extras |= {
            "ledger_of": "margin-rsp's map, one of the two that are multiplied; a product has none",
            "combined": "product",
        }
        return replace(found, relevance=shown.expand_as(found.relevance).contiguous())


def _positive(relevance: Tensor) -> Tensor:
    """The positive part of a map, (K, N, C, *spatial) -> (K, N, 1, *spatial)."""
    return relevance.sum(2, keepdim=True).clamp_(min=0)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps (K, N, 1, *spatial) under a Gaussian over their last axes, two at most; edges are repeated.

    Args:
        maps: of any number of spatial axes, at least one.
        sigma: as a share of the longer of those axes.

    >>> smoothed(torch.ones(1, 1, 1, 4, 6), 0.2).allclose(torch.ones(1, 1, 1, 4, 6))
    True
    """
    axes = [-1, -2] if maps.ndim > 4 else [-1]
    width = sigma * max(maps.shape[axis] for axis in axes)
    if not width:
        return maps
    reach = math.ceil(_REACH * width)
    steps = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    weights = torch.exp(-(steps**2) / (2 * width**2))
    weights = weights / weights.sum()
    for axis in axes:
        moved = maps.movedim(axis, -1)
        lines = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (reach, reach), mode="replicate")
        maps = F.conv1d(lines, weights.reshape(1, 1, -1)).reshape(moved.shape).movedim(-1, axis)
    return maps
