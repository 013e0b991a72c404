"""One detection explained whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.detectors.nets import tiny_detector

import relprop
from relprop.detectors import DetectionUnit, Layout
from relprop.detectors import parts as module
from relprop.detectors.parts import explain_parts
from relprop.propagate.composite import Composite
from relprop.reports.detection_page import page_notes


def _picture() -> torch.Tensor:
    return torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_parts_are_what_explain_detection_finds() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    versus = next(k for k in (1, 2, 3) if k != d.label)
    made = explain_parts(detector, _picture(), d, versus)
    assert [(p.of, p.target) for p in made.parts] == [
        ("class", d.label), ("class", versus), ("cx", None), ("cy", None), ("w", None), ("h", None)
    ]  # fmt: skip
    for k, part in enumerate(made.parts):
        e = relprop.explain_detection(detector, _picture(), d, part.of, part.target)
        torch.testing.assert_close(made.explanation.relevance[k], e.relevance, rtol=1e-12, atol=1e-15)
        assert part.table[-1].size == pytest.approx(float(e.relevance.abs().sum()))
    for name, value in zip(detector.offsets, d.offsets.tolist(), strict=True):
        (part,) = [p for p in made.parts if p.of == name]
        assert part.value == pytest.approx(value)
        assert part.score is None
    assert made.parts[0].score == d.score
    assert made.parts[0].name == d.name
    assert made.explanation.layers == {}
    torch.testing.assert_close(made.localised.clamp(0, 16), d.box)


def test_one_class_rather_than_the_other_is_their_own_contrast() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    versus = next(k for k in (1, 2, 3) if k != d.label)
    made = explain_parts(detector, _picture(), d, versus)
    unit = DetectionUnit(detector.raw, Layout(4, 0)).at(d.anchor)
    run = relprop.trace(unit, detector.prepared(_picture()).x)
    seed = torch.zeros_like(run.output)
    seed[0, d.label], seed[0, versus] = 4 / 3, -4 / 3
    expected = run.propagate(seed, Composite(otherwise="positive")).sum(1)[0]
    assert made.rather is not None
    torch.testing.assert_close(made.rather, expected, rtol=1e-10, atol=1e-15)
    assert explain_parts(detector, _picture(), d).rather is None
    assert explain_parts(detector, _picture(), d, versus, method="lrp-0").rather is None


def test_red_follows_the_way_an_offset_went() -> None:
    detector = tiny_detector.detector()
    found = detector(_picture())
    ways = {
        "cx": ("left", "right"),
        "cy": ("up", "down"),
        "w": ("narrower", "wider"),
        "h": ("shorter", "taller"),
    }
    signs = set()
    for d in found:
        for method in ("crp", "lrp-0"):
            for part in explain_parts(detector, _picture(), d, method=method).parts[1:]:
                positive = part.value >= 0 or method != "crp"
                assert (part.blue, part.red) == (ways[part.of] if positive else ways[part.of][::-1])
                signs.add(part.value >= 0)
    assert signs == {True, False}


def test_the_label_is_no_what_if_and_objectness_is_a_part() -> None:
    detector = tiny_detector.detector(objectness=True)
    d = detector(_picture()).at(17)
    made = explain_parts(detector, _picture(), d, versus=d.label)
    assert [p.of for p in made.parts] == ["class", "cx", "cy", "w", "h", "objectness"]
    assert made.parts[-1].words == ""


def test_tables_are_the_same_in_groups_and_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tiny_detector.detector(), tiny_detector.detector()
    d = first(_picture())[0]
    one = explain_parts(first, _picture(), d)
    again = explain_parts(first, _picture(), d)
    monkeypatch.setattr(module, "_BYTES", 1)  # a target at a time, and never all at once
    for tables in (again, explain_parts(second, _picture(), d), explain_parts(second, _picture(), d)):
        for mine, other in zip(one.parts, tables.parts, strict=True):
            assert [row.layer for row in mine.table] == [row.layer for row in other.table]
            assert [row.size for row in mine.table] == pytest.approx([row.size for row in other.table])
    assert torch.equal(one.explanation.relevance, again.explanation.relevance)


def test_methods_that_keep_no_layers_have_no_tables() -> None:
    detector = tiny_detector.detector()
    d = detector(_picture())[0]
    made = explain_parts(detector, _picture(), d, method=relprop.IntegratedGradients(steps=2))
    assert [part.table for part in made.parts] == [()] * 5
    assert made.explanation.relevance.shape == (5, 1, 3, 16, 16)


def test_parts_that_lost_most_of_their_relevance_are_named() -> None:
    detector = tiny_detector.detector()
    made = explain_parts(detector, _picture(), detector(_picture())[0])
    assert made.faint == {}  # nothing is lost in this network
    e = made.explanation
    survived = e.extras["survived"].clone()
    survived[2, 0, 1] = 0.125
    lossy = replace(made, explanation=replace(e, extras={**e.extras, "survived": survived}))
    assert lossy.faint == {"cy": 0.125}
    notes = page_notes(detector.prepared(_picture()), lossy)
    assert any("Of cy at most 12.5 % of the relevance arrived" in note for note in notes)
    other = explain_parts(detector, _picture(), detector(_picture())[0], method="lrp-0")
    assert other.faint == {}
