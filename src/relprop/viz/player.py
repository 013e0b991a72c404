"""Player: films of one clip in step, with what each frame holds below them, as a piece of HTML."""

from __future__ import annotations

import html
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.colour import check_finite, colours
from relprop.viz.embedded import embedded_sheet
from relprop.viz.labels import number
from relprop.viz.player_script import PLAYER_SCRIPT
from relprop.viz.scale import Limit
from relprop.viz.slider import legend_html

__all__ = ["PLAYER_SCRIPT", "PlayedFilm", "player_html"]

_SIDE = 256  # pixels of a frame's longer side at most
_WIDE = 340  # CSS pixels of a film at most
_RATES = (1, 2, 6, 12, 25)  # frames a second
_BUTTON = (
    "min-width:44px;min-height:40px;font:inherit;color:inherit;background:transparent;border:1px solid #8888;"
    "border-radius:6px;cursor:pointer"
)
_ROW = 34  # CSS pixels of a row of bars


@dataclass(frozen=True, eq=False)
class PlayedFilm:
    """One of the films that play in step.

    Attributes:
        name: above it, and beside its bars.
        frames: (T, H, W, 3) uint8.
        alt: what it shows, for those who can't see it.
        caption: words below it, "" for none.
        positive, negative: (T,) the sums of each frame's relevance for and against; None: no bars.

    Raises:
        InputError: frames or sums of another type, shape or length, NaN or infinities, or an empty alt.
    """

    name: str
    frames: NDArray[np.uint8]
    alt: str
    caption: str = ""
    positive: ArrayLike | None = None
    negative: ArrayLike | None = None

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4:
            got = (
                f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
            )
            raise InputError(f"Expected a film as a uint8 array (T, H, W, 3) but got {got}.")
        if frames.shape[3] != 3 or not frames.size:
            raise InputError(f"Expected a film as a uint8 array (T, H, W, 3) but got {frames.shape}.")
        if not self.alt.strip():
            raise InputError("Expected alt to say what the film shows but got an empty text.")
        for sums in (self.positive, self.negative):
            if sums is None:
                continue
            if np.shape(sums) != (len(frames),):
                raise InputError(
                    f"Expected a sum for each of {len(frames)} frames but got shape {np.shape(sums)}."
                )
            check_finite(np.asarray(sums, dtype=np.float64), "sums")

    @property
    def sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Positive and negative sums, (T,) each, or None where there are no bars."""
        if self.positive is None and self.negative is None:
            return None
        none = np.zeros(len(self.frames))
        positive, negative = (
            none if given is None else np.asarray(given, dtype=np.float64)
            for given in (self.positive, self.negative)
        )
        return positive, negative


def player_html(
    films: Sequence[PlayedFilm],
    *,
    fps: float = 6,
    filmed: float | None = None,
    caption: str = "",
    limit: Limit | None = None,
    autoplay: bool = False,
    side: int = _SIDE,
    key: str | None = None,
    script: bool = True,
) -> str:
    """Films in step on one timeline, as an HTML fragment that needs nothing from elsewhere.

    Play and pause, a step forth and back, the speed, a scrubber; below it bars of how much relevance each frame of
    each film holds, all on one scale. Clicks on the bars go to their frame. Keys, while the player has the focus:
    space plays and pauses, arrows step, Home and End go to the ends. Where scripts are stripped, and on paper,
    each film is a sheet of all its frames.

    Args:
        films: of the same number of frames.
        fps: frames a second at first.
        filmed: frames a second of the clip itself, offered as one of the speeds; None: not known.
        caption: words below, "" for none. All words are escaped.
        limit: the scale of the films' colours, for a legend; None: no legend.
        autoplay: start at once, unless the reader asked their system for less motion. A player that doesn't
            start stands at the frame with the most relevance.
        side: the longer side of an embedded frame at most, in pixels.
        key: letters and digits that set this fragment apart on its page; None: random ones.
        script: False leaves the script out: put `PLAYER_SCRIPT` once at the end of the page.

    Raises:
        InputError: no films, films of different lengths, or a speed that isn't positive.

    >>> film = PlayedFilm("clip", np.zeros((3, 2, 2, 3), np.uint8), "a <dark> clip")
    >>> page = player_html([film], key="a", script=False)
    >>> "a &lt;dark&gt; clip" in page, 'max="2"' in page, "http" in page, "<script" in page
    (True, True, False, False)
    """
    lengths = {len(film.frames) for film in films}
    if len(lengths) != 1:
        raise InputError(f"Expected films of one length to play in step but got {sorted(lengths)} frames.")
    for rate in (fps, *([] if filmed is None else [filmed])):
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"Expected a positive number of frames a second but got {rate}.")
    (length,) = lengths
    name = f"relprop-{key or secrets.token_hex(5)}"
    start = _strongest(films)
    shown = "".join(_film(film, side) for film in films)
    words = html.escape(caption)
    below = f'<figcaption style="font-size:14px;margin-top:8px">{words}</figcaption>' if caption else ""
    return (
        f'<figure data-relprop-player tabindex="0" role="group" aria-label="{_label(films)}" data-start="{start}" '
        f'{"data-autoplay " if autoplay else ""}style="margin:0;color:inherit;max-width:{_width(films)}px">'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px">{shown}</div>'
        f"{_controls(films, name, length, start, fps, filmed)}"
        f"{'' if limit is None else legend_html(limit)}{below}</figure>"
        f"{f'<script>{PLAYER_SCRIPT}</script>' if script else ''}"
    )


def _label(films: Sequence[PlayedFilm]) -> str:
    names = html.escape(", ".join(film.name for film in films))
    return f"player of {names}: space plays and pauses, arrow keys step"


def _width(films: Sequence[PlayedFilm]) -> int:
    return max(len(films) * (_WIDE + 12) - 12, _WIDE)


def _strongest(films: Sequence[PlayedFilm]) -> int:
    """The frame where the first film with bars has the most relevance."""
    for film in films:
        if film.sums is not None:
            positive, negative = film.sums
            return int((positive - negative).argmax())
    return 0


def _film(film: PlayedFilm, side: int) -> str:
    length, height, width = film.frames.shape[:3]
    columns = math.ceil(math.sqrt(length))
    sheet, (wide, tall) = embedded_sheet(film.frames, columns, side=side)
    sharp = "image-rendering:pixelated;" if max(wide, tall) < _WIDE / 2 else ""
    look = f"width:100%;margin:0;max-width:none;border-radius:3px;background:#fff;{sharp}"
    alt, caption = html.escape(film.alt), html.escape(film.caption)
    below = f'<div style="font-size:13px;margin-top:4px">{caption}</div>' if film.caption else ""
    return (
        f'<div data-film style="flex:1 1 130px;min-width:0;max-width:{_WIDE}px">'
        f'<div style="font-weight:600;font-size:14px;margin-bottom:4px">{html.escape(film.name)}</div>'
        f'<img src="{sheet}" data-columns="{columns}" alt="{alt} (all {length} frames, row by row)" '
        f'style="display:block;height:auto;{look}">'
        f'<canvas width="{wide}" height="{tall}" role="img" aria-label="{alt}" '
        f'style="display:none;aspect-ratio:{width}/{height};{look}"></canvas>{below}</div>'
    )


def _controls(
    films: Sequence[PlayedFilm], name: str, length: int, start: int, fps: float, filmed: float | None
) -> str:
    rates = {float(rate): f"{rate:g} a second" for rate in sorted({*_RATES, fps})}
    if filmed is not None:
        rates[float(filmed)] = f"{filmed:.3g} a second, as filmed"
    options = "".join(
        f'<option value="{rate:g}"{" selected" if rate == fps else ""}>{words}</option>'
        for rate, words in sorted(rates.items())
    )
    buttons = "".join(
        f'<button type="button" data-do="{do}" aria-label="{label}" title="{label}" style="{_BUTTON}">{sign}'
        "</button>"
        for do, label, sign in (
            ("back", "a frame back", "&#9666;"),
            ("play", "play", "&#9654;"),
            ("on", "a frame forth", "&#9656;"),
        )
    )
    # The thumb's middle stands over the middle of its frame's bars: browsers leave half a thumb at both ends.
    thumb = f"margin:4px calc({50 / length:.4f}% - 8px);width:calc({100 - 100 / length:.4f}% + 16px)"
    return (
        '<div data-controls style="display:none;margin-top:10px">'
        '<div style="display:flex;flex-wrap:wrap;align-items:center;gap:8px">'
        f"{buttons}"
        f'<label style="font-size:13px">frames <select style="{_BUTTON}">{options}</select></label>'
        '<output style="font-size:14px;font-variant-numeric:tabular-nums" aria-live="off"></output></div>'
        f'<input type="range" id="{name}" min="0" max="{length - 1}" step="1" value="{start}" '
        f'aria-label="frame" style="display:block;{thumb}">'
        "</div>"
        f"{_bars(films, length)}"
    )


def _bars(films: Sequence[PlayedFilm], length: int) -> str:
    with_sums = [(film.name, *film.sums) for film in films if film.sums is not None]
    if not with_sums:
        return ""
    most = max(float(positive.max()) for _, positive, _ in with_sums)
    least = min(float(negative.min()) for _, _, negative in with_sums)
    most, least = max(most, 0.0), min(least, 0.0)
    meaning = " (red: for, blue: against)" if least < 0 else ""
    rows = "".join(_row(name, positive, negative, most, least) for name, positive, negative in with_sums)
    return (
        '<div data-bars style="position:relative;cursor:pointer;touch-action:pan-y;user-select:none">'
        f'<div data-mark aria-hidden="true" style="display:none;position:absolute;top:0;bottom:0;left:0;'
        f'width:{100 / length:.4f}%;background:#8884;border-radius:3px;pointer-events:none"></div>{rows}</div>'
        '<div style="font-size:12.5px;opacity:.75;margin-top:2px">Bars: the relevance that each frame holds'
        f"{meaning}, all films on one scale; the longest is {number(max(most, -least))}.</div>"
    )


def _row(
    name: str, positive: NDArray[np.float64], negative: NDArray[np.float64], most: float, least: float
) -> str:
    span = most - least or 1.0
    zero = 100 * most / span
    red, blue = ("#{:02x}{:02x}{:02x}".format(*colours()[k].tolist()) for k in (400, 110))
    marks = []
    for t, (up, down) in enumerate(zip(positive.tolist(), negative.tolist(), strict=True)):
        for value, colour in ((up, red), (down, blue)):
            tall = 100 * abs(value) / span
            if tall > 0:
                top = zero - tall if value > 0 else zero
                marks.append(
                    f'<rect x="{t + 0.12:.2f}" y="{top:.2f}" width=".76" height="{tall:.2f}" fill="{colour}"/>'
                )
    peak = int((positive - negative).argmax())
    said = f"relevance of each frame, {name}: most in frame {peak + 1} of {len(positive)}"
    numbers = " ".join(f"{up + down:.3g}" for up, down in zip(positive, negative, strict=True))
    return (
        f'<div style="font-size:12.5px;line-height:1.3;margin-top:3px">{html.escape(name)}</div>'
        f'<svg role="img" aria-label="{html.escape(said)}" data-name="{html.escape(name)}" data-sums="{numbers}" '
        f'width="{_WIDE}" height="{_ROW}" viewBox="0 0 {len(positive)} 100" preserveAspectRatio="none" '
        f'style="display:block;width:100%;height:{_ROW}px">{"".join(marks)}'
        f'<line x1="0" x2="{len(positive)}" y1="{zero:.2f}" y2="{zero:.2f}" stroke="currentColor" '
        'stroke-opacity=".4" vector-effect="non-scaling-stroke"/></svg>'
    )
