"""What taking cells away does, where it is known in closed form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets import linear_detector, tiny_detector
from tests.detectors.nets.linear_detector import SIDE
from torch import Tensor

from relprop.detectors import Detector, Prepared, measured_effects, wrap
from relprop.detectors.removal import BANDS
from relprop.detectors.two_stage import TwoStage
from relprop.detectors.variants import inside
from relprop.errors import InputError

TERMS = 3 * SIDE * SIDE


def gone(detector: Detector, prepared: Prepared, anchor: int, masks: Tensor) -> Tensor:
    """What the linear detector's seven outputs lose with masks (M, h, w) filled with the mean colour: (M, 7)."""
    x0, y0, x1, y1 = prepared.window
    mean = prepared.x[..., y0:y1, x0:x1].mean((2, 3), keepdim=True)
    raw: Any = detector.raw
    return torch.einsum("chw,uchw,mhw->mu", (prepared.x - mean)[0], raw.weights[anchor] / 20, masks.double())


@contextmanager
def counted(detector: Detector) -> Iterator[list[int]]:
    """How many pictures each run of the network had."""
    runs: list[int] = []
    hook = detector.raw.register_forward_hook(lambda module, inputs, output: runs.append(len(inputs[0])))
    yield runs
    hook.remove()


@pytest.mark.parametrize("letterbox", [False, True])
@pytest.mark.parametrize("cells", [(5, 5), (2, 3), "bands"])
@torch.no_grad()
def test_effects_of_a_linear_detector_are_known(letterbox: bool, cells: Any) -> None:
    detector = linear_detector.detector(letterbox)
    image = linear_detector.picture(36, 54)
    prepared = detector.prepared(image)
    for anchor in (0, 1):
        d = detector(image).at(anchor)
        found = measured_effects(detector, image, d, cells, fill="mean", batch=3)
        lost = gone(detector, prepared, anchor, found.masks)
        size = float(prepared.x.abs().sum())
        for k in range(3):
            assert_close_to_rounding(found.of("class", k), lost[:, k], TERMS, size)
        assert_close_to_rounding(found.of("margin"), lost[:, d.label], TERMS, size)
        sx, sy = prepared.scale
        for j, (offset, edge) in enumerate(zip(detector.offsets, ("x1", "y1", "x2", "y2"), strict=True)):
            assert_close_to_rounding(found.of(offset), lost[:, 3 + j], TERMS, size)
            assert_close_to_rounding(found.of(edge), lost[:, 3 + j] * (sx, sy)[j % 2], TERMS, 3 * size)
        with counted(detector) as runs:
            measured_effects(detector, prepared, d, cells, fill="mean", batch=3)
        assert sum(runs) == found.runs
        assert max(runs) <= 3
        before = found.said.of("class")[0]
        scores = before.sigmoid() - (before - lost[:, d.label]).sigmoid()
        assert_close_to_rounding(found.of("score"), scores, TERMS, size)
        assert found.runs == 1 + int(found.masks.any((1, 2)).sum())
        assert abs(float(found.said.of("score")[0]) - d.score) < 1e-12


def test_cells_lie_over_the_enlarged_box_and_those_outside_need_no_run() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    d = detector(image).at(1)
    found = measured_effects(detector, image, d, (5, 5), reach=4.0)
    x0, y0, x1, y1 = d.box.tolist()
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, 4 * (x1 - x0), 4 * (y1 - y0)
    for k, cell in enumerate(found.boxes):
        row, column = divmod(k, 5)
        left, top = cx - w / 2 + column * w / 5, cy - h / 2 + row * h / 5
        expected = torch.tensor([left, top, left + w / 5, top + h / 5], dtype=torch.float64).clamp(0, SIDE)
        torch.testing.assert_close(cell, expected, rtol=0, atol=1e-9)
    empty = ~found.masks.any((1, 2))
    assert bool(empty.any())
    assert found.runs == 1 + int((~empty).sum())
    for part in found.said.parts:
        assert bool((found.of(part)[empty] == 0).all())
    # No pixel is in two cells, and those of the grid are in one.
    assert int(found.masks.sum(0).max()) == 1


def test_bands_are_the_boxs_quarters() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    d = detector(image).at(0)
    found = measured_effects(detector, image, d, "bands")
    assert found.names == BANDS
    x0, y0, x1, y1 = d.box.tolist()
    w, h = (x1 - x0) / 4, (y1 - y0) / 4
    expected = [[x0, y0, x0 + w, y1], [x1 - w, y0, x1, y1], [x0, y0, x1, y0 + h], [x0, y1 - h, x1, y1]]
    torch.testing.assert_close(found.boxes, torch.tensor(expected, dtype=torch.float64))
    heat, effects = found.heatmap("x1"), found.of("x1")
    left, _, top, _ = found.masks
    corner = (left & top).nonzero()[0]
    assert float(heat[tuple(corner)]) == pytest.approx(float(effects[0] + effects[2]) / 2)
    only = (left & ~found.masks[2:].any(0)).nonzero()[0]
    assert float(heat[tuple(only)]) == pytest.approx(float(effects[0]))
    assert bool((heat[~found.masks.any(0)] == 0).all())


