"""Likeness of clips: drawn ones are told from pictures that a camera pans over, and what is said of the latter."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import relprop
from relprop.cli import run
from relprop.datasets import demo_clip_path, demo_photo_path
from relprop.datasets.motion import MotionClips
from relprop.errors import RelpropWarning
from relprop.models.bundled_clips import load
from relprop.models.likeness import statistics
from relprop.models.sources import load_model
from relprop.video.clip import read_clip
from relprop.viz.film import save_mp4

needs_photos = pytest.mark.skipif(find_spec("skimage") is None, reason="needs relprop[photo]")
PHOTOS = ["chelsea", "coffee", "rocket", "motorcycle"]


def panned(photo: str, side: int = 48, step: int = 1) -> NDArray[Any]:
    """Frames (16, side, side, 3) of a camera that moves over a photograph."""
    with Image.open(demo_photo_path(photo)) as opened:
        picture = opened.convert("RGB")
    factor = 1.6 * side / min(picture.size)
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    return np.stack([np.asarray(picture.crop((k * step, 4, k * step + side, 4 + side))) for k in range(16)])


def test_a_clip_s_statistics_are_its_frames_means() -> None:
    model = load()
    frames = MotionClips(n=1, seed=7)[0].frames
    found = statistics(torch.tensor(frames).permute(0, 3, 1, 2) / 255).mean(0) - model.likeness.centre
    wanted = float(found @ model.likeness.precision @ found)
    x = model.preprocess(frames)
    both = model.likeness.distances(torch.cat([x, torch.zeros_like(x)]))
    assert float(both[0]) == pytest.approx(wanted, rel=1e-3)
    assert float(both[1]) != pytest.approx(wanted, rel=1e-3)


def test_drawn_clips_of_another_seed_are_in_it_and_noise_is_not(tmp_path: Path) -> None:
    model = load()
    clips = [
        clip.frames
        for shake in (False, True)
        for clip in MotionClips(n=20, seed=77, split="test", shake=shake)
    ]
    x = torch.cat([model.preprocess(frames) for frames in clips])
    assert int((model.likeness.distances(x) > model.likeness.limit).sum()) <= 1  # measured: 0.1 in a hundred
    noise = 100 * torch.randn(1, 3, 16, 48, 48)
    assert "unlike the drawn clips" in model.likeness(noise)
    assert "unlike the drawn clips" in model.likeness(torch.zeros(1, 3, 16, 48, 48))
    assert model.likeness(torch.randn(1, 3, 16, 64, 64)) == ""  # roughness is measured in pixels: not judged
    save_mp4(clips[0], tmp_path / "drawn.mp4", 6)  # what the film's format loses does not matter
    sampling = load_model("motion-c3d").sampling
    assert sampling is not None
    assert model.likeness(read_clip(tmp_path / "drawn.mp4", sampling).x) == ""


@needs_photos
@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("step", [0, 2])
def test_photographs_that_are_panned_over_are_told(photo: str, step: int) -> None:
    model = load()
    said = model.likeness(model.preprocess(panned(photo, step=step)))
    assert said.startswith("The input looks unlike the drawn clips of relprop.datasets.motion")
    assert "says nothing about the clip" in said
    assert "torchvision:r3d_18" in said


@needs_photos
def test_an_explanation_and_a_separation_warn() -> None:
    model = load()
    x = model.preprocess(panned("chelsea"))
    with pytest.warns(RelpropWarning, match="unlike the drawn clips"):
        relprop.explain(model.module, x)
    for mode in ("selective", "conserving"):
        with pytest.warns(RelpropWarning, match="unlike the drawn clips"):
            relprop.separate_motion(model.module, x, mode=mode)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelpropWarning)
        relprop.explain(model.module, model.preprocess(MotionClips(n=1, seed=7)[0].frames))


@needs_photos
def test_the_command_line_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "cat.mp4"
    save_mp4(panned("chelsea", 96, 2), film, 6)
    out = str(tmp_path / "out")
    assert run(["video", str(film), "--mode", "selective", "--out", out]) == 0
    assert "WARNING, deep-taylor: The input looks unlike the drawn clips" in capsys.readouterr().out
    assert run(["video", str(demo_clip_path()), "--mode", "selective", "--out", out]) == 0
    assert "unlike" not in capsys.readouterr().out


def test_other_weights_know_another_world(tmp_path: Path) -> None:
    torch.save(load().module.state_dict(), tmp_path / "mine.pth")
    assert load_model("motion-c3d").unlike is not None
    assert load_model("motion-c3d", weights=tmp_path / "mine.pth").unlike is None
