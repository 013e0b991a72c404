"""Masking fidelity: does the network say the same when only the relevant pixels are left?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relprop.checks import check_choice, check_count
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import (
    as_picture,
    black_of,
    by_relevance,
    check_black,
    model_and_input,
    scores_of,
)
from relprop.precision import full_precision

__all__ = ["MaskingFidelity", "kept", "masking_fidelity"]


def kept(heat: Tensor, keep: float = 0.3) -> Tensor:
    """The most relevant share of pixels, exactly: (H, W) bool with `round(keep * H * W)` of them, at least one.

    Pixels are ranked by max(0, value); among equals the first in reading order is kept.

    >>> kept(torch.tensor([[-1.0, 4.0], [0.0, 4.0]]), 0.5).tolist()
    [[False, True], [False, True]]
    >>> kept(torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]), 0.5).tolist()  # all of them 0: by index
    [[True, True], [False, False]]
    """
    count = max(1, round(keep * heat.numel()))
    chosen = torch.zeros(heat.numel(), dtype=torch.bool)
    chosen[by_relevance(heat.clamp(min=0))[:count]] = True
    return chosen.reshape(heat.shape)


@full_precision
def masking_fidelity(
    model: nn.Module,
    x: Tensor,
    heat: Any,
    keep: float = 0.3,
    top: int = 5,
    fill: Literal["mean", "black"] = "mean",
    black: Sequence[float] | None = None,
) -> float:
    r"""Overlap of the top classes with and without the less relevant pixels.

    .. math:: \frac{|\text{top}_k f(x) \cap \text{top}_k f(m \odot x + (1 - m)\, v)|}{k}

    where m keeps the most relevant `keep` of the pixels and v is 0 or black. Source: the masking test of the
    piece-wise affine representation (30 %, k = 5); ranks, ties and the fill are ours, it states none.

    Args:
        model: (N, C, H, W) to scores (N, classes).
        x: (1, C, H, W), normalised.
        heat: (h, w) of any resolution; resized bilinearly to (H, W).
        keep: share of pixels, above 0 and at most 1.
        top: k.
        fill: "mean": 0 in normalised units, the mean colour; "black": the values of `black`.
        black: one value a channel, (0 - mean) / std.

    Returns:
        From 0 to 1, in steps of 1/k.

    Raises:
        InputError: fewer than `top` classes, a map that isn't finite, missing values of black.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 3, bias=False))
    >>> net[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> x = torch.tensor([[[[3.0, 2.0]]]])  # scores 3, 2, -5
    >>> masking_fidelity(net, x, [[1.0, 0.0]], keep=0.5, top=1), masking_fidelity(net, x, [[0.0, 1.0]], 0.5, 1)
    (1.0, 0.0)
    """
    picture = as_picture(heat, x)
    mask = kept(picture, keep).to(x.device)
    covered = torch.where(mask, x, black_of(fill, black, x))
    before, after = _top(scores_of(model, x), top), _top(scores_of(model, covered), top)
    return len(before & after) / top


def _top(scores: Tensor, top: int) -> set[int]:
    if scores.shape[1] < top:
        raise InputError(
            f"Expected at least top={top} classes but the model has {scores.shape[1]}. Set a smaller top."
        )
    order = torch.sort(scores[0], descending=True, stable=True).indices
    return set(order[:top].tolist())


class MaskingFidelity(Metric):
    """Mean overlap of the top classes when only the most relevant pixels are kept; see `masking_fidelity`.

    Args:
        keep: share of pixels that stay.
        top: number of classes compared.
        fill: what covers the others: "mean" (0 in normalised units) or "black".
        black: one value a channel in normalised units, for fill="black".

    Raises:
        InputError: keep outside (0, 1], top < 1, another fill, black without its values.
    """

    name = "masking-fidelity"
    needs = "model"
    summary = "Masking fidelity: overlap of the top-5 classes when only the most relevant 30 % are kept"
    outcomes = (Outcome("overlap", "Top-5 overlap", average="pair"),)

    def __init__(
        self,
        *,
        keep: float = 0.3,
        top: int = 5,
        fill: Literal["mean", "black"] = "mean",
        black: Sequence[float] | None = None,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
            raise InputError(f"Expected keep to be a share of pixels above 0 and at most 1 but got {keep!r}.")
        check_count("top", top)
        check_choice("fill", fill, ("mean", "black"))
        self.keep, self.top, self.fill, self.black = keep, top, fill, check_black(black)
        if fill == "black" and black is None:
            black_of(fill, None, torch.zeros(1, 1, 1, 1))

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        overlap = masking_fidelity(model, x, case.map, self.keep, self.top, self.fill, self.black)
        return {"overlap": overlap}
