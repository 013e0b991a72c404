"""Tiles: photographs and maps side by side, with words above them, for pictures that stand alone on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from relprop.viz import limits, overlay
from relprop.viz.scale import CLIP
from relprop.viz.text import fit

Pixels = NDArray[np.uint8]

SIDE = 224  # pixels of a tile
_GAP, _HEAD, _NAME = 8, 34, 150  # pixels: between tiles, of a line of heads, of the names on the left
_INK, _FRAME = (34, 34, 34), (200, 200, 200)


@dataclass(frozen=True)
class Tile:
    """A picture, or a map over the outlines of its picture.

    Attributes:
        picture: (H, W, 3) in 0-1.
        heatmap: relevance (H, W), or None for the picture alone.
        signed: False where the method gives no negative values.
        frames: rectangles x1, y1, x2, y2 in pixels of the picture.
        before: the same, dashed: where a frame was, or should be.
        clip: percentile at which the colours end, None for the largest value.
        limit: where they end instead, for maps on one scale.
    """

    picture: NDArray[np.float64]
    heatmap: NDArray[np.float64] | None = None
    signed: bool = True
    frames: tuple[tuple[float, float, float, float], ...] = ()
    before: tuple[tuple[float, float, float, float], ...] = ()
    clip: float | None = CLIP
    limit: float | None = None

    def pixels(self, side: int = SIDE) -> Image.Image:
        """The tile, `side` pixels wide and high; each map ends its colours where `relprop explain` does."""
        shown = Image.fromarray(np.uint8(np.rint(self.picture * 255))).resize(
            (side, side), Image.Resampling.LANCZOS
        )
        if self.heatmap is not None:
            (limit,) = limits([self.heatmap], clip=self.clip, signed=[self.signed])
            values = np.asarray(self.heatmap, dtype=np.float64)
            factor = max(1, side // max(values.shape))
            values = values.repeat(factor, 0).repeat(factor, 1)
            grey = (
                np.asarray(shown.resize(values.shape[::-1], Image.Resampling.LANCZOS), dtype=np.float64) / 255
            )
            shown = Image.fromarray(overlay(values, self.limit or limit.value, grey))
            shown = shown.resize((side, side), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(shown)
        scale = side / self.picture.shape[0]
        for x1, y1, x2, y2 in self.before:
            _dashed(draw, (x1 * scale, y1 * scale, x2 * scale, y2 * scale))
        for x1, y1, x2, y2 in self.frames:
            draw.rectangle((x1 * scale, y1 * scale, x2 * scale, y2 * scale), outline=(255, 255, 255), width=5)
            draw.rectangle(
                (x1 * scale + 1, y1 * scale + 1, x2 * scale - 1, y2 * scale - 1),
                outline=(190, 0, 160),
                width=3,
            )
        return shown


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], step: int = 7) -> None:
    """A rectangle in black on white dashes."""
    x1, y1, x2, y2 = box
    for (ax, ay), (bx, by) in (
        ((x1, y1), (x2, y1)),
        ((x1, y2), (x2, y2)),
        ((x1, y1), (x1, y2)),
        ((x2, y1), (x2, y2)),
    ):
        draw.line((ax, ay, bx, by), fill=(255, 255, 255), width=4)
        count = max(1, round(max(bx - ax, by - ay) / step))
        for k in range(0, count, 2):
            start, end = k / count, min(1.0, (k + 1) / count)
            line = (
                ax + start * (bx - ax),
                ay + start * (by - ay),
                ax + end * (bx - ax),
                ay + end * (by - ay),
            )
            draw.line(line, fill=(0, 0, 0), width=2)


def sheet(
    rows: Sequence[Sequence[Tile | None]],
    heads: Sequence[str] = (),
    names: Sequence[str] = (),
    side: int = SIDE,
) -> Image.Image:
    """Rows of tiles on white; `heads` stand above the columns, `names` on the left of the rows."""
    left = _NAME if names else _GAP
    top = _HEAD if heads else _GAP
    wide = left + max(len(row) for row in rows) * (side + _GAP)
    page = Image.new("RGB", (wide, top + len(rows) * (side + _GAP)), "white")
    draw = ImageDraw.Draw(page)
    for c, head in enumerate(heads):
        say(draw, head, left + c * (side + _GAP) + side // 2, top - 10, side)
    for r, row in enumerate(rows):
        y = top + r * (side + _GAP)
        if names:
            say(draw, names[r], left - 8, y + side // 2, left - 12, anchor="rm")
        for c, tile in enumerate(row):
            if tile is None:
                continue
            x = left + c * (side + _GAP)
            page.paste(tile.pixels(side), (x, y))
            draw.rectangle((x, y, x + side - 1, y + side - 1), outline=_FRAME)
    return page


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets below each other on one page."""
    page = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    top = 0
    for one in sheets:
        page.paste(one, (0, top))
        top += one.height
    return page


def say(
    draw: ImageDraw.ImageDraw,
    text: str,
    x: int,
    y: int,
    room: int,
    size: float = 10,
    anchor: str = "ms",
    weight: str = "bold",
) -> None:
    """A line of words that fits into `room` pixels."""
    from matplotlib.font_manager import FontProperties, findfont

    (line,), fitted = fit([text], room / 2, size, weight)
    font = ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight=weight)), 2 * fitted)
    draw.text((x, y), line, fill=_INK, font=font, anchor=anchor)
