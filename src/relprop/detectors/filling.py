"""Filling: how pixels are taken away from a detector's input, so that what they did can be measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError

__all__ = ["FILLS", "SIGMA", "check_fill", "fill_words", "filled"]

#: The ways to fill, and what each puts in the place of what is taken away.
FILLS = {
    "inpaint": "a smooth continuation of what is around",
    "blur": "the picture, blurred",
    "mean": "the picture's mean colour",
}
#: Width of the Gaussian of "inpaint", in pixels of the input.
SIGMA = 6.0
_BLUR = 0.1  # of the picture's shorter side: width of the Gaussian of "blur"
_TRUST = 0.01  # weight of the coarser level beside the known pixels of a finer one
_SMALLEST = 8  # pixels of the shorter side at which no coarser level is made


def check_fill(name: str, fill: str) -> None:
    """Refuse an unknown way to fill.

    Raises:
        InputError: with the valid ones.
    """
    check_choice(name, fill, tuple(FILLS))


def fill_words(fill: str) -> str:
    """What a fill puts there, for a sentence.

    >>> fill_words("mean")
    "the picture's mean colour"
    """
    check_fill("fill", fill)
    return FILLS[fill]


@torch.no_grad()
def filled(
    x: Tensor,
    masks: Tensor,
    fill: str = "inpaint",
    window: Sequence[int] | None = None,
    sigma: float | None = None,
) -> Tensor:
    r"""The input with pixels taken away, once for each mask.

    "inpaint" is a normalised convolution: with known pixels k (1 or 0) and a Gaussian G,

    .. math:: \hat x = \frac{G * (k x) + \epsilon\, \hat x_{coarse}}{G * k + \epsilon},

    where the coarser level is the same at half the resolution, down to the mean of all that is known; it decides
    where no known pixel is near. "blur" is G * x with a wide Gaussian, "mean" the mean of the picture.
    Only the picture counts and changes, never padding around it. A constant picture stays as it is.

    Args:
        x: (1, C, h, w), normalised.
        masks: (M, h, w) bool, True where pixels are taken away.
        fill: "inpaint", "blur" or "mean".
        window: x0, y0, x1, y1 of the picture in the input, as `Prepared.window`; None: all of it.
        sigma: width of the Gaussian in input pixels; None: 6 for "inpaint", a tenth of the picture's shorter
            side for "blur".

    Returns:
        (M, C, h, w); x itself is left as it is.

    Raises:
        InputError: an unknown fill, masks of another shape or type.

    Source: H. Knutsson, C.-F. Westin, Normalized and Differential Convolution, CVPR 1993; the coarser levels
    as in S. Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4 (pull-push).

    >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> hole = torch.zeros(1, 4, 4, dtype=torch.bool)
    >>> hole[0, 0, 0] = True
    >>> filled(x, hole, "mean")[0, 0, 0]
    tensor([7.5000, 1.0000, 2.0000, 3.0000])
    """
    check_fill("fill", fill)
    if masks.dtype != torch.bool or masks.ndim != 3 or masks.shape[1:] != x.shape[2:]:
        raise InputError(
            f"Expected masks of bool (M, {x.shape[2]}, {x.shape[3]}), the input's pixels, but got {masks.dtype} "
            f"{tuple(masks.shape)}."
        )
    x0, y0, x1, y1 = window or (0, 0, x.shape[3], x.shape[2])
    picture, holes = x[:, :, y0:y1, x0:x1], masks[:, None, y0:y1, x0:x1].to(x.device)
    # Half precision has no room for sums over a picture.
    exact = picture if picture.dtype.itemsize >= 4 else picture.float()
    if fill == "mean":
        content = exact.mean((2, 3), keepdim=True)
    elif fill == "blur":
        width = _BLUR * min(exact.shape[2:]) if sigma is None else sigma
        ones = torch.ones_like(exact[:, :1])
        content = _smooth(exact, width) / _smooth(ones, width)
    else:
        known = (~holes).to(exact.dtype)
        content = _continued(
            exact * known, known, SIGMA if sigma is None else sigma, exact.mean((2, 3), True)
        )
    made = x.repeat(len(masks), 1, 1, 1)
    made[:, :, y0:y1, x0:x1] = torch.where(holes, content.to(x.dtype), picture)
    return made


def _continued(values: Tensor, weights: Tensor, sigma: float, otherwise: Tensor) -> Tensor:
    """Known values (M, C, h, w) times their weights (M, 1, h, w), continued over all pixels."""
    total = weights.sum((2, 3), keepdim=True)
    everything = values.sum((2, 3), keepdim=True) / total.clamp(min=torch.finfo(total.dtype).tiny)
    coarse = torch.where(total > 0, everything, otherwise)
    if min(values.shape[2:]) > _SMALLEST:
        halved = [F.avg_pool2d(t, 2, ceil_mode=True) for t in (values, weights)]
        coarser = _continued(halved[0], halved[1], sigma, otherwise)
        coarse = F.interpolate(coarser, size=values.shape[2:], mode="bilinear", align_corners=False)
    return (_smooth(values, sigma) + _TRUST * coarse) / (_smooth(weights, sigma) + _TRUST)


def _smooth(values: Tensor, sigma: float) -> Tensor:
    """A Gaussian cut at three deviations, with nothing beyond the edge: (M, C, h, w)."""
    down, across = (_gaussian(n, sigma, values) for n in values.shape[2:])
    return down @ values @ across  # as matrices: many times as fast as convolutions of one channel on a CPU


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """(size, size), symmetric: the weight of each place for each other one along an axis."""
    place = torch.arange(size, dtype=like.dtype, device=like.device)
    distance = (place[:, None] - place).abs()
    return (
        torch.exp(-(distance**2) / (2 * sigma**2))
        * (distance <= 3 * sigma)
        / (sigma * math.sqrt(2 * math.pi))
    )
