"""Detection units: units asked about by anchor or place, and what suppression did to them or for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relprop.detectors import Detection, Detections, Detector
from relprop.detectors.misses import unit_at
from relprop.errors import InputError
from relprop.propagate.names import class_index
from relprop.reports.text import Block, Table

__all__ = ["call", "dropped_document", "dropped_lines", "picked", "tag", "unit_lines"]

_SHOWN = 8  # lines of a printed table


def picked(
    found: Detections,
    detector: Detector,
    anchors: Sequence[int],
    places: Sequence[Sequence[float]],
    label: str | None,
    size: tuple[int, int],
) -> list[Detection]:
    """The units of anchors and of places, each as what it says.

    Args:
        found: the picture's detections.
        detector: that made them.
        anchors: indices among the A.
        places: (x, y) in pixels of the picture: the unit that speaks most strongly there.
        label: a class index or name: of which the unit is taken and asked; None: its best.
        size: (H, W) of the picture.

    Raises:
        InputError: no such anchor or class, or a place outside of the picture.
    """
    wanted = None
    if label is not None:
        wanted = class_index(label, found.reading.scores.shape[1], detector.classes)
    chosen = list(anchors)
    for place in places:
        x, y = place
        if not (0 <= x <= size[1] and 0 <= y <= size[0]):  # NaN fails too
            raise InputError(
                f"Expected a place x,y in the picture of {size[1]} x {size[0]} but got {x:g},{y:g}. Count pixels "
                "from the upper left corner."
            )
        chosen.append(unit_at(found, x, y, wanted))
    return [found.at(anchor, wanted) for anchor in dict.fromkeys(chosen)]


def tag(d: Detection) -> str:
    """The name of a detection's files."""
    return f"anchor-{d.anchor}" if d.index is None else f"box-{d.index}"


def call(d: Detection) -> str:
    """A detection, or a unit that was picked, in words."""
    return f"Unit {d.anchor}" if d.index is None else f"Box {d.index}"


def unit_lines(found: Detections, detector: Detector, d: Detection) -> list[Block]:
    """Which output unit made a box, where it started from, and what moved it."""
    total = len(found.reading.scores)
    lines: list[Block] = [f"One of the network's {total:,} output units made it: unit {d.anchor}."]
    if d.default_box is not None:
        start, end = (" ".join(f"{v:.0f}" for v in box.tolist()) for box in (d.default_box, d.box))
        lines.append(f"Its default box lies at {start} (x0 y0 x1 y1); the unit moved it to {end}.")
    said = ", ".join(f"{name} {v:.2f}" for name, v in zip(detector.offsets, d.offsets.tolist(), strict=True))
    return [*lines, f"What it said of the box: {said}.".replace("-", "−")]


def dropped_document(found: Detections, d: Detection) -> list[dict[str, Any]]:
    """The boxes that suppression dropped for a detection, best first."""
    if d.index is None:
        return []
    return [
        {
            "anchor": one.anchor,
            "score": one.score,
            "iou": one.iou,
            "box": found.at(one.anchor, one.label).box.tolist(),
        }
        for one in found.dropped(by=d.index)
    ]


def dropped_lines(found: Detections, d: Detection) -> list[Block]:
    """The same for a reader; of a unit that was picked, what became of it."""
    if d.index is None:
        return [_fate(found, d)]
    dropped = dropped_document(found, d)
    if not dropped:
        return ["Suppression dropped no box for it."]
    rows = [
        [
            str(one["anchor"]),
            f"{one['score']:.2f}",
            " ".join(f"{v:.0f}" for v in one["box"]),
            f"{one['iou']:.2f}",
        ]
        for one in dropped[:_SHOWN]
    ]
    more = len(dropped) - len(rows)
    return [
        f"Suppression dropped {len(dropped)} box{'es' if len(dropped) > 1 else ''} for it:",
        Table(["anchor", "score", "x0 y0 x1 y1", "IoU"], rows, (0, 1, 3)),
        *([f"and {more} more"] if more else []),
    ]


def _fate(found: Detections, d: Detection) -> str:
    pairs = zip(found.anchor.tolist(), found.labels.tolist(), strict=True)
    kept = next((n for n, pair in enumerate(pairs) if pair == (d.anchor, d.label)), None)
    if kept is not None:
        return f"It is detection {kept}."
    lost = next((one for one in found.dropped() if (one.anchor, one.label) == (d.anchor, d.label)), None)
    if lost is None:
        return "It is no detection: its score is not among those over the threshold."
    if lost.by is None:
        return "It is no detection: more boxes were over the threshold than are kept."
    by = found[lost.by]
    return (
        f"It is no detection: suppression dropped it for box {lost.by} ({by.name} {by.score:.2f}), which overlaps "
        f"it by {lost.iou:.2f}."
    )
