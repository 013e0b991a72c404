"""Why one detection has its class and its box: one page, near and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.viz.detection_frame import (
    Crop,
    Frame,
    Mark,
    Outline,
    draw_marks,
    draw_outlines,
    margin,
    window_around,
)
from relprop.viz.labels import number
from relprop.viz.overlay import overlay
from relprop.viz.page import Line, Slot, compose
from relprop.viz.scale import CLIP, Limit, Scale, limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NEAR", "BoxMap", "CellMap", "DetectionPage", "detection_figure"]

#: The most pixels (h, w) of what is drawn near.
NEAR = (400, 320)
_SLIM = 0.6  # the least proportion of the cells' panel
_DWARFED = 4.0  # times a box's area: a larger default box is no reason to draw the box small
_FAR = (190, 190)  # and of the whole picture below it
_FAINT = 0.15  # of the colours of what is masked out
_WEAK = "#333333"  # of lines that stand back
_WORDS = 7.0  # points, of the words below a panel
_SMALL = 18  # pixels: the number of a smaller box would hide it
_OTHERS = 12  # the best of the other boxes: more would hide the small picture


@dataclass(frozen=True)
class BoxMap:
    """One target's map.

    Attributes:
        heatmap: relevance (h, w) at the input's pixels.
        title: above the panel.
        lines: below it.
        signed: False where the method gives no negative values.
        share: how strongly it is drawn, 0 to 1: how far its edge moved, of the largest such way on the page.
        ends: what blue and red speak for.
    """

    heatmap: NDArray[np.float64]
    title: str
    lines: tuple[str, ...] = ()
    signed: bool = True
    share: float = 1.0
    ends: tuple[str, str] = ("against", "for")


@dataclass(frozen=True)
class CellMap:
    """What taking each of some cells away does to an edge.

    Attributes:
        boxes: the cells, x0, y0, x1, y1 in pixels of the picture.
        values: a number each in pixels of the picture, red where it is positive.
        texts: written on them; "" for none.
        title: above the panel.
        lines: below it.
    """

    boxes: NDArray[np.float64]
    values: NDArray[np.float64]
    texts: Sequence[str]
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectionPage:
    """What stands on the page of one detection. Boxes are x0, y0, x1, y1 in pixels of the picture.

    Attributes:
        picture: at its own resolution.
        frame: how it lies in the input.
        boxes: of all detections.
        names: a word a box beside it on the small picture: its number.
        chosen: index of the detection that is explained.
        default_box: before localisation, None where there is none.
        localised: after it; it may reach over the edge where the detection's box is cut.
        classes: the map of the label, then of the what-if class and of the one rather than the other, where asked.
        strongest: (h, w) bool at the input's pixels, where the label's map is strongest.
        masked: the words for that picture.
        edges: a map an edge of the box, or an offset.
        cells: what was measured of each edge.
        heads: what the class maps, the cells and the edge maps are about, a line each.
        moved: what `share` is about, such as "their edges moved".
        below: lines below the picture.
    """

    picture: Image.Image
    frame: Frame
    boxes: Sequence[Sequence[float]]
    names: Sequence[str]
    chosen: int
    default_box: Sequence[float] | None
    localised: Sequence[float]
    classes: Sequence[BoxMap]
    strongest: NDArray[np.bool_]
    masked: tuple[str, ...]
    edges: Sequence[BoxMap]
    cells: Sequence[CellMap] = ()
    heads: tuple[str, str, str] = ("", "", "")
    moved: str = "their edges moved"
    below: tuple[str, ...] = ()

    @property
    def box(self) -> Sequence[float]:
        """Of the detection that is explained."""
        return self.boxes[self.chosen]

    @property
    def near(self) -> tuple[float, float, float, float] | None:
        """The part of the picture to look at, or None where that is nearly all of it."""
        around = [self.box]
        if self.default_box is not None and _area(self.default_box) <= _DWARFED * _area(self.box):
            around.append(self.default_box)  # else the map would be a few pixels of the panel
        return window_around(around, self.frame.picture)

    @property
    def cells_view(self) -> Crop:
        """What the cells are drawn on: all of them, and a little around."""
        grid = self.cells[0].boxes
        part = margin((*grid[:, :2].min(0), *grid[:, 2:].max(0)), self.frame.picture)
        return self.frame.view(NEAR, part, _SLIM)  # numbers need room on slender boxes

    @property
    def cells_limit(self) -> Limit:
        """The scale of all edges' cells: they are in pixels."""
        most = max([1.0, *(float(np.abs(m.values).max(initial=0)) for m in self.cells)])
        return Limit(most, most)


