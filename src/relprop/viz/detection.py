"""What a detector found, and why this class and this box: one page a detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.viz.detection_frame import Outline, draw_outlines
from relprop.viz.detection_table import LayerTable, draw_tables, tables_height
from relprop.viz.panels import Panel, PanelRow, draw_panels
from relprop.viz.scale import CLIP, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BoxMap", "DetectionPage", "detection_figure", "detections_figure"]

_SIDE = 300  # least length in pixels of a panel's longer side
_GREY = 0.75  # what is masked out
_LARGEST = 448  # longer side of the picture with the detections
_MANY = 40  # beyond so many boxes words would hide them


@dataclass(frozen=True)
class BoxMap:
    """One target's map on the grid, with its title and the words below."""

    heatmap: NDArray[np.float64]
    title: str
    lines: tuple[str, ...] = ()
    signed: bool = True


@dataclass(frozen=True)
class DetectionPage:
    """What stands on the page of one detection. Boxes are x0, y0, x1, y1 on the grid.

    Attributes:
        picture: colours (h, w, 3) in 0-1.
        boxes: of all detections.
        names: a few words a box, such as "dog 0.61".
        chosen: index of the detection that is explained.
        default_box: before localisation.
        localised: after it; it may reach over the edge where the detection's box is cut.
        classes: the map of the label, then of the what-if class and of the one rather than the other, where asked.
        strongest: (h, w) bool, where the label's map is strongest.
        masked: the words for that picture.
        offsets: a map each.
        tables: at the foot of the page.
    """

    picture: NDArray[np.float64]
    boxes: Sequence[Sequence[float]]
    names: Sequence[str]
    chosen: int
    default_box: Sequence[float]
    localised: Sequence[float]
    classes: Sequence[BoxMap]
    strongest: NDArray[np.bool_]
    masked: str
    offsets: Sequence[BoxMap]
    tables: Sequence[LayerTable] = ()


def detections_figure(
    picture: NDArray[np.float64],
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    title: str,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw a picture (h, w, 3) in 0-1 with boxes on its grid, each with its words."""
    # Small pictures grow by whole factors, so that boxes and words have room.
    factor = max(1, _LARGEST // max(picture.shape[:2]))
    shown = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    figure = draw_panels([PanelRow([Panel(picture=shown)])], title=title, notes=notes)
    many = len(boxes) > _MANY
    outlines = [
        Outline(box, "" if many else name, strong=not many) for box, name in zip(boxes, names, strict=True)
    ]
    draw_outlines(figure, "picture-0-0", outlines, picture.shape[:2])
    return figure


def detection_figure(
    page: DetectionPage,
    *,
    title: str,
    scale: Scale = "shared",
    clip: float | None = CLIP,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw why one detection has its class and its box.

    The first row has the picture with all detections, the class maps and the picture masked to the strongest
    pixels of the first; the second a map an offset, with the default box dashed and the localised one solid;
    below stand the tables.

    Args:
        page: what to draw.
        title: line on top.
        scale: ``"shared"`` (one for all maps), ``"symmetric"`` (each its own) or a number.
        clip: percentile for the end of the scale, None for the maximum.
        notes: sentences that follow the caption.

    Returns:
        A matplotlib figure outside pyplot.

    Raises:
        InputError: on NaN or infinite relevance, or maps of another size than the picture.
    """
    size = page.picture.shape[:2]
    hidden = np.where(page.strongest[..., None], page.picture, _GREY)
    first: list[Panel | None] = [
        Panel(picture=page.picture, title="detections", lines=(page.names[page.chosen],), bold=True)
    ]
    first += [Panel(m.heatmap, page.picture, m.title, m.lines, m.signed) for m in page.classes]
    first.append(Panel(picture=hidden, title="strongest pixels", lines=(page.masked,)))
    second = [Panel(m.heatmap, page.picture, m.title, m.lines, m.signed) for m in page.offsets]
    rows = [PanelRow(first), *([PanelRow(second)] if second else [])]
    room = tables_height(page.tables)
    figure = draw_panels(rows, scale=scale, clip=clip, title=title, notes=notes, side=_SIDE, room=room)
    draw_tables(figure, page.tables)
    numbered = len(page.boxes) <= _MANY
    outlines = [
        Outline(box, str(i) if numbered else "", strong=False)
        for i, box in enumerate(page.boxes)
        if i != page.chosen
    ]
    outlines.append(
        Outline(page.boxes[page.chosen], page.names[page.chosen].partition(":")[0])
    )  # over the others
    draw_outlines(figure, "picture-0-0", outlines, size)
    box = page.boxes[page.chosen]
    for c in range(len(page.classes)):
        draw_outlines(figure, f"map-0-{c + 1}", [Outline(box)], size)
    draw_outlines(figure, f"picture-0-{len(page.classes) + 1}", [Outline(box)], size)
    both = [Outline(page.default_box, dashed=True, strong=False), Outline(page.localised)]
    for c in range(len(page.offsets)):
        draw_outlines(figure, f"map-1-{c}", both, size)
    return figure
