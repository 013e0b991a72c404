"""Lay maps and pictures out on one page: exact pixels, one colour bar, the scale in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.viz.labels import number
from relprop.viz.overlay import overlay
from relprop.viz.page import Line, Slot, compose
from relprop.viz.picture import Under, check_under
from relprop.viz.scale import CLIP, Limit, Scale, limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panel", "PanelRow", "draw_panels", "panel_pixels"]

_SMALLEST = 24  # shorter sides have no outlines to speak of
_LARGEST = 448  # longer sides are drawn smaller, by the mean over blocks of values


@dataclass(frozen=True)
class Panel:
    """One picture or one map on a page.

    Attributes:
        heatmap: relevance (H, W), or None for a picture alone.
        picture: colours (H, W, 3) in 0-1, drawn alone or faintly under the map.
        title: above the panel.
        lines: short lines below it, after the scale.
        signed: False where the map's method gives no negative values.
        scale_from: the values that set the panel's scale, where that is more than ``heatmap`` (the whole
            clip of a frame).
        show_scale: whether the scale is written below the panel.
        bold: whether the first line below is set bold (it names the row).
    """

    heatmap: NDArray[np.floating] | None = None
    picture: NDArray[np.float64] | None = None
    title: str = ""
    lines: tuple[str, ...] = ()
    signed: bool = True
    scale_from: NDArray[np.floating] | None = None
    show_scale: bool = True
    bold: bool = False


@dataclass(frozen=True)
class PanelRow:
    """Panels side by side, with a header across the row; ``scale_in_header`` adds the first map's scale to it.

    ``room`` is left empty below the row, in pixels, for what the caller draws there.
    """

    panels: Sequence[Panel | None]
    header: str = ""
    scale_in_header: bool = False
    room: int = 0


def draw_panels(
    rows: Sequence[PanelRow],
    *,
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    under: Under = "outlines",
    title: str | None = None,
    notes: Sequence[str] = (),
    side: int = 200,
    room: int = 0,
) -> Figure:
    """Draw rows of panels on one page with a colour bar and a caption that states the scale.

    Args:
        rows: what to draw; a None among the panels leaves its cell empty.
        scale: ``"symmetric"``, ``"shared"`` or a number, see :func:`relprop.viz.scale.limits`.
        clip: percentile for the end of the scale, None for the maximum.
        under: what shows below a map: ``"outlines"``, ``"grey"`` or ``"none"``.
        title: line on top of the page.
        notes: sentences that follow the caption.
        side: least length in pixels of a panel's longer side; small maps grow by whole factors.
        room: pixels left empty at the bottom of the page.

    Returns:
        A matplotlib figure that belongs to no pyplot state and needs no display.

    Raises:
        InputError: if there is nothing to draw, a value is NaN or infinite, or the page would get too large.
    """
    cells = [(r, c, p) for r, row in enumerate(rows) for c, p in enumerate(row.panels) if p is not None]
    if not cells:
        raise InputError("Expected at least one panel to draw but got none.")
    check_under(under)
    maps = [(r, c, p) for r, c, p in cells if p.heatmap is not None]
    found = limits(
        [np.asarray(p.heatmap if p.scale_from is None else p.scale_from) for _, _, p in maps],
        scale,
        clip,
        signed=[p.signed for _, _, p in maps],
    )
    limit_at = {(r, c): limit for (r, c, _), limit in zip(maps, found, strict=True)}
    lines = []
    for r, row in enumerate(rows):
        placed: list[Slot | None] = []
        for c, panel in enumerate(row.panels):
            if panel is None:
                placed.append(None)
                continue
            limit = limit_at.get((r, c))
            below = [limit.text] if limit is not None and panel.show_scale else []
            placed.append(
                Slot(
                    panel_pixels(panel, 0.0 if limit is None else limit.value, under, side),
                    f"{'picture' if limit is None else 'map'}-{r}-{c}",
                    panel.title,
                    (*below, *panel.lines),
                    panel.bold,
                )
            )
        first = next((limit_at[r, c].text for c in range(len(row.panels)) if (r, c) in limit_at), "")
        header = [row.header, first if row.scale_in_header else ""]
        lines.append(Line(placed, " · ".join(filter(None, header)), row.room))
    caption = " ".join([*_caption(found, scale, clip, under, maps), *notes])
    return compose(lines, title=title or "", caption=caption, limits=found, least=side, room=room)


def panel_pixels(panel: Panel, limit: float, under: Under, side: int) -> NDArray[np.uint8]:
    """The panel's pixels (H', W', 3) as they will stand on the page, its longer side at least ``side``."""
    picture, values = panel.picture, panel.heatmap
    shown = values if values is not None else picture
    if shown is None:
        raise InputError("Expected a panel with a heatmap, a picture or both but got neither.")
    height, width = shown.shape[:2]
    if values is not None and picture is not None and picture.shape[:2] != (height, width):
        raise InputError(
            f"Expected a picture of the map's size {(height, width)} but got {picture.shape[:2]}."
        )
    blocks = -(-max(height, width) // _LARGEST)
    if blocks > 1:
        size = (max(1, height // blocks), max(1, width // blocks))
        values = None if values is None else _resize(values[..., None], size, "area")[..., 0]
        picture = None if picture is None else _resize(picture, size, "area")
        height, width = size
    factor = max(1, -(-side // max(height, width)))
    if values is None:
        pixels = np.asarray(np.rint(np.asarray(picture) * 255), dtype=np.uint8)
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    values = values.repeat(factor, axis=0).repeat(factor, axis=1)
    if picture is None or min(height, width) < _SMALLEST:
        return overlay(values, limit)
    # The map's pixels stay squares; its faint trace is drawn at the page's resolution, in thin lines.
    return overlay(values, limit, _resize(picture, values.shape, "bilinear"), under)


def _resize(array: NDArray[np.floating], size: tuple[int, ...], mode: str) -> NDArray[np.float64]:
    """(H, W, C) to another size."""
    if array.shape[:2] == tuple(size):
        return np.asarray(array, dtype=np.float64)
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)).movedim(-1, 0)[None]
    return np.asarray(F.interpolate(tensor, size=tuple(size), mode=mode)[0].movedim(0, -1).numpy())


def _caption(
    found: Sequence[Limit],
    scale: Scale,
    clip: float | None,
    under: Under,
    maps: Sequence[tuple[int, int, Panel]],
) -> list[str]:
    """What the colours mean, in sentences."""
    if not maps:
        return []
    some = "Red: for the target; blue: against it; white: none."
    if not any(limit.signed for limit in found):
        some = "Red: for the target; white: none (these maps have no negative values)."
    own = (
        "the largest |relevance|"
        if clip is None
        else f"the {clip:g}th percentile of its non-zero |relevance|"
    )
    beyond = "" if clip is None else "; stronger values take the end colour"
    if scale == "shared":
        end = f"One scale for all maps, {own.replace('its', 'their')}{beyond}."
    elif scale == "symmetric":
        several = len({limit.value for limit in found}) > 1
        lead = "Each map on its own scale (written with it)" if several else "Scale"
        end = f"{lead}: {own}{beyond}."
    else:
        end = f"Scale fixed at {number(float(scale))}; stronger values take the end colour."
    trace = {"outlines": "Grey lines: outlines of the input.", "grey": "Grey: the input.", "none": ""}[under]
    traced = [p.picture for _, _, p in maps if p.picture is not None]
    sentences = [some, end, trace if any(min(p.shape[:2]) >= _SMALLEST for p in traced) else ""]
    sizes = [max(p.heatmap.shape) for _, _, p in maps if p.heatmap is not None]
    if max(sizes) > _LARGEST:
        sentences.append("Large maps drawn smaller, by the mean over blocks.")
    return [sentence for sentence in sentences if sentence]
