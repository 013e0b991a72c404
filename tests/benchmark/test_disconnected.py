"""Disconnected networks: which cells a logit can depend on, and that maps of it keep their books."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.benchmark.make import by_key
from tests.benchmark.test_grids import folder as folder
from tests.benchmark.test_grids import grids
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.benchmark.disconnected import Disconnected, disconnected
from relprop.benchmark.worker import Worker
from relprop.errors import InputError

HOWS = ["full", "part"]


class Plain(nn.Module):
    """Two convolutions with a shortcut around the second, a pool, global mean: any size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def features(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return torch.relu(y + self.block(y))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x).mean((2, 3)))
        return out


class Flat(Plain):
    """The same with a head of one size: 8 × 8."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x).reshape(x.shape[0], -1))
        return out


class Past(Plain):
    """Its head also reads the picture itself."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x).mean((2, 3))) + x.mean((1, 2, 3))[:, None]
        return out


def made(kind: type[Plain] = Plain) -> Any:
    torch.manual_seed(0)
    return kind().double().eval()


def inputs(side: int = 2, size: int = 8) -> tuple[Tensor, list[Tensor]]:
    """A grid and its cells, row by row."""
    x = torch.randn(2, 3, side * size, side * size, generator=torch.Generator().manual_seed(1)).double()
    return x, [cell for row in x.split(size, 2) for cell in row.split(size, 3)]


@cache
def first(how: str) -> Disconnected:
    """The plain network that sees the first of four cells."""
    return disconnected(made(), inputs()[1][0], how, side=2)


@pytest.mark.parametrize(("kind", "side", "cell"), [(Plain, 3, 5), (Flat, 2, 0)])
def test_full_is_the_network_on_its_cell_alone(kind: type[Plain], side: int, cell: int) -> None:
    net = made(kind)
    x, cells = inputs(side)
    changed = disconnected(net, cells[0], "full", side=side, cell=cell)
    assert_close_to_rounding(changed(x).detach(), net(cells[cell]).detach(), net)
    x.requires_grad_()
    changed(x).sum().backward()
    assert x.grad is not None
    slopes = [part for row in x.grad.split(8, 2) for part in row.split(8, 3)]
    assert [bool(slope.any()) for slope in slopes] == [k == cell for k in range(side**2)]


@pytest.mark.parametrize("kind", [Plain, Flat])
def test_part_reads_its_cell_of_the_whole_map(kind: type[Plain]) -> None:
    net = made(kind)
    x, cells = inputs()
    changed = disconnected(net, cells[0], "part", side=2, cell=1)
    own = net.features(x)[:, :, :4, 4:]
    by_hand = net.head(own.mean((2, 3)) if kind is Plain else own.flatten(1))
    assert_close_to_rounding(changed(x).detach(), by_hand.detach(), net)
    assert not torch.allclose(changed(x), net(cells[1]))  # the neighbours reach across the border


@pytest.mark.parametrize("how", HOWS)
def test_places_in_the_middle_lie_over_the_whole_grid(how: str) -> None:
    net = made()
    x, cells = inputs()
    changed = disconnected(net, cells[0], how, side=2, cell=0, places=["stem", "relu_1"])
    e = relprop.explain(changed, x, 2, "gradient-x-input", layers=["features.0", "features.1"])
    alone = relprop.explain(net, cells[0], 2, "gradient-x-input", layers=["stem", "relu_1"])
    for place, own in (("features.0", "stem"), ("features.1", "relu_1")):
        maps = e.layers[place]
        assert maps.shape == (2, 4, 8, 8)
        if how == "full":
            assert not maps[:, :, 4:].any()
            assert not maps[:, :, :, 4:].any()
            assert_close_to_rounding(maps[:, :, :4, :4], alone.layers[own], net)


@pytest.mark.parametrize("how", HOWS)
def test_ledgers_close_and_no_other_cell_has_relevance(how: str) -> None:
    x, _ = inputs()
    for method in ("lrp-epsilon", "lrp-composite", "clrp", "margin-rsp", "contrastive-rsp"):
        e = relprop.explain(first(how), x, 1, method)
        assert e.ledger is not None
        assert e.ledger.closes, method
        assert e.relevance.any()
        if how == "full":
            assert not e.relevance[:, :, 8:].any(), method
            assert not e.relevance[:, :, :, 8:].any(), method


@pytest.mark.parametrize("how", HOWS)
def test_grad_cam_looks_at_the_map_of_all_cells(how: str) -> None:
    net, changed = made(), first(how)
    x, _ = inputs()
    e = relprop.explain(changed, x, 1, "grad-cam")
    assert (e.relevance.shape, e.at) == ((2, 1, 8, 8), "features")
    # Weights are means over the whole map, so that channels weigh in the other cells, too, as published.
    features = changed.features(x)
    weights = torch.zeros_like(features)
    weights[:, :, :4, :4] = net.head.weight[1][None, :, None, None] / 16
    by_hand = (weights.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).clamp(min=0)
    assert_close_to_rounding(e.relevance, by_hand.detach(), net)
    assert e.relevance[:, :, 4:].any()


def test_the_network_stays_as_it_is_and_shares_its_weights() -> None:
    net = made()
    x, cells = inputs()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    changed = disconnected(net, cells[0], "full", side=2)
    changed(x)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net._forward_hooks
    shared = {p.data_ptr() for p in changed.parameters()}
    assert {p.data_ptr() for p in net.parameters()} <= shared


def test_refusals() -> None:
    _, cells = inputs()
    net = made()
    for settings, words in (
        ({"how": "whole"}, "in 'full' or in 'part' but got 'whole'"),
        ({"cell": 4}, "cell from 0 to 3 but got 4"),
        ({"places": ["stam"]}, "Did you mean 'stem'"),
        ({"places": ["head"]}, r"feature map .* at 'head' but its value is \(1, 5\)"),
        ({"places": ["block"]}, "goes past it"),  # the shortcut does
    ):
        given: Any = {"how": "full", "side": 2, **settings}
        with pytest.raises(InputError, match=words):
            disconnected(net, cells[0], **given)
    with pytest.raises(InputError, match="goes past it"):
        disconnected(made(Past), cells[0], "full", side=2, places=["relu_1"])
    with pytest.raises(InputError, match=r"2 times as high and wide .* \(6, 6\), but at .* it is \(7, 7\)"):
        disconnected(net, inputs(size=7)[1][0], "part", side=2)  # pooled by 2: 3 of 7, but 7 of 14


@pytest.mark.parametrize("how", HOWS)
def test_a_recipe_asks_one_cell_of_every_grid(folder: Path, how: str) -> None:
    given = grids(
        folder,
        model={"disconnected": how},
        data={"asked": "last"},
        methods=["gradient-x-input", "lrp-epsilon"],
    )
    worker = Worker(given)
    result = worker.process(0)
    assert result.problems == ()
    found = by_key(result.records)
    assert len(found) == 2 * 2 * 2
    shares = {key: record.values["share"] for key, record in found.items() if key[3] == "grid-pg"}
    if how == "full":
        assert set(shares.values()) == {1.0}
    else:
        assert all(0.25 < share <= 1 for share in shares.values())


def test_what_a_recipe_cannot_disconnect_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r'asked = "first" or "last".* but got grids, asked = \'all\''):
        Worker(grids(folder, model={"disconnected": "full"}))
    with pytest.raises(InputError, match="with places but got places alone"):
        Worker(grids(folder, model={"places": "features"}))
    with pytest.raises(InputError, match=r"model\.disconnected to be one of"):
        grids(folder, model={"disconnected": "half"})
