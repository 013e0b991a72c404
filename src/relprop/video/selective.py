"""Selective relevance: where a map changes over time, by a temporal Sobel filter."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.video.separation import Split

__all__ = ["check_selection", "selected", "selective_split", "temporal_sobel"]


def temporal_sobel(maps: Tensor, padding: Literal["replicate", "zero"] = "replicate") -> Tensor:
    r"""How a map changes over time, smoothed over its neighbours: (..., T, H, W) → the same shape.

    .. math:: D = E \star K, \qquad K = (1, 0, -1)_t \otimes (1, 2, 1)_y \otimes (1, 2, 1)_x

    A cross-correlation: D at t is frame t − 1 less frame t + 1, so it is positive where relevance falls.

    Args:
        maps: the maps E.
        padding: "replicate" repeats the outermost values, so that nothing changes beyond the border;
            "zero" lets the last frame see all relevance vanish.

    Source: Hiley et al. 2020 (selective relevance), their published code.

    >>> temporal_sobel(torch.tensor([4.0, 4.0, 1.0]).reshape(3, 1, 1)).flatten().tolist()
    [0.0, 48.0, 48.0]
    """
    line = maps.new_tensor([1.0, 2.0, 1.0])
    flat = maps.reshape(-1, 1, *maps.shape[-3:])
    wide = F.pad(flat, (1,) * 6, mode="replicate" if padding == "replicate" else "constant")
    # The difference first: where nothing changes it is 0, not a sum that nearly cancels.
    change = wide[:, :, :-2] - wide[:, :, 2:]
    return F.conv3d(change, (line[:, None] * line)[None, None, None]).reshape(maps.shape)


def selected(
    maps: Tensor,
    *,
    padding: Literal["replicate", "zero"] = "replicate",
    sigma: float = 1.0,
    absolute: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""The maps as they are selected from, and the mask of what changes over time.

    A map with negative values is first brought to [0, 1], E ← (E − min)/(max − min). The mask holds where
    :math:`D > σ \operatorname{std} D` (unbiased, over the whole clip), D from `temporal_sobel`; selective
    relevance is their product.

    Args:
        maps: (..., T, H, W).
        padding: see `temporal_sobel`.
        sigma: how many standard deviations a change must have.
        absolute: select where relevance rises too, :math:`|D| > σ \operatorname{std} D`.

    Returns:
        The maps and a mask (bool), shaped like `maps`.
    """
    low = maps.amin((-3, -2, -1), keepdim=True)
    span = maps.amax((-3, -2, -1), keepdim=True) - low
    scaled = (maps - low) / span.masked_fill(span == 0, 1)
    maps = torch.where(low < 0, scaled, maps)
    change = temporal_sobel(maps, padding)
    threshold = sigma * change.flatten(-3).std(-1)[..., None, None, None]
    return maps, (change.abs() if absolute else change) > threshold


def selective_split(
    e: Explanation, *, padding: Literal["replicate", "zero"], sigma: float, absolute: bool
) -> Split:
    """Split the explanation of one clip, input (1, C, T, H, W), by `selected`, whose maps are its original."""
    lead = e.targets.dim() - 1
    maps, mask = selected(e.heatmap().squeeze(lead), padding=padding, sigma=sigma, absolute=absolute)
    return Split(
        {"original": maps, "spatial": maps.masked_fill(mask, 0), "temporal": maps.masked_fill(~mask, 0)},
        {"original": e.relevance.squeeze(lead)},
        e.outputs,
        e.targets,
        ledgers={} if e.ledger is None else {"original": e.ledger},
        warnings=e.warnings,
        notes=e.notes,
    )


def check_selection(padding: str, sigma: float, absolute: bool) -> None:
    """Refuse settings of the selective mode that can't be used.

    Raises:
        InputError: says which.
    """
    check_choice("padding", padding, ("replicate", "zero"))
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not 0 <= sigma < float("inf"):
        raise InputError(f"Expected sigma to be a number >= 0 but got {sigma!r}.")
    if not isinstance(absolute, bool):
        raise InputError(f"Expected absolute to be True or False but got {absolute!r}.")
