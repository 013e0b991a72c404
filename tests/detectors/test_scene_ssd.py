"""The bundled detector's network: outputs, anchors and pictures fit together; its training script's parts."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relprop
from relprop.datasets import Scenes
from relprop.detectors.boxes import BoxCode, iou
from relprop.detectors.scene_ssd import HEADS, SIZE, L2Norm, SceneSSD, anchors

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_outputs_are_the_heads_anchor_by_anchor() -> None:
    """Output (row, column, box) of a scale is that place of the head's map, channels anchor-major."""
    torch.manual_seed(0)
    model = SceneSSD().eval()
    maps: dict[tuple[str, int], Tensor] = {}
    for kind, heads in (("logits", model.classification), ("offsets", model.localisation)):
        for i, head in enumerate(heads):
            head.register_forward_hook(lambda _, __, out, key=(kind, i): maps.__setitem__(key, out))
    with torch.no_grad():
        logits, offsets = model(torch.randn(2, 3, SIZE, SIZE))
    assert logits.shape == (2, len(anchors()), 9)
    assert offsets.shape == (2, len(anchors()), 4)
    start = 0
    for i, scale in enumerate(HEADS):
        boxes = len(scale.sides)
        for y, x, box in [(0, 0, 0), (1, 2, 1), (scale.cells - 1, 0, 1)]:
            row = start + (y * scale.cells + x) * boxes + box
            at = maps["logits", i][:, box * 9 : box * 9 + 9, y, x]
            assert torch.equal(logits[:, row], at)
            assert torch.equal(offsets[:, row], maps["offsets", i][:, box * 4 : box * 4 + 4, y, x])
            centre = (anchors()[row, :2] + anchors()[row, 2:]) / 2
            assert centre.tolist() == [scale.first + scale.step * x, scale.first + scale.step * y]
            assert (anchors()[row, 2:] - anchors()[row, :2]).tolist() == [scale.sides[box]] * 2
        start += scale.cells**2 * boxes
    assert start == len(anchors())


