"""Margin RSP and agreement: what the margin is, where the map starts on detectors, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from tests.detectors.nets import torchvision_nets, two_stage_nets
from tests.detectors.nets.yolo_like import yolo_like
from tests.detectors.nets.yolox_like import yolox_like
from tests.methods import sectional
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.detectors import DetectionUnit, Layout, wrap
from relprop.errors import InputError
from relprop.explanation.sheet import combination, ledger_note
from relprop.methods.agreement import smoothed
from relprop.methods.facts import Facts

K, WIDTH, SIDE = 4, 9, 16  # classes; with four offsets and an objectness


class Levels(nn.Module):
    """Two levels, each with a head that says classes, offsets and objectness for every cell."""

    def __init__(self, heads: Sequence[nn.Module], classes: int = K) -> None:
        super().__init__()
        self.classes = classes
        self.low = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low = self.low(x)
        maps = [low, self.high(low)]
        found = [h(m).flatten(2).transpose(1, 2) for h, m in zip(self.heads, maps, strict=True)]
        units = torch.cat(found, 1)
        k = self.classes
        return units[..., :k], units[..., k:-1], units[..., -1]


def plain(classes: int = K) -> Levels:
    """One 3 x 3 convolution a level."""
    return nets.seeded(
        Levels([nn.Conv2d(6, WIDTH, 3, padding=1), nn.Conv2d(8, WIDTH, 3, padding=1)], classes), 3
    )


def pointwise() -> Levels:
    """A 3 x 3 convolution, and two of 1 x 1 behind it: those see one position."""
    made = [
        nn.Sequential(
            nn.Conv2d(c, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, WIDTH, 1)
        )
        for c in (6, 8)
    ]
    return nets.seeded(Levels(made), 4)


LOW, HIGH = 8 * 3 + 4, 64 + 4 * 1 + 2  # an anchor of each level: a cell in the midst of its map
LAYOUT = Layout(K, background=0, objectness=True)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return nets.pictures(2, 3, SIDE, SIDE)


def unit(model: nn.Module, *anchors: int, layout: Layout = LAYOUT) -> DetectionUnit:
    return DetectionUnit(model, layout).at(list(anchors))


# The margin -----------------------------------------------------------------------------------------


def test_margin_is_the_logit_less_the_likely_others(x: Tensor) -> None:
    view = unit(plain(), LOW)
    e = relprop.explain(view, x, [1, 2], "margin-rsp")
    logits = view(x).detach()[:, :K]
    for row, k in enumerate((1, 2)):
        others = [c for c in range(K) if c != k]
        rivals = logits[:, others]
        expected = logits[:, k] - (rivals.softmax(1) * rivals).sum(1)
        torch.testing.assert_close(e.extras["margin"][row], expected, rtol=1e-12, atol=1e-12)


def test_without_the_background(x: Tensor) -> None:
    view = unit(plain(), LOW)
    e = relprop.explain(view, x, 1, relprop.MarginRSP(include_background=False))
    rivals = view(x).detach()[:, [2, 3]]
    expected = view(x).detach()[:, 1] - (rivals.softmax(1) * rivals).sum(1)
    torch.testing.assert_close(e.extras["margin"], expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(e.relevance, relprop.explain(view, x, 1, "margin-rsp").relevance)


def test_two_classes_are_their_difference(x: Tensor) -> None:
    """With one rival left its share is 1: the margin is that of `versus`, and of a callable that says so."""
    view = unit(plain(2), LOW, layout=Layout(2, offsets=tuple("abcdef"), objectness=True))
    pair = relprop.explain(view, x, 1, "margin-rsp")
    versus = relprop.explain(view, x, 1, "margin-rsp", versus=0)
    called = relprop.explain(view, x, lambda y: y[:, 1] - y[:, 0], "margin-rsp")
    assert_close_to_rounding(pair.relevance, versus.relevance, view)
    assert_close_to_rounding(pair.relevance, called.relevance, view)
    torch.testing.assert_close(pair.extras["margin"], versus.extras["margin"])
    torch.testing.assert_close(pair.extras["margin"], called.extras["margin"])


def test_classes_beside_callables_are_classes(x: Tensor) -> None:
    """As a detection's edges are asked for together with its class; other callables stay what they are."""
    view = unit(plain(), LOW)
    alone = relprop.explain(view, x, 1, "margin-rsp")
    several = relprop.explain(view, x, [1, lambda y: y[:, K] * 2, lambda y: y[:, 1] + y[:, 2]], "margin-rsp")
    assert_close_to_rounding(several.relevance[0], alone.relevance, view)
    y = view(x).detach()
    torch.testing.assert_close(several.extras["margin"][0], alone.extras["margin"])
    torch.testing.assert_close(several.extras["margin"][1], y[:, K] * 2)
    torch.testing.assert_close(several.extras["margin"][2], y[:, 1] + y[:, 2])