def detection_figure(
    page: DetectionPage,
    *,
    title: str,
    scale: Scale = "shared",
    clip: float | None = CLIP,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw why one detection has its class and its box.

    First what is about the class: the picture, the class maps, and the picture masked to the strongest pixels of
    the first. Then a map an edge. Each is drawn near (twice the box and the default box) and, small, whole; where
    that is nearly the same, whole alone.

    Args:
        page: what to draw.
        title: line on top.
        scale: ``"shared"`` (one for the class maps; each edge's map as strong as the edge moved), ``"symmetric"``
            (each map its own) or a number.
        clip: percentile for the end of the scale, None for the maximum.
        notes: sentences that follow the caption.

    Returns:
        A matplotlib figure outside pyplot.

    Raises:
        InputError: on NaN or infinite relevance, or maps of another size than the frame's input.
    """
    part = page.near
    near = page.frame.view(NEAR, part)
    views = [near] if part is None else [near, page.frame.view(_FAR)]

    faded = scale == "shared"
    found = _limits(page.classes, scale, clip)
    moved = _limits(page.edges, "symmetric" if faded else scale, clip)
    sheet = _Sheet(page)
    sheet.add(
        page.heads[0],
        [
            _Cell("picture", "detection", page.below),
            *(_Cell("map", m.title, m.lines, m, limit) for m, limit in zip(page.classes, found, strict=True)),
            _Cell("strongest", "strongest pixels", page.masked),
        ],
        views,
    )
    cells = [_Cell("cells", m.title, m.lines, measured=m, limit=page.cells_limit) for m in page.cells]
    if cells:
        sheet.add(page.heads[1], cells, [page.cells_view])
    sheet.add(
        page.heads[2],
        [
            _Cell("map", m.title, m.lines, m, limit, m.share if faded else 1.0)
            for m, limit in zip(page.edges, moved, strict=True)
        ],
        views,
    )
    caption = " ".join([*_caption(page, found, moved, scale, clip), *notes])
    figure = compose(
        sheet.lines,
        title=title,
        caption=caption,
        limits=found if faded else [*found, *moved],
        least=NEAR[1],
        words=_WORDS,
    )
    for name, outlines in sheet.outlines.items():
        draw_outlines(figure, name, outlines)
    for name, marks in sheet.marks.items():
        draw_marks(figure, name, marks)
    return figure


@dataclass(frozen=True)
class _Cell:
    """A column of a group: a kind, its words, and of maps how they are drawn."""

    kind: str
    title: str
    lines: tuple[str, ...]
    shown: BoxMap | None = None
    limit: Limit | None = None
    share: float = 1.0
    measured: CellMap | None = None


class _Sheet:
    """Rows of a page as they are added, and the boxes to draw over their panels."""

    def __init__(self, page: DetectionPage) -> None:
        self.page = page
        self.lines: list[Line] = []
        self.outlines: dict[str, list[Outline]] = {}
        self.marks: dict[str, list[Mark]] = {}

    def add(self, head: str, cells: Sequence[_Cell], views: Sequence[Crop]) -> None:
        """A group: a row of panels a view, the words with the first."""
        edges = not any(cell.kind == "picture" for cell in cells)
        for v, view in enumerate(views):
            row, slots = len(self.lines), []
            photo = view.photo(self.page.picture)
            for c, cell in enumerate(cells):
                name = f"{'map' if cell.limit is not None else 'picture'}-{row}-{c}"
                words = (cell.title, cell.lines) if v == 0 else ("", ())
                slots.append(Slot(self._pixels(cell, view, photo), name, *words))
                if cell.measured is not None:
                    self.marks[name] = _marks(cell.measured, view)
                others = cell.kind == "picture" and v == len(views) - 1
                thick = 0.8 if cell.measured is not None else 1.3  # numbers stand there
                self.outlines[name] = self._boxes(view, others, edges or v == 0, thick)
            self.lines.append(Line(slots, head if v == 0 else ""))

    def _pixels(self, cell: _Cell, view: Crop, photo: NDArray[np.float64]) -> NDArray[np.uint8]:
        if cell.limit is not None:
            if cell.measured is not None:
                values = _on_cells(cell.measured, view)
            elif cell.shown is not None:
                values = view.lay(cell.shown.heatmap) * cell.share
            return overlay(values, cell.limit.value, photo, "grey")
        shown = photo
        if cell.kind == "strongest":
            kept = view.lay(self.page.strongest) >= 0.5
            shown = np.where(kept[..., None], photo, 1 - _FAINT * (1 - photo))
        return np.asarray(np.rint(shown.clip(0, 1) * 255), dtype=np.uint8)

    def _boxes(self, view: Crop, others: bool, before: bool, thick: float) -> list[Outline]:
        page, drawn = self.page, []
        if others:
            drawn = [
                Outline(box, self._number(i, box), thick=0.5, colour=_WEAK)
                for i, box in enumerate(view.boxes(page.boxes).tolist())
                if i != page.chosen and i < _OTHERS
            ]
        if before and page.default_box is not None:
            dashed = view.boxes(page.default_box).tolist()
            drawn.append(Outline(dashed, dashed=True, thick=0.7, colour=_WEAK))
        box = view.boxes(page.localised).tolist()
        text = self._number(page.chosen, box) if others else ""
        return [*drawn, Outline(box, text, thick=thick)]  # over the others

    def _number(self, i: int, box: Sequence[float]) -> str:
        """A box's number, where it hides neither the box nor the picture."""
        small = min(box[2] - box[0], box[3] - box[1]) < _SMALL
        return "" if small else self.page.names[i]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _on_cells(cells: CellMap, view: Crop) -> NDArray[np.float64]:
    """Each cell's value at its pixels of a view, 0 elsewhere."""
    made = np.zeros(view.size)
    for box, value in zip(view.boxes(cells.boxes), cells.values, strict=True):
        x0, y0, x1, y1 = (max(0, round(float(v))) for v in box)
        made[y0:y1, x0:x1] = value
    return made


def _marks(cells: CellMap, view: Crop) -> list[Mark]:
    boxes = view.boxes(cells.boxes).tolist()
    return [Mark(box, text) for box, text in zip(boxes, cells.texts, strict=True)]


def _limits(maps: Sequence[BoxMap], scale: Scale, clip: float | None) -> list[Limit]:
    return limits([m.heatmap for m in maps], scale, clip, [m.signed for m in maps])


def _caption(
    page: DetectionPage, found: Sequence[Limit], moved: Sequence[Limit], scale: Scale, clip: float | None
) -> list[str]:
    """What the colours mean, in sentences."""
    signed = any(limit.signed for limit in [*found, *moved])
    some = "Red: for the target; blue: against it; white: none."
    if not signed:
        some = "Red: for the target; white: none (these maps have no negative values)."
    end = (
        "the largest |relevance|"
        if clip is None
        else f"the {clip:g}th percentile of the non-zero |relevance|"
    )
    beyond = "" if clip is None else "; stronger values take the end colour"
    if scale == "shared":
        value = number(found[0].value)
        scales = [f"Class maps share one scale, up to {value}: {end}{beyond}."]
        if page.edges and all(m.share == 1 for m in page.edges):
            scales.append("The other maps are drawn each on its own.")
        elif page.edges:
            scales.append(
                f"The other maps are drawn as strongly as {page.moved}: in full colour the one that went furthest."
            )
    elif scale == "symmetric":
        scales = [f"Each map on its own scale: {end}{beyond}."]
    else:
        scales = [f"Scale fixed at {number(float(scale))}; stronger values take the end colour."]
    return [some, *scales, "Grey: the picture."]
