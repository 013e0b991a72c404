"""Runs of frozen clips: every slice as in the plain run, with the equal ones computed once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.graph import Node
from relprop.video.steady import Steady, StillTrace


class Stack(nn.Module):
    """Everything that a still clip stays still behind: (N,3,T,8,8) → (N,4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv3d(3, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4)
        self.wide = nn.Conv3d(4, 4, (3, 1, 1), dilation=(2, 1, 1), padding=(2, 0, 0))
        self.other, self.down = nn.Conv3d(4, 4, 1), nn.Conv3d(8, 6, 3, stride=2, padding=(0, 1, 1))
        self.slope, self.head = nn.PReLU(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(x + self.wide(x)) * x.mean((2, 3, 4), keepdim=True)
        x = F.max_pool3d(F.pad(x, (1, 1, 1, 1, 1, 2)), 3, stride=1, padding=(1, 0, 0))
        x = torch.cat([x, F.avg_pool3d(self.other(x), (3, 1, 1), 1, (1, 0, 0))], 1)
        return self.head(self.slope(self.down(x)).mean((2, 3, 4)))


class Ordered(nn.Module):
    """Operators that tell the slices of a still clip apart: (N,3,T,8,8) → (N,4)."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv3d(3, 4, 3, padding="same"), nn.Linear(4, 4)
        self.place, self.late = nn.Parameter(torch.zeros(frames, 1, 1)), nn.Conv3d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv3d(x, self.conv.weight, padding=1) + self.place)
        x = F.max_pool3d(self.late(x).flip(2).transpose(2, 3), 2, ceil_mode=True)
        return self.head(x.cumsum(2).mean((2, 3, 4)))


def still(frames: int) -> Tensor:
    return nets.pictures(2, 3, 1, 8, 8).expand(-1, -1, frames, -1, -1)


@pytest.mark.parametrize("frames", [2, 3, 7, 16])
@pytest.mark.parametrize("kind", ["stack", "ordered"])
def test_every_slice_is_that_of_the_plain_run(kind: str, frames: int) -> None:
    if kind == "stack" and frames < 4:
        frames += 3
    model = nets.seeded(Stack() if kind == "stack" else Ordered(frames), 5)
    x = still(frames)
    plain = relprop.trace(model, x)
    places = [n for n in plain.graph.nodes if isinstance(plain.values.get(n), Tensor) and n.kind != "symbol"]
    films = [n for n in places if plain.values[n].ndim == 5 and n is not plain.graph.input]
    assert len(films) >= 4
    run = StillTrace(model, x, [n.name for n in films])
    assert_close_to_rounding(run.output, plain.output, model)
    for node in films:
        whole = plain.values[node]
        for t in range(whole.shape[2]):
            assert_close_to_rounding(
                run.slice_of(node.name, 1, t), whole[1, :, t], model, float(whole.abs().max())
            )


def test_a_value_that_only_a_relu_reads_is_what_is_behind_it() -> None:
    model = nets.video()
    plain = relprop.trace(model, still(4))
    before = plain.graph.find("conv1")
    run = StillTrace(model, still(4), [before.name])
    assert_close_to_rounding(run.slice_of(before.name, 0, 2), plain.stored(before)[0, :, 2], model)


def test_equal_slices_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 frames: the first convolution gives 3 different slices, the second 5 of its 8."""
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d((2, 1, 1)), nn.Conv3d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(),
    )  # fmt: skip
    model = nets.seeded(model, 5)
    relprop.trace(model, still(16))  # from here on the graph is known, and held against the model
    seen: list[int] = []
    run = Node.run

    def watched(self: Node, lookup: object, function: object = None) -> object:
        y = run(self, lookup, function)  # type: ignore[arg-type]
        if self.op == "conv3d":
            seen.append(y.shape[2])
        return y

    monkeypatch.setattr(Node, "run", watched)
    StillTrace(model, still(16), [])
    assert seen == [3, 5]


def test_steady_values() -> None:
    value = Steady(torch.arange(4.0).reshape(1, 1, 4, 1, 1), 1, 2, 7)
    whole = [0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0]
    assert value.whole().flatten().tolist() == whole
    assert [float(value.at(t)) for t in range(7)] == whole
    assert value.lasting(1, 2, 3).flatten().tolist() == [0, 1, 1, 1, 2, 3]
    assert value.shape == (1, 1, 7, 1, 1)
