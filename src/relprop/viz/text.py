"""Text that fits: cleaned, measured with matplotlib's own font, shrunk a little or cut with an ellipsis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from threading import Lock
from typing import Any

__all__ = ["clean", "fit", "style", "width", "wrap"]

# The font that matplotlib brings along: the same picture on every machine.
_FAMILY = "DejaVu Sans"
# Fonts hold the text being measured: one thread at a time.
_measuring = Lock()


@cache
def _font(weight: str) -> Any:
    from matplotlib import font_manager, ft2font

    path = font_manager.findfont(
        font_manager.FontProperties(family=_FAMILY, weight=weight), fallback_to_default=True
    )
    return ft2font.FT2Font(path)


@cache
def _glyphs(weight: str) -> frozenset[int]:
    return frozenset(_font(weight).get_charmap())


def clean(text: object) -> str:
    r"""One line that the font can draw: white space joined, characters it lacks replaced by '?'.

    No-break spaces stay: :func:`wrap` does not break there.

    >>> clean(" a\n b 漢")
    'a b ?'
    """
    joined = re.sub(r"[ \t\r\n\f\v]+", " ", str(text)).strip()
    return "".join(
        c if c == "\u00a0" or (c.isprintable() and ord(c) in _glyphs("normal")) else "?" for c in joined
    )


def style(size: float, weight: str = "normal", colour: str = "#222222") -> dict[str, Any]:
    """Keyword arguments for ``Figure.text`` that no rcParams of the user change; names may hold '$'."""
    from matplotlib.font_manager import FontProperties

    return {
        "fontproperties": FontProperties(family=_FAMILY, size=size, weight=weight, style="normal"),
        "color": colour,
        "parse_math": False,
        "usetex": False,
    }


@lru_cache(maxsize=8192)
def width(text: str, size: float, weight: str = "normal") -> float:
    """Width of one line in points on a page of 144 dots an inch, never too small.

    Hinting rules that a user may set change widths by less than the 1 % added here. What was measured is kept: a
    sheet asks for the same words several times, and the next one mostly has them too.
    """
    font = _font(weight)
    with _measuring:
        font.set_size(size, 144)
        font.set_text(text, 0.0)
        return 1.01 * float(font.get_width_height()[0]) / 64 / 2


def fit(lines: Sequence[str], room: float, size: float, weight: str = "normal") -> tuple[list[str], float]:
    """Make lines of one kind fit into ``room`` points: one common size, at least 85 % of ``size``.

    Returns:
        The lines, the ones still too long cut with '…', and the size.
    """
    texts = [clean(line) for line in lines]
    widest = max((width(text, size, weight) for text in texts if text), default=0.0)
    if widest > room:
        size *= max(0.85, 0.98 * room / widest)  # widths follow sizes only nearly: hinting
    return [_cut(text, room, size, weight) for text in texts], size


def _cut(text: str, room: float, size: float, weight: str) -> str:
    if not text or width(text, size, weight) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[:middle].rstrip() + "…", size, weight) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrap(
    text: str, room: float, size: float, most: int = 4, weight: str = "normal", even: bool = False
) -> list[str]:
    """Break a sentence into lines of at most ``room`` points; what is beyond ``most`` lines is cut.

    ``even`` makes the lines about equally long (for centred text).
    """
    words = clean(text).split(" ")
    lines = _break(words, room, size, weight)
    if even and len(lines) > 1:
        low, high = 0.0, room
        for _ in range(8):
            middle = (low + high) / 2
            if len(_break(words, middle, size, weight)) > len(lines):
                low = middle
            else:
                high = middle
        lines = _break(words, high, size, weight)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [_cut(line, room, size, weight) for line in lines if line]


def _break(words: Sequence[str], room: float, size: float, weight: str) -> list[str]:
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and width(longer, size, weight) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
