"""Two real detectors: the same numbers as their reference forwards, and what they say of a picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.detectors.nets.mobilenet_ssd import mobilenet_ssd
from tests.detectors.nets.yolo_nano import yolo_nano
from torch import Tensor

import relprop
from relprop.detectors import Detector, Prepared, iou
from relprop.models.pictures import read_picture

MAKERS: dict[str, Callable[[Path], Detector]] = {"ssd": mobilenet_ssd, "yolo": yolo_nano}


def reference(assets: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, assets / "reference" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def largest(t: Tensor) -> float:
    return float(t.abs().max())


@torch.no_grad()
def test_ssd_is_the_reference(assets: Path) -> None:
    theirs: Any = reference(assets, "ssd_mobilenet_v1_coco")
    detector = mobilenet_ssd(assets)
    folder = assets / "weights" / "ssd_mobilenet_v1_coco"
    state = load_file(folder / "ssd_mobilenet_v1_075_coco.fp32.safetensors")
    x = detector.prepare(assets / "images" / "darknet_dog.jpg").x
    offsets, logits = theirs.forward(state, x)
    ours = detector.raw(x)
    assert largest(ours[0] - logits) <= 1e-5 * largest(logits)
    assert largest(ours[1] - offsets) <= 1e-5 * largest(offsets)
    (levels,) = detector.levels(x)
    boxes = theirs.decode(offsets, state["anchors"])[0] * 300
    assert largest(detector.decode(offsets[0], levels) - boxes) <= 1e-5 * largest(boxes)


@torch.no_grad()
def test_ssd_finds_what_the_reference_finds(assets: Path) -> None:
    theirs: Any = reference(assets, "ssd_mobilenet_v1_coco")
    folder = assets / "weights" / "ssd_mobilenet_v1_coco"
    state = load_file(folder / "ssd_mobilenet_v1_075_coco.fp32.safetensors")
    detector = mobilenet_ssd(assets)
    for name in ("darknet_dog", "darknet_horses"):
        picture = read_picture(assets / "images" / f"{name}.jpg")
        expected = theirs.detect(state, picture, thr=detector.score_threshold)
        # They scale the picture in 8 bits, we don't: give it to both in the same way.
        small = torch.from_numpy(np.array(picture.resize((300, 300), Image.Resampling.BILINEAR)))
        x = (small.permute(2, 0, 1)[None].float() - 128) / 128
        width, height = picture.size
        found = detector(Prepared(x, (width / 300, height / 300), (height, width)))
        assert found.labels.tolist() == [label for _, label, _ in expected]
        assert largest(found.scores - torch.tensor([score for score, *_ in expected])) < 1e-5
        boxes = torch.tensor([box for *_, box in expected]).clamp(0, 1)
        assert largest(found.boxes - boxes * torch.tensor([width, height, width, height])) < 1e-2
        # Scaled our way, no score moves by more than a hundredth.
        again = detector(picture)
        assert largest(again.scores[:5] - found.scores[:5]) < 0.01


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # they leave a file open
@torch.no_grad()
def test_yolo_is_the_reference(assets: Path) -> None:
    theirs: Any = reference(assets, "yolov3_nano")
    detector = yolo_nano(assets)
    folder = assets / "weights" / "yolov3_nano_voc"
    _, blocks = theirs.cfg(folder / "MobileNetV2-YOLOv3-Nano-voc.cfg")
    prepared = detector.prepare(assets / "images" / "darknet_dog.jpg")
    boxes, scores = theirs.forward(blocks, load_file(folder / "yolov3_nano_voc.fp32.safetensors"), prepared.x)
    # In the input's pixels, so that nothing but the network and the decoding is compared.
    reading = detector(Prepared(prepared.x, (1.0, 1.0), (320, 320))).reading
    assert largest(reading.scores - scores[0]) < 1e-5
    assert largest(reading.boxes - (boxes[0] * 320).clamp(0, 320)) < 1e-3


def test_the_dog_that_is_a_cat(assets: Path) -> None:
    """The misclassification of the slides: one box, two labels."""
    found = mobilenet_ssd(assets)(assets / "images" / "darknet_dog.jpg")
    animals = {d.name: d for d in found if d.name in ("cat", "dog")}
    assert animals["cat"].score == pytest.approx(0.63, abs=0.02)
    assert animals["dog"].score == pytest.approx(0.61, abs=0.02)
    # Two of the six default boxes of one cell of the 10x10 map, whose 600 come after 19x19x3 = 1083.
    assert {(d.anchor - 1083) // 6 for d in animals.values()} == {62}
    assert float(iou(*(d.box[None] for d in animals.values()))) > 0.95
    truck = next(d for d in found if d.name in ("car", "truck"))
    assert truck.box[0] > 400
    assert truck.box[3] < 200


def test_yolo_finds_the_dog_and_the_car(assets: Path) -> None:
    found = yolo_nano(assets)(assets / "images" / "darknet_dog.jpg")
    assert {"dog", "car"} <= {d.name for d in found}


@pytest.mark.parametrize("name", MAKERS)
def test_explanations_of_real_detections_add_up(assets: Path, name: str) -> None:
    detector = MAKERS[name](assets)
    picture = assets / "images" / "darknet_dog.jpg"
    dog = next(d for d in detector(picture) if d.name == "dog")
    parts = ["class", *detector.offsets, *(["objectness"] if name == "yolo" else [])]
    e = relprop.explain_detection(detector, picture, dog, parts, target=["dog", "cat"])
    assert e.extras["of"] == ["class dog", "class cat", *parts[1:]]
    assert e.relevance.shape == (len(parts) + 1, *detector.prepare(picture).x.shape)
    assert e.ledger is not None
    assert e.ledger.closes
    # What is given out is what arrives, but for what the ledger lists.
    assert all(float(row.abs().sum()) > 0 for row in e.relevance)
