"""AttnLRP and CP-LRP against lxt, the authors' own package: the same numbers, but for its stabilisers.

The package asks for much more than it needs here, so no extra installs it. `pip install --no-deps lxt` is enough
for its explicit functions; its efficient mode also imports transformers, before version 5.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.oracles.lxt_pairs import (
    PAIRS,
    Vit,
    by_explicit,
    efficient,
    gamma_by_zennit,
    gradient_times_input,
    vit_of_transformers,
)  # fmt: skip
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.methods.attention import Attention

functional: Any = pytest.importorskip("lxt.explicit.functional")

ATTENTION: tuple[Attention, ...] = ("constant", "shared")


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_ours(model: nn.Module, x: Tensor, attention: Attention, **settings: float) -> Tensor:
    gammas = {"gamma": 0.0, "gamma_conv": 0.0, "epsilon": 0.0} | settings
    found = relprop.explain(model, x, 1, relprop.AttnLRP(attention=attention, **gammas))
    assert found.ledger is not None
    assert found.ledger.closes
    return found.relevance


@pytest.mark.parametrize("name", PAIRS)
def test_rules(name: str) -> None:
    pair, x = PAIRS[name], drawn(2, 2, 3, 6)
    relevance = pair.operator(x) * drawn(*pair.operator(x).shape)
    assert_close_to_rounding(pair.by_ours(x, relevance), pair.by_theirs(x, relevance, 0.0), 60)


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if pair.stabiliser])
def test_what_differs_is_their_stabiliser(name: str) -> None:
    pair, x = PAIRS[name], drawn(2, 2, 3, 6)
    y = pair.operator(x)
    relevance = y * drawn(*y.shape)
    theirs = pair.by_theirs(x, relevance, pair.stabiliser)
    assert not torch.equal(pair.by_ours(x, relevance), theirs)
    assert_close_to_rounding(pair.by_ours(x, relevance * pair.kept(y, pair.stabiliser)), theirs, 60)


def test_their_softmax_sums_over_the_last_axis_only() -> None:
    x = drawn(2, 3, 4)
    relevance = drawn(2, 3, 4)

    def theirs(x: Tensor, axis: int) -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(functional.softmax(leaf, axis), leaf, relevance)[0]

    class Softmax(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(1).flatten(1)

    rules = relprop.AttnLRP().as_composite()
    ours = relprop.trace(Softmax(), x).run(relevance.flatten(1), rules).relevance
    weights = x.softmax(1)
    assert_close_to_rounding(ours, x * (relevance - weights * relevance.sum(1, keepdim=True)), 12)
    assert not torch.allclose(theirs(x, 1), ours)


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_transformer_of_explicit_functions(attention: Attention) -> None:
    model, x = Vit(), drawn(2, 3, 8, 8)
    assert_close_to_rounding(by_ours(model, x, attention), by_explicit(model, x, 1, attention), model)


@pytest.fixture
def with_efficient() -> None:
    load_torchvision()
    pytest.importorskip("lxt.efficient", exc_type=ImportError)


@pytest.mark.usefixtures("with_efficient")
def test_torchvision_by_efficient_mode() -> None:
    vision = load_torchvision().models.vision_transformer
    torch.manual_seed(0)
    model = vision.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=4).double().eval().requires_grad_(False)
    nn.init.normal_(model.heads.head.weight)
    x = drawn(2, 3, 16, 16)
    with efficient(vision, "constant"):
        expected = gradient_times_input(model, x, 1)
    assert_close_to_rounding(by_ours(model, x, "constant"), expected, model)
    assert not torch.allclose(gradient_times_input(model, x, 1), expected)  # the classes are as before


@pytest.mark.usefixtures("with_efficient")
@pytest.mark.parametrize("gamma", [0.0, 0.05])
@pytest.mark.parametrize("attention", ATTENTION)
def test_transformers_by_efficient_mode(attention: Attention, gamma: float) -> None:
    from transformers.models.vit import modeling_vit

    model = vit_of_transformers(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16,
        patch_size=8, num_labels=4,
    ).double()  # fmt: skip
    x = drawn(2, 3, 16, 16)
    with efficient(modeling_vit, attention):
        if gamma:
            with gamma_by_zennit(model, gamma, 5 * gamma):
                expected = gradient_times_input(model, x, 1)
        else:
            expected = gradient_times_input(model, x, 1)
    found = by_ours(model, x, attention, gamma=gamma, gamma_conv=5 * gamma)
    assert_close_to_rounding(found, expected, model)
