"""ODAM by hand and by autograd: each position's own weight, softmax, smoothing, targets at two levels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.detectors.nets import tiny_detector
from torch import Tensor, nn

import relprop
from relprop.detectors import DetectionUnit
from relprop.errors import InputError
from relprop.methods.facts import Facts
from relprop.propagate.layout import Layout


class Linear(nn.Module):
    """Two anchors, one at each position, each with two classes and one offset from a 1 × 3 window of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Conv2d(1, 3, (1, 3), padding=(0, 1), bias=False)
        self.body.weight.data.fill_(2.0)
        weights = [[1.0, 2.0, -1.0], [0.0, -1.0, 3.0], [-2.0, 1.0, 1.0]]
        self.head.weight.data = torch.tensor(weights)[:, None, None]
        self.layout = Layout(classes=2, offsets=("cx",), anchors=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).flatten(2).mT.flatten(1)


def test_a_linear_head_by_hand() -> None:
    net, x = Linear().double().eval(), torch.tensor([[[[3.0, -5.0]]]], dtype=torch.float64)
    # a = (6, -10). First anchor: weights of the middle and right; second: of the left and middle.
    e = relprop.explain(net, x, [0, 1, 2, 3, 5], "odam")
    assert e.at == "body"
    expected = [
        [12, 10],
        [0, 0],
        [6, 0],
        [6, 0],
        [0, 0],
    ]  # (2·6, 10) (−6, −30) (6, −10) | (6, −20) (−12, −10)
    assert e.relevance[:, 0, 0, 0].tolist() == expected
    assert not e.signed
    edge = relprop.explain(
        net, x, lambda v: v[:, 2] - 0.5 * v[:, 5], "odam"
    )  # 1 + 1 on the left, 1 − ½ on the right
    assert edge.relevance.flatten().tolist() == [12.0, 0.0]
    assert relprop.explain(net, x, 0, relprop.ODAM(at="input")).relevance.flatten().tolist() == [12.0, 10.0]


def gradients(run: nn.Module, a: Tensor, score: object) -> Tensor:
    a = a.detach().requires_grad_()
    (g,) = torch.autograd.grad(score(run(a)), a)
    return g


def test_softmax_of_an_anchors_classes() -> None:
    net, x = Linear().double().eval(), torch.tensor([[[[0.3, -0.5]]]], dtype=torch.float64)
    a = net.body(x).detach()
    e = relprop.explain(net, x, [0, 4, 2], relprop.ODAM(seed="softmax"))
    scores = [
        lambda v: torch.logit(v[0, :, 0, 0][:2].softmax(0)[0]),
        lambda v: torch.logit(v[0, :, 0, 1][:2].softmax(0)[1]),
        lambda v: v[0, 2, 0, 0],  # an offset has none
    ]
    for row, score in zip(e.relevance, scores, strict=True):
        expected = (gradients(net.head, a, score) * a).sum(1, keepdim=True).clamp(min=0)
        # Autograd's way leads through 1 − p, which is rounded by as much as 1.
        p = net.head(a)[0, :2, 0].detach().softmax(0)
        assert_close_to_rounding(row, expected, net, size=float(expected.max() / (1 - p.max())))


def test_a_class_beside_an_edge_is_the_class_alone() -> None:
    detector, picture = tiny_detector.detector(), nets.pictures(1, 3, 16, 16)[0].sigmoid()
    both = relprop.explain_detection(detector, picture, 3, ["class", "x1", "w"], [1], "odam")
    assert both.settings["seed"] == "softmax"
    alone = [
        relprop.explain_detection(
            detector, picture, 3, part, 1 if part == "class" else None, "odam"
        ).relevance
        for part in ("class", "x1", "w")
    ]
    assert_close_to_rounding(both.relevance, torch.stack(alone), detector.raw)
    logit = relprop.explain_detection(detector, picture, 3, "class", 1, "odam:seed=logit").relevance
    assert not torch.allclose(alone[0] / alone[0].max(), logit / logit.max(), rtol=1e-3)


def test_a_certain_class_keeps_its_map() -> None:
    """1 − p is 0 in float32, and so is the derivative of p; the map isn't."""
    net = Linear().eval()
    x = torch.tensor([[[[20.0, -20.0]]]])
    e = relprop.explain(net, x, 0, relprop.ODAM(seed="softmax"))
    assert float(net(x)[0, :2].detach().softmax(0)[0]) == 1.0
    # The logits' difference: weights (2 + 1, −1 − 3) of the middle and the right.
    assert_close_to_rounding(e.relevance.flatten(), torch.tensor([3 * 40.0, 4 * 40.0]), net)


def test_a_single_class_has_no_softmax() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1)).eval()
    e = relprop.explain(net, torch.ones(1, 1, 2, 2), 0, relprop.ODAM(seed="softmax"))
    assert e.relevance.tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]  # 1, whatever is seen


@pytest.mark.parametrize(("known", "seed"), [(None, "logit"), (True, "logit"), (False, "softmax")])
def test_what_is_known_of_the_classes_decides(known: bool | None, seed: str) -> None:
    net, x = nets.vgg(), nets.pictures()
    e = relprop.explain(net, x, 1, "odam", facts=Facts(multi_label=known))
    assert e.settings["seed"] == seed
    assert_close_to_rounding(e.relevance, relprop.explain(net, x, 1, relprop.ODAM(seed=seed)).relevance, net)


