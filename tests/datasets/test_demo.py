"""The demo picture and clip are what they say, and the bundled models read them right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from relprop.datasets import demo_clip, demo_clip_path, demo_image_path, demo_scene
from relprop.models import load, models
from relprop.models.sources import load_model


def test_picture_is_the_scene() -> None:
    scene = demo_scene()
    assert np.array_equal(np.asarray(Image.open(demo_image_path())), scene.image)
    assert len(set(scene.names)) >= 2
    assert not scene.difficult.any()


@pytest.mark.parametrize("name", sorted(models()))
def test_models_find_exactly_what_is_there(name: str) -> None:
    model = load(name)
    with Image.open(demo_image_path()) as picture:
        probability = model.predict(model.preprocess(picture))[0]
    found = {label for label, p in zip(model.classes, probability.tolist(), strict=True) if p >= 0.5}
    assert found == set(demo_scene().names)


def test_film_is_the_clip() -> None:
    """But for the palette of 256 colours that a GIF has for all of its frames."""
    with Image.open(demo_clip_path()) as film:
        frames = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)])
        assert film.info["loop"] == 0
    clip = demo_clip()
    assert frames.shape == clip.frames.shape == (16, 48, 48, 3)
    error = np.abs(frames.astype(int) - clip.frames)
    # Of 255. Both sides are the same everywhere: what was measured when the film was written.
    assert error.mean() < 1.49
    assert error.max() <= 26
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) <= 256


def test_clip_has_a_motion_that_decides() -> None:
    clip = demo_clip()
    assert (clip.kind, clip.name, clip.shake) == ("motion", "left-right", False)
    assert clip.motions[clip.decider] == clip.name
    assert "circling" in clip.motions  # something else moves as well
    assert set(clip.looks) == {"pebble"}
    assert bool(clip.masks.any((2, 3)).all())


def test_bundled_network_names_the_clip_from_its_file() -> None:
    pytest.importorskip("av")
    from relprop.video.clip import read_clip

    model = load_model("motion-c3d")
    assert model.sampling is not None
    assert model.classes is not None
    film = read_clip(demo_clip_path(), model.sampling)
    with torch.no_grad():
        found = model.module(film.x).softmax(1)[0]
    assert model.classes[int(found.argmax())] == demo_clip().name
    assert float(found.max()) > 0.999
    assert film.indices == tuple(range(16))
