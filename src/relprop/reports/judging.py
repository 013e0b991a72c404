"""Judging: one picture's detections held against the truth, as plain values that a long run can keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relprop.datasets.truth import Annotations, TruthOf
from relprop.detectors import Detections, Detector
from relprop.detectors.joined import Joined
from relprop.detectors.matching import FALSE_POSITIVES, Matched, Objects, Verdict, match
from relprop.detectors.misses import misses
from relprop.detectors.scoring import Found

__all__ = ["Judge", "found_of", "judged_again", "mistakes_of", "tidy"]


@dataclass(frozen=True, eq=False)
class Judge:
    """What a picture's detections are held against.

    Attributes:
        detector: that made them.
        names: its classes, in words.
        truth: of all pictures.
        joined: the classes of the two.
    """

    detector: Detector
    names: Sequence[str]
    truth: Annotations
    joined: Joined

    @property
    def known(self) -> list[int]:
        """The detector's classes that the truth speaks of."""
        return sorted(k for k in self.joined.labels if k is not None)

    def judge(self, found: Detections, there: TruthOf, size: tuple[int, int]) -> dict[str, Any]:
        """One picture's detections, objects and misses, as JSON holds them.

        Args:
            found: the detections.
            there: the objects.
            size: (H, W) of the picture.
        """
        objects = self._objects(there)
        held = Found(
            found.boxes.detach().cpu().double().numpy(),
            found.labels.cpu().numpy(),
            found.scores.detach().cpu().double().numpy(),
        )
        matched = match(held, objects, self.known)
        missed = misses(found, objects, matched, self.detector.score_threshold)
        return {
            "size": list(size),
            "detections": [
                self._detection(found, n, verdict, objects) for n, verdict in enumerate(matched.verdicts)
            ],
            "objects": [
                {
                    "label": int(objects.labels[j]),
                    "name": objects.names[j],
                    "box": tidy(objects.boxes[j]),
                    "difficult": bool(objects.difficult[j]),
                    "crowd": bool(objects.crowd[j]),
                }
                for j in range(len(objects.names))
            ],
            "misses": [
                {
                    "object": one.object,
                    "reason": one.reason,
                    "anchor": one.anchor,
                    "box": tidy(found.at(one.anchor, int(objects.labels[one.object])).box),
                    "iou": tidy(one.iou),
                    "true_score": tidy(one.score),
                    "by": one.by,
                    **self._says(found, one.anchor),
                }
                for one in missed
            ],
        }

    def _objects(self, there: TruthOf) -> Objects:
        index = dict(zip(self.truth.classes, self.joined.labels, strict=True))
        found = [index.get(name) for name in there.names]
        labels = np.array([-1 if k is None else k for k in found], dtype=np.int64)
        # In the detector's words, so that a class has one name in the report.
        names = [name if k is None else self.names[k] for name, k in zip(there.names, found, strict=True)]
        return Objects(there.boxes, labels, names, there.difficult, there.crowd)

    def _detection(self, found: Detections, n: int, verdict: Verdict, objects: Objects) -> dict[str, Any]:
        d = found[n]
        true = -1 if verdict.object is None else int(objects.labels[verdict.object])
        return {
            "label": d.label,
            "name": self.names[d.label],
            "score": tidy(d.score),
            "true_score": tidy(float(d.scores[true])) if true >= 0 else None,
            "anchor": d.anchor,
            "box": tidy(d.box),
            "kind": verdict.kind,
            "object": verdict.object,
            "iou": tidy(verdict.iou),
        }

    def _says(self, found: Detections, anchor: int) -> dict[str, Any]:
        best = found.at(anchor)
        return {"said": self.names[best.label], "said_label": best.label, "score": tidy(best.score)}


def found_of(seen: dict[str, Any]) -> Found:
    """A judged picture's detections, as `relprop.detectors.matching` takes them."""
    rows = seen["detections"]
    return Found(
        np.array([d["box"] for d in rows], dtype=np.float64).reshape(-1, 4),
        np.array([d["label"] for d in rows], dtype=np.int64),
        np.array([d["score"] for d in rows], dtype=np.float64),
    )


def judged_again(seen: dict[str, Any]) -> tuple[Objects, Matched]:
    """A judged picture's objects and verdicts."""
    rows = seen["objects"]
    objects = Objects(
        np.array([o["box"] for o in rows], dtype=np.float64).reshape(-1, 4),
        np.array([o["label"] for o in rows], dtype=np.int64),
        [o["name"] for o in rows],
        np.array([o["difficult"] for o in rows], dtype=bool),
        np.array([o["crowd"] for o in rows], dtype=bool),
    )
    verdicts = tuple(Verdict(d["kind"], d["object"], d["iou"]) for d in seen["detections"])
    return objects, Matched(verdicts, tuple(m["object"] for m in seen["misses"]))


def mistakes_of(name: str, seen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a judged picture: its false positives, best score first, then its misses.

    A row holds what was said and what is true, the score of either at the unit, both boxes and their IoU. Of a
    miss, "said" is what its best unit says most, which may be less than the threshold. "by" is the detection that
    found the object (of a false positive), or that stands for the reason (of a miss).

    Args:
        name: the picture's.
        seen: what `Judge.judge` said.
    """
    objects = seen["objects"]
    for n, d in enumerate(seen["detections"]):
        if d["kind"] in FALSE_POSITIVES:
            by = None if d["object"] is None else _taker(seen, d)
            true = None if d["object"] is None else objects[d["object"]]
            yield _row(name, f"d{n}", d, true, d["kind"], None, d["name"], d["label"], n, by)
    for m in seen["misses"]:
        j = m["object"]
        yield _row(
            name, f"m{j}", m, objects[j], "missed", m["reason"], m["said"], m["said_label"], None, m["by"]
        )


def _row(
    picture: str,
    key: str,
    unit: dict[str, Any],
    true: dict[str, Any] | None,
    kind: str,
    reason: str | None,
    said: str,
    said_label: int,
    detection: int | None,
    by: int | None,
) -> dict[str, Any]:
    return {
        "id": key,
        "picture": picture,
        "kind": kind,
        "reason": reason,
        "said": said,
        "said_label": said_label,
        "score": unit["score"],
        "true": None if true is None else true["name"],
        "true_label": None if true is None else true["label"],
        "true_score": unit["true_score"],
        "iou": unit["iou"],
        "box": unit["box"],
        "true_box": None if true is None else true["box"],
        "detection": detection,
        "anchor": unit["anchor"],
        "by": by,
    }


def _taker(seen: dict[str, Any], d: dict[str, Any]) -> int | None:
    """The detection that was the first at an object."""
    rows = seen["detections"]
    return next((n for n, o in enumerate(rows) if o["kind"] == "hit" and o["object"] == d["object"]), None)


def tidy(value: Any) -> Any:
    """Numbers with six digits, which is more than is known of them, and short in a file.

    >>> tidy(1 / 3), tidy([0.1 + 0.2, 1234567.0])
    (0.333333, [0.3, 1234570.0])
    """
    if isinstance(value, (int, float)):
        return float(f"{value:.6g}")
    return [tidy(float(one)) for one in value]
