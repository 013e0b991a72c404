"""The explanation of a sample, told from its batch's, is that of the sample alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding, rounding, terms_of
from tests.nets import METHODS, pictures, resnet, seeded, vgg
from torch import Tensor, nn

import relprop
from relprop.explanation import Explanation
from relprop.explanation.answer import Asking
from relprop.explanation.each import each_of
from relprop.methods.registry import resolve

NETS = {"vgg": cache(vgg), "resnet": cache(resnet)}
ASKED = {
    "relative stabiliser": relprop.LRP(rule="epsilon", epsilon=0.25),
    "box of each sample": relprop.LRP(rule="z-plus", first="z-box", bounds="sample"),
    **{name: resolve(name) for name in METHODS if name != "lrp"},
}


def assert_same(found: Explanation, alone: Explanation, model: nn.Module) -> None:
    """Equal in all that an explanation holds; numbers up to rounding."""
    plain = "method settings plan at signed warnings notes channel_axis asked".split()
    assert [getattr(found, name) for name in plain] == [getattr(alone, name) for name in plain]
    assert torch.equal(found.input, alone.input)
    assert torch.equal(found.targets, alone.targets)
    terms = terms_of(model)
    assert_close_to_rounding(found.outputs, alone.outputs, terms)
    assert_close_to_rounding(found.relevance, alone.relevance, terms)
    assert found.layers.keys() == alone.layers.keys()
    for name, layer in found.layers.items():
        assert_close_to_rounding(layer, alone.layers[name], terms)
    assert found.extras.keys() == alone.extras.keys()
    for name, extra in found.extras.items():
        if isinstance(extra, Tensor) and extra.is_floating_point():
            assert_close_to_rounding(
                extra, alone.extras[name], terms, max(1.0, float(alone.outputs.abs().max()))
            )
        elif isinstance(extra, Tensor):
            assert torch.equal(extra, alone.extras[name])
        else:
            assert extra == alone.extras[name]
    assert (found.ledger is None) == (alone.ledger is None)
    if found.ledger is not None and alone.ledger is not None:
        assert found.ledger.closes == alone.ledger.closes
        assert [row.node for row in found.ledger.rows] == [row.node for row in alone.ledger.rows]
        for own, row in zip(found.ledger.rows, alone.ledger.rows, strict=True):
            off = rounding(terms, alone.relevance.dtype) * max(
                row.absolute, abs(row.arrived), abs(row.passed)
            )
            for name in ("arrived", "passed", "bias", "stabiliser", "lost", "absolute"):
                assert abs(getattr(own, name) - getattr(row, name)) <= off, (row.node, name)
        assert [len(row) for row in found.ledger.balances] == [len(row) for row in alone.ledger.balances]


@pytest.mark.parametrize("target", [None, 2, [0, 3]], ids=["top", "one", "two"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("method", ASKED)
def test_a_sample_of_a_batch_is_explained_as_alone(method: str, net: str, target: Any) -> None:
    model, x, recipe = NETS[net](), pictures(), ASKED[method]
    alone = [relprop.explain(model, x[n : n + 1], target, recipe) for n in range(3)]
    found = each_of(model, x, [target] * 3, [Asking(recipe)])
    assert found is not None
    for one, other in zip(found[0], alone, strict=True):
        assert_same(one, other, model)


def test_each_sample_has_its_own_target_layers_and_rival() -> None:
    model, x = vgg(), pictures()
    asking = Asking(relprop.LRPEpsilon(), ("5",), versus=4)
    found = each_of(model, x, [[0, 1], [2, 3], [1, 0]], [asking])
    assert found is not None
    for n, target in enumerate([[0, 1], [2, 3], [1, 0]]):
        alone = relprop.explain(model, x[n : n + 1], target, relprop.LRPEpsilon(), ["5"], versus=4)
        assert_same(found[0][n], alone, model)


def test_a_callable_and_a_hidden_start_are_asked_of_each() -> None:
    model, x = resnet(), pictures()

    def squared(outputs: Tensor) -> Tensor:
        return outputs[:, 1] ** 2

    for target, start in ((squared, None), (3, "conv1"), (None, "conv1")):
        found = each_of(model, x, [target] * 3, [Asking(relprop.LRPEpsilon(), start=start)])
        assert found is not None
        for n in range(3):
            alone = relprop.explain(model, x[n : n + 1], target, relprop.LRPEpsilon(), start=start)
            assert_same(found[0][n], alone, model)


def test_samples_that_meet_are_not_told_apart() -> None:
    class Meets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.fc(x - x.mean(0, keepdim=True) / 2)

    assert each_of(seeded(Meets(), 0), pictures(3, 3, 2, 2), [0] * 3, [Asking(relprop.LRPEpsilon())]) is None


def test_a_ledger_that_sums_over_samples_is_not_told_apart() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.transpose(1, 2).reshape(-1, 3, 1, x.shape[-1])  # the rows of all pictures side by side
            y = torch.relu(self.conv(rows)).mean((2, 3))
            return self.head(y.reshape(x.shape[0], -1, 4).mean(1))

    assert (
        each_of(seeded(Windows(), 0), pictures(3, 3, 4, 4), [0] * 3, [Asking(relprop.LRPEpsilon())]) is None
    )


def test_a_function_gets_one_picture_at_a_time() -> None:
    def centred(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return x - x.mean()

    assert each_of(vgg(), pictures(), [0] * 3, [Asking(resolve(centred))]) is None


def test_what_is_told_of_a_sample_is_about_that_sample() -> None:
    model, x = vgg(), pictures()
    scores = model(x)
    worst = int((scores.amax(0) - scores.amin(0)).argmax())
    signs = scores[:, worst] > scores[:, worst].mean()
    model[-1].bias.data[worst] -= scores[:, worst].mean()
    found = each_of(model, x, [worst] * 3, [Asking(relprop.DeepTaylor())])
    assert found is not None
    assert [bool(one.warnings) for one in found[0]] == [not sign for sign in signs.tolist()]
    assert len(set(signs.tolist())) == 2


def test_several_methods_answer_from_one_forward_run() -> None:
    model, x = vgg(), pictures()
    recipes = [relprop.LRPEpsilon(), relprop.DeepTaylor(), relprop.GradCAM()]
    for count in (1, 3):
        found = each_of(model, x[:count], [1] * count, [Asking(recipe) for recipe in recipes])
        assert found is not None
        for column, recipe in zip(found, recipes, strict=True):
            for n, one in enumerate(column):
                assert_same(one, relprop.explain(model, x[n : n + 1], 1, recipe), model)


def test_a_method_of_ones_own_may_spoil_the_run_for_itself_alone() -> None:
    class Spoils(relprop.LRPEpsilon):
        """Leaves the weights of the first layer doubled, as a randomisation would."""

        name = "spoils"

        def explain(self, request: Any) -> Any:
            found = super().explain(request)
            with torch.no_grad():
                next(request.model.parameters()).mul_(2)
            return found

    model, x = vgg(), pictures()
    found = each_of(model, x, [1] * 3, [Asking(Spoils()), Asking(relprop.LRPEpsilon())])
    assert found is not None
    for n in range(3):
        assert_same(found[1][n], relprop.explain(model, x[n : n + 1], 1, relprop.LRPEpsilon()), model)
