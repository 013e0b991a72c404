"""The bundled detector on a picture unlike the drawn scenes that it knows says so, and on a scene it does not."""

from __future__ import annotations

import numpy as np
from PIL import Image

from relprop import reports
from relprop.datasets import demo_image_path
from relprop.detectors import load
from relprop.detectors.explain import detection_explained


def _said(image: Image.Image) -> str:
    detector = load()
    found = detector(image)
    e = detection_explained(detector, image, found.near(1)[0])
    return " ".join(e.warnings)


def test_a_drawn_scene_is_what_it_knows() -> None:
    assert "unlike" not in _said(Image.open(demo_image_path()).convert("RGB"))


def test_noise_is_unlike_them_and_a_detector_for_photographs_is_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    said = _said(Image.fromarray(noise))
    assert "unlike" in said
    assert "torchvision:ssd300_vgg16" in said
    assert "efficientnet" not in said


def test_the_report_says_it_too() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    report = reports.detection("scenes-ssd", Image.fromarray(noise), anchor=0, measured=False)
    (one,) = report.document["images"][0]["explanations"]
    assert any("unlike" in text for text in one["warnings"])
