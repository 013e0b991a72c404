"""Formulas: lines of LaTeX between `$$`, drawn as SVG by matplotlib when the documentation is built.

Code hosts draw the same blocks themselves. Nothing is fetched, no script runs in the reader's browser, a formula
takes the colour of the words around it, and breaks at a quad on a narrow screen.
"""

from __future__ import annotations

import html
import re
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

__all__ = ["drawn", "svg"]

_BLOCK = re.compile(r"^\$\$\n(.*?)^\$\$$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_BREAK = r"\quad"  # where a line may be broken
_SIZE = 17.0  # pixels
_FONT = FontProperties(size=_SIZE, math_fontfamily="stix")
#: What an SVG path calls the steps of matplotlib's.
_STEPS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}


def drawn(markdown: str) -> str:
    """The page with its formulas drawn; code is left alone.

    Raises:
        ValueError: LaTeX that matplotlib doesn't know, with the line.
    """
    parts = _FENCE.split(markdown)
    parts[::2] = [_BLOCK.sub(lambda found: _block(found[1]), part) for part in parts[::2]]
    return "".join(parts)


def _block(lines: str) -> str:
    found = [line.removesuffix("\\\\").strip() for line in lines.splitlines()]
    rows = "".join(f"<div>{' '.join(map(svg, line.split(_BREAK)))}</div>" for line in found if line)
    return f'<div class="formula">{rows}</div>'


@cache
def svg(latex: str) -> str:
    """A piece of LaTeX as an SVG element that grows with the words and shrinks with the page."""
    latex = latex.strip()
    try:
        path = TextPath((0, 0), f"${latex}$", prop=_FONT)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"Formula {latex!r}: {error}") from error
    box = path.get_extents()
    steps = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        pairs = points.reshape(-1, 2) * (1, -1)
        steps.append(
            _STEPS[int(code)] + ("" if code == 79 else " ".join(f"{x:.1f} {y:.1f}" for x, y in pairs))
        )
    left, top, wide, tall = box.x0 - 1, -box.y1 - 1, box.width + 2, box.height + 2
    shape = f"width:{wide / 16:.2f}em;vertical-align:{(box.y0 - 1) / 16:.2f}em"
    return (
        f'<svg role="img" aria-label="{html.escape(latex)}" viewBox="{left:.1f} {top:.1f} {wide:.1f} {tall:.1f}" '
        f'style="{shape}" fill="currentColor"><path d="{"".join(steps)}"/></svg>'
    )
