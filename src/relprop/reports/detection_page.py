"""A detection's report as a page: maps laid on the picture, words below them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from relprop.detectors.analysis import LayerRow, strongest
from relprop.detectors.detector import EDGES
from relprop.detectors.measured import has_pixels
from relprop.propagate.question import CURVED
from relprop.reports.detection_words import arrows, check_lines, measured_note, most, pulls, what_if_lines
from relprop.reports.text import percent
from relprop.viz.detection import BoxMap, CellMap, DetectionPage
from relprop.viz.detection_frame import Frame
from relprop.viz.detection_table import LayerTable
from relprop.viz.labels import number

if TYPE_CHECKING:
    from PIL import Image

    from relprop.detectors import Detection, Detections, Detector, Prepared
    from relprop.detectors.measured import Measured
    from relprop.detectors.parts import Part, Parts
    from relprop.detectors.removal import Effects

__all__ = [
    "class_name",
    "detection_name",
    "frame_of",
    "layer_pages",
    "loss_notes",
    "next_best",
    "page_notes",
    "page_of",
    "read_notes",
]

_SHARE = 0.25  # of the box's area: how many pixels are shown as the strongest
_LEAST = 1.0  # pixels: where nothing went further, no map is drawn in full colour


def class_name(label: int, detector: Detector) -> str:
    """A class in words."""
    return f"class {label}" if detector.classes is None else detector.classes[label]


def detection_name(d: Detection, detector: Detector) -> str:
    """A detection's class in words."""
    return class_name(d.label, detector)


def next_best(d: Detection, detector: Detector) -> tuple[str, float] | None:
    """The anchor's best other class that isn't the background, with its score."""
    for k in d.scores.argsort(descending=True, stable=True).tolist():
        if k not in (d.label, detector.background):
            return class_name(k, detector), float(d.scores[k])
    return None


def frame_of(prepared: Prepared) -> Frame:
    """How the picture lies in a detector's input."""
    height, width = prepared.x.shape[2:]
    left, top = prepared.offset
    (sx, sy), (rows, columns) = prepared.scale, prepared.size
    return Frame((rows, columns), (height, width), (left, top, left + columns / sx, top + rows / sy))


def page_of(
    detector: Detector,
    picture: Image.Image,
    prepared: Prepared,
    found: Detections,
    result: Parts,
    measured: Measured | None = None,
) -> DetectionPage:
    """What stands on the page of one detection."""
    d = result.detection
    heat = result.heatmaps().cpu().double()
    signs = [(result.explanations[-1] if part.on_box else result.explanation).signed for part in result.parts]
    maps = [
        BoxMap(
            heat[k].numpy(),
            _title(part, k),
            _lines(part, k, signed, measured),
            signed,
            share,
            (part.blue, part.red) if part.on_box else ("against", "for"),
        )
        for k, (part, share, signed) in enumerate(zip(result.parts, _shares(result), signs, strict=True))
    ]
    edges = [m for m, part in zip(maps, result.parts, strict=True) if part.on_box]
    classes = [m for m, part in zip(maps, result.parts, strict=True) if not part.on_box]
    label = result.parts[0].name
    if result.rather is not None:
        other = result.parts[1].name
        signed = result.explanation.signed
        lines = (f"red: {label}" + (f", blue: {other}" if signed else ""),)
        rather = result.rather.cpu().double().numpy()
        classes.insert(2, BoxMap(rather, f"{label} rather than {other}", lines, signed, ends=(other, label)))
    box = prepared.in_input(d.box)
    count = max(1, round(_SHARE * float((box[2] - box[0]) * (box[3] - box[1]))))
    mask = strongest(heat[0], count)
    rival = next_best(d, detector)
    best = () if rival is None else (f"next best: {rival[0]} {_score(rival[1])}",)
    cells = []
    if measured is not None and measured.effects is not None:
        cells = [_cells(part, measured.effects) for part in result.parts if part.of in EDGES]
    drawn = [*found, *([d] if d.index is None else [])]  # a unit that was picked comes last
    return DetectionPage(
        picture=picture,
        frame=frame_of(prepared),
        boxes=[one.box.tolist() for one in drawn],
        names=["" if one.index is None else str(one.index) for one in drawn],
        chosen=len(found) if d.index is None else d.index,
        default_box=None if d.default_box is None else d.default_box.cpu().tolist(),
        localised=result.localised.tolist(),
        classes=classes,
        strongest=mask.numpy(),
        masked=(f"where the map is largest: {_SHARE:.0%} of the box's area".replace("%", " %"),),
        edges=edges,
        cells=cells,
        heads=(
            f"Why {label}?",
            "Why this box? Measured: how many pixels each cell pulls an edge",
            _box_head(result, bool(cells)),
        ),
        moved="their edges moved" if result.parts[-1].of in EDGES else "what they move did",
        below=(f"score {d.score:.2f}", *best),
    )


