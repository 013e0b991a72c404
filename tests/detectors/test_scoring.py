"""Average precision of detections: cases by hand, and pycocotools where the two definitions agree."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from tests.refusals import assert_refused

from relprop.detectors.scoring import Found, Truth, average_precision, mean_average_precision
from relprop.errors import InputError


def test_by_hand() -> None:
    assert average_precision([0.9, 0.8], [True, True], 2) == 1.0
    assert average_precision([0.9, 0.8], [True, True], 4) == 0.5  # half of the objects are never found
    assert average_precision([0.9, 0.8], [False, False], 3) == 0.0
    assert average_precision([], [], 3) == 0.0
    # Ranks: miss, hit, hit, miss, hit. Precision 1/2, 2/3, 3/5; interpolated 2/3, 2/3, 3/5.
    given = average_precision([0.9, 0.8, 0.7, 0.6, 0.5], [False, True, True, False, True], 3)
    assert given == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 3, abs=1e-15)
    # The order is the scores', and of equal scores the earlier is the better.
    assert average_precision([0.1, 0.9], [True, False], 1) == 0.5
    assert average_precision([0.5, 0.5], [True, False], 1) == 1.0


def found(*rows: tuple[list[float], int, float]) -> Found:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    return Found(boxes, np.array([r[1] for r in rows], np.int64), np.array([r[2] for r in rows], np.float64))


def truth(*rows: tuple[list[float], int, bool]) -> Truth:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    return Truth(boxes, np.array([r[1] for r in rows], np.int64), np.array([r[2] for r in rows], np.bool_))


A, B = [0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]
NEAR_A = [0.0, 0.0, 10.0, 9.0]  # IoU 0.9 with A
HALF_A = [0.0, 0.0, 10.0, 5.0]  # exactly 0.5
LESS_A = [0.0, 0.0, 10.0, 4.9]


def test_matching() -> None:
    objects = [truth((A, 0, False), (B, 0, False))]

    def score(*rows: tuple[list[float], int, float]) -> float:
        return mean_average_precision([found(*rows)], objects, [0])[0]

    assert score((A, 0, 0.9), (B, 0, 0.8)) == 1.0
    assert score((HALF_A, 0, 0.9)) == 0.5  # the threshold itself is enough
    assert score((LESS_A, 0, 0.9)) == 0.0
    assert score((A, 1, 0.9)) == 0.0  # another class
    # A second detection of one object is a miss, also where it fits better: ranks hit, miss, hit.
    assert score((NEAR_A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)) == pytest.approx((1 + 2 / 3) / 2)


def test_difficult_is_neither_hit_nor_miss() -> None:
    objects = [truth((A, 0, True), (B, 0, False))]
    rows = [(A, 0, 0.9), (NEAR_A, 0, 0.85), (B, 0, 0.8)]
    assert mean_average_precision([found(*rows)], objects, [0])[0] == 1.0
    assert mean_average_precision([found(rows[2])], objects, [0])[0] == 1.0


def test_pictures_and_classes_are_apart() -> None:
    objects = [truth((A, 0, False)), truth((B, 1, False)), truth()]
    # Class 0: the better detection is in the wrong picture. Class 1: found at once, then a miss.
    seen = [found((A, 0, 0.6)), found((A, 0, 0.7), (B, 1, 0.9)), found((B, 1, 0.1))]
    mean, each = mean_average_precision(seen, objects, [0, 1])
    assert each == [0.5, 1.0]
    assert mean == 0.75


def scattered(seed: int) -> tuple[list[Found], list[Truth]]:
    """Objects on a grid, so that none overlaps another, and detections near them, doubled, missing, false."""
    rng = np.random.default_rng(seed)
    all_found, all_truth = [], []
    for _ in range(40):
        cells = rng.permutation(9)[: rng.integers(1, 6)]
        low = np.stack([cells % 3, cells // 3], 1) * 40.0
        boxes = np.concatenate([low, low + rng.uniform(10, 30, (len(cells), 2))], 1)
        labels, difficult = rng.integers(0, 3, len(cells)), rng.random(len(cells)) < 0.2
        all_truth.append(Truth(boxes, labels, difficult))
        rows = []
        for box, label, hard in zip(boxes, labels, difficult, strict=True):
            for _ in range(1 if hard else rng.integers(0, 4)):
                moved = box + rng.normal(0, 2.5, 4)
                rows.append((moved.tolist(), int(label if rng.random() < 0.8 else rng.integers(0, 3))))
        rows += [([5.0, 5.0, 25.0, 25.0], int(rng.integers(0, 3)))] * int(rng.integers(0, 2))
        scores = rng.random(len(rows))
        all_found.append(found(*[(box, label, s) for (box, label), s in zip(rows, scores, strict=True)]))
    return all_found, all_truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_against_pycocotools(seed: int) -> None:
    """COCO's precision, read at the recalls where it can change, averages to the all-points area.

    COCO gives a detection to the best object that is still free, VOC to the best object: the same where no
    detection overlaps two objects by half. A difficult object is one outside COCO's range of areas.
    """
    coco_module = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    all_found, all_truth = scattered(seed)

    def rows(tables: list[Found] | list[Truth]) -> list[dict[str, object]]:
        out: list[dict[str, object]] = []
        for image, table in enumerate(tables):
            for i in range(len(table.labels)):
                x0, y0, x1, y1 = table.boxes[i].tolist()
                row: dict[str, object] = {"id": len(out) + 1, "image_id": image, "iscrowd": 0}
                row |= {"category_id": int(table.labels[i]), "bbox": [x0, y0, x1 - x0, y1 - y0]}
                hard = isinstance(table, Truth) and bool(table.difficult[i])
                row["area"] = 1e9 if hard else (x1 - x0) * (y1 - y0)
                if isinstance(table, Found):
                    row["score"] = float(table.scores[i])
                out.append(row)
        return out

    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(all_truth))],
            "categories": [{"id": k} for k in range(3)],
            "annotations": rows(all_truth),
        }
        coco.createIndex()
        detections = coco_module.COCO()
        detections.dataset = dict(coco.dataset, annotations=rows(all_found))
        detections.createIndex()
    mean, each = mean_average_precision(all_found, all_truth, [0, 1, 2])
    for label in range(3):
        count = sum(int(((t.labels == label) & ~t.difficult).sum()) for t in all_truth)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = cocoeval.COCOeval(coco, detections, "bbox")
            evaluation.params.catIds = [label]
            evaluation.params.iouThrs = np.array([0.5])
            evaluation.params.recThrs = (np.arange(count) + 0.5) / count
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e8]], ["easy"]
            evaluation.params.maxDets = [1000]
            evaluation.evaluate()
            evaluation.accumulate()
        expected = evaluation.eval["precision"][0, :, 0, 0, 0].mean()
        assert 0.2 < expected < 0.9
        assert each[label] == pytest.approx(expected, abs=1e-12)
    assert mean == pytest.approx(np.mean(each))


def test_bad_input() -> None:
    assert_refused(
        InputError,
        (lambda: average_precision([0.5, 0.4], [True], 1), r"\(2,\) and \(1,\)"),
        (lambda: average_precision([0.5], [True], 0), "object but got 0"),
        (lambda: mean_average_precision([found()], [], [0]), "got 0 for 1"),
    )
