"""Edges and offsets that aren't columns: what is asked is the number that the user reads, in picture pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from relprop import explain_detection
from relprop.detectors import BoxCode, Detector, Prepared, wrap
from relprop.detectors.parts import explain_parts
from relprop.errors import InputError

EDGES = ("x1", "y1", "x2", "y2")
PICTURE = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    """Two ways of computing one number in float64."""
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


class Head(nn.Module):
    """Six anchors on a map of 2 × 3; some columns a box."""

    def __init__(self, classes: int, columns: int) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.classes = classes
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(8))
        self.out = nn.Conv2d(8, classes + columns, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        units = self.out(self.body(x)).flatten(2).transpose(1, 2)
        return units[..., : self.classes], units[..., self.classes :]


def cells() -> Tensor:
    y, x = torch.meshgrid(torch.arange(2) * 8.0, torch.arange(3) * 8.0, indexing="ij")
    corner = torch.stack([x, y], -1).reshape(-1, 2).double()
    return torch.cat([corner, corner + 8], 1)


def doubled(x: Tensor) -> Prepared:
    """A picture whose pixels are half of the input's, and 3 × 1 pixels of padding before it."""
    return Prepared(x[None] if x.ndim == 3 else x, (2.0, 0.5), (8, 36), (3.0, 1.0))


def distances(offsets: Tensor, anchors: Tensor) -> Tensor:
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2
    return torch.cat([centre - 8 * offsets[..., :2], centre + 8 * offsets[..., 2:]], -1)


def distribution(columns: Tensor) -> Tensor:
    """The mean of a distribution over 4 distances for each of 4 sides."""
    shares = columns.unflatten(-1, (4, 4)).softmax(-1)
    return (shares * torch.arange(4.0, dtype=columns.dtype)).sum(-1)


def plain() -> Detector:
    return wrap(
        Head(3, 4).double().eval(),
        anchors=cells(),
        decode=BoxCode(scales=(10, 10, 5, 5)).decode,
        prepare=doubled,
        score_threshold=0.0,
    )


def spread() -> Detector:
    return wrap(
        Head(3, 16).double().eval(),
        anchors=cells(),
        decode=distances,
        measure=distribution,
        offsets=("left", "top", "right", "bottom"),
        scores="sigmoid",
        prepare=doubled,
        score_threshold=0.0,
        nms_threshold=1.0,
    )


def each_class() -> Detector:
    """A box for every class, as a second stage has them."""
    return wrap(
        Head(3, 12).double().eval(),
        anchors=cells(),
        decode=BoxCode(scales=(10, 10, 5, 5)).decode,
        measure=lambda columns: columns.unflatten(-1, (3, 4)),
        prepare=doubled,
        score_threshold=0.0,
        nms_threshold=1.0,
    )


MAKERS: dict[str, Callable[[], Detector]] = {"plain": plain, "spread": spread, "each class": each_class}


def box_of(detector: Detector, x: Tensor, anchor: int, label: int) -> Tensor:
    """The decoded box in picture pixels, written out."""
    _, columns = detector.raw(x)
    offsets = columns[0, anchor] if detector.measure is None else detector.measure(columns[0, anchor])
    offsets = offsets[label] if offsets.ndim == 2 else offsets
    box = detector.decode(offsets, cells()[anchor])
    return (box - box.new_tensor([3.0, 1.0, 3.0, 1.0])) * box.new_tensor([2.0, 0.5, 2.0, 0.5])


@pytest.mark.parametrize("name", MAKERS)
def test_an_edge_is_the_decoded_boxs_in_picture_pixels(name: str) -> None:
    detector = MAKERS[name]()
    found = detector(PICTURE)
    d = found.at(4, 1)
    e = explain_detection(detector, PICTURE, d, list(EDGES), method="gradient-x-input")
    x = PICTURE[None].clone().requires_grad_()
    box = box_of(detector, x, 4, 1)
    slopes = [torch.autograd.grad(edge, x, retain_graph=True)[0] for edge in box]
    close(e.relevance, torch.stack([s * PICTURE for s in slopes]))
    close(detector.localised(doubled(PICTURE), d), box.detach())
    limits = torch.tensor([36.0, 8.0, 36.0, 8.0])
    close(d.box, torch.minimum(box.detach().clamp(min=0), limits.double()))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("method", ["crp", "lrp-epsilon"])
def test_edges_beside_classes_and_offsets_are_each_alone(name: str, method: str) -> None:
    detector = MAKERS[name]()
    d = detector(PICTURE).at(2, 1)
    of = ["class", *detector.offsets, *EDGES]
    together = explain_detection(detector, PICTURE, d, of, method=method)
    assert together.ledger is not None
    assert together.ledger.closes
    assert together.extras["of"] == ["class 1", *of[1:]]
    for row, part in enumerate(of):
        alone = explain_detection(detector, PICTURE, d, part, method=method)
        close(together.relevance[row], alone.relevance)


