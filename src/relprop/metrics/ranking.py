"""Ranking: a map's pixels from the most relevant on, and what a model says when some are covered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.metrics.metric import Case, as_heat
from relprop.precision import full_precision

__all__ = ["as_picture", "black_of", "by_relevance", "check_black", "map_and", "model_and_input", "scores_of"]


def model_and_input(case: Case, metric: str) -> tuple[nn.Module, Tensor]:
    """The case's network and its input (1, C, h, w).

    Raises:
        InputError: the case was made without them.
    """
    if case.model is None or case.x is None:
        missing = "model" if case.model is None else "x"
        raise InputError(f"Expected a case with model and x for {metric!r} but got {missing}=None.")
    return case.model, case.x


def map_and(
    case: Case, metric: str, how: Literal["explain", "explain_at"]
) -> tuple[Tensor, Callable[..., Tensor]]:
    """The case's map (h, w), and how to have another one: on another network, or at other inputs.

    Raises:
        InputError: the case was made without them.
    """
    again = getattr(case, how)
    if case.map is None or again is None:
        missing = how if again is None else "map"
        raise InputError(f"Expected a case with map and {how} for {metric!r} but got {missing}=None.")
    return case.map, again


def as_picture(heat: Any, x: Tensor) -> Tensor:
    """A map (h, w) of any resolution at the input's size, float64 (H, W) on the CPU.

    Maps of a layer are resized bilinearly with `align_corners=False`.

    Raises:
        InputError: no map, NaN or infinity, or an input other than (1, C, H, W).

    >>> as_picture([[1.0, 3.0]], torch.zeros(1, 3, 1, 4)).tolist()
    [[1.0, 1.5, 2.5, 3.0]]
    """
    if x.ndim != 4 or x.shape[0] != 1:
        raise InputError(f"Expected one input (1, C, H, W) but got shape {tuple(x.shape)}.")
    if heat is None:
        raise InputError("Expected a case with the map on the model's input but got map=None.")
    values = torch.from_numpy(as_heat(heat))
    if values.shape == x.shape[2:]:
        return values
    size = [int(n) for n in x.shape[2:]]
    return F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def by_relevance(heat: Tensor) -> Tensor:
    """Indices of the flat map from the highest value down, int64 (H * W,); equals by index.

    >>> by_relevance(torch.tensor([[0.0, 2.0], [2.0, 5.0]])).tolist()
    [3, 1, 2, 0]
    """
    return torch.sort(heat.flatten(), descending=True, stable=True).indices


@full_precision
def scores_of(model: nn.Module, x: Tensor) -> Tensor:
    """The model's scores (N, classes), float64 on the CPU, without a gradient.

    Raises:
        InputError: another output, or NaN or infinity in it.
    """
    with capture_lock, torch.no_grad():
        output = model(x)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != x.shape[0]:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"Expected a model that returns scores ({x.shape[0]}, classes) but it returns {got}."
        )
    scores = output.detach().double().cpu()
    if not bool(torch.isfinite(scores).all()):
        raise InputError(f"Expected finite scores but {type(model).__name__} returned NaN or infinity.")
    return scores


def black_of(fill: str, black: Sequence[float] | None, x: Tensor) -> Tensor:
    """The value that covers a pixel, (1, C, 1, 1): 0 (the mean colour of normalised inputs) or black.

    Raises:
        InputError: black was asked for without its values, or with another number of channels.
    """
    if fill != "black":
        return x.new_zeros(1, x.shape[1], 1, 1)
    if black is None:
        raise InputError(
            "Expected black=(...) with fill='black', one value a channel in the model's normalised units: "
            "(0 - mean) / std."
        )
    if len(black) != x.shape[1]:
        raise InputError(f"Expected black with {x.shape[1]} values, one a channel, but got {len(black)}.")
    return x.new_tensor(list(black))[None, :, None, None]


def check_black(black: Any) -> tuple[float, ...] | None:
    """The values of black as plain numbers.

    Raises:
        InputError: something else than finite numbers.
    """
    if black is None:
        return None
    try:
        values = tuple(float(v) for v in black)
    except (TypeError, ValueError):
        values = (math.nan,)
    if not values or not all(map(math.isfinite, values)):
        raise InputError(f"Expected black to be one finite number a channel but got {black!r}.")
    return values
