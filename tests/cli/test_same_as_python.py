"""The command line and Python give the same numbers: every method, both bundled classifiers, and a detector."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding

import relprop
from relprop.cli import run
from relprop.datasets import demo_image_path
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model
from relprop.registry import slug

# What can't do without a setting, or takes a number of runs, has it behind its name.
ASKED = {"lrp": ["lrp:rule=z-plus", "lrp:composite=epsilon-plus-box"]}
QUICK = {"smoothgrad": ["smoothgrad:samples=3"], "integrated-gradients": ["integrated-gradients:steps=3"]}
TRANSFORMERS = ["gradient-x-input", "grad-cam", "attention-rollout", "lrp-composite", "attnlrp"]
TEXTS = [text for name in nets.METHODS for text in (ASKED | QUICK).get(name, [name])]


@cache
def model_named(name: str) -> LoadedModel:
    """One module for all methods: it is captured once."""
    return load_model(name)


@pytest.fixture(scope="module", params=["scenes-vgg", "scenes-resnet"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A bundled classifier, and the folder that `relprop explain` wrote with every method."""
    out = tmp_path_factory.mktemp(request.param)
    asked = [word for text in TEXTS for word in ("--method", text)]
    assert run(["explain", str(demo_image_path()), "--model", request.param, "--out", str(out), *asked]) == 0
    return request.param, out / "demo_scene"


@pytest.mark.parametrize("text", TEXTS)
def test_every_method(command: tuple[str, Path], text: str, tmp_path: Path) -> None:
    name, folder = command
    _compare(name, text, folder, tmp_path)


def test_a_transformer(tmp_path: Path) -> None:
    asked = [word for text in TRANSFORMERS for word in ("--method", text)]
    out = str(tmp_path / "out")
    assert run(["explain", str(demo_image_path()), "--model", "scenes-vit", "--out", out, *asked]) == 0
    for text in TRANSFORMERS:
        _compare("scenes-vit", text, tmp_path / "out" / "demo_scene", tmp_path / text)


def _compare(name: str, text: str, folder: Path, tmp_path: Path) -> None:
    loaded = model_named(name)
    x = loaded.preprocess(read_picture(demo_image_path()))
    theirs = relprop.Explanation.load(folder / slug(text))
    for facts in (None, loaded.facts):  # as remembered, and as said
        ours = relprop.explain(loaded.module, x, method=text, facts=facts)
        assert ours.method == theirs.method
        assert ours.targets.tolist() == theirs.targets.tolist()
        # The same code on the same data: to the bit.
        assert torch.equal(ours.relevance, theirs.relevance)
    assert relprop.Explanation.load(ours.save(tmp_path / "saved")).settings == theirs.settings


def test_bundled_models_by_their_own_loader(command: tuple[str, Path]) -> None:
    name, folder = command
    bundled = relprop.models.load(name)
    ours = relprop.explain(bundled.module, bundled.preprocess(read_picture(demo_image_path())), method="rsp")
    assert torch.equal(ours.relevance, relprop.Explanation.load(folder / "rsp").relevance)
    assert ours.settings["hostile"] == "predicted"


@pytest.mark.parametrize("text", ["crp", "deep-taylor", "rap"])
def test_detections(text: str, tmp_path: Path) -> None:
    picture = str(demo_image_path())
    assert run(["detect", picture, "--box", "0", "--method", text, "--out", str(tmp_path)]) == 0
    theirs = relprop.Explanation.load(tmp_path / "demo_scene" / "box-0")
    detector = relprop.detectors.load()
    image = read_picture(picture)
    ours = relprop.explain_detection(detector, image, detector(image)[0], "class", None, text)
    # Alone here, there in one walk with the offsets.
    assert_close_to_rounding(ours.relevance, theirs.relevance[0], detector.raw)


def test_separated_films(tmp_path: Path) -> None:
    from relprop.datasets import demo_clip_path
    from relprop.video.separation import MotionSeparation

    clip = demo_clip_path()
    assert run(["video", str(clip), "--mode", "conserving", "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.glob("*/conserving_deep-taylor")
    theirs = MotionSeparation.load(folder)
    loaded = load_model("motion-c3d")
    x = relprop.video.read_clip(clip, loaded.sampling).x
    ours = relprop.separate_motion(loaded.module, x, None, "deep-taylor", "conserving")
    for name in ("original", "spatial", "temporal"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
