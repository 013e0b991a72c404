"""The bundled detector loads, is what its card says, finds objects, and refuses damaged files."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_tensors
from torch import nn

import relprop
from relprop.datasets import CLASSES, Scenes
from relprop.detectors.boxes import iou
from relprop.detectors.bundled import load, models
from relprop.detectors.scene_ssd import HEADS, SIZE, SceneSSD
from relprop.detectors.scoring import Found, Truth, mean_average_precision
from relprop.errors import RelpropError, UnknownNameError
from relprop.models import bundled

NAME = "scenes-ssd"
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_ssd.py"
WEIGHTS = Path(str(files("relprop.models") / "weights"))
CARD = json.loads((WEIGHTS / f"{NAME}.json").read_text(encoding="utf-8"))


def test_card_matches_the_files() -> None:
    detector = load(NAME)
    data = (WEIGHTS / f"{NAME}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == CARD["sha256"]
    assert len(data) < 4_000_000
    assert sum(p.numel() for p in detector.raw.parameters()) == CARD["parameters"]
    assert detector.classes == CARD["classes"] == ["background", *CLASSES]
    assert CARD["test"]["scenes"] >= 1000
    assert CARD["test"]["seed"] != CARD["training"]["data_seed"]
    assert CARD["test"]["split"] != CARD["training"]["split"]
    assert CARD["test"]["mAP"] == pytest.approx(np.mean(list(CARD["test"]["AP"].values())))
    assert CARD["test"]["mAP"] >= 0.80
    assert list(models()) == [NAME]


def test_measured_again() -> None:
    """On 100 other unseen scenes, through the detector, the mAP is high and near the card's."""
    detector = replace(load(NAME), score_threshold=0.01)
    found, truth = [], []
    for scene in Scenes(size=SIZE, n=100, seed=77, split="test"):
        seen = detector(scene.image)
        found.append(
            Found(seen.boxes.double().numpy(), seen.labels.numpy() - 1, seen.scores.double().numpy())
        )
        truth.append(Truth(scene.boxes, scene.labels, scene.difficult))
    score, _ = mean_average_precision(found, truth, range(len(CLASSES)))
    assert score >= 0.8
    assert abs(score - CARD["test"]["mAP"]) < 0.05


def test_finds_objects_in_pictures_of_any_size() -> None:
    """The picture is squashed to a square; boxes come back in the picture's own pixels."""
    detector = load(NAME)
    scene = next(s for s in Scenes(n=20, seed=3, split="test") if len(s) == 2 and not s.difficult.any())
    wide = Image.fromarray(scene.image).resize((3 * SIZE, 2 * SIZE), Image.Resampling.BILINEAR)
    for picture, scale in ((scene.image, (1, 1)), (wide, (3, 2))):
        found = detector(picture)
        assert sorted(d.name for d in found) == sorted(scene.names)
        boxes = torch.from_numpy(scene.boxes) * torch.tensor([*scale, *scale])
        for box, name in zip(boxes, scene.names, strict=True):
            (mine,) = [d for d in found if d.name == name]
            assert float(iou(mine.box[None].double(), box[None])) > 0.6


def test_ready_to_explain() -> None:
    detector = load(NAME)
    kinds = {type(module) for module in detector.raw.modules()}
    assert isinstance(detector.raw, SceneSSD)
    assert nn.BatchNorm2d not in kinds
    assert not any(module.training for module in detector.raw.modules())
    assert all(p.dtype == torch.float32 for p in detector.raw.parameters())
    assert load(NAME).raw is not detector.raw


def test_ledger_closes_at_every_scale() -> None:
    """A detection of each head, the one behind the L2 norm too: its class and an offset."""
    detector = load(NAME)
    ends = np.cumsum([scale.cells**2 * len(scale.sides) for scale in HEADS])
    seen = set()
    for scene in Scenes(size=SIZE, n=20, seed=3, split="test"):
        for detection in detector(scene.image):
            head = int(np.searchsorted(ends, detection.anchor, side="right"))
            if head not in seen:
                seen.add(head)
                e = relprop.explain_detection(detector, scene.image, detection, of=["class", "w"])
                assert e.ledger.closes
    assert seen == {0, 1, 2}


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'scenes-sdd'.*Valid: scenes-ssd"):
        load("scenes-sdd")


def test_damaged_or_missing_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(bundled, "files", lambda package: tmp_path)
    weights = tmp_path / "weights" / f"{NAME}.safetensors"
    load(NAME)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RelpropError, match=r"SHA-256.*train_ssd\.py"):
        load(NAME)
    weights.unlink()
    with pytest.raises(RelpropError, match="can't be read"):
        load(NAME)


def test_one_command_makes_weights_and_card(tmp_path: Path) -> None:
    """A tiny run of the script writes what the package ships. (`fit` itself is tested with the classifiers.)"""
    if not SCRIPT.exists():
        pytest.skip("needs a source checkout")
    sizes = {"--scenes": 8, "--val-scenes": 10, "--test-scenes": 10, "--epochs": 1}
    places = {"--cache": tmp_path / "cache", "--out": tmp_path / "out"}
    command = [sys.executable, SCRIPT, *(v for item in (sizes | places).items() for v in item)]
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=300)
    data = (tmp_path / "out" / f"{NAME}.safetensors").read_bytes()
    card = json.loads((tmp_path / "out" / f"{NAME}.json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["training"]["settings"] == CARD["training"]["settings"] | {"scenes": 8, "epochs": 1}
    assert card.keys() == CARD.keys()
    SceneSSD().load_state_dict(load_tensors(data))
