"""D-RISE: by its definition, mask by mask; a detector whose answer is known; padding, seeds, chunks, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.detectors.nets import tiny_detector
from tests.detectors.nets.two_stage_nets import SMALL
from tests.detectors.nets.two_stage_nets import small as two_stage
from torch import Tensor, nn

import relprop
from relprop import DRISE, explain_detection
from relprop.detectors import Detection, Detector, Letterbox, iou, wrap
from relprop.detectors.d_rise import RandomMasks, Seen
from relprop.errors import InputError, RelpropWarning

PICTURE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
FEW = {"masks": 7, "grid": 3, "seed": 4}


def masks_of(method: DRISE, size: tuple[int, int]) -> Tensor:
    return torch.cat(list(method.draws(size).parts(100)))


def by_definition(
    detector: Detector, picture: Tensor, masks: Tensor, detection: Detection, own: Tensor, column: int
) -> Tensor:
    """Every masked picture is detected by itself; no threshold, no suppression."""
    total = torch.zeros(masks.shape[1:], dtype=torch.float64)
    for mask in masks:
        prepared = detector.prepared(picture * mask)
        logits, offsets, objectness = detector.outputs(prepared.x)
        boxes = detector.decode(offsets[0], torch.cat(detector.levels(prepared.x)))
        boxes = boxes.clamp(0, 16)
        scores = detector.scored(logits, objectness)[0]
        cosine = (scores @ own) / (scores.norm(dim=1) * own.norm())
        alike = iou(boxes, detection.box[None])[:, 0] * cosine
        if objectness is not None:
            alike = alike * objectness[0].sigmoid()
        total += float(alike.max()) * mask.double()
    total /= len(masks)
    return total - total.min()


@pytest.mark.parametrize("objectness", [False, True])
def test_by_the_definition(objectness: bool) -> None:
    detector = tiny_detector.detector(objectness)
    method = DRISE(**FEW)
    masks = masks_of(method, (16, 16)).double()
    d = detector(PICTURE)[0]
    other = d.label % 3 + 1
    e = explain_detection(detector, PICTURE, d, "class", [None, other], method)
    assert e.relevance.shape == (2, 1, 3, 16, 16)
    own = d.scores, torch.eye(4, dtype=torch.float64)[other]
    for heat, scores in zip(e.heatmap()[:, 0], own, strict=True):
        expected = by_definition(detector, PICTURE, masks, d, scores, other)
        assert_close_to_rounding(heat, expected, detector.raw, size=1.0)
        assert float(heat.max()) > 0
    assert (e.relevance[:, :, :1] == e.relevance).all()  # the colours share alike
    assert e.method == "d-rise"
    assert not e.signed
    assert e.ledger is None
    assert e.targets.tolist() == [[d.label], [other]]
    assert e.outputs.shape == (1, 8 + objectness)


class Bright(nn.Module):
    """Two anchors, the halves of a picture: a half is an object as far as its own pixels are bright."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = torch.stack([h.mean((1, 2, 3)) for h in x.chunk(2, 3)], 1)  # (N, 2)
        logits = torch.zeros(len(x), 2, 1).to(x)
        return logits, torch.zeros(len(x), 2, 4).to(x), torch.logit(seen.clamp(1e-12, 1 - 1e-12))


def halves() -> Detector:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])
    return wrap(
        Bright().eval(), anchors=boxes, decode=lambda offsets, anchors: anchors + offsets, scores="sigmoid",
        score_threshold=0.1,
    )  # fmt: skip


def test_a_detector_whose_answer_is_known() -> None:
    """The weight is the mean of the mask over the half itself: the map is its covariance with each pixel."""
    detector, picture = halves(), torch.ones(3, 8, 16, dtype=torch.float64)
    method = DRISE(masks=300, grid=4, threshold=0.0)
    masks = masks_of(method, (8, 16)).double()
    for anchor in (0, 1):
        half = slice(0, 8) if anchor == 0 else slice(8, 16)
        weights = masks[:, :, half].mean((1, 2))
        expected = torch.einsum("m,mhw->hw", weights, masks) / 300
        e = explain_detection(detector, picture, anchor, method=method)
        assert_close_to_rounding(e.heatmap()[0], expected - expected.min(), 600, size=1.0)
        inside = e.heatmap()[0, :, half].mean()
        assert float(inside) > 1.5 * float(e.heatmap()[0].sum() - inside * 64) / 64


