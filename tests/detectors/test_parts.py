"""One detection explained whole."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.detectors.nets import linear_detector, tiny_detector

import relprop
from relprop.detectors import DetectionUnit, Layout
from relprop.detectors import parts as module
from relprop.detectors.detector import EDGES
from relprop.detectors.parts import explain_parts
from relprop.errors import InputError
from relprop.propagate.composite import Composite
from relprop.reports.detection_page import page_notes


def _picture() -> torch.Tensor:
    return torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_parts_are_what_explain_detection_finds() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    versus = next(k for k in (1, 2, 3) if k != d.label)
    made = explain_parts(detector, _picture(), d, versus, "crp", layers=True)
    assert [(p.of, p.target) for p in made.parts] == [
        ("class", d.label), ("class", versus), *((edge, None) for edge in EDGES)
    ]  # fmt: skip
    heat = made.heatmaps()
    for k, part in enumerate(made.parts):
        e = relprop.explain_detection(detector, _picture(), d, part.of, part.target, "crp")
        torch.testing.assert_close(made.explanation.relevance[k], e.relevance, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(heat[k], e.heatmap()[0], rtol=1e-12, atol=1e-15)
        assert part.table[-1].size == pytest.approx(float(e.relevance.abs().sum()))
    localised = detector.localised(detector.prepared(_picture()), d)
    for edge, part in enumerate(made.parts[2:]):
        assert part.value == pytest.approx(float(localised[edge]))
        assert d.default_box is not None
        assert part.moved == pytest.approx(float(localised[edge] - d.default_box[edge]))
        assert part.score is None
    assert made.parts[0].score == d.score
    assert made.parts[0].name == d.name
    assert [part.name for part in made.parts[2:]] == ["left edge", "top edge", "right edge", "bottom edge"]
    assert math.isnan(made.parts[0].moved)
    assert made.explanation.layers == {}
    assert made.explanation.asked == tuple(part.name for part in made.parts)
    assert made.box is None
    torch.testing.assert_close(made.localised.clamp(0, 16), d.box)


def test_offsets_take_the_edges_place() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    made = explain_parts(detector, _picture(), d, method="crp", box="offsets")
    assert [p.of for p in made.parts] == ["class", *detector.offsets]
    for k, (name, value) in enumerate(zip(detector.offsets, d.offsets.tolist(), strict=True), 1):
        e = relprop.explain_detection(detector, _picture(), d, name)
        torch.testing.assert_close(made.explanation.relevance[k], e.relevance, rtol=1e-12, atol=1e-15)
        assert made.parts[k].value == pytest.approx(value)
    assert all(part.table == () for part in made.parts)  # nobody asked
    with pytest.raises(InputError, match="'edges', 'offsets'"):
        explain_parts(detector, _picture(), d, box="corners")  # type: ignore[arg-type]


def test_one_class_rather_than_the_other_is_their_own_contrast() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    versus = next(k for k in (1, 2, 3) if k != d.label)
    made = explain_parts(detector, _picture(), d, versus, "crp")
    unit = DetectionUnit(detector.raw, Layout(4, 0)).at(d.anchor)
    run = relprop.trace(unit, detector.prepared(_picture()).x)
    seed = torch.zeros_like(run.output)
    seed[0, d.label], seed[0, versus] = 4 / 3, -4 / 3
    expected = run.propagate(seed, Composite(otherwise="positive")).sum(1)[0]
    assert made.rather is not None
    torch.testing.assert_close(made.rather, expected, rtol=1e-10, atol=1e-15)
    assert explain_parts(detector, _picture(), d).rather is None
    assert made.pair is None


def test_by_other_methods_one_class_rather_than_the_other_is_asked_about() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    versus = next(k for k in (1, 2, 3) if k != d.label)
    for method in ("lrp-gamma", "margin-rsp"):
        made = explain_parts(detector, _picture(), d, versus, method)
        e = relprop.explain_detection(detector, _picture(), d, method=method, versus=versus)
        assert made.rather is not None
        torch.testing.assert_close(made.rather, e.heatmap()[0], rtol=1e-12, atol=1e-15)
        assert float(made.rather.abs().sum()) > 0
    assert explain_parts(detector, _picture(), d, method="lrp-gamma").rather is None
    assert explain_parts(detector, _picture(), d, versus, method="deep-taylor").rather is None


def test_red_follows_the_way_that_the_box_went() -> None:
    detector = tiny_detector.detector()
    ways = {
        "cx": ("left", "right"),
        "cy": ("up", "down"),
        "w": ("narrower", "wider"),
        "h": ("shorter", "taller"),
        **{edge: ("left", "right") if edge[0] == "x" else ("up", "down") for edge in EDGES},
    }
    signs = set()
    for d in detector(_picture()):
        made = [
            (method, part)
            for method in ("crp", "lrp-0")
            for box in ("edges", "offsets")
            for part in explain_parts(detector, _picture(), d, method=method, box=box).parts[1:]
        ]
        for method, part in made:
            went = part.moved if part.of in EDGES else part.value
            more = went >= 0 or method != "crp"
            assert part.red_is_more == more
            assert (part.blue, part.red) == (ways[part.of] if more else ways[part.of][::-1])
            signs.add(went >= 0)
    assert signs == {True, False}


@pytest.mark.parametrize("outward", [False, True])
def test_offsets_named_after_sides_go_where_the_decoder_takes_them(outward: bool) -> None:
    """They may be coordinates or distances from inside: their names don't tell."""
    detector = linear_detector.detector()
    if outward:
        sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
        detector = replace(detector, decode=lambda offsets, anchors: anchors + offsets * sign)
    picture = linear_detector.picture()
    made = explain_parts(detector, picture, detector(picture)[0], method="lrp-0", box="offsets")
    reds = {part.of: part.red for part in made.parts[1:]}
    inner = {"left": "right", "top": "down", "right": "right", "bottom": "down"}
    assert reds == (inner | {"left": "left", "top": "up"} if outward else inner)


