"""Detections: thresholds, boxes on the picture, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from relprop.detectors import BoxCode, Detector, Prepared, Squash, to_tensor
from relprop.errors import InputError


class Says(nn.Module):
    """Returns what it was given, whatever the input."""

    def __init__(self, *outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Any:
        return self.outputs


ANCHORS = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0], [4.0, 4.0, 12.0, 8.0]])
LOGITS = torch.tensor([[[0.0, 3.0, 1.0], [0.0, 2.0, 4.0], [0.0, -4.0, 2.0]]])
X = torch.zeros(3, 8, 10)


def says(logits: Tensor = LOGITS, offsets: Tensor | None = None, *more: Tensor, **settings: Any) -> Detector:
    given = torch.zeros(*logits.shape[:2], 4) if offsets is None else offsets
    settings = {"anchors": ANCHORS, "decode": BoxCode().decode, "background": 0} | settings
    return Detector(raw=Says(logits, given, *more), **settings)


def test_detections_by_hand() -> None:
    found = says()(X)
    # Softmax: (.042, .844, .114), (.016, .117, .867), (.119, .002, .879). Two classes in one place both stay.
    assert found.anchor.tolist() == [2, 1, 0]
    assert found.labels.tolist() == [2, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.8789, 0.8668, 0.8438], abs=1e-4)
    # The last anchor reaches over the right edge: the box is cut, the default box isn't.
    assert found.boxes[0].tolist() == [4, 4, 10, 8]
    assert found[0].default_box.tolist() == [4, 4, 12, 8]
    assert found[1].box.tolist() == [0, 0, 4, 4]
    assert [d.index for d in found] == [0, 1, 2]
    assert found[-1].anchor == 0
    assert [d.anchor for d in found[1:]] == [1, 0]


def test_suppression_is_by_class_and_overlap() -> None:
    both = torch.tensor([[[0.0, 3.0], [0.0, 4.0], [0.0, 2.0]]])
    assert says(both)(X).anchor.tolist() == [1, 2]  # the first has the second's box and class
    assert says(both, nms_threshold=1.0)(X).anchor.tolist() == [1, 0, 2]


def test_sigmoid_objectness_and_no_background() -> None:
    logits = torch.tensor([[[2.0, 1.0], [-5.0, -5.0], [0.5, 0.1]]])
    objectness = torch.tensor([[3.0, 3.0, -3.0]])
    found = says(logits, None, objectness, scores="sigmoid", background=None)(X)
    expected = [float(torch.tensor(v).sigmoid() * torch.tensor(3.0).sigmoid()) for v in (2.0, 1.0)]
    assert found.labels.tolist() == [0, 1]
    assert found.anchor.tolist() == [0, 0]
    assert found.scores.tolist() == pytest.approx(expected)
    softmax = says(logits, None, objectness, background=None, score_threshold=0)(X)
    assert float(softmax.reading.scores[0].sum()) == pytest.approx(expected[0] / 0.8808, abs=1e-3)


def test_overlaps_of_boxes_that_are_cut_before_or_after() -> None:
    # Two boxes that share a third of what they cover; cut at the picture's edge they are one.
    anchors = torch.tensor([[-20.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0], [-14.0, 0.0, 8.0, 8.0]])
    logits = torch.tensor([[[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]]])
    detector = says(logits, anchors=anchors, nms_threshold=0.7)
    assert detector(X).anchor.tolist() == [0]
    after = replace(detector, cut_first=False)(X)
    assert after.anchor.tolist() == [0, 1]  # the third shares 22 / 28 with the first
    assert after.boxes.tolist() == [[0.0, 0.0, 8.0, 8.0]] * 2
    (dropped,) = after.candidates.dropped()
    assert (dropped.anchor, dropped.by, dropped.iou) == (2, 0, pytest.approx(22 / 28))


def test_top_k_of_each_class_or_level() -> None:
    logits = torch.tensor([[[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]]])
    levels = [ANCHORS[:1], ANCHORS[1:]]
    kept = {"score_threshold": 0.1, "nms_threshold": 1.0, "top_k": 1}
    assert says(logits, anchors=levels, **kept)(X).anchor.tolist() == [1]
    assert says(logits, anchors=levels, top_k_per="level", **kept)(X).anchor.tolist() == [1, 0]


def test_boxes_lie_on_the_picture() -> None:
    prepared = Prepared(torch.zeros(1, 3, 8, 10), (3.0, 2.0), (16, 30))
    found = says()(prepared)
    assert found.boxes[0].tolist() == [12, 8, 30, 16]
    assert found[0].default_box.tolist() == [12, 8, 36, 16]
    # Padding to the right and below is no part of the picture.
    padded = Prepared(torch.zeros(1, 3, 32, 32), (1.0, 1.0), (6, 9))
    assert says()(padded).boxes[0].tolist() == [4, 4, 9, 6]


def test_names_and_texts() -> None:
    found = says(classes=["background", "dog", "sheep"])(X)
    assert [d.name for d in found] == ["sheep", "sheep", "dog"]
    assert repr(found[0]) == "Detection(sheep 0.88, box [4, 4, 10, 8], anchor 2)"
    assert repr(found).startswith("Detections(\n  0: Detection(sheep 0.88,")
    assert [d.name for d in says()(X)] == ["2", "2", "1"]
    plain = found[0].as_dict()
    assert plain["name"] == "sheep"
    assert plain["default_box"] == [4, 4, 12, 8]


def test_no_detections() -> None:
    found = says(score_threshold=0.9)(X)
    assert len(found) == 0
    assert list(found) == []
    assert found.boxes.shape == (0, 4)
    assert [(d.anchor, d.label) for d in found.near(2)] == [(2, 2), (1, 2)]
    assert repr(found) == "Detections(none; best below the threshold: 2 0.879)"
    with pytest.raises(IndexError, match="none was found"):
        found[0]


def test_any_anchor_can_be_asked() -> None:
    found = says()(X)
    assert found.at(0).label == 1
    assert found.at(0).index is None
    assert found.at(0, 2).score == pytest.approx(0.1142, abs=1e-4)
    with pytest.raises(InputError, match="anchor from 0 to 2 but got 3"):
        found.at(3)
    with pytest.raises(InputError, match="class from 0 to 2 but got -1"):
        found.at(0, -1)
    with pytest.raises(IndexError, match="from 0 to 2; got 3"):
        found[3]


BAD_OUTPUTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "one tensor": ((LOGITS,), "but got 1 values. Wrap the network in a module"),
    "four": ((LOGITS,) * 4, "but got 4 values"),
    "a dict": ((LOGITS, {}), "but got Tensor, dict"),
    "integers": ((LOGITS.long(), torch.zeros(1, 3, 4)), "but got Tensor, Tensor"),
    "flat logits": ((LOGITS[0], torch.zeros(1, 3, 4)), r"but got shapes \(3, 3\), \(1, 3, 4\) for N = 1"),
    "three offsets": ((LOGITS, torch.zeros(1, 3, 3)), r"but got shapes \(1, 3, 3\), \(1, 3, 3\)"),
    "fewer boxes": ((LOGITS, torch.zeros(1, 2, 4)), r"but got shapes \(1, 3, 3\), \(1, 2, 4\)"),
    "objectness": ((LOGITS, torch.zeros(1, 3, 4), torch.zeros(1, 3, 1)), r"\(1, 3, 4\), \(1, 3, 1\)"),
    "NaN": ((LOGITS * float("nan"), torch.zeros(1, 3, 4)), "finite outputs but Says returned NaN"),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_outputs_of_another_form(case: str) -> None:
    outputs, text = BAD_OUTPUTS[case]
    detector = Detector(raw=Says(*outputs), anchors=ANCHORS, decode=BoxCode().decode)
    with pytest.raises(InputError, match=text):
        detector(X)


def test_a_dictionary_is_no_raw_output() -> None:
    class Dictionary(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"cls_logits": LOGITS}

    with pytest.raises(InputError, match=r"raw .*got dict"):
        Detector(raw=Dictionary(), anchors=ANCHORS, decode=BoxCode().decode)(X)


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "names": ({"classes": ["a"]}, "Expected 3 class names, as raw has, but got 1"),
    "background": ({"background": 3}, "Expected background from 0 to 2 but got 3"),
    "anchors": ({"anchors": ANCHORS[:2]}, "as many anchors as raw has outputs, 3, but got 2"),
    "anchor shape": ({"anchors": ANCHORS[:, :3]}, r"anchors \(A, 4\), xyxy .* but got shape \(3, 3\)"),
    "anchor type": ({"anchors": lambda x: [1]}, r"anchors \(A, 4\), xyxy .* but got int"),
    "no anchors": ({"anchors": []}, r"anchors \(A, 4\) but got an empty list"),
    "decode": ({"decode": lambda o, a: o[:, :2]}, r"decode to return boxes \(3, 4\) but got shape \(3, 2\)"),
    "prepare": ({"prepare": lambda image: image}, "prepare to return a .*Prepared but got Tensor"),
    "input": (
        {"prepare": lambda image: Prepared(image, (1.0, 1.0), (8, 10))},
        r"an input \(1, 3, h, w\) but got shape \(3, 8, 10\)",
    ),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_that_do_not_fit_the_network(case: str) -> None:
    settings, text = BAD_SETTINGS[case]
    with pytest.raises(InputError, match=text):
        says(**settings)(X)


BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "picture": (Image.new("RGB", (4, 4)), "a normalised floating-point tensor .* but got Image"),
    "bytes": (torch.zeros(3, 4, 4, dtype=torch.uint8), "but got a tensor of torch.uint8"),
    "batch": (torch.zeros(2, 3, 4, 4), r"one input \(3, H, W\) or \(1, 3, H, W\) but got shape"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_without_preparation(case: str) -> None:
    image, text = BAD_INPUTS[case]
    with pytest.raises(InputError, match=text):
        says()(image)


BAD_PICTURES: dict[str, tuple[Any, str]] = {
    "type": (3, r"a picture \(a path, a PIL picture, .* but got int"),
    "array": (np.zeros((4, 4)), r"an array \(H, W, 3\) but got shape \(4, 4\)"),
    "tensor": (torch.zeros(4, 4, 3), r"a tensor \(3, H, W\) but got shape \(4, 4, 3\)"),
    "batch": (torch.zeros(2, 3, 4, 4), r"\(2, 3, 4, 4\)\. Pass one picture"),
    "empty": (torch.zeros(3, 0, 4), r"but got shape \(3, 0, 4\)"),
    "integers": (torch.zeros(3, 4, 4, dtype=torch.int64), "uint8 or floating point .* but got torch.int64"),
    "0 to 255": (
        torch.full((3, 4, 4), 200.0),
        "values from 0 to 1 but got 200 to 200. Pass uint8, or divide",
    ),
    "NaN": (torch.full((3, 4, 4), float("nan")), "values from 0 to 1 but got nan to nan"),
    "path": ("nowhere.jpg", "'nowhere.jpg', which does not exist"),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_pictures_that_cannot_be_used(case: str) -> None:
    image, text = BAD_PICTURES[case]
    with pytest.raises(InputError, match=text):
        Squash((8, 8))(image)


def _forms(pixels: np.ndarray[Any, Any], folder: Path) -> dict[str, Any]:
    picture = Image.fromarray(pixels)
    picture.save(folder / "picture.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    return {
        "path": folder / "picture.png",
        "text": str(folder / "picture.png"),
        "PIL": picture,
        "array": pixels,
        "float array": pixels.astype(np.float32) / 255,
        "tensor": tensor,
        "float tensor": tensor.float() / 255,
        "batch of one": tensor[None],
    }


def test_a_picture_in_any_form_is_the_same_input(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    squash = Squash((10, 12), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    made = {name: squash(form) for name, form in _forms(pixels, tmp_path).items()}
    assert all(torch.allclose(p.x, made["PIL"].x, atol=1e-6) for p in made.values())
    assert {p.size for p in made.values()} == {(20, 30)}
    assert {p.scale for p in made.values()} == {(2.5, 2.0)}
    assert made["PIL"].extent == (10, 12)


def test_squash_scales_like_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    ours = Squash((30, 24))(pixels).x[0].permute(1, 2, 0) * 255
    theirs = np.array(Image.fromarray(pixels).resize((24, 30), Image.Resampling.BILINEAR))
    assert float((ours - torch.from_numpy(theirs)).abs().max()) < 1.01  # theirs is rounded, twice


def test_dtype_and_grey_and_rotated_pictures() -> None:
    double = torch.rand(3, 4, 4, dtype=torch.float64)
    assert to_tensor(double).dtype == torch.float64
    assert to_tensor(double.half()).dtype == torch.float32
    assert to_tensor(Image.new("L", (4, 5), 255)).shape == (3, 5, 4)
    turned = Image.new("RGB", (4, 5))
    turned.getexif()[0x0112] = 6  # a phone held upright
    assert to_tensor(turned).shape == (3, 4, 5)


def test_variants_share_the_network() -> None:
    detector = says()
    variant = replace(detector, score_threshold=0.85)
    assert variant.raw is detector.raw
    assert variant(X).anchor.tolist() == [2, 1]