def test_chunks_and_seeds() -> None:
    detector = tiny_detector.detector()
    d = detector(PICTURE)[0]
    one = explain_detection(detector, PICTURE, d, method=DRISE(**FEW))
    state = torch.get_rng_state()
    again = explain_detection(detector, PICTURE, d, method=DRISE(**FEW))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.relevance, one.relevance)
    for chunk in (1, 3, 50):
        e = explain_detection(detector, PICTURE, d, method=DRISE(**FEW, chunk=chunk))
        assert_close_to_rounding(e.relevance, one.relevance, detector.raw, size=1.0)
    other = explain_detection(detector, PICTURE, d, method=DRISE(**FEW | {"seed": 5}))
    assert not torch.allclose(other.relevance, one.relevance)


def test_masks_of_a_rectangle() -> None:
    masks = torch.cat(list(RandomMasks(400, (30, 50), 5, 0.3, seed=1).parts(64)))
    assert masks.shape == (400, 30, 50)
    assert 0 <= float(masks.min()) < float(masks.max()) <= 1
    assert abs(float(masks.mean()) - 0.3) < 0.02
    # A cell is 6 × 10 pixels: neighbours are alike, pixels two cells apart are not.
    near, far = (float(torch.corrcoef(torch.stack([masks[:, 3, 3], masks[:, 3, x]]))[0, 1]) for x in (4, 26))
    assert near > 0.9
    assert abs(far) < 0.2


def test_several_detections_run_together() -> None:
    detector = tiny_detector.detector()
    found = detector(PICTURE)
    told: list[tuple[int, int]] = []
    method = DRISE(**FEW, chunk=4, progress=lambda done, total: told.append((done, total)))
    e = explain_detection(detector, PICTURE, list(found), method=method)
    assert told == [(4, 7), (7, 7)]
    alone = [explain_detection(detector, PICTURE, d, method=DRISE(**FEW)).relevance for d in found]
    assert len(found) > 1
    assert_close_to_rounding(e.relevance, sum(alone), detector.raw, size=len(found))


