"""Boxes on a small picture, numbered, and a table of what they are, as a piece of HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from relprop.glance import Entry, framed, table_html
from relprop.viz.canvas import COLOURS
from relprop.viz.embedded import embedded_picture

__all__ = ["BoxRow", "Thumbnail", "boxes_html"]

_SIDE = 340  # pixels of the picture's longer side
_MOST = 12  # boxes that are drawn and listed


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A picture made small.

    Attributes:
        pixels: (h, w, 3) uint8.
        size: (H, W) of the picture itself, in whose pixels boxes are.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True)
class BoxRow:
    """A box and what it is: x0, y0, x1, y1 in pixels of the picture, a name, a score from 0 to 1."""

    box: tuple[float, float, float, float]
    name: str
    score: float


def boxes_html(
    title: str, rows: Sequence[BoxRow], picture: Thumbnail | None = None, said: Sequence[str] = ()
) -> str:
    """A picture with numbered boxes and their table, best first; nothing of it needs a script.

    Args:
        title: line on top.
        rows: of these the first 12 are shown, and the page says how many there are. All words are escaped.
        picture: None: the table alone.
        said: sentences below.

    >>> page = boxes_html("found", [BoxRow((0, 0, 4, 2), "a <cat>", 0.5)])
    >>> "a &lt;cat&gt;" in page, "<img" in page
    (True, False)
    """
    shown = rows[:_MOST]
    lines: list[list[Entry | str]] = [
        [str(i), row.name, Entry(f"{row.score:.2f}", bar=row.score), " ".join(f"{v:.0f}" for v in row.box)]
        for i, row in enumerate(shown)
    ]
    table = table_html(["box", "class", "score", "x0 y0 x1 y1"], [("", lines)], words=2) if rows else ""
    drawn = "" if picture is None else _drawn(picture, shown)
    more = [f"The first {_MOST} of {len(rows)} are shown."] if len(rows) > _MOST else []
    inside = f'<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">{drawn}{table}</div>'
    return framed(title, inside, [*more, *said])


def _drawn(picture: Thumbnail, rows: Sequence[BoxRow]) -> str:
    height, width = picture.pixels.shape[:2]
    grown = _SIDE / max(height, width)
    size = max(1, round(width * grown)), max(1, round(height * grown))
    image = Image.fromarray(picture.pixels).resize(size, Image.Resampling.BICUBIC)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    per = size[0] / picture.size[1], size[1] / picture.size[0]
    for i, row in reversed(list(enumerate(rows))):  # the best over the others
        colour = COLOURS[i % len(COLOURS)]
        corners = [v * per[k % 2] for k, v in enumerate(row.box)]
        x0, y0 = (min(max(v, 0), most - 1) for v, most in zip(corners[:2], size, strict=True))
        x1, y1 = (
            min(max(v - 1, low), most - 1) for v, low, most in zip(corners[2:], (x0, y0), size, strict=True)
        )
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=3)
        pen.rectangle((x0, y0, x0 + 9 * len(str(i)) + 6, y0 + 17), fill=colour)
        pen.text((x0 + 4, y0), str(i), fill="white", font=font)
    alt = "; ".join(f"box {i}: {row.name}" for i, row in enumerate(rows)) or "nothing was found"
    source = embedded_picture(np.asarray(image, dtype=np.uint8), side=_SIDE)
    words = html.escape(f"The picture with its boxes. {alt}")
    return f'<img src="{source}" alt="{words}" style="max-width:100%;margin:0">'
