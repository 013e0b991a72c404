"""Faster, Mask and Keypoint R-CNN: the models' own detections, and the second stage explained to the pixels."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets.two_stage_nets import BIG, SMALL, big, small
from torch import Tensor

import relprop
from relprop.detectors import wrap
from relprop.detectors.detector import EDGES
from relprop.detectors.two_stage import ProposalUnit, Proposed, TwoStage
from relprop.errors import InputError

WRAPPED = [*SMALL, *(pytest.param(name, marks=pytest.mark.nightly) for name in BIG)]


def model_and_picture(name: str) -> tuple[Any, Tensor]:
    size = (96, 128) if name in BIG else (50, 70)
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    return (big(name) if name in BIG else small(name)), picture


def two_stage(name: str = "faster") -> tuple[TwoStage, Tensor]:
    model, picture = model_and_picture(name)
    detector = wrap(model)
    assert isinstance(detector, TwoStage)
    return detector, picture


def level_by_level(detector: TwoStage, picture: Tensor) -> dict[int, Proposed]:
    """For each pyramid level the first proposal that is read from it, with its best class."""
    found, prepared = detector(picture), detector.prepared(picture)
    levels: dict[int, Proposed] = {}
    for anchor in range(len(found.reading.scores)):
        unit = detector.unit(prepared, [anchor])
        assert isinstance(unit, ProposalUnit)
        one = found.at(anchor)
        assert isinstance(one, Proposed)
        levels.setdefault(unit.aligns[0][0], one)
    return levels


def own_proposals(model: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
    """What the model's own first stage proposes."""
    with torch.no_grad():
        maps = model.backbone(x)
        maps = {"0": maps} if isinstance(maps, Tensor) else maps
        boxes: Tensor = model.rpn(SimpleNamespace(tensors=x, image_sizes=[size]), maps)[0][0]
    return boxes


@pytest.mark.parametrize("name", WRAPPED)
def test_same_detections_as_the_model_itself(name: str) -> None:
    model, picture = model_and_picture(name)
    with torch.no_grad():
        (expected,) = model([picture])
    found = wrap(model)(picture)
    assert len(found) > 2
    assert found.labels.tolist() == expected["labels"].tolist()
    assert_close_to_rounding(found.scores, expected["scores"], found.reading.scores.shape[-1], size=1)
    assert torch.allclose(found.boxes, expected["boxes"], rtol=1e-5, atol=1e-4)
    assert torch.equal(found.boxes, torch.stack([d.box for d in found]))


@pytest.mark.parametrize("name", WRAPPED)
def test_proposals_are_the_models_own(name: str) -> None:
    model, picture = model_and_picture(name)
    detector = wrap(model)
    assert isinstance(detector, TwoStage)
    prepared = detector.prepared(picture)
    expected = own_proposals(model, prepared.x, prepared.extent)
    (proposals,) = detector.levels(prepared.x)
    assert torch.allclose(proposals, expected, rtol=1e-5, atol=1e-4)
    first = detector.rpn(picture)
    assert torch.allclose(first.boxes, prepared.on_picture(expected), rtol=1e-5, atol=1e-4)
    assert set(first.labels.tolist()) == {0}
    logits, _ = detector.rpn.raw(prepared.x)
    assert_close_to_rounding(first.scores, logits[0, first.anchor, 0].sigmoid().detach(), 4, size=1)


def test_a_detection_knows_its_proposal_and_that_its_anchor() -> None:
    detector, picture = two_stage()
    found, first = detector(picture), detector.rpn(picture)
    for d in found:
        assert isinstance(d, Proposed)
        assert d.default_box is not None
        assert torch.equal(d.proposal.box, d.default_box)
        same = first[d.anchor]  # proposals are counted best first
        assert d.proposal.anchor == same.anchor
        assert d.proposal.score == pytest.approx(same.score, abs=1e-6)
        assert torch.equal(d.proposal.offsets, same.offsets)
        assert d.as_dict()["proposal"]["name"] == "object"
    other = found.at(found[0].anchor, 1)
    assert other.label == 1
    assert not torch.equal(other.box, found.at(found[0].anchor, 2).box)  # each class has a box of its own