def test_padding_is_neither_masked_nor_marked() -> None:
    detector = replace(
        tiny_detector.detector(), prepare=Letterbox((16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    )
    picture = PICTURE[:, :8]
    e = explain_detection(detector, picture, 3, method=DRISE(**FEW))
    heat = e.heatmap()[0]
    assert bool((heat[:4] == 0).all())
    assert bool((heat[12:] == 0).all())
    assert float(heat[4:12].max()) > 0
    seen = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            seen.append(x.clone())
            return detector.raw(x)

    prepared = detector.prepared(picture)
    masks = masks_of(DRISE(**FEW), (8, 16))
    Seen.through(replace(detector, raw=Watched().eval()), prepared, masks)
    (inputs,) = seen
    assert torch.equal(inputs[:, :, :4], prepared.x[:, :, :4].expand(7, -1, -1, -1))
    colours = inputs[:, :, 4:12] * 0.25 + 0.5
    torch.testing.assert_close(colours, masks[:, None].double() * picture)


def test_what_counts_as_found() -> None:
    """Without a background class the likeliest class tells; nothing above the threshold leaves no map."""
    raw = tiny_detector.raw().double()
    detector = replace(tiny_detector.detector(), raw=raw, scores="sigmoid", background=None)
    d = detector(PICTURE).at(3)
    free = explain_detection(detector, PICTURE, d, method=DRISE(**FEW, threshold=0.0))
    assert float(free.relevance.max()) > 0
    faint = replace(detector, scores=lambda logits, _: logits.sigmoid() * 0.04)  # never 0.05
    with pytest.warns(RelpropWarning, match="zero everywhere"):
        explain_detection(faint, PICTURE, faint(PICTURE).at(3), method=DRISE(**FEW))
    with pytest.warns(RelpropWarning, match="zero everywhere"):
        none = explain_detection(detector, PICTURE, d, method=DRISE(**FEW, threshold=1.0))
    assert float(none.relevance.abs().max()) == 0.0


class Other(Detector):
    """A detector with outputs of its own, which may be of other anchors in every picture."""

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        assert len(x) == 1, "one picture at a time"
        return super().outputs(x)


def test_detectors_with_outputs_of_their_own_are_asked_one_by_one() -> None:
    plain = tiny_detector.detector()
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__ if name != "learned"}
    own = Other(**fields)
    d = plain(PICTURE)[0]
    expected = explain_detection(plain, PICTURE, d, method=DRISE(**FEW)).relevance
    found = explain_detection(own, PICTURE, own(PICTURE)[0], method=DRISE(**FEW)).relevance
    assert_close_to_rounding(found, expected, plain.raw, size=1.0)


def test_refusals() -> None:
    detector = tiny_detector.detector()
    with pytest.raises(InputError, match="whole detector, but got a plain network"):
        relprop.explain(nn.Linear(2, 2).eval(), torch.ones(1, 2), 0, "d-rise")
    with pytest.raises(InputError, match="of='class' for d-rise but got 'x1'"):
        explain_detection(detector, PICTURE, 3, ["class", "x1"], method="d-rise")
    with pytest.raises(InputError, match="no layers for d-rise but got 'low'"):
        explain_detection(detector, PICTURE, 3, method="d-rise", layers=["low"])
    with pytest.raises(InputError, match="probability to be between 0 and 1 but got 1"):
        DRISE(probability=1)
    stale = replace(detector(PICTURE)[0], offsets=torch.full((4,), 9.0))
    with pytest.raises(InputError, match="detection from this picture"):
        explain_detection(detector, PICTURE, stale, method=DRISE(**FEW))


def test_the_page_of_a_detection_has_its_class_by_d_rise_and_its_edges_by_crp() -> None:
    from relprop.detectors.parts import explain_parts

    detector = tiny_detector.detector(objectness=True)
    d = detector(PICTURE)[0]
    whole = explain_parts(detector, PICTURE, d, d.label % 3 + 1, DRISE(**FEW))
    assert [part.of for part in whole.parts] == ["class", "class", "x1", "y1", "x2", "y2"]
    assert [len(e.relevance) for e in whole.explanations] == [2, 4]
    assert whole.box is not None
    assert whole.box.method == "crp"
    assert F.relu(-whole.explanation.relevance).sum() == 0


def test_the_second_stage_of_a_two_stage_detector() -> None:
    """Its proposals are others in every masked picture: it is asked one by one, boxes are those of the class."""
    detector = wrap(two_stage(SMALL[0]))
    picture = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(0))
    d = detector(picture)[0]
    e = explain_detection(detector, picture, d, method=DRISE(masks=3, grid=2))
    masks = masks_of(DRISE(masks=3, grid=2), detector.prepared(picture).extent)
    total = torch.zeros(masks.shape[1:], dtype=torch.float64)
    prepared = detector.prepared(picture)
    h, w = masks.shape[1:]
    mean, std = (torch.tensor(v)[:, None, None] for v in (detector.mean, detector.std))
    for mask in masks:
        x = prepared.x.clone()
        x[0, :, :h, :w] = ((x[0, :, :h, :w] * std + mean) * mask - mean) / std
        seen = detector(replace(prepared, x=x)).reading
        cosine = F.normalize(seen.scores, dim=1) @ F.normalize(d.scores, dim=0)
        total += float((iou(seen.boxes[:, d.label], d.box[None])[:, 0] * cosine).max()) * mask.double()
    expected = (total - total.min()) / 3
    torch.testing.assert_close(e.heatmap()[0, :h, :w].double(), expected, rtol=1e-3, atol=1e-4)
    assert float(expected.max()) > 0
