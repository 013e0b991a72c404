"""The measurements of the affine form measure what they say: maps, misses, borders, kinds, statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tests.close import assert_close_to_rounding
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import relprop
from benchmarks import affine_batch_norm, affine_common, affine_masking, affine_pair, affine_region
from relprop.metrics import masking_fidelity
from relprop.piecewise import affine, distance


def _net(classes: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, classes),
    )  # fmt: skip
    return net.eval().requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


# Resumed results and statistics


def test_statistics() -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 9, 50).astype(float)  # with ties
    b = a + rng.normal(size=50) * 3
    rho, low, high = affine_common.correlation(a, b)
    assert rho == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert low < rho < high
    assert affine_common.correlation(a, -a)[0] == pytest.approx(-1)
    mean, low, high = affine_common.interval(b)
    assert mean == pytest.approx(b.mean())
    # The percentile interval of a mean of 50 is close to the normal one.
    assert (high - low) / 2 == pytest.approx(1.96 * b.std() / 50**0.5, rel=0.1)


# Masking


def test_maps_are_those_of_the_methods(x: Tensor) -> None:
    net = _net()
    maps = affine_masking.maps_of(net, x, seed=5, layers=("1", "4"))
    assert {place: tuple(m["affine"].shape) for place, m in maps.items()} == {
        "1": (12, 12), "4": (6, 6), "input": (12, 12),
    }  # fmt: skip
    plain = relprop.explain(net, x, method="gradient-x-input").relevance[0].sum(0)
    assert_close_to_rounding(maps["input"]["affine"], plain, net)
    for place in ("1", "4"):
        positive = relprop.explain(net, x, method=relprop.Affine(at=place, positive=True)).relevance
        found = maps[place]["affine, positive parts"]
        assert_close_to_rounding(found, positive[0].sum(0), net)
        cam = relprop.explain(net, x, method=relprop.GradCAM(at=place)).relevance
        torch.testing.assert_close(maps[place]["grad-cam"], cam[0, 0])
        again = affine_masking.maps_of(net, x, seed=5, layers=("1", "4"))[place]["random"]
        assert torch.equal(maps[place]["random"], again)
    assert "grad-cam" not in maps["input"]


def test_overlaps_are_the_metric_and_remembering_changes_nothing(x: Tensor) -> None:
    net = _net(classes=9)
    maps = affine_masking.maps_of(net, x, seed=5, layers=("1", "4"))
    found = affine_masking.overlaps(net, x, maps)
    heat = maps["1"]["lrp-epsilon"]
    assert found["mean"]["1"]["lrp-epsilon"] == masking_fidelity(net, x, heat)
    black = masking_fidelity(net, x, heat, fill="black", black=affine_masking.BLACK)
    assert found["black"]["1"]["lrp-epsilon"] == black
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    known = affine_masking.Remembering(net, x)
    assert torch.equal(known(x), known(x.clone()))
    assert len(calls) == 1
    assert not torch.equal(known(x + 1), known(x))


def test_masking_table_pairs_with_grad_cam_of_the_place() -> None:
    places = ("features.7", "features.12", "input")

    def record(own: float, cam: float) -> dict:
        maps = {place: {"affine": own, "grad-cam": cam} for place in places}
        del maps["input"]["grad-cam"]
        maps["features.7"]["grad-cam"] = 0.0
        return {"overlap": {"mean": maps, "black": maps}}

    text = affine_masking.report([record(0.6, 0.2), record(1.0, 0.6)])
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "| affine" in line]
    assert [row[:4] for row in rows] == [
        ["features.7", "affine", "80.0 [60.0, 100.0]", "+80.0 [+60.0, +100.0]"],
        ["features.12", "affine", "80.0 [60.0, 100.0]", "+40.0 [+40.0, +40.0]"],
        ["input", "affine", "80.0 [60.0, 100.0]", "+40.0 [+40.0, +40.0]"],
    ]


# Region


def test_nothing_is_missed_inside_the_piece(x: Tensor) -> None:
    net, x = _net().double(), x.double()
    form = affine(net, x)
    directions = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    directions /= directions.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    far = affine_region.missed(net, x, form, directions)
    assert min(far["by score"]) > 1e-6
    smooth = nn.Sequential(*[m for m in _net() if not isinstance(m, (nn.ReLU, nn.MaxPool2d))]).double()
    inside = affine_region.missed(smooth, x, affine(smooth, x), directions)  # one piece everywhere
    assert max(inside["by score"]) < 1e-13
    # By hand, for the first size.
    there = [x + 0.01 * x.norm() * d for d in directions]
    t = int(form.targets)
    gaps = [abs(float(net(y)[0, t] - form.score - ((y - x) * form.weight).sum())) for y in there]
    assert far["by score"][0] == pytest.approx(sum(gaps) / 3 / abs(float(form.score)), rel=1e-6)
    moved = [abs(float(net(y)[0, t] - form.score)) for y in there]
    assert far["by change"][0] == pytest.approx(sum(gaps) / sum(moved), rel=1e-6)


def test_slope_of_a_relu_and_of_a_pool() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    x = torch.tensor([[[[3.0, -1.0], [2.0, 1.0]]]])
    relu = relprop.trace(net, x).graph.find("0")
    pool = relprop.trace(net, x).graph.find("1")
    on = affine_region.slope(net, x, relprop.piecewise.Flip(relu.name, "0", relu.op, (0, 0, 0)))
    off = affine_region.slope(net, x, relprop.piecewise.Flip(relu.name, "0", relu.op, (0, 0, 1)))
    assert (on.flatten().tolist(), off.flatten().tolist()) == ([1, 0, 0, 0], [0, 0, 0, 0])
    winner = affine_region.slope(net, x, relprop.piecewise.Flip(pool.name, "1", pool.op, (0, 0, 0)))
    assert winner.flatten().tolist() == [1, 0, 0, 0]


def test_border_is_exact(x: Tensor) -> None:
    net, x = _net().double(), x.double()
    form = affine(net, x)
    found = distance(net, x, samples=4)
    assert found.flips[0] is not None
    step = float(found.distance)
    checks = affine_region.border(net, x, form, step, found.direction, found.flips[0])
    assert checks["score error"] < 1e-13
    assert checks["W inside"] < 1e-13
    assert checks["slope inside same"]
    assert checks["slope outside other"]
    # A step that isn't the border is found out.
    wrong = affine_region.border(net, x, form, 0.9 * step, found.direction, found.flips[0])
    assert not wrong["slope outside other"]


def test_region_of_a_picture_with_ties() -> None:
    net = _net().double()
    flat = torch.full((1, 3, 12, 12), 0.7, dtype=torch.float64)  # whole windows of equals
    record = affine_region.region(net, flat, (0.2, 0.2, 0.2), samples=2, seed=0)
    assert record["plain"] <= affine_region.TIE
    assert 0 < record["distance"] <= record["gradient"]
    assert record["border"]["slope outside other"]
    text = affine_region.report({"flat": [record, affine_region.region(net, flat * 2, (0.2,) * 3, 2, 1)]})
    assert "2 of 2" in text


# Batch norm


def test_kinds_add_up_and_folding_keeps_the_ratio() -> None:
    torch.manual_seed(2)
    net = affine_pair.Tiny(norm=True)
    images = torch.randn(4, 3, 56, 56)
    for _ in range(3):
        net(images)  # statistics
    net.double().eval().requires_grad_(False)
    x = images[:1].double()
    record = affine_batch_norm.biases(net, x)
    assert record["residual"] < 1e-14
    assert sum(record["kinds"].values()) == pytest.approx(record["ratio"]["input"], abs=1e-12)
    assert set(record["kinds"]) == {"bias", "batch norm"}
    assert record["sizes"]["batch norm"] >= abs(record["kinds"]["batch norm"]) - 1e-12
    layers: list[nn.Module] = []
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], module)
        else:
            layers.append(module)
    folded = affine_batch_norm.biases(nn.Sequential(*layers).eval(), x)
    assert set(folded["kinds"]) == {"bias"}
    for key in ("ratio", "share"):
        assert folded[key]["input"] == pytest.approx(record[key]["input"], rel=1e-9)
    text = affine_batch_norm.report(
        {"with": [record], "folded": [folded]}, {"with": "yes", "folded": "folded"}
    )
    assert "| with " in text


def test_pairs_differ_in_batch_norm_alone() -> None:
    torch.manual_seed(0)
    plain = affine_pair.Tiny(norm=False)
    torch.manual_seed(0)
    norm = affine_pair.Tiny(norm=True)
    kinds = [type(m) for m in norm if not isinstance(m, nn.BatchNorm2d)]
    assert [type(m) for m in plain] == kinds
    convs = [[m.weight.shape for m in net if isinstance(m, nn.Conv2d)] for net in (plain, norm)]
    assert convs[0] == convs[1]


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    labels = (torch.arange(128)[:, None] % 2 == torch.arange(8) % 2).float()
    x = torch.randn(128, 3, 16, 16) * 0.1 + labels[:, :1, None, None]
    net = affine_pair.Tiny(norm=True)
    affine_pair.fit(net, x, labels, "t", epochs=15)
    found = nn.functional.binary_cross_entropy_with_logits(net.eval()(x), labels)
    assert float(found.detach()) < 0.5  # chance: 0.69


def test_pair_table() -> None:
    def records(share: float) -> list[dict]:
        return [{"share": {"input": share + i / 100}, "ratio": {"input": -share}} for i in range(3)]

    text = affine_batch_norm.pairs_report({"plain-0": records(0.25), "norm-0": records(0.5)}, 1)
    assert text.count("+0.250 [+0.250, +0.250]") == 4