def test_crp_of_an_edge_is_its_offsets_by_what_each_moved() -> None:
    detector = plain()
    d = detector(PICTURE).at(1, 2)
    prepared = doubled(PICTURE)
    parts = explain_detection(detector, prepared, d, list(detector.offsets), method="crp").relevance
    edges = explain_detection(detector, prepared, d, list(EDGES), method="crp").relevance
    v = d.offsets.clone().requires_grad_()
    box = prepared.on_picture(detector.decode(v, cells()[1]))
    for k in range(4):
        (slope,) = torch.autograd.grad(box[k], v, retain_graph=True)
        moved = slope * d.offsets
        expected = (moved[:, None, None, None, None] * parts).sum(0) * moved.sum().sign() / moved.abs().sum()
        close(edges[k], expected)


def test_crp_of_one_column_asked_as_a_callable_is_the_published_one() -> None:
    detector = plain()
    asked = replace(detector, measure=lambda columns: columns.clone())
    d = detector(PICTURE).at(3, 0)
    for part in detector.offsets:
        close(
            explain_detection(asked, PICTURE, d, part).relevance,
            explain_detection(detector, PICTURE, d, part).relevance,
        )


def test_red_of_a_distribution_is_what_moved_it_the_way_it_went() -> None:
    detector = spread()
    d = detector(PICTURE).at(3, 0)
    e = explain_detection(detector, PICTURE, d, ["class", "left"], method="crp")
    # Each row is a contrast: what one side has more, the other has less.
    assert float(e.relevance[1].abs().sum()) > 1e-3
    assert float(e.relevance.sum((1, 2, 3, 4)).abs().max()) < 1e-6
    assert e.targets[:, 0].tolist() == [-1, -1]
    assert e.extras["survived"].shape == (2, 1, 2)


def test_several_detections_are_added() -> None:
    detector = plain()
    found = detector(PICTURE)
    pair = [found.at(0, 1), found.at(5, 1)]
    e = explain_detection(detector, PICTURE, pair, ["x1", "y2"], method="lrp-epsilon")
    alone = [explain_detection(detector, PICTURE, d, ["x1", "y2"], method="lrp-epsilon") for d in pair]
    close(e.relevance, alone[0].relevance + alone[1].relevance)


def test_each_class_has_its_own_box_through_everything() -> None:
    detector = each_class()
    found = detector(PICTURE)
    assert found.reading.class_boxes
    assert found.reading.boxes.shape == (6, 3, 4)
    for d in found:
        close(d.box, found.reading.boxes[d.anchor, d.label])
        assert d.offsets.shape == (4,)
    other = found.at(4, 0), found.at(4, 2)
    assert not torch.allclose(other[0].box, other[1].box)
    with pytest.raises(InputError, match="Expected a detection from this picture"):
        explain_detection(detector, PICTURE, replace(other[0], label=2), "x1")


def test_what_measure_and_scores_may_return() -> None:
    for setting, text in {
        "measure": "Expected measure to return offsets",
        "scores": "Expected scores to return",
        "decode": "Expected decode to return boxes",
    }.items():
        detector = replace(spread(), **{setting: lambda *args: args[0][..., :1]})
        with pytest.raises(InputError, match=text):
            detector(PICTURE)


def test_a_score_of_ones_own_and_one_class_an_anchor() -> None:
    logits = plain().raw(PICTURE[None])[0][0]
    made = replace(
        plain(),
        scores=lambda raw, objectness: raw.sigmoid().sqrt(),
        per_anchor="best",
        top_k_per="all",
        nms_threshold=1.0,
    )
    found = made(PICTURE)
    best = logits.detach().sigmoid().sqrt()
    assert sorted(found.anchor.tolist()) == list(range(6))
    for d in found:
        assert d.label == int(best[d.anchor].argmax())
        assert d.score == pytest.approx(float(best[d.anchor].max()))
    assert len(replace(made, top_k=2)(PICTURE)) == 2
    assert len(replace(made, per_anchor="every")(PICTURE)) == 18


def test_anchors_that_are_no_boxes() -> None:
    detector = replace(plain(), default_boxes=False)
    d = detector(PICTURE)[0]
    assert d.default_box is None
    assert d.as_dict()["default_box"] is None
    assert explain_detection(detector, PICTURE, d, "x2").extras["of"] == "x2"


def test_a_detector_of_one_class_has_a_page_by_default() -> None:
    detector = wrap(
        Head(1, 4).double().eval(),
        anchors=cells(),
        decode=BoxCode(scales=(10, 10, 5, 5)).decode,
        prepare=doubled,
        scores="sigmoid",
        score_threshold=0.0,
    )
    d = detector(PICTURE)[0]
    made = explain_parts(detector, PICTURE, d)
    assert [part.of for part in made.parts] == ["class", *EDGES]
    assert explain_detection(detector, PICTURE, d).method == "margin-rsp"
    with pytest.raises(InputError, match="Expected another class to contrast with"):
        explain_detection(detector, PICTURE, d, ["class", "x1"])
