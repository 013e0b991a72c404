"""The class-map benchmark measures what it says: scores, the world's answer, and whole runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.crp_truth import without
from tests.benchmarks.test_crp_scenes import detector, scene

from benchmarks import detection_maps
from relprop.datasets import Scene
from relprop.detectors import Detector

__all__ = ["detector", "scene"]  # fixtures


def test_scores() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:9, 5:9] = True
    heat = torch.zeros(20, 20)
    heat[5:9, 5:9] = 1.0
    assert detection_maps.scores_of(heat, mask) == {
        "energy": 1.0,
        "rank": 1.0,
        "hit": 1.0,
        "within 3 px": 1.0,
    }
    heat[7, 11] = 16.0  # three pixels from the object
    heat[0, 0] = -50.0  # blue counts for nothing
    found = detection_maps.scores_of(heat, mask)
    assert found == {"energy": 0.5, "rank": 15 / 16, "hit": 0.0, "within 3 px": 1.0}
    heat[7, 15] = 32.0
    assert detection_maps.scores_of(heat, mask)["within 3 px"] == 0.5
    assert detection_maps.scores_of(torch.zeros(20, 20), mask)["energy"] == 0.0


def test_the_world_is_a_game_of_two(detector: Detector, scene: Scene) -> None:
    seen: list[np.ndarray] = []

    class Told(detection_maps.Measurement):
        margins = (10.0, 4.0, 7.0, 1.0)  # all, without the object, the object alone, neither

        def _margins(self, pictures: object, anchor: int, slopes: torch.Tensor) -> torch.Tensor:
            seen.extend(pictures)  # type: ignore[call-overload]
            return torch.tensor(self.margins)

    told = Told(detector, 0, 1)
    k = len(scene) - 1
    # The object adds 6 to nothing and 6 to the rest, the rest 3 to nothing and 3 to the object.
    assert told._world(scene, k, 0, torch.zeros(1)) == pytest.approx(6 / 9)
    everything, rest, alone, nothing = seen
    mask = scene.masks[k]
    np.testing.assert_array_equal(everything, scene.image)
    np.testing.assert_array_equal(rest, without(scene, k))
    # Its soft edge aside, the object as it was (the last one, nothing hides it), and another backdrop around it.
    rim = torch.nn.functional.max_pool2d(torch.from_numpy(np.stack([mask, ~mask])).float(), 3, 1, 1)
    inner, outer = (1 - rim.flip(0)).bool().numpy()
    assert inner.any()
    np.testing.assert_array_equal(alone[inner], scene.image[inner])
    np.testing.assert_array_equal(alone[outer], nothing[outer])
    assert (nothing != scene.image).any(-1).mean() > 0.9  # another backdrop
    told.margins = (1.0, 4.0, 0.0, 3.0)  # everything else speaks for it, the object against
    assert told._world(scene, k, 0, torch.zeros(1)) == 0.0
    told.margins = (0.0, 1.0, 1.0, 2.0)
    assert told._world(scene, k, 0, torch.zeros(1)) is None


def test_a_run_and_its_tables(detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--split", "val", "--masks", "3", "--occluded", "1", "--out", str(tmp_path)]
    assert detection_maps.main(["--scenes", "2", *common]) == 0
    settings, *lines = map(
        json.loads, (tmp_path / "part-1-of-1.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert settings["occluded"] == 1
    records = [r for one in lines for r in one["records"]]
    assert records
    for record in records:
        assert record["ledger"] < 1e-6
        maps = record["maps"]
        assert maps["margin-rsp"]["rank"] == pytest.approx(maps[detection_maps.SQUARED]["rank"])
        occluded = {detection_maps.SLIDING, detection_maps.DRISE}
        assert set(maps) == set(detection_maps.ORDER) - (occluded if record["scene"] else set())
    capsys.readouterr()
    assert detection_maps.main(["--scenes", "2", "--tables-only", *common]) == 0
    assert "Less crp, paired" in capsys.readouterr().out
    with (tmp_path / "detection_maps.csv").open(encoding="utf-8") as file:
        rows = {(r["method"], r["score"]): float(r["value"]) for r in csv.DictReader(file)}
    expected = np.mean([r["maps"]["agreement"]["energy"] for r in records])
    assert rows["agreement", "energy"] == pytest.approx(expected)