def test_words_name_the_part_that_moves_an_edge() -> None:
    """The left edge reads 45 values of the lower left ninth alone."""
    detector = linear_detector.detector()
    image = torch.full((3, SIDE, SIDE), 0.5, dtype=torch.float64)
    raw: Any = detector.raw
    with torch.no_grad():
        raw.weights.zero_()
        raw.weights[0, 3, :, 15:20, 5:8] = -1.0
        image[:, 15:20, 5:8] += 1.0 / 3  # 2/3 when normalised
        raw.weights[0, 1] = 1e-3
    d = detector(image).at(0, 1)
    found = measured_effects(detector, image, d, (3, 3), reach=1.0, fill="mean")
    effect = float(found.of("x1")[found.strongest("x1")])
    assert effect == pytest.approx(-45 / 20 * (2 / 3 - 2 / 3 * 15 / SIDE**2))
    assert found.names[found.strongest("x1")] == "lower left"
    assert found.words("x1") == (
        "The left edge lies where it does mostly because of the lower left part: without it the edge would lie "
        f"{-effect:.1f} px further right."
    )
    assert found.words("y2") == "None of the parts alone moves the bottom edge by 2% of the box."
    assert found.words("box") == (
        f"The lower left part moves the box most; without it: the left edge {-effect:.1f} px right."
    )
    assert "the logit would be lower" in found.words("class")
    assert "bottom edge" not in found.summary
    assert found.summary.startswith(f"{found.words('box')} {found.words('x1')} Measured: ")
    assert found.summary.endswith("9 parts, each replaced by the picture's mean colour; 10 runs.")
    with pytest.raises(InputError, match=re.escape("for a sentence but got 'left'. Read .of('left').")):
        found.words("left")


def test_nothing_of_the_users_changes() -> None:
    detector = tiny_detector.detector(objectness=True)
    image = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    d = detector(image)[0]
    kept = image.clone(), {k: v.clone() for k, v in detector.raw.state_dict().items()}, d.box.clone()
    modes = [m.training for m in detector.raw.modules()]
    one = measured_effects(detector, image, d)
    assert torch.equal(image, kept[0])
    assert all(torch.equal(v, kept[1][k]) for k, v in detector.raw.state_dict().items())
    assert torch.equal(d.box, kept[2])
    assert modes == [m.training for m in detector.raw.modules()]
    assert all(p.grad is None for p in detector.raw.parameters())
    assert not one.of("class").requires_grad
    other = measured_effects(detector, image, d, batch=1)
    for part in one.said.parts:
        assert_close_to_rounding(one.of(part), other.of(part), detector.raw, 100.0)
    assert set(one.said.parts) > {"objectness", "class", "cx", "x1"}


@torch.no_grad()
def test_a_class_with_a_box_of_its_own() -> None:
    """Of offsets (..., K, 4) the detection's own class's are asked."""
    plain, image = linear_detector.detector(), linear_detector.picture()

    def measure(columns: Tensor) -> Tensor:
        return columns[..., None, :] * torch.arange(3.0, dtype=columns.dtype)[:, None]

    detector = replace(plain, measure=measure)
    one, two = (measured_effects(detector, image, detector(image).at(0, k), fill="mean") for k in (1, 2))
    for edge, offset in zip(("x1", "y1", "x2", "y2"), plain.offsets, strict=True):
        for k, found in ((1, one), (2, two)):
            lost = gone(detector, detector.prepared(image), 0, found.masks)
            unit = 3 + plain.offsets.index(offset)
            for part in (edge, offset):
                assert_close_to_rounding(found.of(part), k * lost[:, unit], TERMS, 1e3)


@pytest.mark.parametrize("name", ["faster", "mask", "one-level"])
@torch.no_grad()
def test_a_proposal_stays_where_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stage judges it in each variant; the first one isn't asked again."""
    from tests.detectors.nets import two_stage_nets

    torch.manual_seed(0)
    detector, image = wrap(two_stage_nets.small(name)), torch.rand(3, 50, 70)
    prepared = detector.prepared(image)
    d = detector(prepared)[0]
    monkeypatch.setattr(TwoStage, "_read", lambda self, x: pytest.fail("the first stage ran"))
    found = measured_effects(detector, prepared, d, "bands", fill="mean", batch=3)
    x0, y0, x1, y1 = prepared.window
    mean = prepared.x[..., y0:y1, x0:x1].mean((2, 3), keepdim=True)
    inputs = torch.where(found.masks[:, None], mean, prepared.x)
    rows = detector.unit(prepared, [d])(torch.cat([prepared.x, inputs]))
    logits = rows[:, d.label]
    assert bool((logits[0] != logits[1:]).any())
    size = float(rows.abs().max())
    assert_close_to_rounding(found.of("class"), logits[0] - logits[1:], detector.raw, size)
    assert (found.said.edges[0] - detector.localised(prepared, d)).abs().max() < 1e-3


def test_refusals() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    d = detector(image).at(0)
    with pytest.raises(
        InputError, match=re.escape("Expected cells of (rows, columns) or 'bands' but got 'rows'.")
    ):
        measured_effects(detector, image, d, "rows")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=re.escape("1 or more each, but got (0, 5).")):
        measured_effects(detector, image, d, (0, 5))
    with pytest.raises(InputError, match="Expected reach to be >= 0"):
        measured_effects(detector, image, d, reach=-1)
    with pytest.raises(InputError, match="Expected fill to be one of"):
        measured_effects(detector, image, d, fill="black")
    with pytest.raises(InputError, match="Expected a detection from this picture and detector but anchor 0"):
        measured_effects(detector, image.flip(-1), d)
    with pytest.raises(InputError, match="part of a detection"):
        measured_effects(detector, image, d).of("cx")


def test_pixels_in_boxes_by_their_centres() -> None:
    detector = linear_detector.detector(letterbox=True)
    prepared = detector.prepared(linear_detector.picture(20, 40))  # 12 rows of 24, in the middle
    assert prepared.window == (0, 6, 24, 18)
    found = inside(torch.tensor([[2.5, 0.0, 4.5, 8.0]]), prepared)[0]
    assert found.nonzero().tolist() == [[y, x] for y in (6, 7) for x in (2, 3)]
