"""Slider: a picture, its relevance map over it, and how much of which is seen, as a piece of HTML."""

from __future__ import annotations

import html
import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.colour import check_finite
from relprop.viz.embedded import SIDE, colour_stops, embedded_map, embedded_picture
from relprop.viz.scale import Limit, limits

__all__ = ["SLIDER_SCRIPT", "legend_html", "slider_html"]

#: Makes every slider of a page work; it may run any number of times.
SLIDER_SCRIPT = """
(() => {
  for (const figure of document.querySelectorAll("figure[data-relprop-slider]:not([data-ready])")) {
    const bar = figure.querySelector("input[type=range]"), map = figure.querySelector("img[data-map]");
    if (!bar || !map) continue;
    const show = () => {
      map.style.opacity = bar.value / 100;
      bar.setAttribute("aria-valuetext", `map ${bar.value} %, picture ${100 - bar.value} %`);
    };
    bar.addEventListener("input", show);
    bar.parentElement.style.display = "flex";
    figure.setAttribute("data-ready", "");
    show();
  }
})();
"""

_WHOLE = "display:block;width:100%;height:100%;margin:0;max-width:none;border-radius:3px;"


def slider_html(
    values: ArrayLike,
    picture: NDArray[np.uint8] | None = None,
    *,
    alt: str,
    picture_alt: str = "the picture that the network saw",
    caption: str = "",
    limit: Limit | None = None,
    signed: bool = True,
    opacity: float = 0.65,
    width: int = SIDE,
    side: int = SIDE,
    boxes: Sequence[Sequence[float]] = (),
    key: str | None = None,
    over: str = "",
    ends: tuple[str, str] = ("against", "for"),
    script: bool = True,
) -> str:
    """A map over its picture with a slider between both, as an HTML fragment that needs nothing from elsewhere.

    Mouse, touch and arrow keys move the slider. Where scripts are stripped there is none, and the map lies half
    transparent over the picture; where styles are stripped too, the map stands below the picture.

    Args:
        values: relevance (H, W).
        picture: (H, W, 3) uint8, of any size in the map's proportions; None: the map alone, without a slider.
        alt: what the map shows, for those who can't see it.
        picture_alt: what the picture is.
        caption: words below, "" for none. All words are escaped.
        limit: the colour scale; None: that of the map itself, as everywhere in the library.
        signed: False where the method gives no negative values, unless the map has some.
        opacity: of the map at first, 0 to 1.
        width: in CSS pixels; narrower where there is less room.
        side: the longer side of what is embedded at most, in pixels.
        boxes: drawn over picture and map: x0, y0, x1, y1 in pixels of the map.
        key: letters and digits that set this fragment apart on its page; None: random ones.
        over: a fragment of HTML that lies over picture and map, such as outlines; it gets no clicks.
        ends: what blue and red speak for, in the legend.
        script: False leaves the script out: put `SLIDER_SCRIPT` once at the end of the page.

    Raises:
        InputError: a map or picture of another shape or type, NaN or infinities, an opacity outside 0 to 1, or an
            empty alt.

    >>> page = slider_html(np.eye(2), np.zeros((2, 2, 3), np.uint8), alt="red at <two> corners", key="a")
    >>> 'alt="red at &lt;two&gt; corners"' in page, 'type="range"' in page, "http" in page
    (True, True, False)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise InputError(f"Expected a map (H, W) to draw but got shape {array.shape}.")
    check_finite(array)
    if not 0 <= opacity <= 1:
        raise InputError(f"Expected an opacity from 0 to 1 but got {opacity}.")
    if not alt.strip():
        raise InputError("Expected alt to say what the map shows but got an empty text.")
    if limit is None:
        (limit,) = limits([array], signed=[signed])
    name = f"relprop-{key or secrets.token_hex(5)}"
    tall, wide = array.shape
    # Pixels of a small map are squares, not a blur.
    sharp = "image-rendering:pixelated;" if max(wide, tall) < side / 2 else ""
    drawn = embedded_map(array, limit.value, side=side)
    if picture is None:
        images = f'<img data-map src="{drawn}" alt="{html.escape(alt)}" style="{_WHOLE}{sharp}">'
        bar = ""
    else:
        images = (
            f'<img src="{embedded_picture(picture, side=side)}" alt="{html.escape(picture_alt)}" '
            f'style="{_WHOLE}{sharp}">'
            f'<img data-map src="{drawn}" alt="{html.escape(alt)}" '
            f'style="position:absolute;inset:0;{_WHOLE}{sharp}opacity:{opacity:g};">'
        )
        bar = (
            '<div class="relprop-bar" style="display:none;align-items:center;gap:8px;margin-top:6px">'
            f'<label for="{name}" style="font-size:13px">picture</label>'
            f'<input id="{name}" type="range" min="0" max="100" step="5" value="{round(100 * opacity)}" '
            f'aria-label="how much of the map is seen: {html.escape(alt)}" style="flex:1;min-width:0;margin:0">'
            '<span aria-hidden="true" style="font-size:13px">map</span></div>'
        )
    above = f'<div style="position:absolute;inset:0;pointer-events:none">{over}</div>' if over else ""
    below = (
        f'<figcaption style="font-size:14px;margin-top:6px">{html.escape(caption)}</figcaption>'
        if caption
        else ""
    )
    return (
        f'<figure data-relprop-slider style="width:{width}px;max-width:100%;margin:0;color:inherit">'
        f'<div style="position:relative;aspect-ratio:{wide}/{tall};overflow:hidden;background:#fff;'
        f'-webkit-print-color-adjust:exact;print-color-adjust:exact">{images}'
        f"{_outlines(boxes, wide, tall)}{above}</div>{bar}{legend_html(limit, ends)}{below}"
        f"</figure>{f'<script>{SLIDER_SCRIPT}</script>' if script else ''}"
    )


def _outlines(boxes: Sequence[Sequence[float]], wide: int, tall: int) -> str:
    """Boxes, dark on light so that they are seen on any ground; `alt` has the words for them."""
    drawn = "".join(
        f'<rect x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}" fill="none" stroke="{colour}" '
        f'stroke-width="{stroke}" vector-effect="non-scaling-stroke"/>'
        for x0, y0, x1, y1 in boxes
        for colour, stroke in (("#fff", 4), ("#111", 2))
    )
    if not drawn:
        return ""
    return (
        f'<svg aria-hidden="true" viewBox="0 0 {wide} {tall}" preserveAspectRatio="none" '
        f'style="position:absolute;inset:0;width:100%;height:100%">{drawn}</svg>'
    )


def legend_html(limit: Limit, ends: tuple[str, str] = ("against", "for")) -> str:
    """What the colours of a map mean, with the values at the ends of the scale, as an HTML fragment.

    Args:
        limit: the scale.
        ends: what blue and red speak for.

    >>> "blue: against" in legend_html(Limit(0.5, 2.0)), "blue" in legend_html(Limit(0.5, 0.5, signed=False))
    (True, False)
    """
    if limit.peak == 0:
        words, scale = "<span>all zero: no relevance anywhere</span>", ""
    else:
        against, spoken = (html.escape(word) for word in ends)
        low = f"blue: {against}" if limit.signed else "white: none"
        words = f"<span>{low}</span> <span>red: {spoken}</span>"
        scale = f'<div style="text-align:center;opacity:.75">{html.escape(limit.text)}</div>'
    stops = ",".join(colour_stops(signed=limit.signed))
    return (
        '<div class="relprop-legend" style="margin-top:6px;font-size:12.5px;font-variant-numeric:tabular-nums">'
        f'<div aria-hidden="true" style="height:7px;border-radius:3px;background:linear-gradient(90deg,{stops});'
        '-webkit-print-color-adjust:exact;print-color-adjust:exact;outline:1px solid #8886"></div>'
        f'<div style="display:flex;justify-content:space-between;gap:8px">{words}</div>{scale}</div>'
    )
