"""The films of a clip beside its frames, as pictures one after another: what becomes a GIF or an MP4."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from relprop.errors import InputError
from relprop.viz.colour import colours
from relprop.viz.labels import Labels, class_name
from relprop.viz.panels import Panel, panel_pixels
from relprop.viz.reel import Reel, film_limit
from relprop.viz.scale import Limit
from relprop.viz.text import fit, wrap

__all__ = ["overlay_frames"]

_LEAST = 160  # pixels of a panel's longer side, at least
_NARROW = 130  # pixels of a panel's place, at least: its words need them
_MARGIN, _GAP, _ABOVE, _LINE = 10, 8, 23, 18  # pixels
_BAR = (110, 10)  # width and height of the colours
_HEAD, _SIZE = 7.5, 6.5  # points of two pixels
_WARNED = 4  # lines of a warning
_INK, _FAINT, _PLACE = (34, 34, 34), (200, 200, 200), (90, 90, 90)


def overlay_frames(
    clip: Reel,
    *,
    names: Labels | None = None,
    limit: float | None = None,
    zoom: int | None = None,
) -> NDArray[np.uint8]:
    """Draw every frame of a clip beside its films, all on one stated scale.

    From the left: the frame, then each film over faint outlines of it; for a separation original, spatial and
    temporal. Below stand the explained class, the class predicted when that frame stands still (where the
    separation ran frozen clips), the colours' scale, and a mark that moves from the first frame to the last.

    Args:
        clip: frames and films; `relprop.video.films.reel` makes it of a separation or an explanation.
        names: class names by index.
        limit: the magnitude of the strongest colour; by default that of
            :func:`relprop.viz.reel.film_limit`, as in the figure.
        zoom: whole factor by which panels grow; by default the least that makes their longer side 160 pixels.

    Returns:
        (T, H', W', 3) uint8; H' and W' are even.

    Raises:
        InputError: on NaN or infinite values, a limit or a zoom that isn't positive, or missing names.
    """
    scale = film_limit(clip.films, "shared" if limit is None else limit)
    longer = max(clip.frames.shape[1:3])
    if zoom is None:
        zoom = -(-_LEAST // longer)
    if isinstance(zoom, bool) or not isinstance(zoom, int) or zoom < 1:
        raise InputError(f"Expected zoom to be a whole number of at least 1 but got {zoom!r}.")
    page = _Page.of(clip, scale, zoom, names)
    return np.stack([page.picture(t) for t in range(len(clip.frames))])


@dataclass(frozen=True)
class _Page:
    """What all pictures of the film share: ``blank`` has the words that don't change."""

    clip: Reel
    limit: Limit
    names: Labels | None
    side: int
    corners: list[tuple[int, int]]
    words: int
    place: int
    warning: list[str]
    blank: Image.Image

    @classmethod
    def of(cls, clip: Reel, limit: Limit, zoom: int, names: Labels | None) -> _Page:
        side = max(clip.frames.shape[1:3]) * zoom
        height, width = panel_pixels(Panel(picture=clip.frames[0] / 255.0), 0, "none", side).shape[:2]
        place = max(width, _NARROW)
        left = [_MARGIN + c * (place + _GAP) for c in range(1 + len(clip.films))]
        top = _MARGIN + _ABOVE
        words = top + height + 6
        room = (left[-1] + place - _MARGIN) / 2
        warning = wrap(f"⚠ {clip.warnings[0]}", room, _SIZE, _WARNED, "bold") if clip.warnings else []
        size = (left[-1] + place + _MARGIN, words + (_lines(clip) + len(warning)) * _LINE + 10 + _MARGIN)
        blank = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), "white")
        corners = [(x + (place - width) // 2, top) for x in left]
        page = cls(clip, limit, names, side, corners, words, place, warning, blank)
        draw = ImageDraw.Draw(blank)
        for x, name in zip(left[1:], clip.films, strict=True):
            _write(draw, name, x + place // 2, _MARGIN, place, _HEAD, "bold", "m")
        if clip.target is not None:
            page._say(draw, f"explained: {class_name(clip.target, names)}", 0)
        page._scale(draw)
        for k, line in enumerate(warning):
            page._say(draw, line, _lines(clip) + k, "bold")
        return page

    def picture(self, t: int) -> NDArray[np.uint8]:
        """Frame t beside its films."""
        image = self.blank.copy()
        draw = ImageDraw.Draw(image)
        length = len(self.clip.frames)
        _write(draw, f"frame {t}", _MARGIN + self.place // 2, _MARGIN, self.place, _HEAD, "bold", "m")
        shown = self.clip.frames[t] / 255.0
        panels = [Panel(picture=shown), *(Panel(film[t], shown) for film in self.clip.films.values())]
        for (x, y), panel in zip(self.corners, panels, strict=True):
            pixels = panel_pixels(panel, self.limit.value, "outlines", self.side)
            rows, columns = pixels.shape[:2]
            draw.rectangle((x - 1, y - 1, x + columns, y + rows), outline=_FAINT)
            image.paste(Image.fromarray(pixels), (x, y))
        if self.clip.frozen is not None:
            said = class_name(self.clip.frozen[t], self.names)
            kept = self.clip.frozen[t] == self.clip.target
            self._say(draw, f"standing still: {'✓ ' if kept else ''}{said}", 1, "bold" if kept else "normal")
        below = _lines(self.clip) + len(self.warning)
        end, y = image.width - _MARGIN - 1, self.words + below * _LINE + 6
        draw.line((_MARGIN, y, end, y), fill=_FAINT, width=2)
        draw.line((_MARGIN, y, _MARGIN + (end - _MARGIN) * (t + 1) // length, y), fill=_PLACE, width=4)
        return np.asarray(image)

    def _say(self, draw: ImageDraw.ImageDraw, text: str, line: int, weight: str = "normal") -> None:
        room = self.blank.width - 2 * _MARGIN
        _write(draw, text, _MARGIN, self.words + line * _LINE, room, weight=weight)

    def _scale(self, draw: ImageDraw.ImageDraw) -> None:
        """The colours from one end of the scale to the other, and the scale in words."""
        table = colours() if self.limit.signed else colours()[len(colours()) // 2 :]
        steps = np.rint(np.linspace(0, len(table) - 1, _BAR[0])).astype(np.int64)
        line = self.words + (_lines(self.clip) - 1) * _LINE
        top = line + 3
        draw.rectangle((_MARGIN - 1, top - 1, _MARGIN + _BAR[0], top + _BAR[1]), outline=_FAINT)
        self.blank.paste(Image.fromarray(table[steps][None].repeat(_BAR[1], axis=0)), (_MARGIN, top))
        one = "one scale" if len(self.clip.films) > 1 else "scale"
        text = ", ".join(filter(None, [f"{one}: {self.limit.text}", self.clip.caution]))
        left = _MARGIN + _BAR[0] + _GAP
        _write(draw, text, left, line, self.blank.width - _MARGIN - left)


def _lines(clip: Reel) -> int:
    """Lines of words below the panels: the explained class, the frozen clip's, the scale."""
    return 1 + (clip.target is not None) + (clip.frozen is not None)


@cache
def _font(weight: str, size: float) -> ImageFont.FreeTypeFont:
    from matplotlib.font_manager import FontProperties, findfont

    # The figures' font, which matplotlib brings along.
    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight=weight)), 2 * size)


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    x: int,
    top: int,
    room: int,
    size: float = _SIZE,
    weight: str = "normal",
    anchor: str = "l",
) -> None:
    """One line of text below ``top`` that fits into ``room`` pixels."""
    (line,), fitted = fit([text], room / 2, size, weight)
    draw.text((x, top + round(2 * size)), line, fill=_INK, font=_font(weight, fitted), anchor=f"{anchor}s")