def test_what_has_no_rival_is_its_logit(x: Tensor) -> None:
    model = plain()
    view = unit(model, HIGH)
    e = relprop.explain(view, x, WIDTH - 1, "margin-rsp")
    torch.testing.assert_close(e.extras["margin"], view(x).detach()[:, -1])
    offset = relprop.explain(view, x, K + 2, "margin-rsp")
    torch.testing.assert_close(offset.extras["margin"], view(x).detach()[:, K + 2])
    logit = relprop.explain(view, x, 1, relprop.MarginRSP(rivals="none"))
    torch.testing.assert_close(logit.extras["margin"], view(x).detach()[:, 1])
    alone = unit(plain(1), HIGH, layout=Layout(1, offsets=tuple("abcdefg"), objectness=True))
    one = relprop.explain(alone, x, 0, "margin-rsp")
    torch.testing.assert_close(one.extras["margin"], alone(x).detach()[:, 0])
    assert one.ledger is not None
    assert one.ledger.closes


def test_a_sigmoid_at_the_end_changes_nothing(x: Tensor) -> None:
    model = nets.vgg()
    plainly = relprop.explain(model, x, [0, 3], "margin-rsp")
    behind = relprop.explain(nn.Sequential(*model, nn.Sigmoid()), x, [0, 3], "margin-rsp")
    assert_close_to_rounding(plainly.relevance, behind.relevance, model)
    torch.testing.assert_close(plainly.extras["margin"], behind.extras["margin"])


def test_a_region_has_rivals_of_its_own() -> None:
    """A network whose output is a map: the margin at the region's positions, and at no others."""
    model = nets.seeded(nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 5, 3, 1, 1)), 1)
    x = nets.pictures(2, 3, 8, 8)
    region = torch.zeros(8, 8)
    region[2, 3] = 1
    e = relprop.explain(model, x, 2, "margin-rsp", region=region)
    scores = model(x).detach()[:, :, 2, 3]
    others = scores[:, [0, 1, 3, 4]]
    torch.testing.assert_close(e.extras["margin"], scores[:, 2] - (others.softmax(1) * others).sum(1))
    seen = e.heatmap() != 0
    assert not bool(seen[:, 5:].any())
    assert bool(seen.any())


# Where it starts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("anchor", "at"), [(LOW, "raw.low"), (HIGH, "raw.high")])
@pytest.mark.parametrize("make", [plain, pointwise])
def test_it_starts_at_the_map_that_the_anchors_head_reads(
    make: object, anchor: int, at: str, x: Tensor
) -> None:
    view = unit(make(), anchor)  # type: ignore[operator]
    e = relprop.explain(view, x, 1, "margin-rsp")
    assert e.extras["at"] == at
    named = relprop.explain(view, x, 1, relprop.MarginRSP(at=at))
    assert_close_to_rounding(e.relevance, named.relevance, view)
    assert e.ledger is not None
    assert e.ledger.closes
    torch.testing.assert_close(e.relevance.flatten(1).sum(1), torch.ones(2).to(x))