@pytest.mark.parametrize(
    ("make", "shape"), [(nets.vgg, (2, 3, 16, 16)), (nets.video, (2, 3, 4, 8, 8))], ids=["2d", "3d"]
)
def test_smoothing_goes_over_the_gradient_alone(make: object, shape: tuple[int, ...]) -> None:
    net, x = make(), nets.pictures(*shape)
    plain = relprop.explain(net, x, 1, "odam")
    place = plain.at
    a = relprop.trace(net, x).value(place)
    g = relprop.explain(net, x, 1, "gradient", layers=[place]).layers[place]
    sigma, reach = 0.8, 3
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)]
    kernel = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    for axis in range(2, x.ndim):
        padded = F.pad(g.movedim(axis, -1), (reach, reach))
        g = (padded.unfold(-1, len(weights), 1) @ kernel).movedim(-1, axis)
    e = relprop.explain(net, x, 1, relprop.ODAM(smooth=sigma))
    assert_close_to_rounding(e.relevance, (g * a).sum(1, keepdim=True).clamp(min=0), net)
    assert not torch.allclose(e.relevance, plain.relevance)


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="smooth to be from 0 to 50 cells but got 51"):
        relprop.ODAM(smooth=51)
    with pytest.raises(InputError, match="seed"):
        relprop.ODAM(seed="score")


# Several levels

GRIDS = {3: "first", 17: "second"}


def expected_map(method: str, anchor: int, column: int, x: Tensor) -> Tensor:
    """The map of one output by autograd, at what its level's head reads."""
    raw = tiny_detector.raw().double()
    first = raw.pool(torch.relu(raw.low(x)))
    level, at = (0, F.normalize(first, dim=1)) if anchor < 16 else (1, torch.relu(raw.high(first)))
    at = at.detach()
    cell = anchor if anchor < 16 else anchor - 16
    g = gradients(raw.heads[level], at, lambda v: v[0, column].flatten()[cell])
    if method == "grad-cam":
        g = g.mean((2, 3), keepdim=True)
    return (g * at).sum(1, keepdim=True).clamp(min=0)


@pytest.mark.parametrize("method", ["grad-cam", "odam:seed=logit"])
@pytest.mark.parametrize("anchor", GRIDS)
def test_each_level_has_its_own_map(method: str, anchor: int) -> None:
    detector, picture = tiny_detector.detector(), nets.pictures(1, 3, 16, 16)[0].sigmoid()
    x = detector.prepared(picture).x
    e = relprop.explain_detection(detector, picture, anchor, ["class", "cx", "h"], [1, 2], method)
    assert e.relevance.shape[-2:] == ((4, 4) if anchor < 16 else (2, 2))
    for row, column in zip(e.relevance, (1, 2, 4, 7), strict=True):
        assert_close_to_rounding(row, expected_map(method.split(":")[0], anchor, column, x), detector.raw)
    assert "maps" not in e.extras
    assert float(e.relevance.min()) >= 0


@pytest.mark.parametrize("method", ["grad-cam", "odam:seed=logit"])
def test_targets_of_two_levels_lie_on_the_finer_grid(method: str) -> None:
    detector, picture = tiny_detector.detector(), nets.pictures(1, 3, 16, 16)[0].sigmoid()
    x = detector.prepared(picture).x
    unit = DetectionUnit(detector.raw, Layout(4, 0)).at([17, 3])
    e = relprop.explain(unit, x, [1, 9, 4], method, layers=["raw.low"])  # of 17, of 3, of 17
    coarse, fine, offset = (
        expected_map(method.split(":")[0], anchor, column, x) for anchor, column in ((17, 1), (3, 1), (17, 4))
    )
    resize = {"size": (4, 4), "mode": "bilinear", "align_corners": False}
    expected = [F.interpolate(coarse, **resize), fine, F.interpolate(offset, **resize)]
    assert_close_to_rounding(e.relevance, torch.stack(expected), detector.raw)
    high, low = e.extras["maps"][:2]
    assert e.extras["maps"] == [high, low, high]
    assert e.at == low != high
    assert any("maps of their own" in note for note in e.notes)
    for row, target in enumerate([1, 9, 4]):
        alone = relprop.explain(unit, x, target, method, layers=["raw.low"])
        assert_close_to_rounding(e.layers["raw.low"][row], alone.layers["raw.low"], detector.raw)


@pytest.mark.parametrize("name", ["odam", "grad-cam"])
def test_a_place_goes_by_the_raw_networks_names(name: str) -> None:
    detector, picture = tiny_detector.detector(), nets.pictures(1, 3, 16, 16)[0].sigmoid()
    e = relprop.explain_detection(detector, picture, 17, method=f"{name}:at=low")
    assert e.relevance.shape == (1, 1, 16, 16)
    inner = relprop.explain_detection(detector, picture, 17, method=f"{name}:at=raw.low")
    assert_close_to_rounding(e.relevance, inner.relevance, detector.raw)


def test_detections_of_two_levels_are_added() -> None:
    detector, picture = tiny_detector.detector(), nets.pictures(1, 3, 16, 16)[0].sigmoid()
    e = relprop.explain_detection(detector, picture, [3, 17], ["class", "w"], [2], "odam")
    apart = [relprop.explain_detection(detector, picture, a, ["class", "w"], [2], "odam") for a in (3, 17)]
    resized = F.interpolate(apart[1].relevance[:, 0], (4, 4), mode="bilinear", align_corners=False)[:, None]
    assert_close_to_rounding(e.relevance, apart[0].relevance + resized, detector.raw)
