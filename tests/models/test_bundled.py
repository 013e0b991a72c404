"""The bundled models load, are what their cards say, and refuse damaged files."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from relprop.datasets import CLASSES, Scenes
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.models import bundled, load, models
from relprop.models.scoring import mean_average_precision

NAMES = sorted(models())
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_scenes.py"
WEIGHTS = Path(str(files("relprop.models") / "weights"))


@pytest.mark.parametrize("name", NAMES)
def test_card_matches_the_files(name: str) -> None:
    model = load(name)
    card = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    data = (WEIGHTS / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert len(data) < 4_000_000
    assert card == model.card
    assert sum(p.numel() for p in model.module.parameters()) == card["parameters"]
    assert model.classes == card["classes"] == CLASSES
    assert card["test"]["scenes"] >= 2000
    assert card["test"]["seed"] != card["training"]["data_seed"]
    assert card["test"]["split"] != card["training"]["split"]
    assert card["test"]["mAP"] == pytest.approx(np.mean(list(card["test"]["AP"].values())))
    assert card["test"]["mAP"] >= 0.95


@pytest.mark.parametrize("name", NAMES)
def test_measured_again(name: str) -> None:
    """On 200 other unseen scenes, through `preprocess`, the mAP is high and near the card's."""
    model = load(name)
    scenes = list(Scenes(size=model.input_size, n=200, seed=77, split="test"))
    inputs = torch.cat([model.preprocess(Image.fromarray(scene.image)) for scene in scenes])
    truth = np.stack([scene.labels_multi_hot for scene in scenes])
    score, _ = mean_average_precision(model.predict(inputs).numpy(), truth)
    assert score >= 0.9
    # 200 scenes hold about 55 of each class; the spread of the mean over draws is about 0.01.
    assert abs(score - model.card["test"]["mAP"]) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_ready_to_explain(name: str) -> None:
    model = load(name)
    kinds = {type(module) for module in model.module.modules()}
    assert not any(module.training for module in model.module.modules())
    assert all(p.dtype == torch.float32 for p in model.module.parameters())
    if name == "scenes-vgg":
        assert {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Linear} <= kinds
        assert nn.BatchNorm2d not in kinds
    else:
        assert {nn.Conv2d, nn.BatchNorm2d, nn.Linear} <= kinds
    assert load(name).module is not model.module


def test_preprocess() -> None:
    model = load(NAMES[0])
    grey = Image.new("L", (300, 200), 128)
    x = model.preprocess(grey)
    assert x.shape == (1, 3, model.input_size, model.input_size)
    for channel in range(3):
        expected = (128 / 255 - model.mean[channel]) / model.std[channel]
        assert torch.allclose(x[0, channel], torch.tensor(expected, dtype=torch.float32))
    # A picture of the right size passes unchanged: it can be read back from the input.
    scene = Scenes(n=1, size=model.input_size)[0]
    x = model.preprocess(Image.fromarray(scene.image))[0]
    back = x * torch.tensor(model.std)[:, None, None] + torch.tensor(model.mean)[:, None, None]
    assert np.array_equal((back * 255).round().byte().permute(1, 2, 0).numpy(), scene.image)
    with pytest.raises(InputError, match="got Tensor"):
        model.preprocess(x)  # type: ignore[arg-type]


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'scenes-vgg'"):
        load("scene-vgg")


def test_damaged_or_missing_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(bundled, "files", lambda package: tmp_path)
    weights = tmp_path / "weights" / "scenes-vgg.safetensors"
    load("scenes-vgg")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RelpropError, match="SHA-256"):
        load("scenes-vgg")
    weights.unlink()
    with pytest.raises(RelpropError, match="can't be read"):
        load("scenes-vgg")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("needs a source checkout")
    spec = spec_from_file_location("train_scenes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))  # as when it is run: it imports the script beside it
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_released_form_computes_what_was_trained(name: str, script: ModuleType) -> None:
    torch.manual_seed(0)
    trained = script.build(name).train()
    for _ in range(3):  # give the batch norms statistics that matter
        trained(torch.randn(8, 3, 112, 112) * 2 + 1)
    released = script.released(name, trained)
    x = torch.randn(4, 3, 112, 112)
    assert torch.allclose(trained.eval()(x), released(x), atol=1e-5)
    assert set(released.state_dict()) == set(load(name).module.state_dict())


def test_scaling_is_the_cards(script: ModuleType) -> None:
    for name in NAMES:
        assert (
            load(name).mean,
            load(name).std,
            load(name).input_size,
        ) == (script.MEAN, script.STD, script.SIZE)
    scene = Scenes(n=1)[0]
    assert torch.allclose(
        script.to_input(scene.image[None]), load(NAMES[0]).preprocess(Image.fromarray(scene.image)), atol=1e-6
    )


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_resumed_training_equals_unbroken(name: str, tmp_path: Path) -> None:
    """Two epochs at once and two with a stop between them give the same bits."""
    if not SCRIPT.exists():
        pytest.skip("needs a source checkout")

    def run(out: str, *more: str) -> None:
        command = [sys.executable, str(SCRIPT), "--model", name, "--scenes", "128", "--val-scenes", "64"]
        command += [
            "--test-scenes",
            "64",
            "--epochs",
            "2",
            "--cache",
            str(tmp_path / "cache"),
            "--out",
            str(tmp_path / out),
            *more,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)

    run("whole")
    (tmp_path / "cache" / f"{name}-0.pt").unlink()
    run("part", "--stop-after", "1")
    assert not (tmp_path / "part").exists()
    run("rest")
    file = f"{name}.safetensors"
    assert (tmp_path / "rest" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
