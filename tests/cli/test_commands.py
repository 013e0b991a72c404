"""The commands, from the words typed to the files and the text that come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.close import assert_close_to_rounding

import relprop
from relprop.cli import run
from relprop.methods.registry import METHODS
from relprop.models import models
from relprop.tracing.segments import Segments

FACTORY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        convs = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.features = nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))
"""


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("Usage: relprop"), err) == (True, "")
    assert max(map(len, out.splitlines())) <= 100
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == out
    assert run(["--debug"]) == 2  # an option that stands alone is a mistake
    assert "Missing command" in capsys.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
    return tmp_path


COMMON = ["--model", "net.py:Net", "--size", "32", "--labels", "names.txt"]


def test_explain_writes_a_sheet_and_folders(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "explain",
        "a.png",
        "b.jpg",
        *COMMON,
        "--target",
        "dog",
        "--target",
        "2",
        "--layer",
        "features.2",
    ]
    command += ["--method", "lrp-epsilon", "--method", "gradient"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "dog" in out
    assert "yes" in out  # the ledger's verdict
    for name in ("a", "b"):
        folder = here / "relprop-out" / name
        assert {p.name for p in folder.iterdir()} == {"sheet.png", "explain.json", "lrp-epsilon", "gradient"}
        with Image.open(folder / "sheet.png") as sheet:
            assert sheet.width > 3 * 200  # columns
            assert sheet.height > 2 * 200  # rows
        e = relprop.Explanation.load(folder / "lrp-epsilon")
        assert e.targets.flatten().tolist() == [1, 2]
        assert e.layers["features.2"].shape[2] == 4
    assert run(command) == 0  # again, over the old results


OPEN = """
from torch import nn
import relprop
from relprop.rules import Rule
from relprop.tracing.flow import Flow


class Swallows(Rule):
    kinds = frozenset({"linear"})

    def cross(self, site, flow):
        return [Flow([p.new_zeros(p.shape[0], *site.x.shape) for p in flow.parts], False)]


half = relprop.LRP(composite=relprop.Composite([("linear", Swallows())], name="half"))
"""


def test_warnings_stand_with_their_map(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A map of zeros is none that adds up, and each warning is printed once, with its map's name; exit code 0."""
    (here / "low.py").write_text(
        FACTORY
        + "\n\ndef low():\n    net = Net()\n    nn.init.constant_(net.head.bias, -100.0)\n    return net\n"
    )
    command = ["explain", "a.png", "--model", "low.py:low", "--size", "32", "--target", "1"]
    command += ["--method", "deep-taylor", "--method", "gradient"]
    assert run(command) == 0
    out, err = capfd.readouterr()
    assert err == ""
    (row,) = [line for line in out.splitlines() if line.startswith("deep-taylor ")]
    assert "all zero" in row
    assert "yes" not in row
    assert out.count("WARNING, deep-taylor: The map of deep-taylor is zero everywhere") == 1
    assert out.count("WARNING, deep-taylor: The explained output is") == 1
    assert "WARNING, gradient" not in out
    assert run([*command, "--json"]) == 0
    first, second = json.loads(capfd.readouterr().out)["images"][0]["explanations"]
    assert first["adds_up"] == "all zero"
    assert len(first["warnings"]) == 2
    assert (second["adds_up"], second["warnings"]) == ("no ledger", [])
    assert relprop.Explanation.load(first["folder"]).warnings == tuple(first["warnings"])


def test_an_open_ledger_is_exit_code_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is written and printed, and scripts notice."""
    (here / "open.py").write_text(OPEN)
    assert run(["explain", "a.png", *COMMON, "--method", "open.py:half"]) == 1
    out = capsys.readouterr().out
    assert "WARNING, open.py:half: The ledger does not close" in out
    assert (here / "relprop-out" / "a" / "sheet.png").exists()


def test_contrasts_add_up_before_they_are_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "a.png", *COMMON, "--method", "clrp", "--method", "lrp-0"]) == 0
    out = capsys.readouterr().out
    assert "clrp †" in out
    assert "lrp-0 †" not in out
    assert "† adds up before the contrast" in out


def test_a_sigmoid_at_the_end_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "def p():\n    return nn.Sequential(Net(), nn.Sigmoid())\n"
    (here / "p.py").write_text(FACTORY + "\n\n" + text)
    assert run(["explain", "a.png", "--model", "p.py:p", "--size", "32", "--multi-label"]) == 0
    assert (
        capsys.readouterr().out.count("Note: Explained is the value in front of the last sigmoid (at 0)") == 1
    )
    assert run(["inspect", "--model", "p.py:p", "--size", "32"]) == 0
    assert "relevance starts in front of the last sigmoid, at 0" in capsys.readouterr().out


def test_numbers_are_those_of_the_library(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from relprop.models.sources import load_model

    assert run(["explain", "a.png", *COMMON, "--method", "lrp-epsilon:epsilon=0.01", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    model = load_model("net.py:Net", size=(32, 32))
    with Image.open("a.png") as picture:
        x = model.preprocess(picture)
    e = relprop.explain(model.module, x, method=METHODS["lrp-epsilon"](epsilon=0.01))
    (image,) = document["images"]
    (found,) = image["explanations"]
    saved = relprop.Explanation.load(found["folder"])
    assert torch.equal(saved.relevance, e.relevance)
    assert found["relevance_sum"] == pytest.approx([float(e.relevance.double().sum())])
    assert found["ledger"]["closes"] is True
    assert found["settings"]["epsilon"] == 0.01
    assert image["targets"] == [{"index": int(e.targets), "name": ["cat", "dog", "owl"][int(e.targets)]}]
    assert sum(p["score"] for p in image["predictions"]) == pytest.approx(1)


def test_versus_is_the_difference_of_two_maps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["explain", "a.png", *COMMON, "--random-weights", "--method", "lrp-epsilon"]
    assert run([*common, "--target", "dog", "--target", "owl", "--out", "both"]) == 0
    assert run([*common, "--target", "dog", "--versus", "owl", "--out", "versus"]) == 0
    both = relprop.Explanation.load(here / "both" / "a" / "lrp-epsilon").relevance
    e = relprop.Explanation.load(here / "versus" / "a" / "lrp-epsilon")
    assert_close_to_rounding(e.relevance, both[0] - both[1], 300, float(both.abs().max()))
    assert len(e.asked) == 1
    assert run([*common, "--target", "dog", "--versus", "dog"]) == 2
    assert "another class than target" in capsys.readouterr().err


def test_memory_is_a_limit_and_changes_no_number(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["explain", "a.png", *COMMON, "--random-weights", "--method", "lrp-epsilon", "--target", "dog"]
    assert run([*common, "--out", "plain"]) == 0
    limits = []
    cut = Segments.of

    def watched(graph: Any, sizes: Any, limit: int) -> Segments | None:
        limits.append(limit)
        return cut(graph, sizes, limit)

    monkeypatch.setattr(Segments, "of", watched)
    assert run([*common, "--memory", "low", "--out", "low"]) == 0
    assert run([*common, "--memory", "2MB", "--out", "small"]) == 0
    assert set(limits) == {0, 2_000_000}
    plain = relprop.Explanation.load(here / "plain" / "a" / "lrp-epsilon")
    for out in ("low", "small"):
        found = relprop.Explanation.load(here / out / "a" / "lrp-epsilon")
        assert_close_to_rounding(found.relevance, plain.relevance, 300)
    capsys.readouterr()
    assert run([*common, "--memory", "lots"]) == 2
    assert "Expected a memory limit in bytes" in capsys.readouterr().err


def test_json_alone_on_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "a.png", *COMMON, "--json", "--method", "gradient", "--target", "predicted"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert document["images"][0]["explanations"][0]["ledger"] is None


def test_multi_label(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "a.png", *COMMON, "--json", "--multi-label", "--target", "predicted"]) == 0
    image = json.loads(capsys.readouterr().out)["images"][0]
    above = [p["index"] for p in image["predictions"] if p["score"] >= 0.5]
    assert [t["index"] for t in image["targets"]] == (above or [image["predictions"][0]["index"]])


def test_foreign_folders_are_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = here / "relprop-out" / "a" / "gradient"
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("years of work")
    assert run(["explain", "a.png", *COMMON, "--method", "gradient"]) == 1
    assert (mine / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("model", sorted(models()))
def test_bundled_models(model: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from relprop.datasets import Scenes

    Image.fromarray(Scenes(split="test")[0].image).save("scene.png")
    assert run(["explain", "scene.png", "--model", model, "--target", "predicted", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["multi_label"] is True
    assert document["images"][0]["explanations"][0]["ledger"]["closes"] is True


def test_inspect(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "--model", "net.py:Net", "--size", "32"]) == 0
    assert "conv2d" in capsys.readouterr().out
    assert run(["inspect", "--model", "net.py:Net", "--size", "32", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["input_size"] == [32, 32]
    assert any("conv2d" in json.dumps(row) for row in document["rows"])


def test_methods_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in METHODS)
    assert run(["methods", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(METHODS)
    assert run(["models"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*models(), "scenes-ssd", "motion-c3d", "c3d with"))
    assert run(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == {*models(), "efficientnet-lite0", "scenes-ssd", "motion-c3d"}
    assert listed["motion-c3d"].startswith("for relprop video: ")
    assert run(["models", "--source", "torchvision"]) == 0
    assert "torchvision:resnet18\n" in capsys.readouterr().out


def _installed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("relprop")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_installed_command() -> None:
    assert _installed("--version").stdout.startswith("relprop 0.")
    helped = _installed("explain", "--help")
    assert helped.returncode == 0
    assert "--method" in helped.stdout
    assert _installed().returncode != 1  # the help text


def test_a_terminal_gets_a_progress_bar(here: Path) -> None:
    if os.name != "posix":
        pytest.skip("no pseudo-terminals here")
    import pty

    command = [
        str(Path(sys.executable).with_name("relprop")),
        "explain",
        "a.png",
        *COMMON,
        "--method",
        "gradient",
    ]
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 1024)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    assert process.wait() == 0
    assert b"a.png: gradient" in shown
