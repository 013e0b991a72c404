"""`relprop report`: what it prints, how it ends, and that it is what Python gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.viz.clips import separation

import relprop
from relprop.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        x = torch.rand(1, 3, 8, 8)
        e = relprop.Explanation(x, x, torch.rand(1, 2), torch.tensor([1]), "gradient")
        e.save(tmp_path / "out" / name, picture=False)
    return tmp_path


def test_it_says_what_it_wrote(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "out", "--title", "Two maps"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("report.html: 2 explanations in ")
    assert err == ""
    page = (here / "report.html").read_text(encoding="utf-8")
    assert "<title>Two maps</title>" in page
    assert page.count("<article") == 2
    assert sorted(p.name for p in here.iterdir()) == ["out", "report.html"]


def test_its_document_is_that_of_python(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "out/a", "out", "-o", "pages/p.html", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == relprop.reports.html_report(["out/a", "out"], out="pages/p.html").document
    assert document["shown"] == {"picture": 2}
    assert document["bytes"] == (here / "pages" / "p.html").stat().st_size
    assert document["skipped"] == []


def test_what_is_left_out_is_told_and_ends_with_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "out" / "b" / "relevance.safetensors").write_bytes(b"nothing")
    assert run(["report", "out"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("report.html: 1 explanation in ")
    assert second.startswith(f"LEFT OUT, {Path('out/b')}: Expected relevance.safetensors")
    assert "checksum differs" in (here / "report.html").read_text(encoding="utf-8")


def test_a_separation_without_frames_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    separation(shape=(1, 3, 12, 12)).save(here / "films")
    assert run(["report", "films"]) == 0
    assert "1 clip explained" in capsys.readouterr().out
    page = (here / "report.html").read_text(encoding="utf-8")
    assert "The films stand on white: the frames were not saved with them." in page
    assert "data-relprop-player" in page


def test_relevance_that_is_no_number_is_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.rand(1, 3, 8, 8)
    e = relprop.Explanation(x * float("nan"), x, torch.rand(1, 2), torch.tensor([1]), "gradient")
    e.save(here / "out" / "c", picture=False)
    assert run(["report", "out"]) == 1
    out = capsys.readouterr().out
    assert "2 explanations" in out
    assert "NaN" in out
