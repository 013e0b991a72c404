"""YOLO, known by its attributes: the model's own detections, classes and boxes explained, books that close."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.greedy import greedy
from tests.detectors.nets.yolo_like import BINS, CLASSES, Holder, YoloLike, yolo_like
from tests.refusals import assert_refused
from torch import Tensor, nn

from relprop import explain_detection
from relprop.detectors import Detector, Prepared, wrap
from relprop.errors import InputError, UnsupportedOperatorError

KINDS: dict[str, dict[str, Any]] = {
    "as v8": {},
    "as v11": {"attends": True},
    "as 26": {"attends": True, "bins": 1, "alone": True},
    "plain distances": {"bins": 1},
    "as v10": {"alone": True},
}
PICTURE = torch.rand(3, 54, 90, generator=torch.Generator().manual_seed(3))
SIDES = ("left", "top", "right", "bottom")
EDGES = ("x1", "y1", "x2", "y2")


def own_detections(model: YoloLike, prepared: Prepared) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes on the picture, scores and labels as such a model is used: from its own decoded outputs."""
    with torch.no_grad():
        (table,) = model(prepared.x).transpose(1, 2)
    boxes, scores = table[:, :4], table[:, 4:]
    if model.model[-1].end2end:
        best = scores.flatten().topk(min(300, scores.numel()))
        row, label, score = best.indices // CLASSES, best.indices % CLASSES, best.values
        boxes, label, score = (t[score > 0.25] for t in (boxes[row], label, score))
    else:
        score, label = scores.max(1)
        over = score > 0.25
        boxes, score, label = boxes[over], score[over], label[over]
        kept = greedy(boxes, score, label, 0.7)[:300]
        boxes, score, label = boxes[kept], score[kept], label[kept]
    # 90 × 54 pixels become 64 × 38, with 13 rows above and below: 64 × 64.
    boxes = (boxes - torch.tensor([0.0, 13.0, 0.0, 13.0])) * torch.tensor([90 / 64, 54 / 38] * 2)
    return boxes.clamp(min=0).minimum(torch.tensor([90.0, 54.0, 90.0, 54.0])), score, label


@pytest.mark.parametrize("kind", KINDS)
def test_same_detections_as_the_model_itself(kind: str) -> None:
    model = yolo_like(**KINDS[kind])
    detector = wrap(model)
    prepared = detector.prepared(PICTURE)
    assert prepared.x.shape == (1, 3, 64, 64)
    assert prepared.window == (0, 13, 64, 51)
    boxes, scores, labels = own_detections(model, prepared)
    found = detector(PICTURE)
    assert len(found) > 10
    assert len(set(labels.tolist())) > 2
    assert found.labels.tolist() == labels.tolist()
    assert [d.name for d in found] == [model.names[int(k)] for k in labels]
    assert_close_to_rounding(found.scores, scores, model, size=1)
    assert_close_to_rounding(found.boxes, boxes, model, size=90)


def test_whatever_holds_the_layers() -> None:
    model = yolo_like()
    first = wrap(model)(PICTURE)
    held = wrap(Holder(model))
    assert (held.name, held.classes) == ("yolo-like", list(model.names.values()))
    assert torch.equal(held(PICTURE).boxes, first.boxes)
    bare = wrap(model.model)
    assert bare.classes is None
    assert bare.prepared(PICTURE).x.shape == (1, 3, 384, 640)  # it doesn't say how large its pictures were
    assert torch.equal(bare(held.prepared(PICTURE)).boxes, first.boxes)
    model.args["imgsz"] = [64, 96]
    assert wrap(model).prepared(PICTURE).x.shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("as v8", method) for method in ("crp", "lrp-composite", "lrp-epsilon")),
        *(("as v11", method) for method in ("crp", "attnlrp", "lrp-composite")),
        ("as 26", "crp"),
    ],
)
def test_the_ledger_closes_on_every_level(kind: str, method: str) -> None:
    detector = wrap(yolo_like(**KINDS[kind]).double())
    picture = PICTURE.double()
    start = 0
    for level in detector.levels(detector.prepared(picture).x):
        e = explain_detection(
            detector, picture, start + len(level) // 2, ["class", "left", *EDGES], method=method
        )
        assert all(bool(row.abs().sum() > 0) for row in e.relevance)
        assert e.ledger is not None
        assert e.ledger.closes, (len(level), e.ledger.max_error)
        start += len(level)


