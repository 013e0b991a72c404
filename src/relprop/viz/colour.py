"""The colours of relevance: red for, blue against, white none."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

__all__ = ["STEPS", "check_finite", "colourise", "colours", "matplotlib_colormap", "oklab"]

#: Steps from white to each end. The table has 2 * STEPS + 1 entries, so that zero has one of its own.
STEPS = 255

# Stated colours, in OKLCh (lightness, chroma, hue in degrees). Both arms share lightness and chroma at each
# step, so that +v and -v differ in hue alone; hues 25 (red) and 260 (blue) stay apart in the common
# colour-vision deficiencies.
_WHITE = (1.0, 0.0)
_BEND = (0.70, 0.175)
_END = (0.40, 0.155)
_RED, _BLUE = 25.0, 260.0

# OKLab (B. Ottosson, "A perceptual color space for image processing", 2020): linear sRGB to cone-like
# responses, and their cube roots to lightness, green-red, blue-yellow.
_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: ArrayLike) -> NDArray[np.float64]:
    """OKLab coordinates (…, 3) of sRGB colours (…, 3) in 0-255: lightness 0-1, green-red, blue-yellow.

    >>> np.round(oklab([255, 255, 255]), 3).tolist()[0]
    1.0
    """
    srgb = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T)


def _srgb(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    linear = ((lab @ np.linalg.inv(_LMS_TO_LAB).T) ** 3) @ np.linalg.inv(_RGB_TO_LMS).T
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(srgb * 255), dtype=np.uint8)


def _arm(hue: float) -> NDArray[np.uint8]:
    # A quadratic curve through lightness and chroma; the bend's lightness lies half-way, so that lightness
    # falls linearly: equal steps of relevance look like equal steps.
    t = np.arange(STEPS + 1)[:, None] / STEPS
    curve = (1 - t) ** 2 * np.array(_WHITE) + 2 * t * (1 - t) * np.array(_BEND) + t**2 * np.array(_END)
    angle = np.radians(hue)
    lab = np.stack([curve[:, 0], curve[:, 1] * np.cos(angle), curve[:, 1] * np.sin(angle)], axis=1)
    arm = _srgb(lab)
    arm[0] = 255  # exactly white, whatever the rounding above
    return arm


@cache
def colours() -> NDArray[np.uint8]:
    """The table of colours, (511, 3): entry 255 is white, 0 the strongest blue, 510 the strongest red."""
    table = np.concatenate([_arm(_BLUE)[:0:-1], _arm(_RED)])
    table.setflags(write=False)
    return table


def colourise(values: ArrayLike, limit: float) -> NDArray[np.uint8]:
    """Colours (…, 3) of relevance values (…): ``+limit`` and beyond full red, ``-limit`` full blue.

    ``limit = 0`` says that there is nothing to see: all is white. The values are read, never changed.

    Raises:
        InputError: if a value is NaN or infinite, or ``limit`` is negative or not finite.

    >>> colourise([0.0, 1.0, -1.0], limit=1.0).tolist()
    [[255, 255, 255], [136, 11, 22], [7, 65, 153]]
    """
    array = np.asarray(values, dtype=np.float64)
    check_finite(array)
    if not np.isfinite(limit) or limit < 0:
        raise InputError(f"Expected a colour limit that is finite and not negative but got {limit}.")
    if limit == 0:
        return np.full((*array.shape, 3), 255, dtype=np.uint8)
    # Clipping before dividing keeps tiny limits (1e-310) from overflowing.
    index = np.rint(array.clip(-limit, limit) / limit * STEPS).astype(np.int64) + STEPS
    return colours()[index]


def check_finite(array: NDArray[np.floating], what: str = "relevance") -> None:
    """Refuse NaN and infinities.

    Raises:
        InputError: with how many there are and where the first one lies.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"Expected finite {what} to draw but got {int(bad.sum())} NaN or infinite of {array.size} values, "
            f"the first at {where}. Look for NaN or overflow in the model's output and weights."
        )


@cache
def matplotlib_colormap() -> ListedColormap:
    """The same table as a matplotlib colormap, for colour bars and for pictures of your own."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(colours() / 255.0, name="relprop")
