"""Misses: the unit that came nearest to an object that was not found, and why it made no detection of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from relprop.detectors.boxes import iou
from relprop.detectors.detections import Detections
from relprop.detectors.matching import THRESHOLD, Matched, Objects
from relprop.detectors.suppression import Dropped

__all__ = ["MISSES", "Miss", "Reason", "best_unit", "misses", "unit_at"]

Reason = Literal["below threshold", "suppressed", "neighbour", "wrong class", "poor box", "cut"]

#: Why an object was missed, each in words.
MISSES: dict[str, str] = {
    "below threshold": "the best unit's score is below the threshold",
    "suppressed": "non-maximum suppression dropped the box for a better one",
    "neighbour": "the box was counted for another object of the class",
    "wrong class": "the place was called something else",
    "poor box": "the boxes of its class lie badly on it (IoU below 0.5)",
    "cut": "more boxes were over the threshold than are kept",
}


@dataclass(frozen=True)
class Miss:
    """An object that was not found, and the unit that came nearest.

    Attributes:
        object: which, by its place among the picture's.
        reason: one of `MISSES`.
        anchor: the unit.
        iou: overlap of the unit's box and the object.
        score: the unit's score for the object's class.
        by: the detection that stands for the reason, by its number: what suppressed it, what was counted for a
            neighbour, what the place was called, the detection with the poor box; or None.
    """

    object: int
    reason: Reason
    anchor: int
    iou: float
    score: float
    by: int | None


def best_unit(found: Detections, box: Tensor, label: int, without: Sequence[int] = ()) -> tuple[int, float]:
    """The unit that speaks most for a class at a place: its anchor, and the overlap of its box with the place.

    Of the units whose box has an IoU of 0.5 or more with the place, the one with the highest score for the class;
    where no box lies so well, the one that overlaps it most.

    Args:
        found: the detections of the picture, with what all units said.
        box: (4,), in pixels of the picture.
        label: the class.
        without: anchors that don't count, unless all of those that lie well are among them.
    """
    reading = found.reading
    boxes = reading.boxes[:, label] if reading.class_boxes else reading.boxes
    overlap = iou(boxes, box[None].to(boxes))[:, 0]
    near = overlap >= THRESHOLD
    others = near.clone()
    others[list(without)] = False
    near = others if bool(others.any()) else near
    if bool(near.any()):
        scores = reading.scores[:, label]
        row = int(torch.where(near, scores, torch.full_like(scores, -1.0)).argmax())
    else:
        row = int(overlap.argmax())
    return row, float(overlap[row])


def unit_at(found: Detections, x: float, y: float, label: int | None = None) -> int:
    """The unit that speaks most strongly at a point of the picture, whether it made a detection or not.

    Of the units in whose box the point lies within the middle half of both sides, the one with the highest score
    (for the class, or for any besides the background); where there is none, of those whose box holds the point;
    else the one whose centre is nearest.

    Args:
        found: the detections of the picture.
        x, y: in pixels of the picture.
        label: a class, or None.
    """
    reading = found.reading
    scores = reading.scores.clone()
    if reading.background is not None:
        scores[:, reading.background] = -1.0
    wanted = scores.argmax(1) if label is None else torch.full_like(scores.argmax(1), label)
    rows = torch.arange(len(scores), device=scores.device)
    best = reading.scores[rows, wanted]
    boxes = (reading.boxes[rows, wanted] if reading.class_boxes else reading.boxes).double()
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    away = (boxes.new_tensor([x, y]) - centre).abs()
    for share in (0.5, 1.0):
        inside = (away <= share * half).all(1) & (half > 0).all(1)
        if bool(inside.any()):
            return int(torch.where(inside, best.double(), -1.0).argmax())
    return int(away.square().sum(1).argmin())


def misses(found: Detections, objects: Objects, matched: Matched, threshold: float) -> list[Miss]:
    """Every object that had to be found and was not, with the unit that came nearest and why it didn't make it.

    The reason is the first of these that holds. Of the units that are no detections of the class and whose box
    lies well (IoU ≥ 0.5) the best is over the threshold: it was *suppressed* by a better detection, or it was
    *cut* (or may only stand for its best class, which was another). A detection of the class lies well on it, but
    was counted for a *neighbour*. A detection of a *wrong class* lies well on it. One of its class lies badly
    (0.1 ≤ IoU < 0.5), or no unit's box reaches 0.5: a *poor box*. Else the best unit is *below the threshold*.

    Args:
        found: the picture's detections.
        objects: what is there.
        matched: of the two.
        threshold: a detection's score is larger than this.
    """
    kept = {pair: n for n, pair in enumerate(zip(found.anchor.tolist(), found.labels.tolist(), strict=True))}
    dropped = {(d.anchor, d.label): d for d in found.dropped()}
    return [_miss(found, objects, matched, j, threshold, kept, dropped) for j in matched.missed]


def _miss(
    found: Detections,
    objects: Objects,
    matched: Matched,
    j: int,
    threshold: float,
    kept: dict[tuple[int, int], int],
    dropped: dict[tuple[int, int], Dropped],
) -> Miss:
    label = int(objects.labels[j])
    box = torch.from_numpy(objects.boxes[j])
    own = [anchor for anchor, k in kept if k == label]
    anchor, overlap = best_unit(found, box, label, own)
    score = float(found.reading.scores[anchor, label])

    def miss(reason: Reason, by: int | None = None) -> Miss:
        return Miss(j, reason, anchor, overlap, score, by)

    if overlap >= THRESHOLD and score > threshold and (anchor, label) not in kept:
        lost = dropped.get((anchor, label))
        if lost is not None:
            return miss("cut") if lost.by is None else miss("suppressed", lost.by)
        best = found.at(anchor).label
        return miss("cut") if best == label else miss("wrong class", kept.get((anchor, best)))
    first, overlap_first = best_unit(found, box, label)
    if overlap_first >= THRESHOLD and (first, label) in kept:
        return Miss(
            j,
            "neighbour",
            first,
            overlap_first,
            float(found.reading.scores[first, label]),
            kept[first, label],
        )
    mistaken = _first(matched, j, "confusion")
    if mistaken is not None:
        return miss("wrong class", mistaken)
    poor = _first(matched, j, "localisation")
    if poor is not None or overlap < THRESHOLD:
        return miss("poor box", poor)
    return miss("below threshold")


def _first(matched: Matched, j: int, kind: str) -> int | None:
    """The best detection that is held against an object and of a kind."""
    return next((n for n, v in enumerate(matched.verdicts) if v.object == j and v.kind == kind), None)
