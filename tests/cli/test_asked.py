"""`--output`, `--region`, `--start` and `inspect --method`: the same numbers as from Python."""

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
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model

NET = """
import torch
from torch import nn

class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        maps = self.head(self.body(x))
        return {"maps": maps, "scores": maps.mean((2, 3)), "two": maps[:, :2].mean((2, 3))}
"""
MODEL = "--size 32 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --method lrp-epsilon"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    region = np.zeros((32, 32), np.uint8)
    region[8:24, 4:20] = 255
    Image.fromarray(region).save("region.png")
    return tmp_path


def ran(line: str) -> relprop.Explanation:
    assert run(["explain", "a.png", "--model", "net.py:Maps", *MODEL.split(), *line.split()]) == 0
    return relprop.Explanation.load(Path("relprop-out/a/lrp-epsilon"))


@pytest.fixture
def loaded(here: Path) -> LoadedModel:
    return load_model("net.py:Maps", size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


def ours(loaded: LoadedModel, target: Any, **asked: Any) -> relprop.Explanation:
    return relprop.explain(
        loaded.module, loaded.preprocess(read_picture("a.png")), target, "lrp-epsilon", **asked
    )


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
def test_the_same_numbers_as_from_python(loaded: LoadedModel) -> None:
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 2:10] = True  # the positions that the region's pixels fall on
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("--output scores --target 2", 2, {"output": "scores"}),
        ("--output 2 --target 1 --versus 0", 1, {"output": 2, "versus": 0}),
        ("--output maps --region region.png --target 1", 1, {"output": "maps", "region": inside}),
        ("--output maps --region all --target 1", 1, {"output": "maps", "region": "all"}),
        ("--output maps --start body --target 3", 3, {"output": "maps", "start": "body"}),
        (
            "--output maps --start body --region region.png --target 3",
            3,
            {"output": "maps", "start": "body", "region": inside},
        ),
    ]
    for line, target, asked in cases:
        theirs, mine = ran(line), ours(loaded, target, **asked)
        assert torch.equal(theirs.relevance, mine.relevance), line  # the same code on the same data
        assert theirs.asked == mine.asked
        assert theirs.ledger is not None
        assert theirs.ledger.closes


def test_a_region_is_cut_like_its_picture(loaded: LoadedModel) -> None:
    """A picture twice as wide: its centre is what the network sees, and so is that of the region."""
    wide = np.zeros((32, 64), np.uint8)
    wide[8:24, 20:36] = 255  # 16 pixels are cut off on the left
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 16:48] = np.asarray(Image.open("a.png"))
    Image.fromarray(pixels).save("a.png")
    Image.fromarray(wide).save("wide.png")
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 2:10] = True
    theirs = ran("--output maps --region wide.png --target 1")
    assert torch.equal(theirs.relevance, ours(loaded, 1, output="maps", region=inside).relevance)


def test_top_is_that_of_what_is_asked(loaded: LoadedModel, capsys: pytest.CaptureFixture[str]) -> None:
    ran("--output maps --region region.png --json")
    said = json.loads(capsys.readouterr().out)["images"][0]
    x = loaded.preprocess(read_picture("a.png"))
    sums = loaded.module(x)["maps"][0, :, 4:12, 2:10].flatten(1).sum(1)
    assert said["targets"][0]["index"] == int(sums.argmax())
    assert (said["output"], said["region"]) == ("maps", "region.png")
    assert [p["output"] for p in said["predictions"]] == pytest.approx(
        sums.sort(descending=True).values.tolist(), rel=1e-5
    )
    ran("--output maps --start body --json")
    said = json.loads(capsys.readouterr().out)["images"][0]
    strongest = int(loaded.module.body(x)[0].sum((1, 2)).argmax())  # type: ignore[operator,union-attr]
    assert said["targets"] == [{"index": strongest, "name": f"body[{strongest}]"}]
    assert said["predictions"][0]["score"] is None


def test_inspect_shows_the_rules_of_a_method(loaded: LoadedModel, capsys: pytest.CaptureFixture[str]) -> None:
    line = "inspect --model net.py:Maps --size 32 --output scores --method"
    for method in ("lrp-composite", "attnlrp:gamma=0.5", "rsp"):
        assert run([*line.split(), method]) == 0
        expected = str(relprop.inspect(loaded.module, loaded.example(), method, output="scores"))
        assert capsys.readouterr().out == expected + "\n"
    assert run([*line.split(), "lrp-gamma", "--start", "body", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["start"], said["rules"], said["complete"]) == ("at body", "LRP (gamma)", True)
    assert [row["operator"] for row in said["rows"]] == ["conv2d + relu"]