def _box_head(result: Parts, measured: bool) -> str:
    kind = "edges" if result.parts[-1].of in EDGES else "offsets"
    better = ": finer; which side pulls is better read above" if measured else ""
    return f"The {kind} by {result.box_method.name}{better}"


def _shares(result: Parts) -> list[float]:
    """How strongly each map is drawn: edges by how far they went, all others in full."""
    ways = [abs(part.moved) if part.on_box else math.nan for part in result.parts]
    largest = max([_LEAST, *(way for way in ways if not math.isnan(way))])
    return [1.0 if math.isnan(way) else way / largest for way in ways]


def layer_pages(result: Parts) -> list[LayerTable]:
    """The tables of relevance layer by layer, one a class."""
    return [
        LayerTable(
            f"{_title(part, k)}: relevance at the input of each layer", [_row(row) for row in part.table]
        )
        for k, part in enumerate(result.parts)
        if part.table and part.of == "class"
    ]


def _row(row: LayerRow) -> tuple[str, tuple[float, ...]]:
    return row.layer, (row.max, row.p95, row.median, row.p5, row.min, row.size)


def page_notes(prepared: Prepared, result: Parts, measured: Measured | None = None) -> list[str]:
    """Sentences for the page's caption."""
    warnings = dict.fromkeys(text for e in result.explanations for text in e.warnings)
    notes = [f"⚠ {text}" for text in warnings]
    if result.detection.default_box is not None:
        notes.append("Dashed: the default box; solid: where localisation put it.")
    notes += dict.fromkeys(m.reading for m in (result.method, result.box_method) if m.reading)
    notes += loss_notes(result)
    if measured is not None:
        notes.append(measured_note(measured))
    elif not has_pixels(result.detection.box, prepared):
        notes.append("The box has no pixel of the input: nothing can be measured.")
    notes += read_notes(result)
    squashed = prepared.scale[0] / prepared.scale[1]
    if abs(squashed - 1) >= 0.01:
        h, w = prepared.extent
        notes.append(f"Drawn in the picture's proportions; the network saw it squashed to {w} × {h}.")
    return notes


def read_notes(result: Parts) -> list[str]:
    """The explanations' notes, but for what goes without saying of an edge: that it is more than its offsets add.

    The place of an edge is the default box's and what the offsets add to it, of which maps are about the latter.
    """
    notes = dict.fromkeys(text for e in result.explanations for text in e.notes)
    edges = any(part.of in EDGES for part in result.parts)
    return [text for text in notes if not (edges and CURVED in text)]


def loss_notes(result: Parts) -> list[str]:
    """What to know where most of the relevance was lost on the way."""
    faint = result.faint
    if not faint:
        return []
    most = percent(max(faint.values()), 1)
    text = (
        f"Of {_names(faint, result)} at most {most} of the relevance arrived: the rest was lost at units that are "
        "active through their bias alone. Both sides of each contrast were scaled to equal totals; tables of "
        "layers show relevance before that."
    )
    return [text]


def _names(faint: Mapping[str, float], result: Parts) -> str:
    return "every map" if len(faint) == len(result.parts) else ", ".join(faint)


def _title(part: Part, k: int) -> str:
    if part.of == "class":
        return f"why {part.name}" if k == 0 else f"what if {part.name}"
    return part.name if part.on_box else f"why anything ({part.of})"


def _lines(part: Part, k: int, signed: bool, measured: Measured | None) -> tuple[str, ...]:
    checked = () if measured is None else check_lines(measured.checks[k])
    if part.on_box:
        moved = part.words if measured is None or measured.effects is None else ""
        return *filter(None, [moved]), _sides(part, signed), *checked
    said = f"score {_score(part.score or 0)}" if part.target is not None else f"output {part.value:.2f}"
    lines: tuple[str, ...] = () if k == 0 else (said.replace("-", "−"),)
    if k == 1 and part.target is not None:
        effects = None if measured is None else measured.what_if
        return *lines, *(() if effects is None else what_if_lines(effects)), *checked[:1]
    inside = "no red" if math.isnan(part.inside) else f"{100 * part.inside:.0f} % of the red in the box"
    return *lines, inside, *checked


def _cells(part: Part, effects: Effects) -> CellMap:
    return CellMap(
        effects.boxes.cpu().double().numpy(),
        pulls(part, effects),
        arrows(part, effects),
        f"{part.name}: {part.words}" if part.words else part.name,
        (most(part, effects), _sides(part, True)),
    )


def _sides(part: Part, signed: bool) -> str:
    return f"red: {part.red}" + (f", blue: {part.blue}" if signed else "")


def _score(score: float) -> str:
    return f"{score:.2f}" if score >= 0.01 else number(score)