def test_by_hand(x: Tensor) -> None:
    """The higher level of the detector, its margin by autograd, and RSP from there by another implementation."""
    model = plain()
    trunk = nn.Sequential(*model.low, *model.high)
    cell = HIGH - 64
    ours = relprop.explain(unit(model, HIGH), x, 1, relprop.MarginRSP(bounds="sample")).relevance
    for i, one in enumerate(x.split(1)):
        leaf = trunk(one).detach().requires_grad_()
        logits = model.heads[1](leaf).flatten(2)[0, :K, cell]
        rivals = logits[[0, 2, 3]]
        margin = logits[1] - (rivals.detach().softmax(0) * rivals).sum()
        (slope,) = torch.autograd.grad(margin, leaf)
        start = sectional.purged((slope * leaf).detach())
        theirs = sectional.down(trunk, one, start, len(trunk) - 1, "paper")
        assert_close_to_rounding(ours[i : i + 1], theirs, model)


def test_anchors_of_several_levels_at_once(x: Tensor) -> None:
    model = plain()
    both = unit(model, LOW, HIGH, LOW + 1)
    targets = [
        both.layout.index("class", 1, 0),
        both.layout.index("class", 2, 1),
        both.layout.index("class", 3, 2),
    ]
    e = relprop.explain(both, x, targets, "margin-rsp", layers=["raw.low.1", "raw.low"])
    assert e.extras["at"] == "raw.low, raw.high"
    assert e.ledger is not None
    assert e.ledger.closes
    assert e.ledger.start == pytest.approx(6)  # targets x samples
    for row, (anchor, k) in enumerate(((LOW, 1), (HIGH, 2), (LOW + 1, 3))):
        alone = relprop.explain(unit(model, anchor), x, k, "margin-rsp", layers=["raw.low.1", "raw.low"])
        assert_close_to_rounding(e.relevance[row], alone.relevance, model)
        for name, relevance in alone.layers.items():
            assert_close_to_rounding(e.layers[name][row], relevance, model)
        torch.testing.assert_close(e.extras["margin"][row], alone.extras["margin"])


def test_samples_may_ask_different_levels(x: Tensor) -> None:
    model = plain()
    both = unit(model, LOW, HIGH)
    target = torch.tensor([both.layout.index("class", 1, 0), both.layout.index("class", 2, 1)])
    e = relprop.explain(both, x, target, "margin-rsp")
    for i, (anchor, k) in enumerate(((LOW, 1), (HIGH, 2))):
        alone = relprop.explain(unit(model, anchor), x[i : i + 1], k, "margin-rsp")
        assert_close_to_rounding(e.relevance[i : i + 1], alone.relevance, model)


def test_scores_that_are_pooled_start_in_front_of_the_last_convolution() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    e = relprop.explain(nets.seeded(model, 2), nets.pictures(2, 3, 8, 8), 1, "margin-rsp")
    assert e.extras["at"] == "1"


