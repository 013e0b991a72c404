"""Every kind of mistake on constructed cases, and the hits against the figure of `scoring`."""

from __future__ import annotations

import numpy as np
import pytest

from relprop.detectors.joined import join_classes
from relprop.detectors.matching import FALSE_POSITIVES, Objects, Verdict, map_of, match
from relprop.detectors.scoring import Found, Truth, mean_average_precision

A, B = [0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]
HALF_A = [0.0, 0.0, 10.0, 5.0]  # IoU 0.5 with A
LESS_A = [0.0, 0.0, 10.0, 4.9]
TENTH_A = [0.0, 0.0, 10.0, 1.0]  # IoU 0.1
FAR_A = [0.0, 0.0, 10.0, 0.9]
DOG, CAT, COW = 1, 2, 3


def found(*rows: tuple[list[float], int, float]) -> Found:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    return Found(boxes, np.array([r[1] for r in rows], np.int64), np.array([r[2] for r in rows], np.float64))


def there(*rows: tuple[list[float], int, str]) -> Objects:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    flags = [row[2] for row in rows]
    return Objects(
        boxes,
        np.array([r[1] for r in rows], np.int64),
        [str(r[1]) for r in rows],
        np.array([f == "difficult" for f in flags], bool),
        np.array([f == "crowd" for f in flags], bool),
    )


def kinds(objects: Objects, *rows: tuple[list[float], int, float]) -> list[str]:
    return [v.kind for v in match(found(*rows), objects).verdicts]


def test_each_kind() -> None:
    objects = there((A, DOG, ""), (B, CAT, ""))
    assert match(found((A, DOG, 0.9)), objects).verdicts == (Verdict("hit", 0, 1.0),)
    assert match(found((B, DOG, 0.9)), objects).verdicts == (Verdict("confusion", 1, 1.0),)
    assert match(found((LESS_A, DOG, 0.9)), objects).verdicts == (Verdict("localisation", 0, 0.49),)
    assert match(found((LESS_A, CAT, 0.9)), objects).verdicts == (Verdict("both", 0, 0.49),)
    assert match(found((FAR_A, DOG, 0.9)), objects).verdicts == (Verdict("background", None, 0.09),)
    two = match(found((HALF_A, DOG, 0.8), (A, DOG, 0.9)), objects)
    assert two.verdicts == (Verdict("duplicate", 0, 0.5), Verdict("hit", 0, 1.0))
    assert two.missed == (1,)


def test_bounds_belong_to_the_better_side() -> None:
    objects = there((A, DOG, ""))
    assert kinds(objects, (HALF_A, DOG, 0.9)) == ["hit"]
    assert kinds(objects, (HALF_A, CAT, 0.9)) == ["confusion"]
    assert kinds(objects, (TENTH_A, DOG, 0.9)) == ["localisation"]
    assert kinds(objects, (TENTH_A, CAT, 0.9)) == ["both"]
    assert kinds(objects, (FAR_A, CAT, 0.9)) == ["background"]


def test_the_right_place_comes_before_the_right_class() -> None:
    # Over a dog by 0.7 and over the cat, which it claims to be, by 0.2: the dog was called a cat.
    box = [0.0, 0.0, 10.0, 7.0]
    objects = there((A, DOG, ""), ([0.0, 5.0, 10.0, 10.0], CAT, ""))
    assert match(found((box, CAT, 0.9)), objects).verdicts[0] == Verdict("confusion", 0, 0.7)
    # A second box of the cat that also lies on the dog is a second box of the cat.
    objects = there((A, DOG, ""), (A, CAT, ""))
    assert kinds(objects, (A, CAT, 0.9), (A, CAT, 0.8)) == ["hit", "duplicate"]


def test_of_equal_scores_the_first_takes_the_object() -> None:
    assert kinds(there((A, DOG, "")), (A, DOG, 0.5), (A, DOG, 0.5)) == ["hit", "duplicate"]


