"""Plates: tiles with what was measured written below each, and paint that shows which pixels a metric counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gallery_tiles import SIDE, say
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from relprop.viz import limits, overlay

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "RED",
    "Plate",
    "circled",
    "outlined",
    "painted",
    "plates",
    "stacked",
    "tinted",
]

Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

# Okabe and Ito's, told apart by most eyes; the outline has a colour that no map has.
RED, ORANGE, GREEN, BLUE = (190, 20, 30), (230, 140, 0), (0, 140, 100), (0, 90, 170)
_OUTLINE: Colour = (190, 0, 160)
_GAP, _HEAD, _LINE = 10, 34, 27  # pixels: between plates, of a head, of a line below


@dataclass(frozen=True)
class Plate:
    """A tile, its head, and lines below: the first one bold, it is the measurement.

    Attributes:
        image: SIDE pixels wide and high.
        head: above it.
        lines: below it.
    """

    image: Image.Image
    head: str = ""
    lines: Sequence[str] = ()


def plates(rows: Sequence[Sequence[Plate]], wide: int = 0) -> Image.Image:
    """Rows of plates on white; heads stand in the middle above, lines below.

    Args:
        rows: of plates.
        wide: pixels that a page is wide at least.
    """
    columns = max(len(row) for row in rows)
    tall = [_tall(row) for row in rows]
    own = _GAP + columns * (SIDE + _GAP)
    page = Image.new("RGB", (max(wide, own), _GAP // 2 + sum(tall)), "white")
    draw = ImageDraw.Draw(page)
    top = _GAP // 2
    for row, high in zip(rows, tall, strict=True):
        head = _HEAD if any(plate.head for plate in row) else 4
        left = (page.width - len(row) * (SIDE + _GAP) + _GAP) // 2
        for c, plate in enumerate(row):
            x, middle = left + c * (SIDE + _GAP), left + c * (SIDE + _GAP) + SIDE // 2
            say(draw, plate.head, middle, top + head - 10, SIDE)
            page.paste(plate.image, (x, top + head))
            draw.rectangle((x, top + head, x + SIDE - 1, top + head + SIDE - 1), outline=(200, 200, 200))
            for k, line in enumerate(plate.lines):
                y = top + head + SIDE + 22 + k * _LINE
                say(draw, line, middle, y, SIDE + _GAP - 2, weight="normal" if k else "bold")
        top += high
    return page


def _tall(row: Sequence[Plate]) -> int:
    head = _HEAD if any(plate.head for plate in row) else 4
    lines = max(len(plate.lines) for plate in row)
    return head + SIDE + (6 + lines * _LINE if lines else 0) + _GAP


def stacked(pages: Sequence[Image.Image]) -> Image.Image:
    """Pages one below the other, each in the middle."""
    wide = max(page.width for page in pages)
    made = Image.new("RGB", (wide, sum(page.height for page in pages)), "white")
    top = 0
    for page in pages:
        made.paste(page, ((wide - page.width) // 2, top))
        top += page.height
    return made


def outlined(image: Image.Image, *masks: Mask, colour: Colour = _OUTLINE) -> Image.Image:
    """The tile with a line around each region."""
    pixels = np.asarray(image.convert("RGB")).copy()
    for mask in masks:
        large = _grown(mask, image.size)
        pixels[_around(large, 3) & ~_around(large, 2)] = 255
        pixels[_around(large, 2) & ~large] = colour
    return Image.fromarray(pixels)


def painted(picture: NDArray[np.float64], layers: Sequence[tuple[Mask, Colour]]) -> Image.Image:
    """Regions in one colour each over the picture's outlines; later ones hide earlier ones."""
    base = overlay(np.zeros(picture.shape[:2]), 0.0, picture).astype(np.float64)
    made = base.copy()
    for mask, colour in layers:
        made[mask] = 0.25 * base[mask] + 0.75 * np.array(colour)
    return _shown(made)


def tinted(
    picture: NDArray[np.float64], strength: NDArray[np.float64], layers: Sequence[tuple[Mask, Colour]]
) -> Image.Image:
    """Values from 0 up, each in its region's colour, over the picture's outlines; the scale is that of maps."""
    (limit,) = limits([strength], signed=[False])
    share = np.clip(strength / (limit.value or 1.0), 0.0, 1.0)[..., None]
    base = overlay(np.zeros(picture.shape[:2]), 0.0, picture).astype(np.float64)
    colours = np.zeros_like(base)
    for mask, colour in layers:
        colours[mask] = colour
    return _shown(base * (1 - share) + colours * share)


def circled(
    image: Image.Image, x: float, y: float, colour: Colour, reach: float = 0.0, side: int = 112
) -> Image.Image:
    """The tile with a cross at a pixel of its picture, which is `side` wide, and a circle of `reach` around it."""
    made, scale = image.copy(), image.width / side
    draw = ImageDraw.Draw(made)
    x, y = (x + 0.5) * scale, (y + 0.5) * scale
    for wide, ink in ((7, (255, 255, 255)), (4, colour)):
        arm = 13 + wide / 2
        draw.line((x - arm, y, x + arm, y), fill=ink, width=wide)
        draw.line((x, y - arm, x, y + arm), fill=ink, width=wide)
    if reach:
        far = reach * scale
        draw.ellipse((x - far, y - far, x + far, y + far), outline=colour, width=2)
    return made


def _shown(pixels: NDArray[np.float64]) -> Image.Image:
    image = Image.fromarray(np.uint8(np.rint(np.clip(pixels, 0, 255))))
    return image.resize(
        (SIDE, SIDE), Image.Resampling.NEAREST if SIDE % image.width == 0 else Image.Resampling.LANCZOS
    )


def _grown(mask: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _around(mask: Mask, reach: int) -> Mask:
    """The pixels at most `reach` from the region, side by side or corner to corner."""
    padded, (high, wide) = np.pad(mask, reach), mask.shape
    steps = range(2 * reach + 1)
    return np.any([padded[a : a + high, b : b + wide] for a in steps for b in steps], axis=0)
