"""ODAM, gradient-weighted object detector activation maps."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.methods.activation_map import ActivationMap
from relprop.methods.facts import Facts
from relprop.methods.method import Request

__all__ = ["ODAM"]

_MOST = 50.0  # cells; wider than any map that a head reads


class ODAM(ActivationMap):
    r"""ODAM: a feature map's activations times their own gradient, summed over channels, positive part.

    .. math:: R_{p} = \max\Big(0, \sum_k Φ\Big(\frac{\partial f}{\partial A_k}\Big)_{p} A_{kp}\Big)

    Unlike Grad-CAM's, the weight is each position's own, so a map belongs to one detection and not to all
    objects of its class. f is the class's score of one detection, or a part of its box.

    Source: Zhao & Chan, ICLR 2023 (arXiv 2304.06354). Φ, a local smoothing, isn't there in the authors' code, and
    is a Gaussian here where it is asked for. They derive probabilities; here it is their log-odds, of which the
    map differs by one factor, p (1 - p): a sigmoid's is the logit, a softmax's has the other classes in it.

    The result lives *at* the feature map, with ONE channel: (N, 1, *spatial of the map), in units of the logit (of
    pixels for edges). ``Explanation.heatmap()`` resizes it to the input. Not signed; conserves nothing. Without
    max(0, .) and Φ the sum is f less what biases behind the map contribute, where the head is piecewise linear.

    Args:
        at: as for `relprop.GradCAM`; None: of a detection the map that the head of its anchor reads
            (`relprop.methods.source_map`), which the authors take, too; else the last feature map.
        smooth: standard deviation of Φ, in cells of the map; 0: none.
        seed: what of a class is derived: its "logit"; the log-odds of its "softmax" over the anchor's classes;
            "auto": the latter where it is known that classes exclude each other.

    `layers` of the call give the same map at further places, (N, 1, *spatial) each.

    Raises:
        InputError: a setting out of range, no feature map, or a place without spatial axes.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 1, bias=False))
    >>> net[0].weight.data, net[3].weight.data = torch.ones(1, 1, 1, 1), torch.tensor([[1.0, 1.0, 0.5, 0.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, 0.0], [4.0, -1.0]]]]), 0, "odam")
    >>> e.relevance.tolist(), e.at
    ([[[[2.0, 0.0], [2.0, 0.0]]]], '1')
    """

    name = "odam"
    summary = "ODAM: a feature map's activations times their own gradient, positive part; for detections"

    def __init__(
        self,
        *,
        at: str | None = None,
        smooth: float = 0.0,
        seed: Literal["auto", "logit", "softmax"] = "auto",
    ) -> None:
        super().__init__(at=at)
        check_number("smooth", smooth, least=0)
        if smooth > _MOST:
            raise InputError(f"Expected smooth to be from 0 to {_MOST:g} cells but got {smooth!r}.")
        check_choice("seed", seed, ("auto", "logit", "softmax"))
        self.smooth, self.seed = smooth, seed

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        """Classes that are known to exclude each other have a softmax."""
        return {"seed": "softmax" if facts.multi_label is False else "logit"}

    def slopes(self, request: Request) -> Tensor:
        """The derivative of the class's score, or of what else is asked: a row is a class's that is 1 there alone.

        Classes that are asked beside callables (a detection's edges) come as slopes, too.
        """
        ones = request.ones()
        if self.seed != "softmax":
            return ones
        layout = request.layout
        apart = ones.unflatten(2, (layout.anchors, layout.width)).clone()  # (K, N, D, width, ...)
        classes = apart[:, :, :, : layout.classes]
        units = request.output.unflatten(1, (layout.anchors, layout.width))[:, :, : layout.classes]
        alone = ((ones != 0).sum(2, keepdim=True).unsqueeze(3) == 1) & (classes == 1)
        own = alone.any(3, keepdim=True)
        classes.copy_(torch.where(own, _of_log_odds(units.expand_as(classes), alone), classes))
        return apart.flatten(2, 3)

    def weighed(self, gradient: Tensor, value: Tensor) -> Tensor:
        """The positive part of the sum of gradient times value over channels."""
        smooth = _smoothed(gradient, self.smooth) if self.smooth else gradient
        return (smooth * value).sum(2, keepdim=True).clamp_(min=0)


def _of_log_odds(logits: Tensor, own: Tensor) -> Tensor:
    r"""The derivative of a class's log-odds by all logits of its anchor, 0 where none is marked.

    .. math:: \log\frac{p_c}{1 - p_c} = z_c - \log \sum_{j \ne c} e^{z_j}

    p (1 - p) times it is the derivative of p itself, of which nothing is left in float32 where p is nearly 1.

    Args:
        logits: (K, N, D, classes, ...).
        own: the class that is asked, marked; at most one of an anchor's.
    """
    others = logits.masked_fill(own, -math.inf)
    rest = others.logsumexp(
        3, keepdim=True
    )  # -inf for a class without others, which is certain whatever is seen
    whole = own.any(3, keepdim=True) & torch.isfinite(rest)
    return torch.where(whole, own.to(logits.dtype) - (others - rest).exp(), 0.0)


def _smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps (K, N, C, *spatial), each convolved with a Gaussian of `sigma` cells; 0 outside of the map."""
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1)
    for axis in range(3, maps.ndim):
        lines = maps.movedim(axis, -1)
        flat = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel, padding=reach)
        maps = flat.reshape(lines.shape).movedim(-1, axis)
    return maps