def test_anchors_lie_where_their_outputs_look() -> None:
    """With equal weights and mean pools the gradient of an output is symmetric about its anchor's centre."""
    model = SceneSSD().double()
    for name, layer in list(model.features.named_children()):
        if isinstance(layer, nn.MaxPool2d):
            setattr(model.features, name, nn.AvgPool2d(2))
    model.norm4_2 = nn.Identity()  # type: ignore[assignment]
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01 if parameter.ndim > 1 else 0.0)
    # A larger picture, so that the middle cell's field of view meets no edge.
    x = torch.ones(1, 3, 4 * SIZE, 4 * SIZE, dtype=torch.float64, requires_grad=True)
    logits, _ = model(x)
    start = 0
    for scale in HEADS:
        cells, boxes = 4 * SIZE // scale.step, len(scale.sides)
        row = start + ((cells // 2) * cells + cells // 2 + 1) * boxes
        (grad,) = torch.autograd.grad(logits[0, row, 0], x, retain_graph=True)
        weight = grad.sum((0, 1)) / grad.sum()
        assert weight[0].sum() == 0
        middle = torch.arange(4 * SIZE, dtype=torch.float64) + 0.5
        assert float((weight.sum(0) * middle).sum()) == pytest.approx(
            scale.first + scale.step * (cells // 2 + 1)
        )
        assert float((weight.sum(1) * middle).sum()) == pytest.approx(scale.first + scale.step * (cells // 2))
        start += cells**2 * boxes
    assert start == logits.shape[1]


def test_anchors_fit_the_scenes() -> None:
    """Every object overlaps an anchor by half, and every scale has objects."""
    boxes = torch.cat([torch.from_numpy(scene.boxes) for scene in Scenes(n=100, seed=5, split="val")])
    overlap = iou(boxes, anchors().double())
    assert float(overlap.amax(1).min()) >= 0.5
    first = HEADS[0].cells ** 2 * len(HEADS[0].sides)
    second = first + HEADS[1].cells ** 2 * len(HEADS[1].sides)
    for part in (overlap[:, :first], overlap[:, first:second], overlap[:, second:]):
        assert (part.amax(1) >= 0.5).float().mean() > 0.1


def test_l2_norm_closed_form() -> None:
    norm = L2Norm(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.tensor([2.0, 3.0, 6.0], dtype=torch.float64).view(1, 3, 1, 1)  # norm 7
    assert torch.allclose(norm(x).flatten(), torch.tensor([2 / 7, 6 / 7, 18 / 7], dtype=torch.float64))
    assert L2Norm(2).weight.tolist() == [20.0, 20.0]
    assert torch.equal(norm(torch.zeros_like(x)), torch.zeros_like(x))


def test_every_operator_has_a_rule() -> None:
    coverage = relprop.inspect(SceneSSD().eval(), torch.rand(1, 3, SIZE, SIZE))
    assert coverage.complete
    norm = [(row.operator, row.kind) for row in coverage.rows if row.module == "norm4_2"]
    assert norm == [("mul", "scale"), ("div", "gate")]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not (SCRIPTS / "train_ssd.py").exists():
        pytest.skip("needs a source checkout")
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))  # neither script stays imported
    return import_module("train_ssd")


def test_script_turns_boxes_with_the_picture(script: ModuleType) -> None:
    mark = torch.zeros(1, 1, SIZE, SIZE)
    mark[0, 0, 20:31, 5:19] = 1.0  # rows, columns
    box = torch.tensor([5.0, 20.0, 19.0, 31.0])
    seen = set()
    for turn in range(8):
        rows, columns = (script.turned(mark, turn)[0, 0]).nonzero(as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert script.turned_boxes(box, turn).tolist() == [float(v) for v in expected]
        seen.add(tuple(script.turned_boxes(box, turn).tolist()))
    assert len(seen) == 8


def test_script_matches_anchors(script: ModuleType) -> None:
    defaults = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [50, 50, 90, 90], [30, 30, 40, 40], [31, 31, 41, 41]]
    ).float()
    truth = torch.full((4, 6), -1.0)
    truth[0] = torch.tensor([0, 0, 10, 10, 3, 0])
    truth[1] = torch.tensor([60, 60, 70, 70, 5, 0])  # IoU 1/16 with its best anchor, which it gets anyway
    truth[2] = torch.tensor([30, 30, 40, 40, 2, 1])  # difficult
    classes, boxes = script.match(truth, defaults)
    assert classes.tolist() == [4, 4, 0, 6, -1, -1]
    assert torch.equal(boxes[0], truth[0, :4])
    assert torch.equal(boxes[3], truth[1, :4])


def test_script_loss_by_hand(script: ModuleType) -> None:
    """One matched anchor: its cross-entropy, the three hardest backgrounds', and its smooth L1."""
    defaults = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(7, 4)
    classes = torch.tensor([[1, 0, 0, 0, 0, 0, -1]])
    logits = torch.zeros(1, 7, 2)
    logits[0, :, 1] = torch.tensor([2.0, -1.0, 0.5, 3.0, -2.0, 1.0, 9.0])
    offsets, boxes = torch.full((1, 7, 4), 7.0), defaults[None].clone()
    offsets[0, 0] = torch.tensor([0.0, 0.5, -3.0, 0.0])
    boxes[0, 0] = torch.tensor([1.0, 0.0, 11.0, 10.0])  # offset 1 in cx

    def softplus(v: float) -> float:
        return float(np.log1p(np.exp(v)))

    expected = softplus(-2.0) + softplus(3.0) + softplus(1.0) + softplus(0.5) + 0.5 + 0.125 + 2.5
    loss = script.detection_loss(logits, offsets, classes, boxes, defaults)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(
        script.CODE.encode(boxes[0, 0], defaults[0]), BoxCode().encode(boxes[0, 0], defaults[0])
    )


def test_script_releases_what_was_trained(script: ModuleType) -> None:
    torch.manual_seed(0)
    trained = script.build().train()
    x = torch.randn(4, 3, SIZE, SIZE) * 2 + 1
    script.start_norms(trained, x)
    given = relprop.models.load("scenes-vgg").module.get_submodule("features")
    with torch.no_grad():
        ours = theirs = x
        for name, layer in trained.features[:22].named_children():
            ours = layer(ours)
            theirs = theirs if name.startswith("bn") else given.get_submodule(name)(theirs)
        assert name == "pool4"
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
        for _ in range(3):  # give the batch norms statistics that matter
            trained(torch.randn(4, 3, SIZE, SIZE) * 2 + 1)
        released = script.released(trained)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in released.modules())
        for part, expected in zip(released(x), trained.eval()(x), strict=True):
            assert torch.allclose(part, expected, atol=1e-4)
