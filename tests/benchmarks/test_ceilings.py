"""The ceilings' benchmark: groups of parts, rows, and runs that go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ceilings
from relprop.datasets import Scenes, SceneWorld


def test_groups_and_shares() -> None:
    scene = next(s for s in Scenes(n=9, size=48, seed=3) if len(s) == 2)
    world = SceneWorld(scene)
    groups = ceilings.scene_groups(scene, [True, False])
    names = {
        name: [p.name for p, own in zip(world.parts, of, strict=True) if own] for name, of in groups.items()
    }
    assert names == {
        "object": ["object 0"],
        "with its shadow": ["object 0", "shadow 0"],
        "other objects": ["object 1"],
        "shadows": ["shadow 0", "shadow 1"],
        "backdrop": ["backdrop"],
    }
    found = ceilings.shares(world, np.array([6.0, -2.0, 1.0, 0.0, 3.0]), groups)
    assert found["shares"] == {
        "object": 0.6, "with its shadow": 0.7, "other objects": 0.0, "shadows": 0.1, "backdrop": 0.3
    }  # fmt: skip
    assert (found["total"], found["against"]) == (8.0, 0.2)
    assert ceilings.shares(world, -np.ones(5), groups) == {"shares": {}, "total": -5.0, "against": None}


def test_clips_and_scenes_and_a_run_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--draws", "1", "--seed", "3", "--out", str(tmp_path)]
    assert ceilings.main(["scenes-vgg", "motion-c3d-turn", "--items", "2", *common]) == 0
    capsys.readouterr()
    assert ceilings.main(["scenes-vgg", "motion-c3d-turn", "--items", "3", *common]) == 0
    said = capsys.readouterr().out
    assert "| scenes-vgg " in said
    assert "camera" in said
    for name in ("scenes-vgg-3", "motion-c3d-turn-3"):
        settings, *lines = map(json.loads, (tmp_path / name / "part-1-of-1.jsonl").read_text().splitlines())
        assert settings["draws"] == 1
        assert [line["scene"] for line in lines] == [0, 1, 2]
        for record in (r for line in lines for r in line["records"]):
            shares = record["shares"]
            parts = [s for s in shares if s != "with its shadow"]
            assert sum(shares[s] for s in parts) == pytest.approx(1.0)
    with pytest.raises(SystemExit, match="other settings"):
        ceilings.main(["scenes-vgg", "--items", "1", "--seed", "3", "--out", str(tmp_path)])
