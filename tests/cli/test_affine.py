"""`relprop affine`, from the words typed to the figures and numbers that come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import relprop
from relprop.cli import run
from relprop.datasets import demo_image_path
from relprop.models.sources import load_model

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, gate=nn.ReLU):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.norm, self.gate = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), gate()
        self.head = nn.Linear(4, 3)
        self.norm.running_mean.uniform_(-0.3, 0.3)

    def forward(self, x):
        return self.head(self.gate(self.norm(self.conv(x))).mean((2, 3)))

def smooth():
    return Net(nn.SiLU)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["affine", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_demo_scene(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["affine"]) == 0
    said = capsys.readouterr().out
    assert "through scenes-vgg (weights: bundled)" in said
    assert "features.conv4_1" in said
    assert "Σ W·X + all of them misses the score by" in said
    folder = here / "relprop-out" / demo_image_path().stem
    for name in ("layers.png", "bias.png", "bias-maps.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 600
    kept = relprop.Explanation.load(folder / "affine")
    assert kept.method == "affine"


def test_numbers_are_those_of_the_library(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(
        capsys, "a.png", "--model", "net.py:Net", "--size", "20", "--target", "1", "--versus", "2",
        "--layer", "gate", "--region",
    )["images"][0]  # fmt: skip
    model = load_model("net.py:Net", size=(20, 20))
    x = model.preprocess(Image.open("a.png"))
    for layer in found["layers"]:
        at = None if layer["layer"] == "input" else layer["layer"]
        form = relprop.affine(model.module, x, 1, at, versus=2)
        assert layer["bias"] == pytest.approx(float(form.bias), rel=1e-9)
        assert layer["bias_share"] == pytest.approx(float(form.bias_share), rel=1e-9)
    assert [layer["layer"] for layer in found["layers"]] == ["input", "gate"]
    amounts = [owner["amount"] for owner in found["owners"]]
    assert {owner["kind"] for owner in found["owners"]} == {"bias", "batch norm"}
    assert sum(amounts) == pytest.approx(found["layers"][0]["bias"], abs=1e-6)
    for owner in found["owners"]:
        assert sum(owner["channels"]) == pytest.approx(owner["amount"], rel=1e-9, abs=1e-12)
    assert found["score"] == pytest.approx(float(form.score))
    assert found["exact"] is True
    assert found["region"]["distance"] > 0
    assert 0 < found["region"]["missed"] < 1


def test_another_network_is_refused_or_linearised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a.png", "--model", "net.py:smooth", "--size", "20"]
    assert run(["affine", *words]) == 1
    assert "Expected a piece-wise affine network but operator 'silu'" in capsys.readouterr().err
    assert not (here / "relprop-out").exists()
    found = _json(capsys, *words, "--linearise")["images"][0]
    assert found["exact"] is False
    assert 0 < found["linearisation_error"]["relative"] < 1


def test_depth_goes_on_where_it_stopped(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from relprop.reports import depth as study

    words = [".", "--depth", "--model", "net.py:Net", "--size", "20", "--layer", "gate"]
    whole = _json(capsys, *words, "--out", "whole")
    (rows,) = whole["models"].values()
    assert [(row["layer"], row["n"]) for row in rows] == [("input", 3), ("gate", 3)]
    model = load_model("net.py:Net", size=(20, 20))
    pictures = torch.cat([model.preprocess(Image.open(f"{name}.png")) for name in "abc"])
    found = relprop.piecewise.bias_ratio_by_depth(model.module, pictures, layers=["gate"])
    assert rows == pytest.approx([pytest.approx(row) for row in found.table()])
    assert (here / "whole" / "depth.png").is_file()

    measured, calls = study._one, []

    def counting(*args: Any) -> Any:
        calls.append(args[1].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(study, "_one", counting)
    assert run(["affine", *words, "--out", "cut", "--json"]) == 130
    assert not (here / "cut" / "depth.png").exists()
    capsys.readouterr()
    with (here / "cut" / "depth.jsonl").open("a") as file:
        file.write('{"key": ["net.py:N')  # a line that was being written when the power went
    again = _json(capsys, *words, "--out", "cut")
    assert calls == ["a.png", "b.png", "b.png", "c.png"]
    assert again["models"] == whole["models"]
    assert (here / "cut" / "depth.jsonl").read_text() == (here / "whole" / "depth.jsonl").read_text()


def test_depth_measures_other_weights_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a.png", "--depth", "--model", "net.py:Net", "--size", "20", "--layer", "gate"]
    first = _json(capsys, *words)["models"]["net.py:Net"]
    (here / "net.py").write_text(FACTORY.replace("manual_seed(3)", "manual_seed(4)"))
    other = _json(capsys, *words)["models"]["net.py:Net"]
    assert first != other
    moved = _json(capsys, *words, "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2")["models"]["net.py:Net"]
    assert moved != other


def test_depth_draws_some_of_the_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [".", "--depth", "--model", "net.py:Net", "--size", "20", "--limit", "2"]
    drawn = _json(capsys, *words, "--seed", "1")["images"]
    assert len(drawn) == 2
    assert drawn == _json(capsys, *words, "--seed", "1")["images"]


def test_the_toy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "--toy", "--point", "0.2,0.9", "--seed", "1")
    assert found["pieces"] > 20
    assert found["accuracy"] > 0.95
    assert (here / "relprop-out" / "toy.png").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--toy", "--point", "1"], "Expected --point X,Y but got 1 numbers."),
        (["--toy", "--point", "9,9"], "Expected a point (x_1, x_2) in the window"),
        (["a.png", "-m", "scenes-vgg", "-m", "scenes-resnet"], "Expected one --model but got 2."),
        (["a.png", "-m", "motion-c3d"], "Expected a model of pictures but motion-c3d takes clips."),
        (["nowhere.png"], "Expected a picture file but got 'nowhere.png', which does not exist."),
        (["a.png", "--layer", "nowhere"], "'nowhere'"),
        (["a.png", "--versus", "99"], "Expected a class index from 0 to 7 but got 99."),
        (["empty", "--depth"], "Expected pictures in 'empty' but it holds none"),
        (
            [".", "--depth", "-m", "scenes-vgg", "-m", "scenes-resnet", "--weights", "w.pth"],
            "Expected one --model with --weights but got several.",
        ),
    ],
)
def test_bad_input(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    (here / "empty").mkdir()
    (here / "w.pth").touch()
    assert run(["affine", *words]) == 2
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not (here / "relprop-out").exists()
