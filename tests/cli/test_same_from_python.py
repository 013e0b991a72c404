"""A report made in Python is what the command draws, prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.detectors.nets import tiny_detector

import relprop
from relprop import reports
from relprop.cli import run
from relprop.detectors.sources import load_detector
from relprop.models.sources import load_model
from relprop.viz import render
from relprop.viz.film import save_gif

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.gate(self.conv(x)).mean((2, 3)))

class Clips(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.head(self.gate(self.conv(x)).mean((2, 3, 4)))
"""
TINY = f"{tiny_detector.__file__}:make"
CLIPS = "--model net.py:Clips --frames 4 --resize none --crop 16"
SAMPLING = {"frames": 4, "resize": None, "crop": 16}
NET = "--model net.py:Net --size 20 --labels names.txt"

Make = Callable[[Path], reports.Report]


def _net(**settings: Any) -> Any:
    return load_model("net.py:Net", size=(20, 20), labels="names.txt", **settings)


def _clips() -> Any:
    return load_model("net.py:Clips", size=(4, 16, 16))


CASES: dict[str, tuple[str, Make]] = {
    "picture": (
        f"explain a.png b.png {NET} --method lrp-epsilon --method clrp --target dog --target 2 --layer gate",
        lambda out: reports.picture(
            _net(), ["a.png", "b.png"], method=["lrp-epsilon", "clrp"], target=["dog", 2], layers=["gate"], out=out
        ),
    ),
    "one picture": (
        f"explain a.png {NET} --multi-label --mean .5,.5,.5 --std .5,.5,.5 -t predicted --scale shared --top 2",
        lambda out: reports.picture(
            _net(multi_label=True, mean=(0.5,) * 3, std=(0.5,) * 3), Path("a.png"),
            target="predicted", scale="shared", top=2, out=out,
        ),
    ),
    "detection": (
        f"detect a.png --model {TINY} --box 1 --versus 2",
        lambda out: reports.detection(load_detector(TINY), "a.png", box=1, versus=2, out=out),
    ),
    "detections": (
        f"detect a.png --model {TINY}",
        lambda out: reports.detection(lambda: load_detector(TINY), ["a.png"], out=out),
    ),
    "affine": (
        f"affine a.png {NET} --target 1 --versus owl --region",
        lambda out: reports.affine(_net, "a.png", target=1, versus="owl", region=True, out=out),
    ),
    "affine depth": (
        "affine --depth pictures --model net.py:Net --size 20 --layer gate --limit 2 --seed 1",
        lambda out: reports.affine_depth(
            lambda: load_model("net.py:Net", size=(20, 20)), "pictures", layers=["gate"], limit=2, seed=1, out=out
        ),
    ),
    "affine toy": (
        "affine --toy --seed 2 --point 0.3,0.2",
        lambda out: reports.affine_toy(2, (0.3, 0.2), out=out),
    ),
    "video": (
        f"video a.gif {CLIPS} --method gradient-x-input --scale 0.1",
        lambda out: reports.video(
            _clips(), "a.gif", method="gradient-x-input", scale=0.1, sampling=SAMPLING, out=out
        ),
    ),
    "motion": (
        f"video a.gif {CLIPS} --mode naive:slice=first",
        lambda out: reports.video(
            _clips(), ["a.gif"], mode="naive:slice=first", sampling=SAMPLING, out=out
        ),
    ),
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "pictures/c", "pictures/d", "pictures/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    save_gif(rng.integers(0, 256, (6, 24, 36, 3), dtype=np.uint8), tmp_path / "a.gif", 10)
    return tmp_path


def _files(folder: str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@pytest.mark.parametrize("name", CASES)
def test_a_notebook_gets_what_the_command_gets(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in ("video", "motion"):
        pytest.importorskip("av")
    words, make = CASES[name]
    assert run([*words.split(), "--out", "out", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    Path("out").rename("by-command")

    report = make(Path("out"))
    assert report.document == document
    json.dumps(report.document, allow_nan=False)
    assert _files("out") == _files("by-command")
    written = [
        file for file in _files("out") if file.endswith(".png") and not file.endswith("explanation.png")
    ]
    assert sorted(report.figures) == written
    for file, figure in report.figures.items():
        pixels = render(figure)
        for folder in ("out", "by-command"):
            with Image.open(Path(folder) / file) as picture:
                np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), pixels[..., :3])
    Path("out").rename("by-python")

    assert run([*words.split(), "--out", "out"]) == 0
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in report.lines())
    assert report.tables or name == "affine toy"
    for folder, numbers in report.numbers.items():
        kept = type(numbers).load(Path("by-command") / folder)
        same = "relevance" if isinstance(numbers, relprop.Explanation) else "temporal"
        assert torch.equal(getattr(kept, same), getattr(numbers, same))
    assert [file.removesuffix(".gif") for file in _files("out") if file.endswith(".gif")] == list(
        report.films
    )
    assert all(frames.dtype == np.uint8 and len(frames) == 4 for frames in report.films.values())


def test_nothing_is_written_until_it_is_saved(here: Path) -> None:
    before = _files(".")
    report = reports.picture(_net(), "a.png", method="lrp-0")
    assert _files(".") == before
    assert report.document["images"][0]["sheet"] == "a/sheet.png"
    assert "sheet" not in str(report)
    assert report._repr_html_().count("<img") == 1
    saved = report.save("there")
    assert saved.document["images"][0]["sheet"] == "there/a/sheet.png"
    assert "there/a/sheet.png" in str(saved)
    assert _files("there") == [
        "a/explain.json", "a/lrp-0/explanation.png", "a/lrp-0/manifest.json", "a/lrp-0/relevance.safetensors",
        "a/sheet.png",
    ]  # fmt: skip


def test_modules_and_tensors_do_too(here: Path) -> None:
    """What a notebook has at hand: a network of its own, an input, a configured method."""
    loaded = _net()
    x = loaded.preprocess(Image.open("a.png"))
    methods = [relprop.LRP(rule="epsilon"), relprop.LRP(rule="z-plus"), "gradient"]
    report = reports.picture(loaded.module, x, method=methods, target=1)
    (image,) = report.document["images"]
    assert [e["asked"] for e in image["explanations"]] == ["lrp", "lrp 2", "gradient"]
    assert list(report.figures) == ["picture/sheet.png"]
    e = relprop.explain(loaded.module, x, 1, relprop.LRP(rule="z-plus"))
    assert image["explanations"][1]["relevance_sum"] == [float(e.relevance.double().sum())]
    with pytest.raises(relprop.errors.InputError, match=r"torch\.nn\.Module"):
        reports.picture(loaded.module, "a.png")
    with pytest.raises(relprop.errors.InputError, match=r"tensor \(2, 3, 20, 20\)"):
        reports.picture(loaded.module, torch.cat([x, x]))


def test_clips_take_configured_methods_and_loaders(here: Path) -> None:
    pytest.importorskip("av")
    settings: dict[str, Any] = {"mode": "naive", "sampling": SAMPLING, "target": 0}
    asked = reports.video(_clips(), "a.gif", method="lrp-0:seed=one", **settings)
    report = reports.video(_clips, Path("a.gif"), method=relprop.LRP0(seed="one"), **settings)
    assert list(report.numbers) == ["a/naive_lrp-0"]
    assert report.document["clips"][0]["films"] == asked.document["clips"][0]["films"]


def test_progress_is_told(here: Path) -> None:
    told: list[tuple[float, int, str]] = []
    reports.picture(_net(), ["a.png", "b.png"], method="gradient", progress=lambda *step: told.append(step))
    a, b = "a.png: gradient", "b.png: gradient"
    assert told == [(0, 2, a), (1, 2, a), (1, 2, b), (2, 2, b)]
