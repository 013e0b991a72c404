"""Boxes: overlap, suppression and the offset code, against closed forms, torchvision and pycocotools."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import Tensor

from relprop.compat import load_torchvision
from relprop.detectors.boxes import BoxCode, iou, nms
from relprop.errors import InputError

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="needs torchvision"
)


def random_boxes(n: int, seed: int = 0, side: float = 40.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 100
    size = torch.rand(n, 2, generator=generator, dtype=torch.float64) * side + 1
    return torch.cat([low, low + size], 1)


def test_iou_closed_forms() -> None:
    a = torch.tensor([[0, 0, 4, 4]], dtype=torch.float64)
    b = torch.tensor(
        [[0, 0, 4, 4], [2, 0, 6, 4], [1, 1, 3, 3], [4, 0, 8, 4], [9, 9, 10, 10], [2, 2, 2, 2], [6, 0, 2, 4]],
        dtype=torch.float64,
    )
    # Same, half over, inside, touching, apart, empty inside, corners swapped (an empty box).
    assert iou(a, b).tolist() == [[1, 8 / 24, 4 / 16, 0, 0, 0, 0]]
    assert iou(b[5:6], b[5:6]).tolist() == [[0.0]]
    assert iou(a, b[:0]).shape == (1, 0)


def test_iou_against_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    a, b = random_boxes(40), random_boxes(60, 1)
    as_coco = [torch.cat([x[:, :2], x[:, 2:] - x[:, :2]], 1).numpy() for x in (a, b)]
    expected = mask.iou(*as_coco, [0] * len(b))
    assert np.abs(iou(a, b).numpy() - expected).max() < 1e-14
    assert (expected > 0).sum() > 100


@needs_torchvision
def test_iou_against_torchvision() -> None:
    load_torchvision()
    from torchvision.ops import box_iou

    a, b = random_boxes(40), random_boxes(60, 1)
    assert_close_to_rounding(iou(a, b), box_iou(a, b), 8)  # two areas, a sum, a quotient


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> list[int]:
    """The definition, box by box."""
    left = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i))
    kept: list[int] = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            i
            for i in left
            if labels[i] != labels[best] or float(iou(boxes[best : best + 1], boxes[i : i + 1])) <= threshold
        ]
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 1.0])
def test_nms_against_its_definition(threshold: float) -> None:
    boxes = random_boxes(120, 3)
    generator = torch.Generator().manual_seed(4)
    scores = torch.randint(0, 30, (120,), generator=generator) / 30.0  # many ties
    labels = torch.randint(0, 3, (120,), generator=generator)
    kept = nms(boxes, scores, labels, threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == greedy(boxes, scores, labels, threshold)


@needs_torchvision
def test_nms_against_torchvision() -> None:
    load_torchvision()
    from torchvision.ops import batched_nms

    boxes = random_boxes(120, 5)
    generator = torch.Generator().manual_seed(6)
    scores = torch.rand(120, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (120,), generator=generator)
    assert torch.equal(nms(boxes, scores, labels, 0.3), batched_nms(boxes, scores, labels, 0.3))


def test_nms_ties_and_emptiness() -> None:
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    same = box.expand(5, 4)
    assert nms(same, torch.ones(5), torch.zeros(5), 0.45).tolist() == [0]
    assert nms(same, torch.ones(5), torch.tensor([2, 1, 2, 1, 0]), 0.45).tolist() == [0, 1, 4]
    assert nms(same, torch.ones(5), torch.zeros(5), 1.0).tolist() == [0, 1, 2, 3, 4]
    empty = nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.45)
    assert empty.shape == (0,)
    assert empty.dtype == torch.int64


def test_code_closed_form() -> None:
    """Formulas of the paper with SSD's variances, by hand."""
    anchor = torch.tensor([10.0, 20.0, 30.0, 60.0], dtype=torch.float64)  # centre 20, 40; size 20, 40
    box = torch.tensor([14.0, 20.0, 24.0, 80.0], dtype=torch.float64)  # centre 19, 50; size 10, 60
    expected = [-1 / 20 / 0.1, 10 / 40 / 0.1, math.log(0.5) / 0.2, math.log(1.5) / 0.2]
    assert BoxCode().encode(box, anchor).tolist() == pytest.approx(expected, abs=1e-14)
    # TensorFlow's order of columns.
    swapped = BoxCode(order=("cy", "cx", "h", "w")).encode(box, anchor).tolist()
    assert swapped == pytest.approx([expected[i] for i in (1, 0, 3, 2)], abs=1e-14)


@pytest.mark.parametrize("order", [("cx", "cy", "w", "h"), ("cy", "cx", "h", "w"), ("w", "cy", "h", "cx")])
@pytest.mark.parametrize("scales", [(10.0, 10.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0)])
def test_decode_undoes_encode(
    order: tuple[str, str, str, str], scales: tuple[float, float, float, float]
) -> None:
    boxes, anchors = random_boxes(50, 7), random_boxes(50, 8)
    code = BoxCode(scales, order)
    offsets = code.encode(boxes, anchors)
    assert torch.allclose(code.decode(offsets, anchors), boxes, rtol=0, atol=1e-11)
    # Leading axes are free, and one set of anchors serves a batch.
    both = code.decode(torch.stack([offsets, offsets]), anchors)
    assert_close_to_rounding(both[1], code.decode(offsets, anchors), 8)


@needs_torchvision
def test_code_against_torchvision() -> None:
    load_torchvision()
    from torchvision.models.detection._utils import BoxCoder

    boxes, anchors = random_boxes(50, 9), random_boxes(50, 10)
    ours, theirs = BoxCode(), BoxCoder((10.0, 10.0, 5.0, 5.0))
    assert torch.allclose(ours.encode(boxes, anchors), theirs.encode_single(boxes, anchors), atol=1e-12)
    offsets = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 20
    assert (offsets[:, 2:] / 5 > math.log(1000 / 16)).any()  # the cut is met
    assert torch.allclose(ours.decode(offsets, anchors), theirs.decode_single(offsets, anchors), atol=1e-9)


def test_bad_input() -> None:
    boxes = torch.zeros(3, 4)
    assert_refused(
        InputError,
        (lambda: iou(boxes[0], boxes), r"a of shape .*got \(4,\)"),
        (lambda: iou(boxes, boxes[:, :3]), r"b of shape .*got \(3, 3\)"),
        (lambda: nms(boxes, torch.zeros(3), torch.zeros(2), 0.5), r"3 boxes .*\(3,\) and \(2,\)"),
        (lambda: nms(boxes, torch.zeros(3), torch.zeros(3), 45), r"threshold .*got 45"),
        (lambda: BoxCode(order=("x", "y", "w", "h")), r"order .*\('x', 'y', 'w', 'h'\)"),
        (lambda: BoxCode((0.1, 0.1, 0.2, 0.0)), "four scales above 0"),
        (lambda: BoxCode().decode(torch.zeros(3, 5), boxes), r"offsets .*got \(3, 5\)"),
    )
