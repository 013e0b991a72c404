"""Whether a map holds up, where it is known."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets import linear_detector, tiny_detector
from tests.detectors.nets.linear_detector import SIDE
from tests.detectors.test_removal import counted
from torch import Tensor

from relprop.detectors import Detection, Detector, check_map, check_maps
from relprop.detectors.hiding import Check, Loss, patches
from relprop.errors import InputError


def case(anchor: int = 0) -> tuple[Detector, Tensor, Detection]:
    detector, image = linear_detector.detector(), linear_detector.picture()
    return detector, image, detector(image).at(anchor)


def truth(detector: Detector, image: Tensor, unit: int) -> Tensor:
    """What each pixel does to an output of anchor 0 when it takes the mean colour, (h, w)."""
    x = detector.prepared(image).x[0]
    raw: Any = detector.raw
    return ((x - x.mean((1, 2), keepdim=True)) * raw.weights[0, unit].detach() / 20).sum(0)


def test_patches_fill_the_box_wholly() -> None:
    prepared = linear_detector.detector().prepared(linear_detector.picture())
    for box in (
        [3.3, 5.1, 19.9, 22.0],
        [-4.0, -9.0, 24.0, 30.0],
        [10.0, 2.0, 13.0, 23.0],
        [8.0, 8.0, 9.0, 9.0],
    ):
        label, own, (tall, wide) = patches(torch.tensor(box, dtype=torch.float64), prepared)
        x0, y0, x1, y1 = (min(max(v, 0.0), 24.0) for v in box)
        y, x = ((torch.arange(24) + 0.5) for _ in range(2))
        within = ((y >= y0) & (y < y1))[:, None] & (x >= x0) & (x < x1)
        assert torch.equal(torch.isin(label, own), within)
        assert (y1 - y0) / tall == pytest.approx(round((y1 - y0) / tall))
        assert (x1 - x0) / wide == pytest.approx(round((x1 - x0) / wide))
        assert len(own) <= 64
        assert bool((label >= 0).all())


def test_a_true_map_holds_up_and_its_losses_are_known() -> None:
    detector, image, d = case()
    heat = truth(detector, image, d.label)
    check = check_map(detector, image, d, heat, fills=["mean"], draws=8)
    label, own, patch = patches(detector.prepared(image).in_input(d.box), detector.prepared(image))
    sums = torch.stack([heat[label == k].sum() for k in label.unique()]).sort().values
    count = max(1, round(0.1 * len(own)))
    assert (check.hidden, check.patch) == (count, patch)
    (loss,) = check.losses
    assert loss.red == pytest.approx(float(sums[-count:].sum()), rel=1e-9)
    assert loss.blue == pytest.approx(float(sums[:count].sum()), rel=1e-9)
    assert check.holds
    assert check.against
    assert check.runs == 1 + 8 + 2
    assert "the map holds up" in check.words
    # The random draws only ever hide patches of the box.
    low, high = (
        float(torch.stack([heat[label == k].sum() for k in own]).topk(count, largest=way).values.sum())
        for way in (False, True)
    )
    assert all(low - 1e-9 <= v <= high + 1e-9 for v in loss.random)
    wrong = check_map(detector, image, d, -heat, fills=["mean"])
    assert wrong.red == pytest.approx(check.blue)
    assert not wrong.holds
    assert wrong.against is False
    assert "the map doesn't hold up" in wrong.words
    assert "blue doesn't speak against it" in wrong.words


def test_edges_and_offsets_are_asked_the_way_red_means() -> None:
    detector, image, d = case()
    for j, (edge, offset) in enumerate(zip(("x1", "y1", "x2", "y2"), detector.offsets, strict=True)):
        heat = truth(detector, image, 3 + j)  # positive: larger coordinates
        up = check_map(detector, image, d, heat, edge, up=True, fills=["mean"])
        assert up.red is not None
        assert up.red > 0
        assert up.holds
        assert up.way == ("right", "down")[j % 2]
        down = check_map(detector, image, d, -heat, edge, up=False, fills=["mean"])
        assert down.red == pytest.approx(-(up.blue or 0))
        assert down.way == ("left", "up")[j % 2]
        # By default red pushed the way that it went, an offset as an edge.
        went = float(d.offsets[j]) >= 0
        taken = check_maps(detector, image, d, [heat if went else -heat] * 2, [edge, offset], fills=["mean"])
        for check in taken:
            assert check.up == went
            assert check.red == pytest.approx(up.red if went else down.red)
        assert taken[0].words.startswith(
            f"By the map, red pulled the {('left', 'top', 'right', 'bottom')[j]} edge "
        )
        assert f"{'lowers' if went else 'raises'} {offset} by" in taken[1].words


def test_the_way_an_edge_went_is_what_the_outputs_did_to_it() -> None:
    """Distances from the anchor's middle: the left edge always went left, wherever the default box's is."""
    plain, image = linear_detector.detector(), linear_detector.picture()

    def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
        middle = (anchors[..., :2] + anchors[..., 2:]) / 2
        return torch.cat([middle - offsets[..., :2].abs(), middle + offsets[..., 2:].abs()], -1)

    detector = replace(plain, decode=decode)
    d = detector(image).at(0)
    assert d.default_box is not None
    assert bool((d.box[:2] > d.default_box[:2]).any())
    heat = torch.ones(SIDE, SIDE)
    edges = ["x1", "y1", "x2", "y2"]
    with torch.inference_mode():
        checks = check_maps(detector, image, d, [heat] * 4, edges, fills=["mean"], draws=1)
    assert [c.up for c in checks] == [False, False, True, True]
    offsets = check_maps(detector, image, d, [heat] * 4, detector.offsets, fills=["mean"], draws=1)
    assert [c.up for c in offsets] == (d.offsets >= 0).tolist()


def test_several_maps_share_the_random_draws() -> None:
    detector, image, d = case()
    heat = truth(detector, image, d.label)
    other = 3 - d.label
    maps, of = [heat, -heat.abs(), truth(detector, image, 3), heat], ["class", "class", "left", "class"]
    with counted(detector) as runs:
        together = check_maps(detector, image, d, maps, of, [None, None, None, other], draws=3, batch=2)
    assert sum(runs) == together[0].runs
    assert max(runs) <= 2
    assert together[0].runs == 1 + 2 * (3 + 7)  # no patch of the second is red
    alone = [
        check_map(detector, image, d, m, o, t, draws=3)
        for m, o, t in zip(maps, of, [None, None, None, other], strict=True)
    ]
    for one, two in zip(together, alone, strict=True):
        for a, b in zip(one.losses, two.losses, strict=True):
            numbers = [[v for v in (loss.red, loss.blue, *loss.random) if v is not None] for loss in (a, b)]
            assert_close_to_rounding(*(torch.tensor(n, dtype=torch.float64) for n in numbers), 1728, 100.0)
    assert together[1].red is None
    assert not together[1].holds
    assert "Nothing in the map is red." in together[1].words
    assert together[3].what == f"the logit of {linear_detector.CLASSES[other]}"
    again = check_map(detector, image, d, heat, draws=3, seed=1)
    assert again.losses[0].red == pytest.approx(alone[0].losses[0].red)
    assert again.losses[0].random != alone[0].losses[0].random


def test_a_softmax_is_asked_for_its_log_odds() -> None:
    detector = tiny_detector.detector()
    image = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    d = detector(image)[0]
    check = check_map(detector, image, d, torch.rand(16, 16))
    assert check.value == pytest.approx(float(torch.tensor(d.score, dtype=torch.float64).logit()))
    assert check.what == "the log-odds"


def made(red: float, blue: float | None, random: tuple[float, ...], of: str = "class") -> Check:
    losses = (Loss("inpaint", red, blue, random), Loss("mean", red + 1, blue, random))
    way, unit = ("left", " px") if of == "x1" else ("", "")
    what = "the left edge" if of == "x1" else "the logit"
    return Check(of, what, of == "class", way, unit, 3.0, 0.1, 4, (8.0, 8.0), losses, 20)


def test_words() -> None:
    fills = "(Hidden by a smooth continuation of what is around and by the picture's mean colour; means.)"
    check = made(1.6, 0.3, (0.6, 0.9, 1.2))
    assert check.words == (
        "Hiding the reddest tenth lowers the logit by 2.1, a random tenth of the box by 0.90 [0.60, 1.2]: the map "
        f"holds up. Hiding the bluest tenth lowers the logit by 0.30: blue doesn't speak against it. {fills}"
    )
    # Red has to do better than nine tenths of the draws.
    assert made(1.6, 0.3, (*[0.5] * 9, 1.7)).as_much == (1, 20)
    assert made(1.6, 0.3, (*[0.5] * 9, 1.7)).holds
    check = made(1.6, -0.3, (*[0.5] * 8, 1.7, 3.0))
    assert not check.holds
    assert "the map doesn't hold up (3 of 20 random draws do as much). Hiding" in check.words
    assert "lowers the logit by −0.30: blue does speak against it." in check.words
    check = made(-2.0, None, (-3.0, -4.0))
    assert check.words.startswith("Hiding the reddest tenth lowers the logit by −1.5, a random tenth")
    assert not check.holds
    assert made(4.0, -2.0, (0.0, 1.0), "x1").words.startswith(
        "By the map, red pulled the left edge left. Hiding the reddest tenth moves it back by 4.5 px, a random "
        "tenth of the box by 0.50 [0, 1.0]: the map holds up. Hiding the bluest tenth moves it back by −2.0 px: "
        "blue does work against it."
    )


def test_refusals() -> None:
    detector, image, d = case()
    heat = torch.zeros(SIDE, SIDE)
    with pytest.raises(
        InputError, match=re.escape("Expected finite maps (24, 24), on the input's pixels, but got")
    ):
        check_map(detector, image, d, heat[1:])
    with pytest.raises(InputError, match="NaN or infinity"):
        check_map(detector, image, d, heat / 0)
    with pytest.raises(InputError, match="Expected share from 0 to 1, of the box, but got 2"):
        check_map(detector, image, d, heat, share=2)
    with pytest.raises(InputError, match="Expected a list of at least one fill but got 'mean'"):
        check_map(detector, image, d, heat, fills="mean")
    with pytest.raises(InputError, match="Expected one `of`, target and `up` for each map"):
        check_maps(detector, image, d, [heat], ["class", "left"])
    with pytest.raises(InputError, match="part of a detection"):
        check_map(detector, image, d, heat + 1, "cx")
