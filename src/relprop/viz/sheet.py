"""Sheets: pictures down, maps across; clips as strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.viz.panels import Panel, PanelRow, draw_panels
from relprop.viz.picture import Under
from relprop.viz.scale import CLIP, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_FRAMES", "SheetMap", "SheetRow", "sheet_figure"]

#: Frames of a clip that are drawn, evenly spaced from the first to the last.
MOST_FRAMES = 8


@dataclass(frozen=True)
class SheetMap:
    """A map of relevance with its words.

    Attributes:
        values: (H, W), or (T, H, W) of a clip.
        title: above it.
        lines: below it; behind the title in a clip's strip.
        signed: False where it has no negative values by construction.
    """

    values: NDArray[np.float64]
    title: str = ""
    lines: tuple[str, ...] = ()
    signed: bool = True


@dataclass(frozen=True)
class SheetRow:
    """A picture or clip with its maps.

    Attributes:
        picture: colours in 0-1, (H, W, 3), or (T, H, W, 3) of a clip.
        maps: drawn over its outlines; each of a clip becomes a strip of frames.
        title: above the picture.
        lines: below it; behind the title in a clip's strip.
        bold: whether they stand out.
        step: what a step of a clip is called, a frame or a slice.
    """

    picture: NDArray[np.float64]
    maps: Sequence[SheetMap]
    title: str = ""
    lines: tuple[str, ...] = ()
    bold: bool = False
    step: str = "frame"


def sheet_figure(
    rows: Sequence[SheetRow],
    *,
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    under: Under = "outlines",
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw pictures down and maps across on one page, or clips and their maps as strips of frames.

    Args:
        rows: all pictures, or all clips.
        scale: ``"symmetric"`` per map, ``"shared"`` over the sheet, or a number.
        clip: percentile for the end of the colour scale; None for the maximum.
        under: the trace of the picture below a map: ``"outlines"``, ``"grey"``, ``"none"``.
        title: line on top of the page.
        notes: sentences that follow the caption.

    Returns:
        A matplotlib figure outside pyplot. Save it with :func:`relprop.viz.save_figure`.

    Raises:
        InputError: on NaN or infinite values, or an unknown scale.
    """
    clips = any(row.picture.ndim == 4 for row in rows)
    drawn = [line for row in rows for line in (_strips(row) if clips else [_panels(row)])]
    return draw_panels(
        drawn, scale=scale, clip=clip, under=under, title=title, notes=notes, side=112 if clips else 200
    )


def _panels(row: SheetRow) -> PanelRow:
    panels: list[Panel | None] = [Panel(picture=row.picture, title=row.title, lines=row.lines, bold=row.bold)]
    panels += [Panel(m.values, row.picture, m.title, m.lines, m.signed) for m in row.maps]
    return PanelRow(panels)


def _strips(row: SheetRow) -> list[PanelRow]:
    count = row.picture.shape[0]
    frames = sorted({round(float(i)) for i in np.linspace(0, count - 1, min(count, MOST_FRAMES))})
    first = [Panel(picture=row.picture[t], lines=(f"{row.step} {t}",)) for t in frames]
    strips = [PanelRow(first, _header(row.title, row.lines))]
    for m in row.maps:
        panels = [
            Panel(m.values[t], row.picture[t], signed=m.signed, scale_from=m.values, show_scale=False)
            for t in frames
        ]
        strips.append(PanelRow(panels, _header(m.title, m.lines), scale_in_header=True))
    return strips


def _header(title: str, lines: Sequence[str]) -> str:
    return " · ".join(filter(None, [title, *lines]))
