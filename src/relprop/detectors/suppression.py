"""Suppression: what became of the boxes over the threshold that are no detections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.detectors.boxes import iou

__all__ = ["Candidates", "Dropped"]


@dataclass(frozen=True)
class Dropped:
    """A box over the threshold that is no detection.

    Attributes:
        anchor: the unit that made it.
        label: its class index.
        score: the label's, 0 to 1.
        by: the detection that suppressed it, by its place among the detections; None: it lost its place to the
            limit on how many are kept.
        iou: the overlap of the two, in the input's pixels; 0 without a `by`.
    """

    anchor: int
    label: int
    score: float
    by: int | None
    iou: float


@dataclass(frozen=True, eq=False)
class Candidates:
    """The boxes that went into non-maximum suppression, and which of them came out.

    Attributes:
        row: (C,) int64, the anchor of each.
        label: (C,) int64.
        scores: (C,).
        boxes: (C, 4), as they were compared.
        kept: (D,) int64, the detections among the C, best first.
        threshold: the largest IoU that two detections of one class may have.
    """

    row: Tensor
    label: Tensor
    scores: Tensor
    boxes: Tensor
    kept: Tensor
    threshold: float

    def dropped(self) -> list[Dropped]:
        """What is no detection, best first, each with what suppressed it.

        A box goes because of the best detection of its class that overlaps it by more than the threshold: that is
        the one which suppression met first. Where there is none it was beyond the limit of detections, or was
        suppressed by one that was.

        >>> boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 9.], [0., 0., 10., 9.]])
        >>> label, scores = torch.tensor([1, 1, 2]), torch.tensor([0.9, 0.8, 0.7])
        >>> found = Candidates(torch.tensor([5, 6, 6]), label, scores, boxes, torch.tensor([0, 2]), 0.5)
        >>> [(d.anchor, d.label, d.by, round(d.iou, 2)) for d in found.dropped()]
        [(6, 1, 0, 0.9)]
        """
        out = torch.ones(len(self.row), dtype=torch.bool, device=self.row.device)
        out[self.kept] = False
        lost = out.nonzero()[:, 0]
        lost = lost[self.scores[lost].argsort(descending=True, stable=True)]
        if not len(lost):
            return []
        boxes = self.boxes.float() if self.boxes.dtype.itemsize < 4 else self.boxes
        overlap = iou(boxes[lost], boxes[self.kept])
        better = self.scores[lost][:, None] <= self.scores[self.kept][None]
        same = self.label[lost][:, None] == self.label[self.kept][None]
        over = same & better & (overlap > self.threshold)
        found = []
        for n, i in enumerate(lost.tolist()):
            k = int(over[n].to(torch.uint8).argmax()) if bool(over[n].any()) else -1
            found.append(
                Dropped(
                    int(self.row[i]),
                    int(self.label[i]),
                    float(self.scores[i]),
                    None if k < 0 else k,
                    0.0 if k < 0 else float(overlap[n, k]),
                )
            )
        return found