@pytest.mark.parametrize("name", SMALL)
def test_the_unit_says_what_the_detector_says(name: str) -> None:
    detector, picture = two_stage(name)
    found, prepared = detector(picture), detector.prepared(picture)
    k = found.reading.scores.shape[1]
    for chosen in ([found[0]], list(found[:3])):
        unit = detector.unit(prepared, chosen)
        with torch.no_grad():
            table = unit(torch.cat([prepared.x, 2 * prepared.x])).reshape(2, len(chosen), unit.layout.width)
        for row, d in zip(table[0], chosen, strict=True):
            # Places between pixels are rounded relative to the map's size.
            assert torch.allclose(row[:k].softmax(0), d.scores, atol=1e-4)
            assert torch.allclose(row[k:].unflatten(0, (k, 4))[d.label], d.offsets, atol=1e-4)
        assert not torch.allclose(table[0], table[1])


@pytest.mark.parametrize("method", ["crp", "lrp-epsilon", "lrp-composite", "excitation-backprop"])
@pytest.mark.parametrize("name", ["faster", "faster-conv", "one-level"])
def test_ledgers_close_from_class_and_box_to_the_picture(name: str, method: str) -> None:
    detector, picture = two_stage(name)
    levels = level_by_level(detector, picture)
    assert sorted(levels) == ([0] if name == "one-level" else [0, 1])
    parts = ["class"] if method == "excitation-backprop" else ["class", "cx", "h", "x1"]
    for one in levels.values():
        e = relprop.explain_detection(detector, picture, one, parts, method=method)
        assert e.ledger is not None
        assert e.ledger.closes, str(e.ledger)
        assert "grid_sampler" in str(e.plan)
        assert all(bool(row.any()) for row in e.relevance)
        assert e.extras["of"][1:] == parts[1:]


