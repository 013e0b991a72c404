"""Detections that know which output unit made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from torch import Tensor

from relprop.detectors.suppression import Candidates, Dropped
from relprop.errors import InputError
from relprop.viz.boxes_html import BoxRow, Thumbnail, boxes_html

__all__ = ["Detection", "Detections", "Reading"]


@dataclass(frozen=True, eq=False, repr=False)
class Detection:
    """One detection: a class and a box that one anchor's output units made.

    Boxes are corners x0, y0, x1, y1 in pixels of the picture.

    Attributes:
        box: (4,), cut at the picture's edge.
        label: class index among the K.
        score: the label's, 0 to 1.
        anchor: index among the A anchors: the output unit.
        name: the label's name, or its number as text.
        index: place among the detections, best first; None for an anchor that was picked by hand.
        default_box: (4,), the anchor before localisation; it may reach over the edge. None where the network
            has no boxes to start from (DETR).
        scores: (K,), the scores of all classes at this anchor.
        offsets: what moves the default box, one number a name of `Detector.offsets`.
    """

    box: Tensor
    label: int
    score: float
    anchor: int
    name: str
    index: int | None
    default_box: Tensor | None
    scores: Tensor
    offsets: Tensor

    def as_dict(self) -> dict[str, Any]:
        """Plain values without `scores`, as JSON holds them."""
        return {
            "index": self.index,
            "label": self.label,
            "name": self.name,
            "score": self.score,
            "anchor": self.anchor,
            "box": self.box.tolist(),
            "default_box": None if self.default_box is None else self.default_box.tolist(),
            "offsets": self.offsets.tolist(),
        }

    def row(self) -> BoxRow:
        """Box, name and score, to be drawn."""
        x0, y0, x1, y1 = (float(v) for v in self.box.tolist())
        return BoxRow((x0, y0, x1, y1), self.name, self.score)

    def _repr_html_(self) -> str:
        """The detection and what else its output unit says, for notebooks."""
        best = self.scores.topk(min(4, len(self.scores))).values.tolist()
        others = ", ".join(f"{v:.3g}" for v in best)
        said = (
            f"Made by anchor {self.anchor}. The highest scores of its {len(self.scores)} classes: {others}."
        )
        title = "detection" if self.index is None else f"detection {self.index}"
        return boxes_html(title, [self.row()], None, [said])

    def __repr__(self) -> str:
        box = ", ".join(f"{v:.0f}" for v in self.box.tolist())
        return f"Detection({self.name} {self.score:.2f}, box [{box}], anchor {self.anchor})"


@dataclass(frozen=True, eq=False)
class Reading:
    """What the raw network said at some or all of its anchors, with the boxes that this means.

    Attributes:
        anchor: (D,) int64, which anchors the rows are.
        scores: (D, K), 0 to 1.
        offsets: (D, 4); or (D, K, 4) where each class has a box of its own.
        boxes: (D, 4), decoded, cut at the edge, in picture pixels; or (D, K, 4).
        default_boxes: (D, 4), the anchors in picture pixels; None where there are none.
        names: class names, or None.
        background: index of the background among the K, or None.
    """

    anchor: Tensor
    scores: Tensor
    offsets: Tensor
    boxes: Tensor
    default_boxes: Tensor | None
    names: list[str] | None
    background: int | None

    @property
    def class_boxes(self) -> bool:
        """Whether each class has a box of its own (the second stage of Faster R-CNN)."""
        return self.boxes.ndim == 3

    def detection(self, row: int, label: int | None = None, index: int | None = None) -> Detection:
        """The detection that a row makes; `label=None`: its best class that isn't the background."""
        scores = self.scores[row]
        if label is None:
            rivals = scores.clone()
            if self.background is not None:
                rivals[self.background] = -1.0
            label = int(rivals.argmax())
        own = (row, label) if self.class_boxes else row
        return Detection(
            box=self.boxes[own],
            label=label,
            score=float(scores[label]),
            anchor=int(self.anchor[row]),
            name=str(label) if self.names is None else self.names[label],
            index=index,
            default_box=None if self.default_boxes is None else self.default_boxes[row],
            scores=scores,
            offsets=self.offsets[own],
        )


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Sequence[Detection]):
    """What a detector found in a picture, best first. A sequence of `Detection`.

    Attributes:
        boxes: (D, 4) x0, y0, x1, y1 in pixels of the picture.
        labels: (D,) int64.
        scores: (D,).
        anchor: (D,) int64, the output unit that made each.
        reading: what the network said at all A anchors, before thresholds and suppression.
        candidates: the boxes over the threshold, suppressed ones included; None where nobody noted them.
        picture: the picture made small, for notebooks; None where nobody kept it.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    anchor: Tensor
    reading: Reading = field(repr=False)
    candidates: Candidates | None = field(default=None, repr=False)
    picture: Thumbnail | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Detection: ...

    @overload
    def __getitem__(self, index: slice) -> list[Detection]: ...

    def __getitem__(self, index: int | slice) -> Detection | list[Detection]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            # Iteration ends on this error, so it has to stay an IndexError.
            valid = f"from 0 to {len(self) - 1}" if len(self) else "but none was found"
            raise IndexError(f"Expected a detection {valid}; got {index}.")
        return self.reading.detection(int(self.anchor[place]), int(self.labels[place]), place)

    def at(self, anchor: int, label: int | None = None) -> Detection:
        """What an anchor says that made no detection, or another class of one that did.

        Args:
            anchor: index among the A.
            label: class index; None for the anchor's best class besides the background.

        Raises:
            InputError: no such anchor or class.
        """
        total, classes = self.reading.scores.shape
        if not 0 <= anchor < total:
            raise InputError(f"Expected an anchor from 0 to {total - 1} but got {anchor}.")
        if label is not None and not 0 <= label < classes:
            raise InputError(f"Expected a class from 0 to {classes - 1} but got {label}.")
        return self.reading.detection(anchor, label)

    def dropped(self, by: int | None = None) -> list[Dropped]:
        """The boxes over the threshold that are no detections, best first, each with the one that suppressed it.

        Args:
            by: those alone that this detection suppressed; None: all.
        """
        found = [] if self.candidates is None else self.candidates.dropped()
        return [one for one in found if by is None or one.by == by]

    def near(self, most: int = 3) -> list[Detection]:
        """The anchors with the best scores, whether over the threshold or not: what nearly was one.

        Overlapping boxes are not suppressed.
        """
        scores = self.reading.scores.clone()
        if self.reading.background is not None:
            scores[:, self.reading.background] = -1.0
        best = scores.amax(1).topk(min(most, len(scores))).indices
        return [self.at(int(a)) for a in best]

    def __repr__(self) -> str:
        if not len(self):
            best = self.near(1)
            below = f"; best below the threshold: {best[0].name} {best[0].score:.3f}" if best else ""
            return f"Detections(none{below})"
        return "Detections(\n" + "".join(f"  {i}: {d!r}\n" for i, d in enumerate(self)) + ")"

    def _repr_html_(self) -> str:
        """The picture with its boxes and their table, for notebooks; where none was found, what nearly was one."""
        if len(self):
            count = f"{len(self)} detection{'' if len(self) == 1 else 's'}, best first"
            return boxes_html(count, [d.row() for d in self], self.picture)
        near = [d.row() for d in self.near()]
        return boxes_html("No detections", near, self.picture, ["These are the best below the threshold."])