class Branches(nn.Module):
    """Its scores are read from two maps, one made of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
        self.one, self.two = nn.Conv2d(6, 5, 3), nn.Conv2d(6, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        return self.one(low).mean((2, 3)) + self.two(self.high(low)).mean((2, 3))


def test_branches_start_at_the_last_map_that_they_have_in_common() -> None:
    e = relprop.explain(nets.seeded(Branches(), 1), nets.pictures(2, 3, 12, 12), 1, "margin-rsp")
    assert e.extras["at"] == "low"
    assert e.ledger is not None
    assert e.ledger.closes


@pytest.mark.parametrize("name", ["ssd", "retinanet", "fcos", "faster", "yolo", "yolox"])
def test_detectors_of_all_kinds(name: str) -> None:
    """The whole is 1 less what the ledger lists as lost, whichever head the detection comes from."""
    made = {
        "faster": lambda: two_stage_nets.small("faster"),
        "yolo": yolo_like,
        "yolox": yolox_like,
    }.get(name, lambda: torchvision_nets.small(name))
    detector = wrap(made())
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    d = detector(picture).near(1)[0]
    e = relprop.explain_detection(detector, picture, d, method="margin-rsp")
    assert e.ledger is not None
    assert e.ledger.closes
    assert float(e.relevance.sum()) + e.ledger.lost == pytest.approx(1, abs=1e-5)
    assert float(e.relevance.abs().max()) > 0
    assert e.extras["at"]


# Agreement ------------------------------------------------------------------------------------------


def test_agreement_shows_less_and_says_what_its_ledger_is(x: Tensor) -> None:
    view = unit(plain(), LOW)
    e = relprop.explain(view, x, [1, 2], "agreement", layers=["raw.low.1"])
    regions = relprop.explain(view, x, [1, 2], "margin-rsp", layers=["raw.low.1"])
    shown = e.heatmap()
    torch.testing.assert_close(shown.flatten(2).sum(2), torch.ones(2, 2).to(x))
    assert not bool(shown[regions.heatmap() <= 0].any())
    assert float(e.relevance.min()) == 0
    assert "margin-rsp" in e.extras["ledger_of"]
    assert e.ledger is not None
    assert regions.ledger is not None
    assert e.ledger.summary() == pytest.approx(regions.ledger.summary())
    assert_close_to_rounding(e.layers["raw.low.1"], regions.layers["raw.low.1"], view)


def _classifier(*end: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4), *end,
    )  # fmt: skip
    return net.double().eval()


def _positive(e: relprop.Explanation) -> Tensor:
    return e.relevance.sum(-3, keepdim=True).clamp(min=0)


def _product(sharp: Tensor, regions: Tensor) -> Tensor:
    both = sharp * smoothed(regions[None], 1 / 56)[0]
    return both / both.sum((-1, -2, -3), keepdim=True)


@pytest.mark.parametrize(
    ("multi_label", "of", "sharp", "rivals"),
    [
        (True, "auto", "rsp:hostile=predicted", "none"),
        (False, "auto", "margin-rsp", "softmax"),
        (None, "auto", "margin-rsp", "softmax"),
        (None, "lrp-composite", "lrp-composite", "none"),
    ],
)
def test_agreement_is_the_product_of_its_two_factors(
    multi_label: bool | None, of: str, sharp: str, rivals: str
) -> None:
    net = _classifier()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    facts = Facts(multi_label=multi_label)
    method = relprop.Agreement(of=of, rivals="auto" if of == "auto" else rivals)
    e = relprop.explain(net, x, 1, method, facts=facts)
    one = relprop.explain(net, x, 1, sharp, facts=facts)
    scores = net(x)
    target: Any = 1
    if rivals == "softmax":
        weights = scores.detach().clone()
        weights[:, 1] = -torch.inf
        slopes = -weights.softmax(1)
        slopes[:, 1] = 1
        target = slopes * scores.detach()
    two = relprop.explain(net, x, target, "lrp-gamma", facts=facts)
    assert_close_to_rounding(e.heatmap()[:, None], _product(_positive(one), _positive(two)), net)
    assert e.extras["of"] == sharp.partition(":")[0]
    assert e.ledger is not None
    assert one.ledger is not None
    assert e.ledger.summary() == pytest.approx(one.ledger.summary())
    assert not e.signed


def test_agreement_of_two_classes_has_both_colours() -> None:
    net = _classifier()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    e = relprop.explain(net, x, 1, "agreement", versus=2)
    back = relprop.explain(net, x, 2, "agreement", versus=1)
    assert e.signed
    assert float(e.relevance.abs().sum()) == pytest.approx(1)
    assert_close_to_rounding(e.relevance, -back.relevance, net)
    sharp = relprop.explain(net, x, 1, "margin-rsp:ratio=1", versus=2).heatmap()
    pixels = relprop.explain(net, x, 1, "lrp-gamma", versus=2).heatmap()
    red, blue = (sharp.clamp(min=0), pixels.clamp(min=0)), ((-sharp).clamp(min=0), (-pixels).clamp(min=0))
    both = [a[None] * smoothed(b[None, None], 1 / 56)[0] for a, b in (red, blue)]
    assert_close_to_rounding(e.heatmap()[None], (both[0] - both[1]) / (both[0] + both[1]).sum(), net)


def test_agreement_takes_lrp_where_rsp_has_no_start() -> None:
    torch.manual_seed(4)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, 4)).double().eval()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    e = relprop.explain(flat, x, [0, 1], "agreement")
    assert e.extras["of"] == "lrp-composite"
    assert "no" not in e.extras["ledger_of"].split()
    assert any("takes its outlines from lrp-composite here. Expected a feature map" in n for n in e.notes)
    net = _classifier()
    seed = torch.randn(2, 4, dtype=torch.float64)
    for asked in ({"target": seed}, {"target": 2, "start": "2"}):
        found = relprop.explain(net, x, method="agreement", **asked)  # type: ignore[arg-type]
        sharp = relprop.explain(net, x, method="lrp-composite", **asked)  # type: ignore[arg-type]
        pixels = relprop.explain(net, x, method="lrp-gamma", **asked)  # type: ignore[arg-type]
        assert_close_to_rounding(found.heatmap()[:, None], _product(_positive(sharp), _positive(pixels)), net)
        assert any("RSP's forms don't start from a" in note for note in found.notes)


def test_smoothing_keeps_what_lies_inside() -> None:
    maps = torch.zeros(1, 1, 1, 41, 31, dtype=torch.float64)
    maps[..., 20, 15] = 1.0
    soft = smoothed(maps, 2 / 41)[0, 0, 0]
    assert float(soft.sum()) == pytest.approx(1)
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(31.0), indexing="ij")
    assert float((soft * (y - 20) ** 2).sum()) == pytest.approx(4, rel=0.01)  # σ² in pixels
    assert float((soft * (x - 15) ** 2).sum()) == pytest.approx(4, rel=0.01)
    assert torch.equal(smoothed(maps, 0), maps)


# Refusals -------------------------------------------------------------------------------------------


def test_refusals(x: Tensor) -> None:
    view = unit(plain(), LOW)
    named = relprop.Agreement(of="margin-rsp")
    for method in ("margin-rsp", named):
        assert_refused(
            InputError,
            (lambda m=method: relprop.explain(view, x, torch.randn(2, WIDTH).to(x), m), "a seed"),
        )
    flat = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3)).eval().to(x)
    assert_refused(
        InputError,
        (lambda: relprop.explain(flat, x, 0, named), "a feature map"),
        (lambda: relprop.explain(nn.Linear(6, 3).eval(), torch.rand(2, 6), 0, "agreement"), "positions"),
        (lambda: relprop.Agreement(of="crp"), "Expected of to be"),
        (lambda: relprop.Agreement(rivals="all"), "Expected rivals to be"),
    )
    no_background = unit(plain(), LOW, layout=Layout(K, objectness=True))
    without = relprop.MarginRSP(include_background=False)
    assert_refused(InputError, (lambda: relprop.explain(no_background, x, 1, without), "background"))


def test_what_adds_up_is_said_of_the_factor(x: Tensor) -> None:
    view = unit(plain(), LOW)
    assert ledger_note(relprop.explain(view, x, 1, "agreement")).startswith("adds up before the product: 100")
    assert ledger_note(relprop.explain(view, x, 1, "margin-rsp")).startswith("adds up: 100")
    assert "contrast" in combination(relprop.explain(view, x, 1, "crp"))
