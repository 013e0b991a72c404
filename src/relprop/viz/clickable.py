"""Clickable: a picture with its boxes as buttons, and a list of them, as a piece of HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from relprop.errors import InputError
from relprop.viz.canvas import COLOURS
from relprop.viz.embedded import embedded_picture

__all__ = ["BOXES_SCRIPT", "boxes_html"]

_SIDE = 960  # pixels of the embedded picture's longer side
_NAMED = 12  # beyond so many boxes each has its number alone
_PIXELS = 480  # a smaller picture's pixels are seen as such

#: Makes boxes and list work. It wants `element`, which holds them, and a function `choose`: called with a box's
#: number, or with [x, y] in pixels of the picture where no box was clicked.
BOXES_SCRIPT = """
element.addEventListener("click", event => {
  const button = event.target.closest("button[data-box]"), picture = event.target.closest("[data-picture]");
  if (button) {
    for (const one of element.querySelectorAll("button[data-box]"))
      one.setAttribute("aria-pressed", one.dataset.box === button.dataset.box);
    choose(Number(button.dataset.box));
  } else if (picture) {
    const place = picture.getBoundingClientRect(), [wide, tall] = picture.dataset.picture.split(",").map(Number);
    choose([(event.clientX - place.left) / place.width * wide, (event.clientY - place.top) / place.height * tall]);
  }
});
"""

# A page's own style for buttons and lists may not show here: hence "important".
_STYLE = """<style>
.relprop-boxes{display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start}
.relprop-boxes *{box-sizing:border-box}
.relprop-stage{flex:1 1 300px;max-width:640px;container-type:inline-size;padding-top:22px}
.relprop-stage>div{position:relative;cursor:crosshair}
.relprop-stage img{display:block;width:100%;height:100%;margin:0;max-width:none;border-radius:4px}
.relprop-stage button[data-box]{position:absolute;min-width:20px;min-height:20px;margin:0;padding:0!important;
 background:transparent!important;border:2px solid var(--c)!important;border-radius:2px!important;cursor:pointer;
 outline:1px solid #fff;box-shadow:inset 0 0 0 1px #fff!important}
.relprop-stage button[data-box]:is(:hover,:focus-visible){z-index:99!important;background:#fff3!important;
 outline:3px solid #fff}
.relprop-stage button[data-box][aria-pressed=true]{z-index:98!important;border-width:4px!important}
.relprop-boxes .relprop-tag,.relprop-boxes .relprop-tag *{color:#111}
.relprop-tag{position:absolute;padding:0 5px;background:#fff;border:1.5px solid var(--c);
 border-radius:3px;font:600 12px/17px system-ui,sans-serif;white-space:nowrap}
.relprop-stage button[aria-pressed=true] .relprop-tag{background:var(--c)}
.relprop-boxes button[aria-pressed=true] .relprop-tag,.relprop-boxes button[aria-pressed=true] .relprop-tag *{
 color:#fff}
.relprop-tag i{font-style:normal}
@container (max-width:420px){.relprop-tag i{display:none}}
.relprop-stage button:is(:hover,:focus-visible) .relprop-tag i{display:inline}
.relprop-ring{position:absolute;width:18px;height:18px;margin:-9px;border:3px solid #111;border-radius:50%;
 outline:2px solid #fff;pointer-events:none}
.relprop-boxes .relprop-found{flex:1 1 220px;display:grid;gap:6px;list-style:none!important;margin:0;
 padding:22px 0 0!important}
.relprop-found li{margin:0!important;padding:0!important;list-style:none!important}
.relprop-found button[data-box]{display:flex;gap:10px;justify-content:flex-start;align-items:center;width:100%;
 min-height:40px;padding:6px 10px!important;border:1px solid #8886!important;
 border-left:6px solid var(--c)!important;
 border-radius:6px!important;background:transparent!important;color:inherit!important;
 font:400 15px/1.3 system-ui,sans-serif!important;text-align:left;cursor:pointer;box-shadow:none!important}
.relprop-found button[data-box]:is(:hover,:focus-visible){background:#8883!important}
.relprop-found button[data-box][aria-pressed=true]{outline:2px solid var(--c);font-weight:600!important}
.relprop-found span{flex:1}
</style>"""


def boxes_html(
    picture: Image.Image,
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    scores: Sequence[float],
    *,
    alt: str,
    chosen: int | None = None,
    place: tuple[float, float] | None = None,
) -> str:
    """A picture with boxes that can be clicked, and beside it a list of them that can, as an HTML fragment.

    Both are buttons, which keys reach. `BOXES_SCRIPT` says what was clicked; without it nothing happens.

    Args:
        picture: what the boxes lie on.
        boxes: x0, y0, x1, y1 in its pixels, best first.
        names: a class each.
        scores: 0 to 1, likewise.
        alt: what the picture is, for those who can't see it.
        chosen: the number of the box that is pressed, or None.
        place: (x, y) in pixels of the picture, marked with a ring, or None.

    Raises:
        InputError: other numbers of boxes, names and scores.

    >>> page = boxes_html(Image.new("RGB", (40, 20)), [(0, 0, 20, 10)], ["a & b"], [0.5], alt="two", chosen=0)
    >>> 'aria-label="box 0: a &amp; b, score 0.50"' in page, "left:0.00%;top:0.00%;width:50.00%" in page
    (True, True)
    """
    if not len(boxes) == len(names) == len(scores):
        raise InputError(
            f"Expected a name and a score for each of {len(boxes)} boxes but got {len(names)} and {len(scores)}."
        )
    wide, tall = picture.size
    # A small box lies over a large one, or it could not be clicked.
    order = sorted(range(len(boxes)), key=lambda i: -_area(boxes[i]))
    rank = {i: k for k, i in enumerate(order)}
    drawn, listed = [], []
    for i, (box, name, score) in enumerate(zip(boxes, names, scores, strict=True)):
        colour = f"--c:{COLOURS[i % len(COLOURS)]}"
        pressed = f'data-box="{i}" aria-pressed="{str(i == chosen).lower()}"'
        words, number = html.escape(name), f"{score:.2f}"
        text = f"<b>{i}</b>" + (f"<i> {words} {number}</i>" if len(boxes) <= _NAMED else "")
        drawn.append(
            f'<button type="button" {pressed} aria-label="box {i}: {words}, score {number}" '
            f'title="{words} {number}" style="{_place(box, wide, tall)};z-index:{rank[i] + 1};{colour}">'
            f'<span class="relprop-tag" style="{_corner(box, wide, tall)}">{text}</span></button>'
        )
        listed.append(
            f'<li><button type="button" {pressed} style="{colour}">'
            f"<b>{i}</b><span>{words}</span>{number}</button></li>"
        )
    ring = ""
    if place is not None:
        ring = (
            f'<div class="relprop-ring" style="left:{100 * place[0] / wide:.2f}%;'
            f'top:{100 * place[1] / tall:.2f}%"></div>'
        )
    sharp = "image-rendering:pixelated" if max(wide, tall) < _PIXELS else ""
    shown = embedded_picture(np.asarray(picture.convert("RGB")), side=_SIDE)
    return (
        f'{_STYLE}<div class="relprop-boxes"><div class="relprop-stage">'
        f'<div data-picture="{wide},{tall}" style="aspect-ratio:{wide}/{tall}">'
        f'<img src="{shown}" alt="{html.escape(alt)}" style="{sharp}">{"".join(drawn)}{ring}</div></div>'
        f'<ol class="relprop-found" aria-label="What was found, best first">{"".join(listed)}</ol></div>'
    )


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _place(box: Sequence[float], wide: int, tall: int) -> str:
    left, top = 100 * box[0] / wide, 100 * box[1] / tall
    across, down = 100 * (box[2] - box[0]) / wide, 100 * (box[3] - box[1]) / tall
    return f"left:{left:.2f}%;top:{top:.2f}%;width:{across:.2f}%;height:{down:.2f}%"


def _corner(box: Sequence[float], wide: int, tall: int) -> str:
    """A box's words stand above it, on the side where the picture has room."""
    side = "left:-2px" if box[0] + box[2] <= wide else "right:-2px"
    return f"{side};bottom:100%"
