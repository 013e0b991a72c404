"""A conversation about a picture's detections: its answers are those of the report and of the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import relprop
from relprop.datasets import demo_image_path
from relprop.datasets.demo import demo_photo_path
from relprop.detectors import Detector
from relprop.detectors.detector import EDGES
from relprop.errors import InputError, RelpropError
from relprop.reports import DetectionConversation, DetectionQuestion


@pytest.fixture(scope="module")
def talk() -> Iterator[DetectionConversation]:
    with DetectionConversation("scenes-ssd", demo_image_path()) as talk:
        yield talk


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        (DetectionQuestion(1), {"box": 1}),
        pytest.param(
            DetectionQuestion(0, None, "dotted star", "crp"),
            {"box": 0, "versus": "dotted star", "method": "crp"},
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            DetectionQuestion(None, (20.0, 90.0), layers=True),
            {"place": (20.0, 90.0), "layers": True},
            marks=pytest.mark.nightly,
        ),
    ],
)  # fmt: skip
def test_its_report_is_the_reports(
    talk: DetectionConversation, question: DetectionQuestion, asked: dict[str, object], tmp_path: Path
) -> None:
    own = talk.report(question).save(tmp_path / "own")
    alone = relprop.reports.detection("scenes-ssd", demo_image_path(), out=tmp_path / "alone", **asked)
    assert names(tmp_path / "own") == names(tmp_path / "alone")
    assert own.numbers.keys() == alone.numbers.keys()
    for name, e in own.numbers.items():
        assert torch.allclose(e.relevance, alone.numbers[name].relevance, atol=1e-6)
    texts = [str(r).replace(str(r.folder), "") for r in (own, alone)]
    assert texts[0] == texts[1]


def test_the_second_step_adds_what_was_measured(talk: DetectionConversation) -> None:
    question = DetectionQuestion(2)
    maps = talk.explained(question)
    assert maps.measured is None
    assert (list(maps.edges), list(maps.checks), maps.box, maps.check_table) == ([], [], "", None)
    whole = talk.measured(question)
    assert whole.measured is not None
    assert whole.measured.effects is not None
    assert list(whole.edges) == [whole.measured.effects.words(edge) for edge in EDGES]
    assert [text.split(": ", 1)[1] for text in whole.checks] == [c.words for c in whole.measured.checks]
    assert len(whole.page.cells) == len(whole.page.edges) == 4
    again = talk.explained(question)  # what is known is said at once
    assert again.parts is maps.parts
    assert again.measured is whole.measured


def test_the_detector_finds_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    real = Detector.__call__

    def counted(self: Detector, image: object) -> object:
        runs.append(image)
        return real(self, image)

    monkeypatch.setattr(Detector, "__call__", counted)
    with DetectionConversation("scenes-ssd", demo_image_path()) as talk:
        for box in (0, 1, 0):
            talk.explained(DetectionQuestion(box, method="crp"))
    assert len(runs) == 1


def test_words_name_the_unit_the_account_and_the_rival(talk: DetectionConversation) -> None:
    answer = talk.measured(DetectionQuestion(1, versus="dotted ball"))
    d = answer.detection
    assert f"unit {d.anchor}" in str(answer.unit[0])
    assert answer.account.startswith(f"Red speaks for {d.name}")
    assert "the account of margin-rsp" in answer.account
    assert "dotted ball" in answer.what_if
    best = talk.classes(answer.question)
    assert best[0][1] == d.name
    assert [score for *_, score in best] == sorted((score for *_, score in best), reverse=True)
    assert len(best) == d.scores.numel() - 1  # without the background
    nowhere = talk.explained(DetectionQuestion(place=(10.0, 90.0)))
    assert nowhere.parts.explanation.ledger is not None
    assert nowhere.parts.explanation.ledger.start < 0
    assert "no share to tell" in nowhere.account
    assert "keeps no account" in talk.explained(DetectionQuestion(1, method="gradient")).account


def test_what_can_t_be_asked(talk: DetectionConversation) -> None:
    with pytest.raises(InputError, match="from 0 to 2 but got 7"):
        talk.explained(DetectionQuestion(7))
    with pytest.raises(InputError, match="one of them"):
        talk.explained(DetectionQuestion())
    with pytest.raises(InputError, match="a place x,y in the picture"):
        talk.explained(DetectionQuestion(place=(500.0, 5.0)))
    with pytest.raises(RelpropError, match="dotted stra"):
        talk.explained(DetectionQuestion(0, versus="dotted stra"))
    with pytest.raises(RelpropError, match="Did you mean"):
        talk.explained(DetectionQuestion(0, method="cpr"))


def test_nothing_found_and_a_photograph() -> None:
    grey = Image.new("RGB", (112, 112), (128, 128, 128))
    with DetectionConversation("scenes-ssd", grey) as talk:
        assert len(talk.found) == 0
        assert len(talk.nearly) == 3
        with pytest.raises(InputError, match="nothing was found"):
            talk.explained(DetectionQuestion(0))
        assert "no detection" in str(talk.explained(DetectionQuestion(place=(50.0, 50.0))).unit[-1])
    with DetectionConversation("scenes-ssd", demo_photo_path()) as talk:
        assert any("drawn scenes" in text for text in talk.warnings)
