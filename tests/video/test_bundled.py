"""The bundled clip classifier loads, is what its card says, and refuses damaged files and other clips."""

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
from tests.refusals import assert_refused

from relprop.datasets.motion import CLASSES, MOTION_CLASSES, MotionClips
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.models import bundled as checked
from relprop.models.bundled_clips import load, models

NAME = "motion-c3d"
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_motion.py"
WEIGHTS = Path(str(files("relprop.models") / "weights"))


def test_card_matches_the_files() -> None:
    model = load()
    card = json.loads((WEIGHTS / f"{NAME}.json").read_text(encoding="utf-8"))
    data = (WEIGHTS / f"{NAME}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert len(data) < 4_000_000
    assert card == model.card
    assert sum(p.numel() for p in model.module.parameters()) == card["parameters"]
    assert model.classes == card["classes"] == CLASSES
    assert not model.module.training
    assert all(p.dtype == torch.float32 for p in model.module.parameters())
    for part in ("test", "shake"):
        figures = card[part]
        assert figures["clips"] >= 1000
        assert (figures["seed"], figures["split"]) != (
            card["training"]["data_seed"],
            card["training"]["split"],
        )
        confusion = np.array(figures["confusion"])
        assert figures["accuracy"] == pytest.approx(confusion.trace() / figures["clips"])
        each = confusion.diagonal() / confusion.sum(axis=1)
        assert list(figures["per_class"].values()) == pytest.approx(each)
    assert card["test"]["accuracy"] >= 0.95
    assert min(card["test"]["per_class"].values()) >= 0.9
    # A frozen clip must not show its motion: 0.25 is chance. 300 clips hold about 170 of motion classes.
    assert abs(card["frozen"]["motion_classes_among_themselves"] - 0.25) < 0.1
    assert card["frozen"]["appearance_classes"] >= 0.9


def test_measured_again() -> None:
    """On 105 other unseen clips, through `preprocess`, the accuracy is high and near the card's."""
    model = load()
    clips = list(MotionClips(n=105, seed=77, split="test"))
    with torch.no_grad():
        logits = torch.cat([model.module(model.preprocess(clip.frames)) for clip in clips])
    right = logits.argmax(1).numpy() == np.array([clip.label for clip in clips])
    # Standard deviation of the share at 0.96: 0.019.
    assert right.mean() >= 0.88


def test_frozen_clips_show_no_motion() -> None:
    model = load()
    clips = MotionClips(n=160, seed=78, split="test").with_classes(*MOTION_CLASSES)
    right = []
    for clip in clips:
        frozen = np.repeat(clip.frames[7:8], 16, axis=0)
        with torch.no_grad():
            logits = model.module(model.preprocess(frozen))[0, : len(MOTION_CLASSES)]
        right.append(int(logits.argmax()) == clip.label)
    # 0.25 is chance; standard deviation of the share of about 90: 0.045.
    assert np.mean(right) < 0.45


def test_preprocess() -> None:
    model = load()
    clip = MotionClips(n=1, seed=3)[0].frames
    x = model.preprocess(clip)
    assert x.shape == (1, *model.module.clip_shape)
    for channel, mean in enumerate((90.0, 98.0, 102.0)):
        assert torch.equal(x[0, channel], torch.tensor(clip[..., channel]).float() - mean)
    share = model.predict(x)
    assert share.shape == (1, len(CLASSES))
    assert float(share.sum()) == pytest.approx(1.0)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()
    assert_refused(
        InputError,
        (
            lambda: model.preprocess(np.zeros((15, 48, 48, 3), dtype=np.uint8)),
            r"\(16, 48, 48, 3\) but got uint8 \(15, 48, 48, 3\)",
        ),
        (lambda: model.preprocess(np.zeros((16, 48, 48, 3), dtype=np.float32)), "but got float32"),
        (lambda: model.preprocess(torch.zeros(1, 3, 16, 48, 48)), "but got Tensor"),
    )
    with pytest.raises(UnknownNameError, match="got 'motion-r3d'"):
        load("motion-r3d")
    assert list(models()) == [NAME]
    (tmp_path / "weights").mkdir()
    for name in (f"{NAME}.json", f"{NAME}.safetensors", "motion-likeness.json"):
        shutil.copy(WEIGHTS / name, tmp_path / "weights")
    monkeypatch.setattr(checked, "files", lambda package: tmp_path)
    assert load().classes == CLASSES
    damaged = bytearray((tmp_path / "weights" / f"{NAME}.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "weights" / f"{NAME}.safetensors").write_bytes(damaged)
    with pytest.raises(RelpropError, match="SHA-256"):
        load()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("needs a source checkout")
    spec = spec_from_file_location("train_motion", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))  # as when it is run: it imports the script beside it
        spec.loader.exec_module(module)
    return module


def test_released_form_computes_what_was_trained(script: ModuleType) -> None:
    torch.manual_seed(0)
    trained = script.build().train()
    for _ in range(2):  # give the batch norms statistics that matter
        trained(torch.randn(4, 3, 16, 48, 48) * 2 + 1)
    released = script.released(trained)
    x = torch.randn(2, 3, 16, 48, 48)
    assert torch.allclose(trained.eval()(x), released(x * script.SCALE), atol=1e-5)
    assert set(released.state_dict()) == set(load().module.state_dict())


def test_input_is_the_cards(script: ModuleType) -> None:
    model, clip = load(), MotionClips(n=1)[0].frames
    assert model.mean == script.MEAN
    assert torch.equal(script.to_input(clip[None]), model.preprocess(clip))


def test_augmentation_keeps_the_cells_with_their_pixels(script: ModuleType) -> None:
    grid = torch.arange(4 * 6 * 6).view(1, 4, 6, 6)
    x = grid.repeat_interleave(4, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)[:, None].float()
    x = x.expand(1, 3, 16, 48, 48)
    for turn in range(48):
        turned, cells = script.augmented(x, grid, turn)
        assert torch.equal(turned[:, 0, ::4, ::8, ::8], cells.float())
    assert len({script.augmented(x, grid, turn)[1].numpy().tobytes() for turn in range(8)}) == 8


def test_cells_are_where_the_deciding_object_is(script: ModuleType) -> None:
    clips = MotionClips(n=10, seed=4, split="val")
    for clip, grid in zip(clips, script.places("val", 4, 10), strict=True):
        assert set(np.unique(grid)) == {0, 1 + clip.label}
        share = clip.silhouettes[clip.decider].reshape(4, 4, 6, 8, 6, 8).mean(axis=(1, 3, 5))
        assert share[grid > 0].mean() > 4 * share[grid == 0].mean()


@pytest.mark.nightly
def test_resumed_training_equals_unbroken(tmp_path: Path) -> None:
    """Two epochs at once and two with a stop between them give the same bits."""
    if not SCRIPT.exists():
        pytest.skip("needs a source checkout")

    def run(out: str, *more: str) -> None:
        small = "--clips 64 --val-clips 16 --test-clips 32 --frozen-clips 2 --epochs 2".split()
        places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / out)]
        command = [sys.executable, str(SCRIPT), *small, *places, *more]
        subprocess.run(command, check=True, capture_output=True, timeout=300)

    run("whole")
    (tmp_path / "cache" / f"{NAME}-0.pt").unlink()
    run("part", "--stop-after", "1")
    assert not (tmp_path / "part").exists()
    run("rest")
    file = f"{NAME}.safetensors"
    assert (tmp_path / "rest" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
