"""Deep Taylor of what speaks against a class, and of one class rather than another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

BOUNDS = (-6.0, 6.0)


class Classifier(nn.Module):
    """(N, 3, 8, 8) → (N, 4), the head's weights and bias to be replaced."""

    def __init__(self, weight: Tensor | None = None, bias: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 4 if weight is None else len(weight))
        if weight is not None and bias is not None:
            self.head.weight.data, self.head.bias.data = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


def replaced(model: Classifier, weight: Tensor, bias: Tensor) -> nn.Module:
    """The model with another head."""
    other = Classifier(weight, bias).double().eval()
    other.conv.load_state_dict(model.conv.state_dict())
    return other


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier().double().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return nets.pictures(3, 3, 8, 8)


@pytest.mark.parametrize("seed", ["score", "one"])
def test_against_is_the_other_sign_of_the_negated_network(model: Classifier, x: Tensor, seed: Any) -> None:
    method = relprop.DeepTaylor(bounds=BOUNDS, seed=seed, negative="against")
    e = relprop.explain(model, x, [0, 1, 2, 3], method)
    scores = model(x).detach().T
    assert bool((scores < 0).any() and (scores > 0).any())
    turned = replaced(model, -model.head.weight.detach(), -model.head.bias.detach())
    plain = relprop.explain(model, x, [0, 1, 2, 3], relprop.DeepTaylor(bounds=BOUNDS, seed=seed))
    other = relprop.explain(turned, x, [0, 1, 2, 3], relprop.DeepTaylor(bounds=BOUNDS, seed=seed))
    up = (scores > 0)[:, :, None, None, None]
    assert_close_to_rounding(e.relevance, torch.where(up, plain.relevance, -other.relevance), model)
    totals = scores if seed == "score" else scores.sign()
    assert torch.allclose(e.relevance.sum((2, 3, 4)), totals)
    assert e.ledger is not None
    assert e.ledger.closes
    assert not e.warnings
    assert "blue speaks against it" in e.notes[-1]


def test_rather_is_the_difference_as_one_unit(model: Classifier, x: Tensor) -> None:
    method = relprop.DeepTaylor(bounds=BOUNDS, negative="against")
    rivals = torch.tensor([1, 3, 1])
    e = relprop.explain(model, x, 0, method, versus=rivals)
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    for i, rival in enumerate(rivals.tolist()):
        unit = replaced(model, (weight[0] - weight[rival])[None], (bias[0] - bias[rival])[None])
        alone = relprop.explain(unit, x[i : i + 1], 0, method)
        assert_close_to_rounding(e.relevance[i], alone.relevance[0], model)
    assert e.ledger is not None
    assert e.ledger.closes


class Maps(nn.Module):
    """A head that is a convolution: (N, 3, 8, 8) → (N, 4)."""

    def __init__(self, groups: int = 1, turned: bool = False, late: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1, groups=groups)
        self.turned, self.late = turned, late

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        maps = self.head(x if self.late else x.mean((2, 3), keepdim=True))
        scores = maps.mean((2, 3))
        return scores.flip(1) if self.turned else scores


def test_heads_that_are_convolutions_and_those_that_do_not_fit(x: Tensor) -> None:
    maps = Maps().double().eval()
    method = relprop.DeepTaylor(bounds=BOUNDS, negative="against")
    e = relprop.explain(maps, x, 2, method, versus=0)
    scores = maps(x).detach()
    assert torch.allclose(e.relevance.sum((1, 2, 3)), scores[:, 2] - scores[:, 0])

    def asked(net: nn.Module) -> Any:
        return lambda: relprop.explain(net.double().eval(), x, 2, method, versus=0)

    assert_refused(
        InputError,
        (asked(Maps(turned=True)), "outputs that are those of one last convolution"),
        (asked(Maps(late=True)), "outputs that are those of one last convolution"),
        (asked(Maps(groups=2)), "transposed or has groups"),
    )


def test_a_network_of_one_layer() -> None:
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
    method = relprop.DeepTaylor(bounds=(0.0, 1.0), negative="against")
    x = torch.tensor([[0.5, 0.5]])
    # -f_0 = -x_0 + 2 x_1 = 0.5; z^B of weights (-1, 2) in [0, 1]: x w - h w- is (0.5, 1) of 1.5.
    assert relprop.explain(net, x, 0, method).relevance.tolist() == [pytest.approx([-0.5 / 3, -1 / 3])]
    # f_0 - f_1 = -2 x_0 - 3 x_1 = -2.5; of its negative, weights (2, 3): (1, 1.5) of 2.5.
    assert relprop.explain(net, x, 0, method, versus=1).relevance.tolist() == [pytest.approx([-1.0, -1.5])]


def test_clrp_of_one_layer_turns_the_box_rule_over() -> None:
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
    e = relprop.explain(net, torch.tensor([[0.5, 0.25]]), 1, relprop.CLRP(variant=2, bounds=(0.0, 1.0)))
    # Target: weights (3, 1), terms (1.5, 0.25) of 1.75; its dual: weights (-3, -1), terms (1.5, 0.75) of 2.25.
    share = 1.5 / 1.75 - 1.5 / 2.25
    assert e.relevance.tolist() == [pytest.approx([share, -share])]
