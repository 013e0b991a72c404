"""Wrapped torchvision models find what the models themselves find, and know which unit did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets.torchvision_nets import BIG, SMALL, big, small
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.detectors import BoxCode, Detector, wrap
from relprop.errors import InputError, UnknownNameError

WRAPPED = [*SMALL, *(pytest.param(name, marks=pytest.mark.nightly) for name in BIG)]


def model_and_picture(name: str) -> tuple[Any, Tensor]:
    height, width = BIG.get(name, (50, 70))
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(3))
    return (big(name) if name in BIG else small(name)), picture


@pytest.mark.parametrize("name", WRAPPED)
def test_same_detections_as_the_model_itself(name: str) -> None:
    model, picture = model_and_picture(name)
    with torch.no_grad():
        (expected,) = model([picture])
    found = wrap(model)(picture)
    assert len(found) > 10
    assert len(set(found.labels.tolist())) > 1
    assert found.labels.tolist() == expected["labels"].tolist()
    classes = found.reading.scores.shape[-1]
    assert_close_to_rounding(found.scores, expected["scores"], classes, size=1)
    assert torch.allclose(found.boxes, expected["boxes"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", WRAPPED)
def test_a_detection_knows_its_unit(name: str) -> None:
    model, picture = model_and_picture(name)
    detector = wrap(model)
    prepared = detector.prepare(picture)
    with torch.no_grad():
        logits, offsets, *centred = detector.raw(prepared.x)
    anchors = torch.cat(list(detector.levels(prepared.x)))
    assert len(anchors) == logits.shape[1]
    height, width = prepared.extent
    for d in detector(picture):
        row = logits[0, d.anchor]
        scores = row.softmax(0) if detector.scores == "softmax" else row.sigmoid()
        if centred:  # FCOS
            scores = (scores * centred[0][0, d.anchor].sigmoid()) ** 0.5
        assert torch.allclose(d.scores, scores, rtol=1e-6)
        assert d.score == float(d.scores[d.label])
        assert torch.equal(d.offsets, offsets[0, d.anchor])
        x0, y0, x1, y1 = detector.decode(offsets[0, d.anchor][None], anchors[d.anchor][None])[0].tolist()
        sx, sy = prepared.scale
        box = [x0, y0, x1, y1]
        cut = [min(max(v, 0), (width, height)[i % 2]) * (sx, sy)[i % 2] for i, v in enumerate(box)]
        assert d.box.tolist() == pytest.approx(cut, rel=1e-5, abs=1e-3)
        assert d.default_box.tolist() == pytest.approx(
            (anchors[d.anchor] * torch.tensor([sx, sy, sx, sy])).tolist(), rel=1e-6
        )


@pytest.mark.parametrize("name", SMALL)
def test_thresholds_come_from_the_model_and_matter(name: str) -> None:
    model, picture = model_and_picture(name)
    detector = wrap(model)
    read = [detector.score_threshold, detector.top_k, detector.nms_threshold, detector.most]
    assert read == [model.score_thresh, model.topk_candidates, model.nms_thresh, model.detections_per_img]
    # Few enough candidates that the limit bites: a level or a class has more over the threshold.
    whole = wrap(detector, top_k=10_000)(picture)
    assert whole.anchor.tolist() != detector(picture).anchor.tolist()
    three = wrap(model, most=3)(picture)
    assert three.anchor.tolist() == detector(picture).anchor.tolist()[:3]
    assert wrap(detector, most=3).raw is detector.raw


@pytest.mark.parametrize("name", SMALL)
def test_the_model_is_left_alone(name: str) -> None:
    model, picture = model_and_picture(name)
    before = {key: (id(t), t._version, t.clone()) for key, t in model.state_dict(keep_vars=True).items()}
    modes = [m.training for m in model.modules()]
    attributes = [dict(vars(m)) for m in model.modules()]
    detector = wrap(model)
    found = detector(picture)
    relprop.explain_detection(detector, picture, found[0], ["class", detector.offsets[0], "x1"])
    with pytest.raises(InputError):
        relprop.explain_detection(detector, picture, 10**6)
    after = model.state_dict(keep_vars=True)
    assert {k: (id(t), t._version) for k, t in after.items()} == {k: v[:2] for k, v in before.items()}
    assert all(torch.equal(t, before[k][2]) for k, t in after.items())
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == modes
    for module, seen in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == seen.keys()
        assert all(vars(module)[key] is value for key, value in seen.items())


def test_a_detector_comes_back_as_it_is() -> None:
    detector = wrap(small("ssd"))
    assert wrap(detector) is detector


def test_any_module_with_anchors_and_a_decoder() -> None:
    class Raw(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean = x.mean((1, 2, 3)).reshape(-1, 1, 1)
            return torch.cat([mean, -mean], 2), mean * torch.tensor([0.0, 0.0, 0.0, 0.0])

    box = torch.tensor([[1.0, 2.0, 5.0, 6.0]])
    detector = wrap(Raw(), anchors=box, decode=BoxCode().decode, classes=["bright", "dark"])
    found = detector(torch.ones(3, 8, 8))
    assert [d.name for d in found] == ["bright"]
    assert found.boxes.tolist() == box.tolist()
    assert detector.name == "Raw"


def test_what_cannot_be_wrapped() -> None:
    box = torch.zeros(1, 4)
    assert_refused(
        InputError,
        (lambda: wrap(nn.Linear(1, 1)), r"Linear.*anchors=\(A, 4\)"),
        (lambda: wrap(nn.Linear(1, 1), anchors=box), r"Linear.*anchors"),
        (lambda: wrap(lambda x: x), "but got function"),
    )
    with pytest.raises(UnknownNameError, match=r"'treshold'.*score_threshold"):
        wrap(nn.Linear(1, 1), anchors=box, decode=BoxCode().decode, treshold=0.3)


def test_training_mode_is_refused() -> None:
    model, picture = model_and_picture("ssd")
    detector = wrap(model)
    model.train()
    before = model.state_dict()["backbone.low.3.running_mean"].clone()
    with pytest.raises(InputError, match=r"'transform' .*training"):
        detector(picture)
    model.transform.eval()
    with pytest.raises(InputError, match=r"'backbone\.low\.3' .*training"):
        detector(picture)
    assert torch.equal(model.state_dict()["backbone.low.3.running_mean"], before)


def test_settings_are_checked() -> None:
    good: dict[str, Any] = {"raw": nn.Identity(), "anchors": torch.zeros(1, 4), "decode": BoxCode().decode}
    for setting, text in {
        "raw": "Expected raw to be a torch.nn.Module but got int",
        "decode": "Expected decode to be a function but got int",
        "prepare": "Expected prepare to be a function but got int",
        "scores": "Expected scores to be one of 'softmax', 'sigmoid' but got 7",
        "top_k_per": "Expected top_k_per to be one of 'class', 'level', 'all' but got 7",
        "score_threshold": "Expected score_threshold from 0 to 1 but got 7",
        "nms_threshold": "Expected nms_threshold from 0 to 1 but got 7",
    }.items():
        with pytest.raises(InputError, match=text):
            Detector(**(good | {setting: 7}))
    for setting in ("top_k", "most"):
        with pytest.raises(InputError, match=rf"{setting} .*got 0"):
            Detector(**(good | {setting: 0}))
    for offsets, text in {
        ("x0", "y0", "x1", "y1"): "names of offsets other than class, .* but got 'x1'",
        ("a", "a", "b", "c"): "offsets to be different names, one a column, but got",
        (1, 2, 3, 4): "offsets to be different names",
    }.items():
        with pytest.raises(InputError, match=text):
            Detector(**(good | {"offsets": offsets}))