def test_without_a_default_box_nothing_has_moved() -> None:
    detector = replace(tiny_detector.detector(), default_boxes=False)
    made = explain_parts(detector, _picture(), detector(_picture())[0])
    assert all(math.isnan(part.moved) and part.words == "" for part in made.parts)
    assert not any("default box" in note for note in page_notes(detector.prepared(_picture()), made))


@pytest.mark.parametrize("method", ["deep-taylor", "excitation-backprop"])
def test_edges_are_explained_by_crp_where_the_method_can_not(method: str) -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    made = explain_parts(detector, _picture(), d, 1 if d.label != 1 else 2, method, layers=True)
    ours, theirs = made.explanations
    assert (ours.method, theirs.method) == (method, "crp")
    assert (len(ours.relevance), len(theirs.relevance)) == (2, 4)
    other = explain_parts(detector, _picture(), d, method="crp")
    torch.testing.assert_close(theirs.relevance, other.explanation.relevance[1:], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(made.heatmaps()[2:], other.heatmaps()[1:], rtol=1e-12, atol=1e-15)
    assert all(part.table for part in made.parts[2:])
    assert made.parts[2].red == other.parts[1].red
    # Raw offsets are single outputs, which it can be asked about.
    assert explain_parts(detector, _picture(), d, method=method, box="offsets").box is None


@pytest.mark.parametrize("method", ["margin-rsp", "agreement"])
def test_a_method_made_for_classes_is_not_asked_about_the_box(method: str) -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    for box in ("edges", "offsets"):
        made = explain_parts(detector, _picture(), d, method=method, box=box)
        assert [e.method for e in made.explanations] == [method, "crp"]
        assert [len(e.relevance) for e in made.explanations] == [1, 4]


def test_the_label_is_no_what_if_and_objectness_is_a_part() -> None:
    detector = tiny_detector.detector(objectness=True)
    d = detector(_picture()).at(17)
    made = explain_parts(detector, _picture(), d, versus=d.label, method="crp")
    assert [p.of for p in made.parts] == ["class", "objectness", *EDGES]
    e = relprop.explain_detection(detector, _picture(), d, "objectness", method="crp")
    torch.testing.assert_close(made.explanation.relevance[1], e.relevance, rtol=1e-12, atol=1e-15)
    assert made.parts[1].value == pytest.approx(float(e.outputs[0, -1]))
    assert made.parts[1].words == ""
    assert not made.parts[1].on_box


def test_tables_are_the_same_in_groups_and_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tiny_detector.detector(), tiny_detector.detector()
    d = first(_picture())[0]
    one = explain_parts(first, _picture(), d, layers=True)
    again = explain_parts(first, _picture(), d, layers=True)
    monkeypatch.setattr(module, "_BYTES", 1)  # a target at a time, and never all at once
    for made in (again, *(explain_parts(second, _picture(), d, layers=True) for _ in range(2))):
        for mine, other in zip(one.parts, made.parts, strict=True):
            assert [row.layer for row in mine.table] == [row.layer for row in other.table]
            assert [row.size for row in mine.table] == pytest.approx([row.size for row in other.table])
    assert torch.equal(one.explanation.relevance, again.explanation.relevance)


def test_methods_that_keep_no_layers_have_no_tables() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    made = explain_parts(detector, _picture(), d, method=relprop.IntegratedGradients(steps=2), layers=True)
    assert [part.table for part in made.parts] == [()] * 5
    assert made.explanation.relevance.shape == (5, 1, 3, 16, 16)


def test_parts_that_lost_most_of_their_relevance_are_named() -> None:
    detector = tiny_detector.detector()
    made = explain_parts(detector, _picture(), detector(_picture())[0], method="crp")
    assert made.faint == {}  # nothing is lost in this network
    e = made.explanation
    survived = e.extras["survived"].clone()
    survived[2, 0, 1] = 0.125
    lossy = replace(made, explanation=replace(e, extras={**e.extras, "survived": survived}))
    assert lossy.faint == {"top edge": 0.125}
    notes = page_notes(detector.prepared(_picture()), lossy)
    assert any("Of top edge at most 12.5 % of the relevance arrived" in note for note in notes)
    other = explain_parts(detector, _picture(), detector(_picture())[0], method="lrp-0")
    assert other.faint == {}


def test_what_is_asked_decides_the_method_where_nobody_names_one() -> None:
    """Numbers of a class add up, a page shows where two maps agree, and boxes are crp's."""
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    assert relprop.explain_detection(detector, _picture(), d).method == "margin-rsp"
    assert relprop.explain_detection(detector, _picture(), d, ["class", "x1"]).method == "crp"
    assert relprop.explain_detection(detector, _picture(), d, "y2").method == "crp"
    made = explain_parts(detector, _picture(), d)
    assert made.method.name == "agreement"
    assert made.box is not None
    assert made.box.method == "crp"
    assert [part.of for part in made.parts] == ["class", "x1", "y1", "x2", "y2"]
