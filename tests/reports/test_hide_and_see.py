"""Hide and see, and places: on networks whose answer is known by construction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.models.loaded import LoadedModel
from relprop.reports import Conversation
from relprop.reports.hide_and_see import hide_and_see


class _Corner(nn.Module):
    """Class 0 is the brightness of the upper left quarter, class 1 that of the lower right one."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(2, 1, 32, 32)
        weight[0, :, :16, :16] = weight[1, :, 16:, 16:] = 1 / 64
        self.layer = nn.Conv2d(1, 2, 32, bias=False)
        self.layer.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).flatten(1)


def _input() -> Tensor:
    x = torch.zeros(1, 1, 32, 32)
    x[..., :8, :8] = 3.0  # within class 0's quarter
    x[..., 24:, 24:] = 1.0  # within class 1's
    return x


def _loaded() -> LoadedModel:
    return LoadedModel(
        "corner", _Corner(), (32, 32), (0.0,), (1.0,), ["left", "right"], False, lambda x: x, "own"
    )


def test_hiding_what_counts_costs_the_score_and_hiding_another_place_does_not() -> None:
    x = _input()
    right, wrong = torch.zeros(32, 32), torch.zeros(32, 32)
    right[:8, :8] = 1.0
    wrong[8:16, 24:] = 1.0
    good, bad, nothing = hide_and_see(_loaded(), x, [right, wrong, -right], 0, "left")
    assert good.before == pytest.approx(torch.tensor(2.0).sigmoid().item())  # outputs are 3 and 1
    assert good.holds
    assert max(good.red) < good.before - 0.2
    assert not bad.holds
    assert "doesn't hold up" in bad.words
    assert "With every red patch hidden" in good.words  # one, where a tenth would be two
    (all_over,) = hide_and_see(_loaded(), x, [right + 0.1], 0, "left")
    assert "With the reddest tenth of the picture hidden" in all_over.words
    assert (nothing.red, nothing.holds) == ((), False)
    assert "Nothing in the map is red" in nothing.words


def test_against_a_rival_the_two_outputs_alone_count() -> None:
    x = _input()
    heat = torch.zeros(32, 32)
    heat[:8, :8] = 1.0
    (plain,) = hide_and_see(_loaded(), x, [heat], 0, "left")
    (rather,) = hide_and_see(_loaded(), x, [heat], 0, "left rather than right", 1)
    assert rather.before == pytest.approx(plain.before)  # two classes: the same


def test_a_place_speaks_for_the_class_that_looks_there() -> None:
    with Conversation(_Corner(), _input()) as talk:
        there, other, empty = talk.place(0.05, 0.05), talk.place(0.95, 0.95), talk.place(0.9, 0.1)
    assert there.window == (0, 0, 4, 4)
    amounts = {row.index: row.amount for row in there.amounts}
    # 16 pixels of 3 / 64 for class 0, nothing for class 1; less the mean of both
    assert amounts == pytest.approx({0: 0.375, 1: -0.375}, rel=1e-3)
    assert {row.index: row.amount for row in other.amounts}[1] == pytest.approx(0.125, rel=1e-3)
    assert [row.amount for row in empty.amounts] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert there.hidden < there.before
    assert "less the mean" in there.words


def test_places_outside_are_refused() -> None:
    with Conversation(_Corner(), _input()) as talk, pytest.raises(InputError, match="from 0 to 1"):
        talk.place(1.5, 0.5)
