"""A detection's report as a page: maps laid on the picture, words below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from relprop.detectors.analysis import LayerRow, strongest
from relprop.reports.text import percent
from relprop.viz.detection import BoxMap, DetectionPage
from relprop.viz.detection_frame import Frame
from relprop.viz.detection_table import LayerTable
from relprop.viz.labels import number

if TYPE_CHECKING:
    from PIL import Image

    from relprop.detectors import Detections, Detector, Prepared
    from relprop.detectors.parts import Part, Parts

__all__ = ["detection_name", "loss_notes", "page_notes", "page_of"]

_TITLES = {"cx": "centre across (cx)", "cy": "centre down (cy)", "w": "width (w)", "h": "height (h)"}
_PERCENTILE = 85.0


def detection_name(name: str, detector: Detector) -> str:
    """A detection's class in words."""
    return name if detector.classes is not None else f"class {name}"


def page_of(
    detector: Detector, picture: Image.Image, prepared: Prepared, found: Detections, result: Parts
) -> DetectionPage:
    """What stands on the page of one detection."""
    frame = Frame.around(prepared.extent, prepared.size)
    d = result.detection
    heat = result.explanation.heatmap()[:, 0]
    maps = [
        BoxMap(frame.lay(heat[k]), _title(part, k), _lines(part), result.explanation.signed)
        for k, part in enumerate(result.parts)
    ]
    offsets = [m for m, part in zip(maps, result.parts, strict=True) if part.of in _TITLES]
    classes = [m for m, part in zip(maps, result.parts, strict=True) if part.of not in _TITLES]
    label = result.parts[0].name
    if result.rather is not None:
        other = result.parts[1].name
        lines = (f"red: {label}, blue: {other}",)
        classes.insert(2, BoxMap(frame.lay(result.rather), f"{label} rather than {other}", lines))
    tables = [
        LayerTable(f"{part.name}: relevance at the input of each layer", [_row(row) for row in part.table])
        for part in result.parts
        if part.of == "class" and part.table
    ]
    drawn = [*found, *([d] if d.index is None else [])]  # a unit that was picked comes last
    return DetectionPage(
        picture=frame.photo(picture),
        boxes=[frame.boxes(one.box.cpu()).tolist() for one in drawn],
        names=[
            f"{f'unit {one.anchor}' if one.index is None else one.index}: {detection_name(one.name, detector)} "
            f"{one.score:.2f}"
            for one in drawn
        ],
        chosen=len(found) if d.index is None else d.index,
        default_box=frame.boxes(
            (result.localised if d.default_box is None else d.default_box).cpu()
        ).tolist(),
        localised=frame.boxes(result.localised).tolist(),
        classes=classes,
        strongest=strongest(torch.from_numpy(maps[0].heatmap), _PERCENTILE).numpy(),
        masked=f"the top {100 - _PERCENTILE:g} % of the map for {label}",
        offsets=offsets,
        tables=tables,
    )


def _row(row: LayerRow) -> tuple[str, tuple[float, ...]]:
    return row.layer, (row.max, row.p95, row.median, row.p5, row.min, row.size)


def page_notes(prepared: Prepared, result: Parts) -> list[str]:
    """Sentences for the page's caption."""
    notes = [f"⚠ {text}" for text in result.explanation.warnings]
    notes.append("Dashed: the default box; solid: where localisation put it.")
    if result.method.reading:
        notes.append(result.method.reading)
    notes += [*loss_notes(result), *result.explanation.notes]
    notes.append("Tables: over all elements at the layer's input, zeros included.")
    frame = Frame.around(prepared.extent, prepared.size)
    if frame.size != frame.extent:
        h, w = frame.extent
        notes.append(f"Drawn in the picture's proportions; the network saw it squashed to {w} × {h}.")
    return notes


def loss_notes(result: Parts) -> list[str]:
    """What to know where most of the relevance was lost on the way."""
    faint = result.faint
    if not faint:
        return []
    most = percent(max(faint.values()), 1)
    text = (
        f"Of {', '.join(faint)} at most {most} of the relevance arrived: the rest was lost at units that are "
        "active through their bias alone. Both sides of each contrast were scaled to equal totals; the tables "
        "show relevance before that."
    )
    return [text]


def _title(part: Part, k: int) -> str:
    if part.of == "class":
        return f"why {part.name}" if k == 0 else f"what if {part.name}"
    return _TITLES.get(part.of, f"why anything ({part.of})")


def _lines(part: Part) -> tuple[str, ...]:
    red = f"{percent(part.inside, 1)} of the red in the box"
    if part.of in _TITLES:
        value = f"{part.value:+.2f}".replace("-", "−")
        return part.words, f"offset {value} · red: {part.red}, blue: {part.blue}", red
    if part.score is None:
        return (f"output {part.value:.2f}".replace("-", "−"), red)
    score = f"{part.score:.2f}" if part.score >= 0.01 else number(part.score)
    return (f"score {score}", red)
