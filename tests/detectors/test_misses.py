"""Why an object was missed, each reason on a constructed case; and what suppression dropped for which box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.detectors.nets import tiny_detector
from torch import Tensor, nn

from relprop.detectors import BoxCode, Detections, Detector
from relprop.detectors.matching import Objects, match
from relprop.detectors.misses import MISSES, misses, unit_at
from relprop.detectors.scoring import Found

SKY, DOG, CAT = 0, 1, 2
BOXES = {"a": [0.0, 0, 10, 10], "a-low": [0.0, 0, 10, 8], "a-half": [0.0, 0, 10, 3], "b": [0.0, 12, 10, 22]}


class Fixed(nn.Module):
    """Scores (sigmoid) and boxes that don't depend on the picture."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", scores.logit())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits[None] + 0 * x.mean(), torch.zeros(1, len(self.logits), 4, dtype=x.dtype)


def seen(*units: tuple[str, float, float], **settings: object) -> Detections:
    """Units: the name of a box, the score for a dog, the score for a cat."""
    scores = torch.tensor([[0.01, dog, cat] for _, dog, cat in units], dtype=torch.float64)
    known = {
        "anchors": torch.tensor([BOXES[name] for name, *_ in units], dtype=torch.float64),
        "decode": BoxCode().decode,
        "scores": "sigmoid",
        "background": SKY,
        "classes": ["sky", "dog", "cat"],
    }
    detector = Detector(raw=Fixed(scores).eval(), **(known | settings))  # type: ignore[arg-type]
    return detector(torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def reasons(found: Detections, *objects: tuple[str, int]) -> list[tuple[str, int, int | None]]:
    there = Objects(
        np.array([BOXES[name] for name, _ in objects], float).reshape(-1, 4),
        np.array([label for _, label in objects], np.int64),
        [str(label) for _, label in objects],
        np.zeros(len(objects), bool),
        np.zeros(len(objects), bool),
    )
    held = Found(found.boxes.numpy(), found.labels.numpy(), found.scores.numpy())
    told = misses(found, there, match(held, there), 0.5)
    assert {one.reason for one in told} <= set(MISSES)
    return [(one.reason, one.anchor, one.by) for one in told]


def test_below_the_threshold() -> None:
    found = seen(("a", 0.2, 0.1), ("a-low", 0.3, 0.4), ("b", 0.49, 0.1))
    assert reasons(found, ("a", DOG)) == [("below threshold", 1, None)]


def test_suppressed_by_the_box_of_a_neighbour() -> None:
    # One dog stands before another: the better box takes its own, and the other's box overlaps it by 0.8.
    found = seen(("a", 0.9, 0.1), ("a-low", 0.8, 0.1))
    assert reasons(found, ("a", DOG), ("a-low", DOG)) == [("suppressed", 1, 0)]
    # With a suppression that lets both live nothing is missed.
    found = seen(("a", 0.9, 0.1), ("a-low", 0.8, 0.1), nms_threshold=0.85)
    assert reasons(found, ("a", DOG), ("a-low", DOG)) == []


def test_counted_for_a_neighbour() -> None:
    found = seen(("a", 0.9, 0.1))
    assert reasons(found, ("a", DOG), ("a-low", DOG)) == [("neighbour", 0, 0)]


def test_called_something_else() -> None:
    found = seen(("b", 0.9, 0.1), ("a", 0.3, 0.8))
    assert reasons(found, ("b", DOG), ("a", DOG)) == [("wrong class", 1, 1)]


def test_a_poor_box() -> None:
    # A detection of its class overlaps it by 0.3, and the unit with the good box says less.
    found = seen(("a-half", 0.9, 0.1), ("a", 0.2, 0.1))
    assert reasons(found, ("a", DOG)) == [("poor box", 1, 0)]
    # No unit's box lies on it: the nearest.
    found = seen(("b", 0.9, 0.1), ("a-half", 0.2, 0.1))
    assert reasons(found, ("a", DOG)) == [("poor box", 1, None)]


def test_more_than_are_kept() -> None:
    found = seen(("b", 0.9, 0.1), ("a", 0.8, 0.1), most=1)
    assert reasons(found, ("a", DOG)) == [("cut", 1, None)]
    found = seen(("b", 0.9, 0.1), ("a", 0.8, 0.1), top_k=1)
    assert reasons(found, ("a", DOG)) == [("cut", 1, None)]


def test_the_unit_at_a_place() -> None:
    found = seen(("a", 0.2, 0.1), ("a-low", 0.3, 0.4), ("b", 0.9, 0.1))
    assert unit_at(found, 5, 5) == 1  # the best score of those whose middle it is
    assert unit_at(found, 5, 5, DOG) == 1
    assert unit_at(found, 5, 17) == 2
    assert unit_at(found, 5, 7.2) == 0  # in the middle half of the tall box alone
    assert unit_at(found, 0.1, 12.1) == 2  # in no middle, but in a box
    assert unit_at(found, 31, 31) == 2  # in no box: the nearest centre


@pytest.mark.parametrize("seed", range(5))
def test_each_dropped_box_has_the_one_that_suppressed_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    detector = tiny_detector.detector()
    found = detector(torch.from_numpy(draw.random((3, 16, 16))))
    held = found.candidates
    assert held is not None
    # Greedy suppression, written out: from the best on, each box that lives takes away what it overlaps.
    order = sorted(range(len(held.row)), key=lambda i: (-float(held.scores[i]), int(held.label[i]), i))
    alive, by = [], {}
    for i in order:
        for k in alive:
            same = held.label[i] == held.label[k]
            if same and _overlap(held.boxes[i].tolist(), held.boxes[k].tolist()) > held.threshold:
                by[i] = k
                break
        else:
            alive.append(i)
    assert len(by) > 0
    kept = [int(i) for i in held.kept]
    assert kept == alive[: detector.most]
    expected = {
        (int(held.row[i]), int(held.label[i])): kept.index(k) if k in kept else None for i, k in by.items()
    } | {(int(held.row[i]), int(held.label[i])): None for i in alive[detector.most :]}
    dropped = found.dropped()
    assert {(d.anchor, d.label): d.by for d in dropped} == expected
    assert [d.score for d in dropped] == sorted((d.score for d in dropped), reverse=True)
    assert all(d.iou > held.threshold for d in dropped if d.by is not None)
    for n in range(len(found)):
        assert found.dropped(by=n) == [d for d in dropped if d.by == n]


def _overlap(a: list[float], b: list[float]) -> float:
    w, h = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    area = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return w * h / (sum(area) - w * h) if w * h else 0.0
