"""Matching: a picture's detections held against what is there, each wrong one with the kind of its mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from relprop.detectors.boxes import iou
from relprop.detectors.scoring import Found, average_precision

__all__ = ["FALSE_POSITIVES", "NEAR", "THRESHOLD", "Kind", "Matched", "Objects", "Verdict", "map_of", "match"]

THRESHOLD = 0.5
"""Least IoU of a detection that is in the right place."""

NEAR = 0.1
"""Least IoU of a detection that has to do with an object at all."""

Kind = Literal["hit", "ignored", "unjudged", "confusion", "localisation", "both", "duplicate", "background"]

#: The kinds of false positives, each in words.
FALSE_POSITIVES: dict[str, str] = {
    "confusion": "right place, wrong class",
    "localisation": "right class, box too far off",
    "both": "wrong class and box too far off",
    "duplicate": "a second detection of an object",
    "background": "nothing there",
}


@dataclass(frozen=True, eq=False)
class Objects:
    """What is in one picture.

    Attributes:
        boxes: (n, 4), x0, y0, x1, y1 in pixels of the picture.
        labels: (n,), the detector's index of each object's class; -1 where it has no such class.
        names: each object's class as the truth calls it.
        difficult: (n,) bool: need not be found (VOC's flag).
        crowd: (n,) bool: one box around many objects (COCO's flag).
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: Sequence[str]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """(n,): which have to be found: of a class of the detector's, not difficult, no crowd."""
        return (self.labels >= 0) & ~self.difficult & ~self.crowd


@dataclass(frozen=True)
class Verdict:
    """What a detection is.

    Attributes:
        kind: "hit"; "ignored": of a difficult object or in a crowd of its class; "unjudged": of a class that the
            truth says nothing about; or one of `FALSE_POSITIVES`.
        object: the one it is held against: found, called something else, or missed by the box; None without one.
        iou: the overlap with that object; for "background" the largest with any.
    """

    kind: Kind
    object: int | None
    iou: float


@dataclass(frozen=True)
class Matched:
    """A picture's detections and objects, matched.

    Attributes:
        verdicts: one a detection.
        missed: the objects that had to be found and were not.
    """

    verdicts: tuple[Verdict, ...]
    missed: tuple[int, ...]


def match(found: Found, objects: Objects, known: Sequence[int] | None = None) -> Matched:
    """Match a picture's detections with its objects, and name the kind of every mistake.

    In order of score, each detection goes to the object of its class that it overlaps most, as PASCAL VOC does: a
    hit where the IoU is at least 0.5 and the object is not taken yet. Difficult objects and crowds are neither hit
    nor missed; in a crowd is a detection of its class that lies in it with half of its area or more (COCO).

    What is no hit is one of, in this order: *duplicate* (IoU ≥ 0.5 with a taken object of its class),
    *confusion* (IoU ≥ 0.5 with an object of another class), *localisation* (0.1 ≤ IoU < 0.5 with an object of its
    class), *both* (0.1 ≤ IoU < 0.5 with another class), *background*. Each is held against the object of that
    sort that it overlaps most. The kinds and both bounds are TIDE's; its published program looks for localisation
    first, then confusion, then duplicates.

    Args:
        found: the detections, labels as the detector has them.
        objects: what is there.
        known: the labels that the truth speaks of; detections of others are "unjudged". None: all.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020.

    >>> one = np.array([[0.0, 0.0, 10.0, 10.0]])
    >>> there = Objects(one, np.array([1]), ["dog"], np.array([False]), np.array([False]))
    >>> matched = match(Found(one, np.array([2]), np.array([0.9])), there)
    >>> matched.verdicts, matched.missed
    ((Verdict(kind='confusion', object=0, iou=1.0),), (0,))
    """
    overlap = iou(_rows(found.boxes), _rows(objects.boxes)).numpy()
    taken = np.zeros(len(objects.labels), dtype=bool)
    verdicts: list[Verdict | None] = [None] * len(found.labels)
    for i in np.argsort(-np.asarray(found.scores), kind="stable"):
        verdicts[i] = _verdict(found, objects, overlap[i], int(i), taken, known)
    missed = tuple(int(j) for j in (objects.wanted & ~taken).nonzero()[0])
    return Matched(tuple(v for v in verdicts if v is not None), missed)


def _verdict(
    found: Found,
    objects: Objects,
    overlap: NDArray[np.float64],
    i: int,
    taken: NDArray[np.bool_],
    known: Sequence[int] | None,
) -> Verdict:
    label = int(found.labels[i])
    if known is not None and label not in known:
        return Verdict("unjudged", None, float(overlap.max(initial=0.0)))
    mine = objects.labels == label
    own, own_iou = _best(overlap, mine & ~objects.crowd)
    other, other_iou = _best(overlap, ~mine & ~objects.crowd)
    if own_iou >= THRESHOLD:
        if objects.difficult[own]:
            return Verdict("ignored", own, own_iou)
        if not taken[own]:
            taken[own] = True
            return Verdict("hit", own, own_iou)
    for j in (mine & objects.crowd).nonzero()[0]:
        if _covered(found.boxes[i], objects.boxes[j]) >= THRESHOLD:
            return Verdict("ignored", int(j), float(overlap[j]))
    if own_iou >= THRESHOLD:
        return Verdict("duplicate", own, own_iou)
    if other_iou >= THRESHOLD:
        return Verdict("confusion", other, other_iou)
    if own_iou >= NEAR:
        return Verdict("localisation", own, own_iou)
    if other_iou >= NEAR:
        return Verdict("both", other, other_iou)
    return Verdict("background", None, max(own_iou, other_iou))


def map_of(
    found: Sequence[Found], objects: Sequence[Objects], matched: Sequence[Matched]
) -> tuple[float, dict[int, float]]:
    """Mean average precision at IoU 0.5, and the average precision of each class that has an object to be found.

    Args:
        found, objects, matched: of each picture, in one order.

    Returns:
        NaN and nothing where no picture has an object to be found.
    """
    labels = sorted({int(k) for o in objects for k in o.labels[o.wanted]})
    each: dict[int, float] = {}
    for label in labels:
        scores: list[float] = []
        hits: list[bool] = []
        for seen, result in zip(found, matched, strict=True):
            for i in np.argsort(-np.asarray(seen.scores), kind="stable"):
                kind = result.verdicts[i].kind
                if seen.labels[i] == label and kind not in ("ignored", "unjudged"):
                    scores.append(float(seen.scores[i]))
                    hits.append(kind == "hit")
        count = sum(int((o.wanted & (o.labels == label)).sum()) for o in objects)
        each[label] = average_precision(scores, hits, count)
    return float(np.mean(list(each.values()))) if each else float("nan"), each


def _best(overlap: NDArray[np.float64], among: NDArray[np.bool_]) -> tuple[int, float]:
    """The object of some that is overlapped most, and how much: (-1, 0) where there are none."""
    if not among.any():
        return -1, 0.0
    j = int(np.where(among, overlap, -1.0).argmax())
    return j, float(overlap[j])


def _covered(box: NDArray[np.float64], crowd: NDArray[np.float64]) -> float:
    """How much of a box's area lies in a crowd's."""
    width, height = np.minimum(box[2:], crowd[2:]) - np.maximum(box[:2], crowd[:2])
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    return float(max(width, 0.0) * max(height, 0.0)) / area if area > 0 else 0.0


def _rows(boxes: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
