r"""Margin: how far a class lies above the others, as a slope on the outputs.

A class's logit says how much the network sees of it, and shares most of that with its neighbours: what makes a bus
likely makes a truck likely. A margin asks for the rest. With q the softmax of the *other* classes, held fixed,

.. math:: m_k = z_k - \sum_{j \ne k} q_j z_j, \qquad \frac{\partial m_k}{\partial z_k} = 1, \quad
    \frac{\partial m_k}{\partial z_j} = -q_j

so the likeliest rival counts most, and a class that nobody thought of hardly at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.methods.method import Request

__all__ = ["margin_slopes", "margin_values"]


def margin_slopes(request: Request, *, include_background: bool, name: str) -> Tensor:
    """The slope of what is asked on the logits, (K, N, outputs, ...).

    A class (over a region, too) less its rivals: the other classes of the same anchor and position, weighed by
    their softmax. Where there is no other, and for an objectness, the logit alone. A difference of two classes
    and a callable are margins already, and stay as they are asked.

    Args:
        request: what is asked.
        include_background: whether a detector's background is among the rivals.
        name: of the method, for what is refused.

    Raises:
        InputError: an offset was asked, which has no rival; no background to leave out.
    """
    asked, layout = request.asked, request.layout
    if asked.kind not in ("class", "region"):
        return request.ones()
    if not include_background and layout.background is None:
        raise InputError(
            "Expected a detector with a background class for include_background=False but this model has none. "
            "Leave the setting out, or name the background in the layout."
        )
    slopes = request.ones()
    k, n, _, *positions = slopes.shape
    anchor, column = request.targets // layout.width, request.targets % layout.width  # (K, N)
    offset = (column >= layout.classes) & (column < layout.classes + len(layout.offsets))
    if bool(offset.any()):
        which = layout.offsets[int(column[offset][0]) - layout.classes]
        raise InputError(
            f"Expected a class or the objectness for {name}, which weighs a class against its rivals, but got the "
            f"offset {which!r}. Ask 'crp' for offsets."
        )
    # Where the class itself counts: everywhere, or in the region. (K, N, 1, ...)
    where = slopes.sum(2, keepdim=True)
    units = request.scores.reshape(n, layout.anchors, layout.width, *positions)
    rows = torch.arange(n, device=anchor.device)
    logits = units[rows, anchor][:, :, : layout.classes]  # (K, N, classes, ...)
    rival = column[..., None] != torch.arange(layout.classes, device=column.device)
    if not include_background:
        rival[..., layout.background] = False
    rival &= (column < layout.classes)[..., None]
    rival = rival.reshape(*rival.shape, *[1] * len(positions))
    # A row without a rival would be a softmax of nothing.
    weights = logits.masked_fill(~rival, -torch.inf).softmax(2).masked_fill(~rival, 0)
    whole = slopes.reshape(k, n, layout.anchors, layout.width, *positions)
    here = torch.arange(layout.anchors, device=anchor.device) == anchor[..., None]  # (K, N, D)
    here = here.reshape(*here.shape, *[1] * (1 + len(positions)))
    whole[:, :, :, : layout.classes] -= here * (where * weights)[:, :, None]
    return slopes


def margin_values(request: Request, slopes: Tensor) -> Tensor:
    """The margins themselves, summed over positions, (K, N) float64."""
    if request.asked.kind == "score":
        return request.asked.score(request.output)
    return (slopes * request.scores).flatten(2).double().sum(-1)
