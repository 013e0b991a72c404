"""A conversation about a clip: its answers are those of the report; what is said of them is what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import relprop
from relprop.datasets import demo_clip_path
from relprop.errors import InputError, RelpropError
from relprop.propagate.ledger import Ledger
from relprop.reports import ClipConversation, clip_conversation, clip_found
from relprop.reports.clip_words import clip_sentences, split_sentence
from relprop.video.separation import MotionSeparation


@pytest.fixture(scope="module")
def talk() -> Iterator[ClipConversation]:
    with ClipConversation("motion-c3d", demo_clip_path()) as talk:
        yield talk


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def shares(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in re.findall(r"([−\d.]+) %", text)]


@pytest.mark.parametrize(
    "asked",
    [
        {"mode": "conserving"},
        {"mode": "selective", "target": "rotating", "method": "lrp-composite"},
        {"method": "lrp-epsilon", "versus": 2},
    ],
    ids=["conserving", "selective", "plain"],
)
def test_its_report_is_the_reports(talk: ClipConversation, asked: dict[str, str], tmp_path: Path) -> None:
    own = talk.ask(**asked).report.save(tmp_path / "own")  # type: ignore[arg-type]
    alone = relprop.reports.video("motion-c3d", demo_clip_path(), out=tmp_path / "alone", **asked)  # type: ignore[arg-type]
    assert names(tmp_path / "own") == names(tmp_path / "alone")
    assert own.numbers.keys() == alone.numbers.keys()
    for name, made in own.numbers.items():
        for film in ("original", "spatial", "temporal") if "mode" in asked else ("relevance",):
            one, other = getattr(made, film), getattr(alone.numbers[name], film)
            assert torch.allclose(one, other, atol=1e-6 * float(other.abs().max()))
    texts = [str(report).replace(str(report.folder), "") for report in (own, alone)]
    assert texts[0] == texts[1]


def test_shares_are_those_of_the_films(talk: ClipConversation) -> None:
    answer = talk.ask(mode="conserving")
    made = next(iter(answer.report.numbers.values()))
    summary = made.ledger.summary()
    start = float(summary["start"])
    sums = [float(film.double().sum()) for film in (made.temporal, made.spatial, made.original)]
    assert answer.sentences[0].startswith("Of the score of left-right")
    motion, looks, neither = shares(answer.sentences[0])
    wanted = [sums[0], sums[1], start - sums[2]]
    assert [motion, looks, neither] == pytest.approx([100 * v / start for v in wanted], abs=0.06)
    assert motion + looks + neither == pytest.approx(100, abs=0.2)
    kept = int((made.frozen_targets == made.targets[:, None]).sum())
    assert f"{kept} of 16 frames are taken for left-right" in answer.sentences[1]
    assert answer.sentences[2].startswith("The camera ")
    assert answer.sentences[2].endswith("as estimated from the frames.")
    still = talk.ask(mode="conserving", camera="still")
    assert still.sentences[2] == "The camera stood still, as given."


def test_what_other_answers_say(talk: ClipConversation) -> None:
    plain = talk.ask(method="lrp-epsilon")
    assert plain.sentences[0].startswith("The map accounts for")
    assert plain.sentences[1] == "The network saw frames 0 to 15 of the film, from 0.00 to 1.88 s."
    biased = talk.ask(method="lrp-epsilon", mode="naive")
    summary = next(iter(biased.report.numbers.values())).ledger.summary()
    bias, took, lost = (
        100 * float(summary[key]) / float(summary["start"]) for key in ("bias", "stabiliser", "lost")
    )
    wanted = [bias, *([took] if abs(took) >= 0.05 else []), lost]
    assert shares(biased.sentences[0])[3:] == pytest.approx(wanted, abs=0.06)
    assert "these shares say little" in biased.sentences[0]
    signed = talk.ask(method="gradient-x-input", mode="selective")
    assert signed.sentences[0].startswith("The films say where, not how much")
    made = talk.ask(mode="conserving").found.made
    assert isinstance(made, MotionSeparation)
    nothing = {name: torch.zeros_like(made.original) for name in ("original", "spatial", "temporal")}
    empty = replace(talk.ask(mode="conserving").found, made=replace(made, **nothing))
    assert clip_sentences(empty)[0].startswith("No place of the clip holds relevance for left-right")


def test_shares_are_read_with_the_scores_sign(talk: ClipConversation) -> None:
    made = talk.ask(mode="conserving").found.made
    assert isinstance(made, MotionSeparation)
    place = torch.zeros_like(made.original)
    place[..., 0, 0, 0] = 1.0

    def said(start: float, looks: float, motion: float, stabiliser: float = 0.0) -> str:
        films = {"original": (looks + motion) * place, "spatial": looks * place, "temporal": motion * place}
        whole = {"start": start, "input": looks + motion, "bias": 0.0, "stabiliser": stabiliser, "lost": 0.0}
        ledger = Ledger.recorded({**made.ledgers["original"].summary(), **whole}, 1e-6)
        return split_sentence(replace(made, **films, ledgers={"original": ledger}), "cat", "")

    assert "speaks" not in said(-2.0, -1.5, -0.5)
    assert said(-2.0, -3.0, 1.0).endswith("A negative share speaks for it.")
    assert said(2.0, 3.0, -1.0).endswith("A negative share speaks against it.")
    assert "25.0 % is neither" in said(2.0, 1.0, 0.5, 0.5)
    assert "the stabiliser took 25.0 %" in said(2.0, 1.0, 0.5, 0.5)
    assert said(0.0, 1.0, -0.5).startswith("The films say where, not how much")


def test_answers_are_kept_and_the_clip_is_classified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name, module in (("explained", clip_conversation), ("_scores", clip_found)):
        real = getattr(module, name)

        def counted(*given: object, name: str = name, real: object = real) -> object:
            calls.append(name)
            return real(*given)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    with ClipConversation("motion-c3d", demo_clip_path(), name="mine.gif") as talk:
        first = talk.ask()
        talk.ask(target=1)
        assert talk.ask() is first
    assert calls == ["_scores", "explained", "explained"]
    assert first.report.document["clips"][0]["clip"] == "mine.gif"
    assert list(first.report.figures) == ["mine/figure.png"]


def test_the_player(talk: ClipConversation) -> None:
    page = talk.ask(mode="selective").player(script=False)
    assert page.count("<div data-film ") == 4
    assert "what is relevant for left-right because it moves" in page
    assert "as filmed" in page


def test_refusals(talk: ClipConversation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes pictures"):
        ClipConversation("scenes-vgg", demo_clip_path())
    with pytest.raises(InputError, match="does not exist"):
        ClipConversation("motion-c3d", tmp_path / "nothing.gif")
    with pytest.raises(RelpropError, match="deep-tailor"):
        talk.ask(method="deep-tailor")
    with pytest.raises(RelpropError, match="conserving"):
        talk.ask(mode="conserved")