def test_edges_are_the_decoded_boxs_for_the_chosen_class() -> None:
    """By the gradient, through `decode`, of the box that the chosen class has at the proposal."""
    detector, picture = two_stage()
    prepared, d = detector.prepared(picture), detector(picture)[0]
    box = detector.localised(prepared, d)
    e = relprop.explain_detection(detector, picture, d, list(EDGES), method="gradient")
    leaf = prepared.x.clone().requires_grad_()
    unit = detector.unit(prepared, [d])
    k = unit.layout.classes
    offsets = unit(leaf)[:, k:].unflatten(1, (k, 4))[0, d.label]
    places = detector.places(prepared, [d])
    (decoded,) = prepared.on_picture(detector.decoded(offsets[None], places))
    assert torch.allclose(decoded, box, atol=1e-3)
    for row, value in zip(e.relevance, decoded, strict=True):
        (slope,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert torch.allclose(row, slope, atol=1e-5 * float(slope.abs().max()))


def test_graphs_are_shared_between_detections(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["relprop.graph.capture"]  # the package has a function of that name
    detector, picture = two_stage()
    found, levels = detector(picture), level_by_level(detector, picture)
    captured: list[int] = []
    own = module._capture  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "_capture", lambda *a, **k: captured.append(1) or own(*a, **k))
    for d in (*levels.values(), *found[:6]):
        relprop.explain_detection(detector, picture, d)
    assert len(captured) == len(levels) == 2
    both = list(levels.values())
    for pair in (both, both[::-1], both):  # one graph for each order of levels
        relprop.explain_detection(detector, picture, pair)
    assert len(captured) == 4
    relprop.explain_detection(detector, picture, found[0], ["class", "cx"])
    assert len(captured) == 4


def test_explaining_a_detection_asks_for_no_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, picture = two_stage()
    d = detector(picture)[0]
    by_number = relprop.explain_detection(detector, picture, d.anchor, method="crp")
    monkeypatch.setattr(TwoStage, "_read", lambda self, x: pytest.fail("the first stage ran"))
    e = relprop.explain_detection(detector, picture, d, ["class", "x2"])
    assert_close_to_rounding(e.relevance[0], by_number.relevance, 5000)


def test_the_first_stage_is_explained_by_itself() -> None:
    detector, picture = two_stage()
    d = detector(picture)[0]
    e = relprop.explain_detection(
        detector.rpn, picture, d.proposal, ["class", "cx", "y2"], method="lrp-epsilon"
    )
    assert e.ledger is not None
    assert e.ledger.closes, str(e.ledger)
    assert e.extras["of"][0] == "class object"
    with pytest.raises(relprop.errors.UnknownNameError, match="'objectness'"):
        relprop.explain_detection(detector, picture, d, "objectness")


def test_thresholds_come_from_the_model_and_matter() -> None:
    model, picture = model_and_picture("faster")
    detector = wrap(model)
    assert isinstance(detector, TwoStage)
    assert (detector.score_threshold, detector.nms_threshold, detector.most) == (
        model.roi_heads.score_thresh,
        model.roi_heads.nms_thresh,
        model.roi_heads.detections_per_img,
    )
    assert wrap(detector, most=3)(picture).anchor.tolist() == detector(picture).anchor.tolist()[:3]
    few = replace(detector, rpn=replace(detector.rpn, most=5))
    assert len(few(picture).reading.scores) == 5
    assert len(detector(picture).dropped()) > 0


@pytest.mark.parametrize("name", SMALL)
def test_the_model_is_left_alone(name: str) -> None:
    model, picture = model_and_picture(name)
    before = {key: (id(t), t._version) for key, t in model.state_dict(keep_vars=True).items()}
    attributes = [dict(vars(m)) for m in model.modules()]
    model.roi_heads.box_roi_pool.scales = None
    detector = wrap(model)
    found = detector(picture)
    relprop.explain_detection(detector, picture, found[0], ["class", "cx"])
    assert model.roi_heads.box_roi_pool.scales is None
    model.roi_heads.box_roi_pool.scales = attributes[0]["_modules"]["roi_heads"].box_roi_pool.scales
    after = model.state_dict(keep_vars=True)
    assert {k: (id(t), t._version) for k, t in after.items()} == before
    assert [m.training for m in model.modules()] == [False] * len(attributes)


def test_changed_weights_and_other_pictures_are_noticed() -> None:
    detector, picture = two_stage()
    prepared = detector.prepared(picture)
    (before,) = detector.levels(prepared.x)
    assert detector.levels(prepared.x)[0] is before  # the same input is read once
    with torch.no_grad():
        detector.stages.rpn.head.cls_logits.weight.neg_()
    (after,) = detector.levels(prepared.x)
    assert not torch.equal(before, after)
    d = detector(picture)[0]
    with pytest.raises(InputError, match="a detection from this picture"):
        relprop.explain_detection(detector, 1 - picture, d)


def test_what_is_refused() -> None:
    detector, picture = two_stage()
    prepared = detector.prepared(picture)
    with pytest.raises(InputError, match="called"):
        detector.raw(prepared.x)
    with pytest.raises(InputError, match="one input"):
        detector.levels(torch.cat([prepared.x, prepared.x]))
    with pytest.raises(InputError, match="an anchor from 0 to"):
        relprop.explain_detection(detector, picture, 10**6)
    with pytest.raises(InputError, match="proposals with their boxes"):
        detector.unit(prepared, [0]).at(1)
    model, _ = model_and_picture("faster")
    model.roi_heads.box_predictor.bbox_pred = torch.nn.Linear(96, 4)
    with pytest.raises(InputError, match="four offsets a class"):
        wrap(model)(picture)
    model.train()
    with pytest.raises(InputError, match="training"):
        wrap(model)(picture)


@pytest.mark.parametrize("method", ["grad-cam", "odam"])
@pytest.mark.parametrize("name", ["faster", "faster-conv"])
def test_maps_lie_in_the_picture_not_in_the_box(name: str, method: str) -> None:
    """The last map of all is the box scaled to a fixed size; the one that it was read from is taken."""
    detector, picture = two_stage(name)
    prepared = detector.prepared(picture)
    sizes = [tuple(m.shape[2:]) for m in detector.stages.pooled_maps(prepared.x).values()]
    for d in detector(picture)[:3]:
        e = relprop.explain_detection(detector, picture, d, method=method)
        assert e.at.startswith("raw.backbone")
        assert tuple(e.relevance.shape[2:]) in sizes
