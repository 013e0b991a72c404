"""One relevance map over a faint trace of its picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.colour import colourise
from relprop.viz.picture import Under, under_layer

__all__ = ["overlay"]


def overlay(
    heatmap: ArrayLike,
    limit: float,
    picture: NDArray[np.float64] | None = None,
    under: Under = "outlines",
) -> NDArray[np.uint8]:
    """Draw a map: the colour of each value times the picture's outlines in faint grey.

    Hue belongs to relevance alone: where the map is zero a pixel is white or a neutral grey line, never
    coloured. The trace fades with the strength of the relevance over it, so that strong pixels have the
    colour bar's own colours.

    Args:
        heatmap: relevance (H, W).
        limit: the magnitude of the strongest colour, see :func:`relprop.viz.scale.limits`.
        picture: colours (H, W, 3) in 0-1 of the same size, or None for the bare map.
        under: ``"outlines"``, ``"grey"`` or ``"none"``.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: on NaN or infinite relevance, or sizes that differ.

    >>> overlay(np.zeros((2, 2)), limit=1.0).min()
    np.uint8(255)
    """
    values = np.asarray(heatmap)
    if values.ndim != 2:
        raise InputError(f"Expected a map (H, W) to draw but got shape {values.shape}.")
    colour = colourise(values, limit)
    if picture is None:
        return colour
    if picture.shape[:2] != values.shape:
        raise InputError(f"Expected a picture of the map's size {values.shape} but got {picture.shape[:2]}.")
    strength = np.abs(values).clip(0, limit) / limit if limit > 0 else np.zeros(values.shape)
    ink = (1 - under_layer(picture, under)) * (1 - strength)
    return np.asarray(np.rint(colour * (1 - ink[..., None])), dtype=np.uint8)
