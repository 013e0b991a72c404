"""The demo picture is the scene it says, and both bundled models read it right."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from relprop.datasets import demo_image_path, demo_scene
from relprop.models import load, models


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