@pytest.mark.parametrize("kind", KINDS)
def test_edges_move_as_their_gradient_says(kind: str) -> None:
    # Through softmax, mean, cell and letterbox: the gradient of the edge itself, taken by autograd.
    model = yolo_like(**KINDS[kind]).double()
    detector = wrap(model)
    picture = PICTURE.double()
    found = detector(picture)
    d = found[len(found) // 2]
    prepared = detector.prepared(picture)
    x = prepared.x.clone().requires_grad_()
    cell = model(x)[0, :4, d.anchor]
    shift, scale = (0.0, 13.0, 0.0, 13.0), (90 / 64, 54 / 38) * 2
    e = explain_detection(detector, picture, d, EDGES, method="gradient-x-input")
    for row, edge, s, f in zip(e.relevance, cell, shift, scale, strict=True):
        (slope,) = torch.autograd.grad((edge - s) * f, x, retain_graph=True)
        assert_close_to_rounding(row, slope * prepared.x, model)
    whole = [(v - s) * f for v, s, f in zip(cell.tolist(), shift, scale, strict=True)]
    assert d.box.tolist() == pytest.approx([min(max(v, 0), (90, 54)[i % 2]) for i, v in enumerate(whole)])


def test_no_softmax_lies_in_the_way_of_a_class() -> None:
    # The bins of the distances are outputs of their own: what makes distances of them isn't in the network.
    detector = wrap(yolo_like().double())
    e = explain_detection(detector, PICTURE.double(), detector(PICTURE.double())[0])
    assert e.plan is not None
    assert not [row.operator for row in e.plan.rows if "softmax" in row.operator]


def test_sides_are_distances_in_cells() -> None:
    model = yolo_like()
    detector = wrap(model)
    prepared = detector.prepared(PICTURE)
    d = detector(PICTURE)[0]
    assert detector.offsets == SIDES
    x0, y0, x1, y1 = prepared.in_input(d.default_box).tolist()
    stride = (x1 - x0) / (BINS - 1)
    assert stride == pytest.approx(4) or stride == pytest.approx(8)
    left, top, right, bottom = (stride * v for v in d.offsets.tolist())
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    whole = prepared.in_input(detector.localised(prepared, d)).tolist()
    assert whole == pytest.approx([cx - left, cy - top, cx + right, cy + bottom], abs=1e-3)


@pytest.mark.parametrize("kind", ["as v8", "plain distances"])
def test_the_default_box_is_where_nothing_was_said(kind: str) -> None:
    detector = wrap(yolo_like(**KINDS[kind]))
    anchors = torch.cat(detector.levels(detector.prepared(PICTURE).x))
    columns = torch.zeros(len(anchors), 4 * (1 if kind == "plain distances" else BINS))
    boxes = detector.decoded(detector.measured(columns), anchors)
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert middles[17].tolist() == [6.0, 6.0]  # of the second place in the second row of 16
    if detector.measure is None:  # distances of nothing: no box to speak of, so that the cell stands for it
        assert torch.equal(boxes, torch.cat([middles, middles], 1))
        assert (anchors[17, 2:] - anchors[17, :2]).tolist() == [4.0, 4.0]
    else:
        assert_close_to_rounding(boxes, anchors, BINS)


def test_the_model_is_left_alone() -> None:
    model = yolo_like(attends=True)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    attributes = [dict(vars(m)) for m in model.modules()]
    detector = wrap(model)
    explain_detection(detector, PICTURE, detector(PICTURE)[0], ["class", "x1"])
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())
    for module, seen in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == seen.keys()
        assert all(vars(module)[key] is value for key, value in seen.items())


def test_heads_of_other_kinds_are_refused() -> None:
    turned = yolo_like()
    turned.model[-1].ne = 1  # an angle
    by_text = yolo_like()
    by_text.model[-1].cv3[0][-1] = nn.Conv2d(12, 2 * CLASSES, 1)
    without_bins = yolo_like()
    without_bins.model[-1].dfl = nn.Identity()
    headless = yolo_like()
    headless.model = headless.model[:-1]
    training = yolo_like().train()
    assert_refused(
        InputError,
        (lambda: wrap(turned), r"upright boxes but got one with a Head head\. Pass a model for detection"),
        (lambda: wrap(by_text), "a logit a class"),
        (lambda: wrap(without_bins), "a logit a class and upright boxes"),
        (lambda: wrap(headless), r"a detector that is known .*but got YoloLike"),
        (lambda: wrap(training)(PICTURE), r"'model\.0\.bn' is in training mode\. Call \.eval\(\)"),
    )


def test_methods_that_cannot_say_so() -> None:
    detector = wrap(yolo_like())
    d = detector(PICTURE)[0]
    with pytest.raises(UnsupportedOperatorError, match=r"'silu'.*Pass linearise=True"):
        explain_detection(detector, PICTURE, d, method="affine")
    assert explain_detection(detector, PICTURE, d, method="deep-taylor").ledger.closes
    with pytest.raises(InputError, match=r"deep-taylor, which starts from one class.*such as lrp-composite"):
        explain_detection(detector, PICTURE, d, of="left", method="deep-taylor")


def settings(detector: Detector) -> dict[str, Any]:
    return {
        name: getattr(detector, name) for name in ("score_threshold", "nms_threshold", "most", "per_anchor")
    }


def test_thresholds_are_those_of_the_models_own_prediction() -> None:
    usual = {"score_threshold": 0.25, "nms_threshold": 0.7, "most": 300, "per_anchor": "best"}
    assert settings(wrap(yolo_like())) == usual
    assert settings(wrap(yolo_like(alone=True))) == usual | {"nms_threshold": 1.0, "per_anchor": "every"}
