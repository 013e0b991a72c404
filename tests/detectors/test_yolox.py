"""YOLOX, known by its head: the model's own detections, and the three things that one of its places says."""

from __future__ import annotations

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.greedy import greedy
from tests.detectors.nets.yolox_like import CLASSES, yolox_like

from relprop import explain_detection
from relprop.detectors import Detector, Letterbox, wrap

PICTURE = torch.rand(3, 50, 60, generator=torch.Generator().manual_seed(3))
PARTS = ["class", "cx", "cy", "w", "h", "objectness", "x1", "y1", "x2", "y2"]


def small_input(detector: Detector) -> Detector:
    return wrap(detector, prepare=Letterbox((64, 64), centred=False, std=(1 / 255,) * 3))


def test_the_input_is_letterboxed_with_its_padding_right_and_below() -> None:
    prepared = wrap(yolox_like()).prepared(PICTURE)
    assert prepared.x.shape == (1, 3, 640, 640)
    assert prepared.window == (0, 0, 640, 533)
    assert_close_to_rounding(prepared.x[0, :, 533:], torch.full((3, 107, 640), 114.0), 1)


def test_same_detections_as_the_model_itself() -> None:
    model = yolox_like()
    detector = small_input(wrap(model))
    prepared = detector.prepared(PICTURE)
    with torch.no_grad():
        (table,) = model(prepared.x.flip(1))  # it reads blue, green, red
    best, label = table[:, 5:].max(1)
    score = best * table[:, 4]
    half = table[:, 2:4] / 2
    boxes = torch.cat([table[:, :2] - half, table[:, :2] + half], 1)
    over = score > 0.25
    boxes, score, label = boxes[over], score[over], label[over]
    kept = greedy(boxes, score, label, 0.45)
    found = detector(PICTURE)
    assert len(found) > 10
    assert len(set(found.labels.tolist())) == CLASSES
    assert found.labels.tolist() == label[kept].tolist()
    assert_close_to_rounding(found.scores, score[kept], model, size=1)
    limits = torch.tensor([60.0, 50.0, 60.0, 50.0])
    on_picture = (boxes[kept] * torch.tensor([60 / 64, 50 / 53] * 2)).clamp(min=0).minimum(limits)
    assert_close_to_rounding(found.boxes, on_picture, model, size=float(boxes.abs().max()))


def test_an_offset_of_nothing_is_the_default_box() -> None:
    detector = small_input(wrap(yolox_like()))
    prepared = detector.prepared(PICTURE)
    anchors = torch.cat(detector.levels(prepared.x))
    assert torch.equal(detector.decode(torch.zeros(len(anchors), 4), anchors), anchors)
    assert anchors[17].tolist() == [2.0, 2.0, 6.0, 6.0]  # the second place of the second row of 16
    moved = detector.decode(torch.tensor([1.0, -0.5, 0.0, 0.0]), anchors[17])
    assert moved.tolist() == [6.0, 0.0, 10.0, 4.0]


@pytest.mark.parametrize("method", ["crp", "lrp-composite", "lrp-epsilon"])
def test_the_ledger_closes_on_every_level(method: str) -> None:
    detector = small_input(wrap(yolox_like().double()))
    picture = PICTURE.double()
    start = 0
    for level in detector.levels(detector.prepared(picture).x):
        e = explain_detection(detector, picture, start + len(level) // 2, PARTS, method=method)
        assert all(bool(row.abs().sum() > 0) for row in e.relevance)
        assert e.ledger is not None
        assert e.ledger.closes, (len(level), e.ledger.max_error)
        start += len(level)


def test_pixels_run_from_0_to_255() -> None:
    low, high = wrap(yolox_like()).facts.box
    assert low.tolist() == [0.0] * 3
    assert high.tolist() == pytest.approx([255.0] * 3)
