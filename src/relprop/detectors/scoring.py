"""Average precision of detections, the figure that the bundled detector's card states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.detectors.boxes import iou
from relprop.errors import InputError

__all__ = ["Found", "Truth", "average_precision", "mean_average_precision"]


@dataclass(frozen=True, eq=False)
class Found:
    """The detections in one picture: boxes (d, 4) x0, y0, x1, y1, labels (d,), scores (d,)."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects in one picture: boxes (n, 4), labels (n,), and which are difficult (n,)."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]


def average_precision(scores: ArrayLike, hits: ArrayLike, objects: int) -> float:
    """Area under the precision-recall curve, interpolated at all points.

    Precision at a recall is replaced by the largest precision at that or a higher recall, and the area under
    those steps is summed over every rise of the recall: PASCAL VOC's definition from 2010 on.

    Args:
        scores: (d,) score of each detection; of equal ones the earlier counts as the better.
        hits: (d,) whether it is a hit.
        objects: number of objects to be found.

    Raises:
        InputError: shapes differ, or there is no object.

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, IJCV 2015,
    section 2.2; VOC 2012 development kit, section 3.4.1.

    >>> average_precision([0.9, 0.8, 0.7], [True, False, True], 2)  # 1/2 * 1 + 1/2 * 2/3
    0.8333333333333333
    """
    score, hit = np.asarray(scores, dtype=np.float64), np.asarray(hits).astype(bool)
    if score.shape != hit.shape or score.ndim != 1:
        raise InputError(
            f"Expected scores and hits of one shape (d,) but got {score.shape} and {hit.shape}; "
            "pass one class at a time."
        )
    if objects < 1:
        raise InputError(
            f"Expected at least one object but got {objects}; average precision is undefined there."
        )
    hit = hit[np.argsort(-score, kind="stable")]
    found = np.cumsum(hit)
    precision = found / np.arange(1, len(hit) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[hit].sum() / objects)  # the recall rises by 1/objects at each hit, nowhere else


def mean_average_precision(
    found: Sequence[Found], truth: Sequence[Truth], classes: Sequence[int], *, threshold: float = 0.5
) -> tuple[float, list[float]]:
    """Mean over classes of `average_precision`, and the list per class.

    In order of score, each detection goes to the object of its class and picture that it overlaps most; it
    is a hit where the IoU is at least `threshold` and no better detection has taken that object. A detection
    of a difficult object is neither hit nor miss, and difficult objects need not be found.

    Args:
        found: detections of each picture.
        truth: objects of each picture, in the same order.
        classes: the labels to score.
        threshold: least IoU of a hit; VOC's is 0.5.

    Raises:
        InputError: not one truth for each picture, or a class has no object that isn't difficult.
    """
    if len(found) != len(truth):
        raise InputError(
            f"Expected one truth for each picture but got {len(truth)} for {len(found)}; pass both per picture."
        )
    each = []
    for label in classes:
        scores: list[float] = []
        hits: list[bool] = []
        for seen, true in zip(found, truth, strict=True):
            part_scores, part_hits = _match(seen, true, label, threshold)
            scores += part_scores
            hits += part_hits
        objects = sum(int(((t.labels == label) & ~t.difficult).sum()) for t in truth)
        each.append(average_precision(scores, hits, objects))
    return float(np.mean(each)), each


def _match(seen: Found, true: Truth, label: int, threshold: float) -> tuple[list[float], list[bool]]:
    """Scores and hits of one picture's detections of a class, those of difficult objects left out."""
    mine, its = seen.labels == label, true.labels == label
    boxes, all_scores = seen.boxes[mine], seen.scores[mine]
    difficult = true.difficult[its]
    overlap = iou(_rows(boxes), _rows(true.boxes[its])).numpy()
    taken = np.zeros(len(difficult), dtype=bool)
    scores: list[float] = []
    hits: list[bool] = []
    for i in np.argsort(-all_scores, kind="stable"):
        best = int(overlap[i].argmax()) if len(difficult) else -1
        hit = best >= 0 and overlap[i, best] >= threshold
        if hit and difficult[best]:
            continue
        scores.append(float(all_scores[i]))
        hits.append(bool(hit and not taken[best]))
        if hit:
            taken[best] = True
    return scores, hits


def _rows(boxes: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
