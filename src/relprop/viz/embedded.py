"""Embedded: pictures and maps as data that stands inside a page, small enough to be sent."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from relprop.errors import InputError
from relprop.viz.colour import STEPS, check_finite, colourise, colours

__all__ = [
    "SIDE",
    "colour_stops",
    "csp_hash",
    "data_uri",
    "embedded_map",
    "embedded_picture",
    "embedded_sheet",
    "shrunk",
]

#: The longer side of what is embedded, in pixels: larger pictures and maps are made smaller.
SIDE = 320
_QUALITY, _FILM_QUALITY = 80, 85
# Each arm keeps every fourth colour: 64 steps to red and to blue. Files become a third smaller, and what two
# neighbours differ by can't be seen.
_EVERY = 4
# A map that is noise all over doesn't pack: from so many characters on it is made as small as this.
_MOST, _LESS = 60_000, 224
_LARGEST = 16383  # pixels along a side of a WebP


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that holds them.

    >>> data_uri(b"abc", "image/webp")
    'data:image/webp;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def csp_hash(script: str) -> str:
    """What a Content-Security-Policy's ``script-src`` has to name, in quotes, to let a page run this script.

    >>> csp_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def embedded_picture(pixels: NDArray[np.uint8], *, side: int = SIDE, quality: int = _QUALITY) -> str:
    """A picture as a WebP in a data URI.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        side: the longer side at most, in pixels; larger pictures are made smaller.
        quality: of WebP, 0 to 100.

    Raises:
        InputError: pixels of another type or shape.
    """
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
    ):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError(f"Expected a picture as a uint8 array (H, W, 3) but got {got}.")
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _webp(picture, quality=quality, method=5)


def embedded_map(values: ArrayLike, limit: float, *, side: int = SIDE) -> str:
    """A relevance map in the library's colours, without loss of what was drawn, as a WebP in a data URI.

    Colours are rounded to 64 steps from white to red and as many to blue. A larger map is made smaller first, each
    pixel the mean of those it stands for.
    One that is noise all over, which doesn't pack, is made 224 pixels long.

    Args:
        values: relevance (H, W).
        limit: the magnitude of the strongest colour, see :func:`relprop.viz.limits`.
        side: the longer side at most, in pixels.

    Raises:
        InputError: another shape, NaN or infinities, or a limit that is none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"Expected a map (H, W) to draw but got shape {array.shape}.")
    check_finite(array)
    small = shrunk(array, side)
    found = _drawn(small, limit)
    if len(found) > _MOST and max(small.shape) > _LESS and side <= SIDE:
        found = _drawn(shrunk(array, _LESS), limit)
    return found


def embedded_sheet(
    frames: NDArray[np.uint8], columns: int, *, side: int = SIDE, quality: int = _FILM_QUALITY
) -> tuple[str, tuple[int, int]]:
    """The frames of a film on one sheet, row by row, as a WebP in a data URI.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        columns: frames in a row.
        side: the longer side of a frame at most, in pixels; larger ones are made smaller.
        quality: of WebP, 0 to 100. A film without loss is five times as large.

    Returns:
        The sheet, and width and height of a frame on it.

    Raises:
        InputError: a sheet that is larger than a WebP can be.
    """
    pictures = [Image.fromarray(frame) for frame in frames]
    for picture in pictures:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    wide, tall = pictures[0].size
    rows = -(-len(pictures) // columns)
    if max(columns * wide, rows * tall) > _LARGEST:
        raise InputError(
            f"Expected a film whose frames fit on a sheet of {_LARGEST} x {_LARGEST} pixels but {len(pictures)} "
            f"frames of {wide} x {tall} do not. Take fewer frames, or smaller ones."
        )
    sheet = Image.new("RGB", (columns * wide, rows * tall), "white")
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (k % columns * wide, k // columns * tall))
    return _webp(sheet, quality=quality, method=4), (wide, tall)


def _drawn(values: NDArray[np.float64], limit: float) -> str:
    if limit > 0:
        step = limit * _EVERY / STEPS
        values = np.rint(values.clip(-limit, limit) / step) * step
    return _webp(Image.fromarray(colourise(values, limit)), lossless=True, quality=60, method=4)


def shrunk(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Values (H, W) with `side` pixels along the longer side at most, each the mean of those it stands for.

    >>> shrunk(np.array([[0.0, 2.0], [4.0, 6.0]]), 1).tolist(), shrunk(np.eye(2), 2).tolist()
    ([[3.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    longer = max(values.shape)
    if longer <= side:
        return values
    height, width = (max(1, round(n * side / longer)) for n in values.shape)
    # Float pictures of Pillow hold 32 bits: the scale is taken out, so that tiny relevance stays.
    peak = float(np.abs(values).max()) or 1.0
    image = Image.fromarray((values / peak).astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float64) * peak


def colour_stops(*, signed: bool = True, count: int = 9) -> list[str]:
    """Evenly spaced colours of relevance for a legend, from the strongest blue (white, if not signed) to red.

    >>> colour_stops(count=3), colour_stops(signed=False, count=2)
    (['#074199', '#ffffff', '#880b16'], ['#ffffff', '#880b16'])
    """
    table = colours()
    places = np.linspace(0 if signed else STEPS, 2 * STEPS, count).round().astype(int)
    return ["#{:02x}{:02x}{:02x}".format(*table[k].tolist()) for k in places]


def _webp(picture: Image.Image, **how: Any) -> str:
    held = io.BytesIO()
    picture.save(held, "WEBP", **how)
    return data_uri(held.getvalue(), "image/webp")
