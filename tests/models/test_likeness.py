"""Likeness: scenes are told from photographs, and what is said of the latter."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import relprop
from relprop.cli import run
from relprop.datasets import Scenes, demo_image_path, demo_photo_path
from relprop.errors import RelpropWarning
from relprop.methods import Facts
from relprop.models.likeness import Likeness, statistics
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model

needs_photos = pytest.mark.skipif(find_spec("skimage") is None, reason="needs relprop[photo]")
PHOTOS = ["chelsea", "coffee", "rocket", "motorcycle"]


def likeness() -> Likeness:
    found = relprop.models.load("scenes-vgg").likeness
    assert found is not None
    return found


def test_statistics_are_what_they_say() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 32, 32)
    found = statistics(pictures)[1].numpy()
    red, green, blue = pictures[1].numpy()
    grey = (red + green + blue) / 3
    patches = grey.reshape(8, 4, 8, 4).transpose(0, 2, 1, 3).reshape(64, 16)
    rough = np.log(np.quantile(patches.std(1), (0.1, 0.5, 0.9)) + 1e-3)
    np.testing.assert_allclose(found[:3], rough, rtol=1e-4)
    np.testing.assert_allclose(found[9:11], [(red - blue).mean(), (red - blue).std(ddof=1)], rtol=1e-4)
    saturation = pictures[1].amax(0).numpy() - pictures[1].amin(0).numpy()
    np.testing.assert_allclose(found[13:16], np.quantile(saturation, (0.1, 0.5, 0.9)), rtol=1e-4)
    np.testing.assert_allclose(found[16:], np.quantile(grey, (0.1, 0.5, 0.9)), rtol=1e-4)


def test_scenes_are_in_it_and_noise_is_not() -> None:
    model = relprop.models.load("scenes-vgg")
    scenes = Scenes(size=112, n=100, seed=77, split="test")
    x = torch.cat([model.preprocess(Image.fromarray(scene.image)) for scene in scenes])
    assert int((likeness().distances(x) > likeness().limit).sum()) <= 2  # measured: 0.2 in a hundred
    assert likeness()(x[:1]) == ""
    assert "unlike the drawn scenes" in likeness()(torch.randn(1, 3, 112, 112))
    assert "unlike the drawn scenes" in likeness()(torch.zeros(1, 3, 112, 112))
    assert likeness()(torch.randn(1, 3, 96, 96)) == ""  # roughness is measured in pixels: not judged


@needs_photos
@pytest.mark.parametrize("photo", PHOTOS)
def test_photographs_are_told(photo: str) -> None:
    model = relprop.models.load("scenes-resnet")
    x = model.preprocess(read_picture(demo_photo_path(photo)))
    with pytest.warns(RelpropWarning, match="looks unlike the drawn scenes of relprop.datasets.scenes"):
        relprop.explain(model.module, x)


@needs_photos
def test_which_of_several_is_meant() -> None:
    model = load_model("scenes-vgg")
    pictures = [demo_image_path(), demo_photo_path("chelsea"), demo_photo_path("coffee")]
    x = torch.cat([model.preprocess(read_picture(p)) for p in pictures])
    assert relprop.explain(model.module, x).warnings[0].startswith("2 of 3 inputs (the first: 1) look unlike")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelpropWarning)
        relprop.explain(model.module, x[:1])
        relprop.explain(model.module, x[1:2], facts=Facts())  # nothing is known, nothing is said


@needs_photos
def test_the_command_line_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(demo_photo_path("chelsea"))
    assert run(["explain", picture, "--model", "scenes-vgg", "--out", str(tmp_path)]) == 0
    assert "unlike the drawn scenes" in capsys.readouterr().out


def test_another_head_or_other_weights_know_another_world(tmp_path: Path) -> None:
    noise = torch.randn(1, 3, 112, 112)
    model = relprop.models.load("scenes-vgg")
    model.module.classifier.fc2 = nn.Linear(96, 8)
    assert not any("unlike" in w for w in relprop.explain(model.module, noise).warnings)
    torch.save(model.module.state_dict(), tmp_path / "mine.pth")
    mine = load_model("scenes-vgg", weights=tmp_path / "mine.pth")
    assert not any("unlike" in w for w in relprop.explain(mine.module, noise).warnings)
