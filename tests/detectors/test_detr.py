"""Queries in Hugging Face's layout: the models' own detections, class and box explained to the picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.close import assert_close_to_rounding
from tests.detectors.nets.queries import CLASSES, Detr, RtDetr, lively_queries
from torch import Tensor, nn

import relprop
from relprop.detectors import wrap
from relprop.detectors.detector import EDGES
from relprop.detectors.detr import Queries, processed
from relprop.errors import InputError

KINDS = [Detr, RtDetr]
X = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(3))


def detector_of(kind: type[Any], **settings: Any) -> Queries:
    made = wrap(lively_queries(kind), score_threshold=0.25, **settings)
    assert isinstance(made, Queries)
    return made


def corners(boxes: Tensor, width: float, height: float) -> Tensor:
    """cx, cy, w, h in 0-1 as corners in pixels, cut at the picture's edge."""
    cx, cy, w, h = boxes.unbind(-1)
    found = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1).clamp(0, 1)
    return found * torch.tensor([width, height, width, height])


@torch.no_grad()
def own(model: nn.Module, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, labels and boxes as `post_process_object_detection` makes them of the outputs, best first."""
    made = model(pixel_values=X[None])
    boxes = corners(made.pred_boxes[0], 48, 32)
    if isinstance(model, Detr):
        scores, labels = made.logits[0].softmax(-1)[:, :-1].max(-1)
    else:
        scores, index = made.logits[0].sigmoid().flatten().topk(len(boxes))
        labels, boxes = index % CLASSES, boxes[index // CLASSES]
    scores, order = scores.sort(descending=True, stable=True)
    kept = order[scores > threshold]
    return scores[scores > threshold], labels[kept], boxes[kept]


@pytest.mark.parametrize("kind", KINDS)
def test_same_detections_as_the_model_itself(kind: type[Any]) -> None:
    detector = detector_of(kind)
    found = detector(X)
    scores, labels, boxes = own(detector.raw.network, 0.25)  # type: ignore[arg-type]
    assert len(found) > 3
    assert len(set(labels.tolist())) > 1
    assert found.labels.tolist() == labels.tolist()
    assert_close_to_rounding(found.scores, scores, CLASSES, size=1)
    assert_close_to_rounding(found.boxes, boxes, 50, size=48)
    # "no object" isn't one, whatever its score.
    assert set(labels.tolist()) <= set(range(CLASSES))
    assert found[0].name == "abcd"[found[0].label]
    assert found[0].default_box is None
    assert found[0].as_dict()["default_box"] is None


@pytest.mark.parametrize("method", ["crp", "lrp-epsilon", "lrp-composite", "attnlrp"])
@pytest.mark.parametrize("kind", KINDS)
def test_ledgers_close_from_class_and_box_to_the_picture(kind: type[Any], method: str) -> None:
    detector = detector_of(kind)
    one = detector(X)[0]
    e = relprop.explain_detection(detector, X, one, ["class", "cx", "w", "y1"], method=method)
    assert e.ledger is not None
    assert e.ledger.closes, str(e.ledger)
    assert all(bool(row.any()) for row in e.relevance)


@pytest.mark.parametrize("kind", KINDS)
def test_edges_by_the_boxes_own_gradient(kind: type[Any]) -> None:
    detector = detector_of(kind)
    d = detector(X)[0]
    e = relprop.explain_detection(detector, X, d, list(EDGES), method="gradient")
    leaf = X[None].clone().requires_grad_()
    made = detector.raw.network(pixel_values=leaf)  # type: ignore[operator]
    boxes = made.pred_boxes[0, d.anchor]
    if kind is RtDetr:  # every layer's move counts, where the model cuts off all but the last one's
        moves = [
            h(made.intermediate_hidden_states[0, n])
            for n, h in enumerate(detector.raw.network.model.decoder.bbox_embed)
        ]
        boxes = (made.init_reference_points[0] + moves[0] + moves[1]).sigmoid()[d.anchor]
    cx, cy, w, h = boxes.unbind()
    decoded = ((cx - w / 2) * 48, (cy - h / 2) * 32, (cx + w / 2) * 48, (cy + h / 2) * 32)
    assert torch.allclose(torch.stack(decoded), detector.localised(detector.prepared(X), d), atol=1e-4)
    for row, value in zip(e.relevance, decoded, strict=True):
        (slope,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert torch.allclose(row, slope, atol=1e-4 * float(slope.abs().max()))


def test_views_of_queries_share_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["relprop.graph.capture"]  # the package has a function of that name
    detector = detector_of(Detr)
    captured, whole = [], module._capture  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "_capture", lambda *a, **k: captured.append(1) or whole(*a, **k))
    for d in detector(X)[:4]:
        relprop.explain_detection(detector, X, d)
    relprop.explain_detection(detector, X, 0, "cx")
    assert len(captured) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_alone(kind: type[Any]) -> None:
    model = lively_queries(kind)
    before = {key: (id(t), t._version) for key, t in model.state_dict(keep_vars=True).items()}
    attributes = [dict(vars(m)) for m in model.modules()]
    detector = wrap(model, score_threshold=0.25)
    relprop.explain_detection(detector, X, detector(X)[0], ["class", "cx"])
    assert {k: (id(t), t._version) for k, t in model.state_dict(keep_vars=True).items()} == before
    for module, seen in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == seen.keys()


def test_boxes_of_another_make_are_refused_by_name() -> None:
    model = lively_queries(Detr)
    model.shift = 1.0  # as if they began at a reference point
    with pytest.raises(
        InputError, match="classes and boxes as DETR or RT-DETR makes them but Detr makes others"
    ):
        wrap(model)(X)
    bare = lively_queries(Detr)
    bare.class_labels_classifier = nn.Linear(16, CLASSES)  # without "no object"
    with pytest.raises(InputError, match="but Detr makes others"):
        wrap(bare)(X)
    wide = lively_queries(RtDetr)
    wide.model.decoder.bbox_embed = nn.ModuleList([nn.Linear(16, 8) for _ in range(2)])
    wide.model.decoder.forward = lambda *a: SimpleNamespace(
        logits=torch.zeros(1, 6, 4), hidden=torch.zeros(1, 2, 6, 16), boxes=torch.zeros(1, 6, 4)
    )
    with pytest.raises(InputError, match="but RtDetr makes others"):
        wrap(wide)(X)


class Processor:
    """Scales to 32 × 48, normalises, and pads to 40 × 56 with a mask."""

    do_normalize, image_mean, image_std = True, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)

    def __call__(self, images: Image.Image, return_tensors: str) -> dict[str, Tensor]:
        assert return_tensors == "pt"
        small = np.array(images.resize((48, 32), Image.Resampling.BILINEAR))
        x = torch.from_numpy(small).permute(2, 0, 1).float() / 255
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.image_mean, self.image_std))
        mask = torch.zeros(1, 40, 56, dtype=torch.int64)
        mask[:, :32, :48] = 1
        return {"pixel_values": nn.functional.pad((x - mean) / std, (0, 8, 0, 8))[None], "pixel_mask": mask}


def test_pictures_go_through_the_models_own_processor() -> None:
    settings = processed(Processor())
    detector = detector_of(Detr, **settings)
    assert (detector.mean, detector.std) == (Processor.image_mean, Processor.image_std)
    picture = Image.fromarray((torch.rand(64, 120, 3) * 255).to(torch.uint8).numpy())
    prepared = detector.prepared(picture)
    assert prepared.x.shape == (1, 3, 32, 48)  # masked padding is cut off
    assert (prepared.scale, prepared.size) == ((2.5, 2.0), (64, 120))
    found = detector(picture)
    direct = detector_of(Detr)(prepared.x)
    assert_close_to_rounding(found.boxes, direct.boxes * torch.tensor([2.5, 2.0, 2.5, 2.0]), 50, size=120)
    plain = processed(SimpleNamespace(do_normalize=False))
    assert (plain["mean"], plain["std"]) == ((0.0,) * 3, (1.0,) * 3)
