"""`relprop explain` of folders, patterns and long lists: each on the disk, one line each, and it goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relprop import reports
from relprop.cli import run
from relprop.explanation import Explanation

MODEL = ["--model", "scenes-vgg"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(4):
        noise = rng.integers(0, 256, (80, 90 + i, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"p{i}.png")
    return tmp_path


def test_a_folder_has_a_sheet_and_numbers_each_and_a_summary(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", "photos", *MODEL, "-x", "lrp-epsilon", "-x", "gradient", "--out", "out"]) == 0
    text = capsys.readouterr().out
    assert "4 pictures through scenes-vgg" in text
    assert "Summary: out/summary.csv" in text
    for i in range(4):
        with Image.open(f"out/p{i}/sheet.png") as sheet:
            assert sheet.width > 300
        for method in ("lrp-epsilon", "gradient"):
            assert Explanation.load(f"out/p{i}/{method}").name == f"p{i}.png"
    rows = list(csv.DictReader(Path("out/summary.csv").read_text().splitlines()))
    assert [(row["picture"], row["method"]) for row in rows] == [
        (f"photos/p{i}.png", method) for i in range(4) for method in ("lrp-epsilon", "gradient")
    ]
    assert (
        run(["explain", "photos/*.png", *MODEL, "-x", "lrp-epsilon", "-x", "gradient", "--out", "out"]) == 0
    )
    assert "0 pictures through scenes-vgg (weights: bundled); 4 were there already" in capsys.readouterr().out


def test_json_is_one_document_and_the_same_from_python(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", "photos", *MODEL, "--out", "out", "--target", "dotted ball", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    report = reports.pictures("scenes-vgg", "photos", target="dotted ball", out="other")
    assert [row["target"] for row in document["rows"]] == [1] * 4
    for row, other in zip(document["rows"], report.document["rows"], strict=True):
        assert row == other
    assert document["summary"] == "out/summary.csv"


def test_every_predicted_class_of_each_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "photos", *MODEL, "--out", "out", "--target", "predicted", "--target", "0"]) == 0
    rows = list(csv.DictReader(Path("out/summary.csv").read_text().splitlines()))
    for i in range(4):
        asked = [int(row["target"]) for row in rows if row["picture"] == f"photos/p{i}.png"]
        assert run(["explain", f"photos/p{i}.png", *MODEL, "-t", "predicted", "-t", "0", "--json"]) == 0
        capsys.readouterr()
        (page,) = reports.picture("scenes-vgg", f"photos/p{i}.png", target=["predicted", 0]).document[
            "images"
        ]
        assert asked == [target["index"] for target in page["targets"]]


def test_a_broken_picture_is_named_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/p1.png").write_bytes(b"\x89PNG no more")
    assert run(["explain", "photos", *MODEL, "--out", "out"]) == 1
    text = capsys.readouterr().out
    assert "FAILED, photos/p1.png: Expected" in text
    assert sorted(p.parent.name for p in Path("out").rglob("sheet.png")) == ["p0", "p2", "p3"]


def test_other_settings_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "photos", *MODEL, "--out", "out"]) == 0
    assert run(["explain", "photos", *MODEL, "--out", "out", "--method", "gradient"]) == 2
    assert "Expected results of the same method in 'out'" in capsys.readouterr().err


def test_what_fits_one_picture_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "photos", *MODEL, "--region", "photos/p0.png"]) == 2
    assert "Expected --region all" in capsys.readouterr().err
    assert run(["explain", "nowhere/*.png", *MODEL]) == 2
    assert "holds none" in capsys.readouterr().err


def test_a_few_files_have_a_page_each_and_many_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"photos/p{i}.png" for i in range(4)]
    assert run(["explain", *files[:2], *MODEL, "--method", "gradient", "--out", "few"]) == 0
    assert "Where the relevance went" in capsys.readouterr().out
    assert not Path("few/summary.csv").exists()
    assert run(["explain", *files * 3, *MODEL, "--method", "gradient", "--batch", "5", "--out", "many"]) == 0
    assert "12 pictures through" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals as POSIX has them")
def test_ctrl_c_leaves_nothing_half_written_and_the_command_goes_on(here: Path) -> None:
    with Image.open("photos/p0.png") as image:
        for i in range(4, 12):
            image.rotate(i).save(f"photos/p{i}.png")
    # Whoever was started in the background has inherited a deaf ear for SIGINT.
    hears = (
        "import signal; signal.signal(2, signal.default_int_handler); from relprop.cli import main; main()"
    )
    command = [sys.executable, "-c", hears, "explain", "photos", *MODEL]
    process = subprocess.Popen([*command, "--out", "out", "--batch", "2"], stderr=subprocess.PIPE, text=True)
    kept = Path("out/pictures.jsonl")
    while not (kept.exists() and kept.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)  # the core is the command's
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert [p for p in Path("out").rglob("*") if ".part" in p.name] == []
    done = len(Path("out/pictures.jsonl").read_text().splitlines())
    assert 0 < done < 12
    assert len(Path("out/summary.csv").read_text().splitlines()) == done + 1
    report = reports.pictures("scenes-vgg", "photos", batch=2, out="out")
    assert report.document["pictures"] == {"computed": 12 - done, "kept": done, "failed": 0}
