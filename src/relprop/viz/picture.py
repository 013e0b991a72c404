"""The model's input as something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError
from relprop.viz.colour import check_finite

__all__ = ["Under", "check_under", "display_picture", "under_layer"]

Under = Literal["outlines", "grey", "none"]


def display_picture(
    x: Tensor,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[NDArray[np.float64], str]:
    """One input as colours in 0-1, and a note that says how they were made.

    Args:
        x: (C, H, W) or (C, T, H, W), as the model got it. Three channels are read as red, green, blue;
            any other number is averaged to grey.
        mean: what the preprocessing subtracted, a number per channel.
        std: what it divided by. Without ``mean`` and ``std`` the picture is stretched from its own minimum
            to its maximum.

    Returns:
        (H, W, 3) or (T, H, W, 3) in 0-1, and the note ("" where mean and std gave the colours back).

    Raises:
        InputError: on another rank, NaN or infinite values, one of mean and std without the other, anything but
            one finite number a channel, or a std that isn't above 0.
    """
    if x.dim() not in (3, 4):
        raise InputError(
            f"Expected an input (C, H, W) or (C, T, H, W) to draw but got shape {tuple(x.shape)}."
        )
    values = x.detach().to("cpu").double().numpy()
    check_finite(values, "input")
    channels = values.shape[0]
    if (mean is None) != (std is None):
        raise InputError("Expected both mean and std or neither but got only one of them.")
    if mean is not None and std is not None:
        shape = (channels,) + (1,) * (values.ndim - 1)
        factor, shift = _numbers("std", std, channels), _numbers("mean", mean, channels)
        if not (factor > 0).all():
            raise InputError(f"Expected std above 0 in every channel but got {factor.tolist()}.")
        values = values * factor.reshape(shape) + shift.reshape(shape)
        note = ""
    else:
        low, high = float(values.min()), float(values.max())
        values = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        note = "input stretched from min to max"
    if channels != 3:
        values = values.mean(axis=0, keepdims=True).repeat(3, axis=0)
        if channels != 1:
            note = ", ".join(filter(None, [note, f"mean of {channels} channels"]))
    return np.moveaxis(values, 0, -1).clip(0, 1), note


def _numbers(name: str, given: object, channels: int) -> NDArray[np.float64]:
    """One finite number a channel."""
    try:
        found = np.asarray(given.cpu() if isinstance(given, Tensor) else given, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (channels,) or not np.isfinite(found).all():
        count = f"{channels} finite numbers" if channels > 1 else "1 finite number"
        raise InputError(f"Expected {name} as {count}, one a channel, but got {given!r}.")
    return found


def under_layer(picture: NDArray[np.float64], under: Under = "outlines") -> NDArray[np.float64]:
    """The faint trace that shows where a map lies: (H, W) in 0-1, 1 where the paper stays white.

    ``"outlines"`` draws the picture's edges as faint grey lines on white, so that white stays what it means,
    no relevance, nearly everywhere; ``"grey"`` is the whole picture in light grey; ``"none"`` is white.

    Raises:
        InputError: for any other name.
    """
    check_under(under)
    if under == "none":
        return np.ones(picture.shape[:2])
    luma = picture @ np.array([0.2126, 0.7152, 0.0722])
    if under == "grey":
        low, high = np.percentile(luma, [1, 99])
        flat = (luma - low) / (high - low) if high > low else np.ones_like(luma)
        return 1 - _GREY * (1 - flat.clip(0, 1))
    return 1 - _LINES * _edges(luma)


def check_under(under: object) -> None:
    """Refuse names that are no kind of trace.

    Raises:
        InputError: for any other name than 'outlines', 'grey' or 'none'.
    """
    check_choice("under", under, ("outlines", "grey", "none"))


# How dark the faintest layer gets: chosen by eye so that full-scale red and blue keep their hue over it.
_GREY = 0.22
_LINES = 0.28


def _edges(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edge strength in 0-1: gradient magnitude after a little smoothing, weak texture dropped."""
    rounds = max(1, round(min(luma.shape) / 112))
    for _ in range(rounds):
        luma = _smooth(luma)
    padded = np.pad(luma, 1, mode="edge")
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    right = padded[1:-1, 2:] - padded[1:-1, :-2]
    strength = np.hypot(down, right)
    top = float(np.percentile(strength, 98))
    if top <= 1e-6:
        return np.zeros_like(luma)
    relative = (strength / top).clip(0, 1)
    # Below a fifth of the strong edges is texture: it would tint the paper.
    return np.asarray(((relative - 0.2) / 0.8).clip(0, 1))


def _smooth(image: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (1, 1)
        padded = np.pad(image, width, mode="edge")
        size = image.shape[axis]
        parts = [np.take(padded, range(k, k + size), axis=axis) for k in range(3)]
        image = 0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2]
    return image
