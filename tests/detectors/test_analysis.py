"""Statistics a layer, strongest pixels, offsets in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.detectors.nets import tiny_detector

import relprop
from relprop.detectors import analysis
from relprop.detectors.analysis import LayerInput, LayerRow
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.propagate.table import PlanRow, PlanTable


def _picture() -> torch.Tensor:
    return torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _explained(anchor: int, of: list[str]) -> tuple[Explanation, tuple[LayerInput, ...]]:
    detector = tiny_detector.detector()
    found = analysis.layer_inputs(
        relprop.explain_detection(detector, _picture(), anchor, of, method="crp").plan
    )
    layers = analysis.recorded(found)
    return relprop.explain_detection(detector, _picture(), anchor, of, None, "crp", layers), found


def test_a_row_holds_the_statistics_of_all_elements() -> None:
    values = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(0)).relu()
    row = LayerRow.of("conv", values)
    ranked = np.sort(values.double().flatten().numpy())

    def at(share: float) -> float:  # linear between the two ranks
        place = share * (len(ranked) - 1)
        low = math.floor(place)
        return float(ranked[low] + (place - low) * (ranked[min(low + 1, 99)] - ranked[low]))

    assert (row.layer, row.shape) == ("conv", (4, 5, 5))
    assert [row.max, row.p95, row.median, row.p5, row.min] == pytest.approx(
        [ranked[-1], at(0.95), at(0.5), at(0.05), 0.0], abs=1e-15
    )
    assert row.total == pytest.approx(ranked.sum())
    assert row.size == pytest.approx(np.abs(ranked).sum())


@pytest.mark.parametrize(
    ("anchor", "layers"),
    [
        (5, ["heads.0", "pool", "low"]),  # the head at the first grid: nothing goes through the second
        (17, ["heads.1", "high", "pool", "low"]),
    ],
)
def test_rows_are_named_after_the_layer_just_crossed(anchor: int, layers: list[str]) -> None:
    e, found = _explained(anchor, ["class", "cx"])
    tables = analysis.layer_tables(e, found, "raw.")
    assert [[row.layer for row in table] for table in tables] == [layers, layers]
    for k, table in enumerate(tables):
        assert table[-1] == LayerRow.of("low", e.relevance[k, 0])  # the first layer's row is the input's


def test_rows_are_what_a_run_that_stops_there_finds() -> None:
    e, found = _explained(17, ["class"])
    rows = {row.layer: row for row in analysis.layer_tables(e, found, "raw.")[0]}
    detector = tiny_detector.detector()
    x = detector.prepared(_picture()).x
    # By hand: class against the mean of the other classes, w+ through the head and the layer below it.
    with torch.no_grad():
        first = detector.raw.pool(torch.relu(detector.raw.low(x)))
        second = torch.relu(detector.raw.high(first))
        head = detector.raw.heads[1]
        window = torch.nn.functional.pad(second, (1, 1, 1, 1))[0, :, 0:3, 1:4]  # anchor 17: row 0, column 1
        products = head.weight[:4] * window
        shares = products.clamp(min=0) / products.clamp(min=0).sum((1, 2, 3), keepdim=True)
        label = int(head(second)[0, 1:4, 0, 1].argmax()) + 1
        others = [k for k in range(4) if k != label]
        contrast = shares[label] - shares[others].mean(0)
        # Back from the padded window to the 2 × 2 grid: its first row and column are padding.
        grid = torch.zeros_like(second[0])
        grid[:, 0:2, 0:2] = contrast[:, 1:3, 0:2]
    expected = LayerRow.of("heads.1", grid)
    assert rows["heads.1"].max == pytest.approx(expected.max, rel=1e-12)
    assert rows["heads.1"].min == pytest.approx(expected.min, rel=1e-12)
    assert rows["heads.1"].p95 == pytest.approx(expected.p95, rel=1e-12, abs=1e-18)
    assert rows["heads.1"].size == pytest.approx(expected.size, rel=1e-12)


def test_layers_that_read_one_value_share_a_row() -> None:
    class Fork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 4, 3)
            self.left, self.right = torch.nn.Conv2d(4, 2, 1), torch.nn.Conv2d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x))
            return torch.cat([self.left(x), self.right(x)], 1).mean((2, 3))

    torch.manual_seed(0)
    net, x = Fork().double().eval(), _picture()[None]
    found = analysis.layer_inputs(relprop.explain(net, x, 0, "lrp-0").plan)
    e = relprop.explain(net, x, [0, 3], "lrp-0", analysis.recorded(found))
    left, right = analysis.layer_tables(e, found)
    assert [row.layer for row in left[1:]] == ["left", "stem"]
    assert [row.layer for row in right[1:]] == ["right", "stem"]
    both = replace(e, layers={name: t.sum(0, keepdim=True).expand_as(t) for name, t in e.layers.items()})
    assert [row.layer for row in analysis.layer_tables(both, found)[0][1:]] == ["left + right", "stem"]


def test_plans_that_say_not_what_is_read_have_no_places() -> None:
    assert analysis.layer_inputs(None) == ()
    assert analysis.layer_inputs(PlanTable((PlanRow("conv2d", "conv", "conv2d", "z-plus"),))) == ()


def test_tables_need_their_layers_and_one_sample() -> None:
    e, found = _explained(5, ["class"])
    with pytest.raises(InputError, match="explanation's layers"):
        analysis.layer_tables(replace(e, layers={}), found)
    two = replace(
        e,
        relevance=e.relevance.expand(-1, 2, -1, -1, -1),
        input=e.input.expand(2, -1, -1, -1),
        targets=e.targets.expand(-1, 2),
    )
    with pytest.raises(InputError, match="one sample but got 2"):
        analysis.layer_tables(two, found)


def test_the_strongest_pixels_are_so_many_of_the_largest() -> None:
    heat = torch.randperm(400, generator=torch.Generator().manual_seed(0)).reshape(20, 20).double() + 1
    mask = analysis.strongest(heat, 60)
    assert int(mask.sum()) == 60
    assert bool((heat[mask].min() > heat[~mask].max()).item())
    assert not analysis.strongest(-heat, 60).any()


def test_what_was_not_seen_is_not_among_the_strongest() -> None:
    heat = torch.zeros(10, 10)
    heat[:2, :2] = torch.tensor([[1.0, 2.0], [-3.0, 4.0]])
    assert analysis.strongest(heat, 15).nonzero().tolist() == [[0, 0], [0, 1], [1, 1]]
    assert analysis.strongest(torch.ones(2, 3), 2).nonzero().tolist() == [
        [0, 0],
        [0, 1],
    ]  # the first of equal ones
    assert analysis.strongest(torch.ones(2, 3), 99).all()
    with pytest.raises(InputError, match="got 0"):
        analysis.strongest(heat, 0)


def test_positive_inside_counts_pixel_centres() -> None:
    heat = torch.tensor([[1.0, 2.0, -9.0], [4.0, 8.0, 1.0]])
    assert analysis.positive_inside(heat, (0, 0, 3, 2)) == 1.0
    assert analysis.positive_inside(heat, (0.6, 0, 2.4, 1)) == 2 / 16  # only column 1 has its centre inside
    assert math.isnan(analysis.positive_inside(-heat.abs(), (0, 0, 3, 2)))


def test_layers_of_no_module_go_by_their_operators() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(
                torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.nn.functional.conv2d(x, self.weight)).mean((2, 3))

    found = analysis.layer_inputs(relprop.explain(Bare().eval(), _picture()[None].float(), 0, "lrp-0").plan)
    assert [layer for place in found for layer, _ in place.layers] == ["mean", "conv2d"]


class _Functional(torch.nn.Module):
    """Four layers whose weights belong to one module, and a block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        shapes = [(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)]
        self.weights = torch.nn.ParameterList([torch.randn(*shape, generator=g) for shape in shapes])
        self.block = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.weights:
            x = torch.relu(torch.nn.functional.conv2d(x, weight, padding=1))
        x = torch.relu(self.block(torch.relu(self.block(torch.nn.functional.max_pool2d(x, 2)))))
        return self.head(x.mean((2, 3)))


class _Around(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.raw = _Functional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.raw(x)


@pytest.mark.parametrize("module", [_Functional, _Around])  # as it is, and as a detector's raw network
def test_layers_of_one_module_go_by_operator_and_place(module: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    net, x = module().eval(), _picture()[None].float()
    found = analysis.layer_inputs(relprop.explain(net, x, 0, "lrp-0").plan)
    e = relprop.explain(net, x, 0, "lrp-0", analysis.recorded(found))
    (table,) = analysis.layer_tables(e, found, "raw.")
    names = [
        "head",
        "mean",
        "block: conv2d (2)",
        "block: conv2d (1)",
        "max_pool2d",
        "conv2d (3)",
        "conv2d (2)",
    ]
    assert [row.layer for row in table] == [*names, "conv2d (1)"]
