r"""Margin: how far a class lies above the others, as a slope on the outputs.

A class's logit says how much the network sees of it, and shares most of that with its neighbours: what makes a bus
likely makes a truck likely. A margin asks for the rest. With q the softmax of the *other* classes, held fixed,

.. math:: m_k = z_k - \sum_{j \ne k} q_j z_j, \qquad \frac{\partial m_k}{\partial z_k} = 1, \quad
    \frac{\partial m_k}{\partial z_j} = -q_j

so the likeliest rival counts most, and a class that nobody thought of hardly at all.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.methods.method import Request

__all__ = ["Rivals", "margin_slopes", "margin_values"]

Rivals = Literal["softmax", "none"]


def margin_slopes(request: Request, *, include_background: bool, rivals: Rivals) -> Tensor:
    """The slope of what is asked on the logits, (K, N, outputs, ...).

    A class (over a region, too) less its rivals: the other classes of the same anchor and position, weighed by
    their softmax. What else is asked has none and stays as it is: an objectness, an offset, a difference of two
    classes, a callable; a callable that is one class's logit is that class, as classes that are asked beside
    callables come as such.

    Args:
        request: what is asked.
        include_background: whether a detector's background is among the rivals.
        rivals: "none" leaves a class alone.

    Raises:
        InputError: no background to leave out.
    """
    layout, kind = request.layout, request.asked.kind
    if not include_background and layout.background is None:
        raise InputError(
            "Expected a detector with a background class for include_background=False but this model has none. "
            "Leave the setting out, or name the background in the layout."
        )
    slopes = request.ones()
    # A callable behind a sigmoid is about what the sigmoid gives, not about logits.
    if rivals == "none" or kind == "versus" or (kind == "score" and request.head is not None):
        return slopes
    units = slopes.unflatten(2, (layout.anchors, layout.width))  # (K, N, D, width, ...), a view
    classes = units[:, :, :, : layout.classes]
    read = (units != 0).flatten(4).any(-1) if units.ndim > 4 else units != 0
    alone = read.flatten(2).sum(-1)[..., None, None] == 1
    if kind == "score":
        alone = alone & (units.reshape(*read.shape, -1).sum(-1) == 1).any(-1, keepdim=True)
    own = read[..., : layout.classes] & alone  # (K, N, D, classes), at most one of a row
    rival = own.any(-1, keepdim=True) & ~own
    if not include_background:
        rival[..., layout.background] = False
    rival = rival.reshape(*rival.shape, *[1] * (units.ndim - 4))
    logits = request.scores.unflatten(1, (layout.anchors, layout.width))[:, :, : layout.classes]
    # A row without a rival would be a softmax of nothing.
    weights = logits.masked_fill(~rival, -torch.inf).softmax(3).masked_fill(~rival, 0)
    classes -= classes.sum(3, keepdim=True) * weights
    return slopes


def margin_values(request: Request, slopes: Tensor) -> Tensor:
    """The margins themselves, summed over positions, (K, N) float64."""
    linear = (slopes * request.scores).flatten(2).double().sum(-1)
    if request.asked.kind != "score":
        return linear
    as_asked = (slopes == request.ones()).flatten(2).all(-1)  # a callable may have a constant, and be curved
    return torch.where(as_asked, request.asked.score(request.output), linear)