def test_difficult_objects_and_crowds_are_neither() -> None:
    objects = there((A, DOG, "difficult"), (B, DOG, "crowd"))
    inside = [31.0, 31.0, 33.0, 33.0]  # IoU 0.04 with the crowd, all of it in
    matched = match(found((A, DOG, 0.9), (inside, DOG, 0.8), (inside, DOG, 0.7)), objects)
    assert [v.kind for v in matched.verdicts] == ["ignored"] * 3
    assert matched.missed == ()
    # A crowd is one of its own class only, and says nothing about the classes of others.
    assert kinds(objects, (inside, CAT, 0.9)) == ["background"]
    assert kinds(objects, (B, CAT, 0.9)) == ["background"]
    half_in = [25.0, 30.0, 34.9, 40.0]
    assert kinds(objects, (half_in, DOG, 0.9)) == ["background"]  # 4.9 of 9.9 wide
    # But a difficult object is there, and can be taken for something else.
    assert kinds(objects, (A, CAT, 0.9)) == ["confusion"]
    # A real object beside a crowd is found first.
    objects = there((A, DOG, "crowd"), (HALF_A, DOG, ""))
    assert kinds(objects, (HALF_A, DOG, 0.9), (HALF_A, DOG, 0.8)) == ["hit", "ignored"]


def test_classes_that_a_side_does_not_know() -> None:
    objects = there((A, -1, ""), (B, DOG, ""))
    matched = match(found((A, DOG, 0.9), (B, COW, 0.8)), objects, known=[DOG, CAT])
    # What the detector can't name it can still take for something; what the truth doesn't name isn't judged.
    assert [v.kind for v in matched.verdicts] == ["confusion", "unjudged"]
    assert matched.missed == (1,)  # the other can't be missed


def test_nothing_on_either_side() -> None:
    assert match(found(), there((A, DOG, ""))).missed == (0,)
    assert kinds(there(), (A, DOG, 0.9)) == ["background"]
    assert match(found(), there()).verdicts == ()
    value, each = map_of([found()], [there()], [match(found(), there())])
    assert np.isnan(value)
    assert each == {}


@pytest.mark.parametrize("seed", range(6))
def test_hits_are_those_of_the_average_precision(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        corner = draw.uniform(0, 30, (n, 2))
        return np.concatenate([corner, corner + draw.uniform(5, 25, (n, 2))], 1)

    seen, objects, truth = [], [], []
    for _ in range(8):
        n, d = int(draw.integers(1, 8)), int(draw.integers(0, 14))
        at, labels, hard = boxes(n), draw.integers(0, 3, n), draw.random(n) < 0.2
        near = at[draw.integers(0, n, d)] + draw.normal(0, 2, (d, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        seen.append(Found(near, draw.integers(0, 3, d), draw.random(d)))
        objects.append(Objects(at, labels, [""] * n, hard, np.zeros(n, bool)))
        truth.append(Truth(at, labels, hard))
    matched = [match(f, o) for f, o in zip(seen, objects, strict=True)]
    value, each = map_of(seen, objects, matched)
    expected, per_class = mean_average_precision(seen, truth, sorted(each))
    assert value == pytest.approx(expected, abs=1e-15)
    assert list(each.values()) == pytest.approx(per_class, abs=1e-15)
    # Every detection is sorted, and every object that counts is found once or missed.
    for f, o, m in zip(seen, objects, matched, strict=True):
        assert len(m.verdicts) == len(f.labels)
        assert {v.kind for v in m.verdicts} <= {"hit", "ignored", *FALSE_POSITIVES}
        hits = [v.object for v in m.verdicts if v.kind == "hit"]
        assert sorted([*hits, *m.missed]) == o.wanted.nonzero()[0].tolist()


def test_classes_are_joined_by_name() -> None:
    voc = ["aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor", "person"]
    coco = [
        "background",
        "person",
        "airplane",
        "dining_table",
        "motorcycle",
        "Potted Plant",
        "couch",
        "tv",
        "n/a",
    ]
    joined = join_classes(coco, voc, 0)
    assert [coco[k or 0] for k in joined.labels] == [
        "airplane", "dining_table", "motorcycle", "Potted Plant", "couch", "tv", "person",
    ]  # fmt: skip
    assert joined.only_detector == ("n/a",)
    assert ("tvmonitor", "tv") in joined.renamed
    assert ("person", "person") not in joined.renamed
    back = join_classes(voc, coco[1:])
    assert [None if k is None else voc[k] for k in back.labels] == [
        "person", "aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor", None,
    ]  # fmt: skip


def test_ambiguous_names_are_joined_as_they_stand_alone() -> None:
    assert join_classes(["tv", "tvmonitor"], ["tvmonitor", "TV"]).labels == (1, None)
    assert join_classes(["tv"], ["tvmonitor", "tv"]).labels == (None, 0)
    assert join_classes(["dog"], ["background", "dog"]).labels == (None, 0)
