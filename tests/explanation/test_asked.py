"""Something else than a class: callables, seeds, classes against each other, regions, hidden units."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.explanation import Explanation
from relprop.methods.facts import Facts
from relprop.methods.registry import resolve

NAMES = ["tabby cat, Felis", "tiger cat", "dog", "owl"]
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
#: Methods that can't be named without settings.
NEEDED = {"lrp": "lrp:rule=gamma"}
LRP = ["lrp-0", "lrp-epsilon", "lrp-gamma", "lrp-alpha-beta", "lrp-composite", "lrp:rule=z-plus", "attnlrp"]


@cache
def net(*, seed: int = 0, end: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
        *([] if end is None else [end]),
    ).eval().double()  # fmt: skip


def segmenter() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval().double()


def gradient_x_input(model: nn.Module, score: Any) -> Tensor:
    v = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(score(model(v)).sum(), v)
    return g * X


def test_a_callable_is_gradient_times_input_under_lrp_0() -> None:
    model = net()
    e = relprop.explain(model, X, lambda o: 2 * o[:, 1] - o[:, 3], "lrp-0")
    assert_close_to_rounding(e.relevance, gradient_x_input(model, lambda o: 2 * o[:, 1] - o[:, 3]), model)
    assert e.asked == ("the callable",)
    assert e.targets.tolist() == [-1, -1]
    assert not any("callable" in note for note in e.notes)
    assert e.ledger is not None
    assert e.ledger.closes


def test_a_callable_may_return_several_scores() -> None:
    model = net()
    e = relprop.explain(model, X, lambda o: torch.stack([o[:, 0], o[:, 2] + o[:, 3]]), "lrp-epsilon")
    one = relprop.explain(model, X, lambda o: o[:, 2] + o[:, 3], "lrp-epsilon")
    assert e.relevance.shape == (2, *X.shape)
    assert_close_to_rounding(e.relevance[1], one.relevance, model)
    assert_close_to_rounding(e.relevance[0], relprop.explain(model, X, 0, "lrp-epsilon").relevance, model)


def test_classes_and_callables_in_one_list() -> None:
    def both(o: Tensor) -> Tensor:
        return o[:, 0] + o[:, 1]

    e = relprop.explain(net(), X, [1, both], "lrp-0")
    assert e.asked == ("class 1", "both")
    assert_close_to_rounding(e.relevance[0], relprop.explain(net(), X, 1, "lrp-0").relevance, net())


def test_what_a_callable_leaves_out_is_said() -> None:
    model = net()
    e = relprop.explain(model, X, lambda o: o[:, 1] ** 2 + 1, "lrp-0")
    value = model(X)[0, 1].item()
    assert_close_to_rounding(e.relevance, gradient_x_input(model, lambda o: o[:, 1] ** 2), model)
    (said,) = [note for note in e.notes if "callable" in note]
    assert f"{2 * value**2:.4g} of {value**2 + 1:.4g} here" in said
    assert f"the rest, {1 - value**2:.4g}" in said


def test_integrated_gradients_of_a_callable_are_complete() -> None:
    model = net()

    def squared(o: Tensor) -> Tensor:
        return o[:, 1] ** 2

    e = relprop.explain(model, X, squared, "integrated-gradients:steps=200")
    with torch.no_grad():
        expected = squared(model(X)) - squared(model(torch.zeros_like(X)))
    assert torch.allclose(e.extras["reference_difference"], expected)
    assert float(e.extras["completeness_gap"].abs().max()) < 1e-2 * float(expected.abs().max())


def test_a_seed_is_the_relevance_at_the_outputs() -> None:
    model = net()
    seed = torch.tensor([[1.0, 0, 0, -2], [0.5, 0, 0, 0]]).double()
    e = relprop.explain(model, X, seed, "lrp-epsilon")
    trace = relprop.trace(model, X)
    assert_close_to_rounding(e.relevance, trace.propagate(seed, "lrp-epsilon"), model)
    assert e.ledger is not None
    assert float(e.ledger.summary()["start"]) == pytest.approx(-0.5)
    several = relprop.explain(model, X, torch.stack([seed, 2 * seed]).numpy(), "lrp-epsilon")
    assert_close_to_rounding(several.relevance, torch.stack([e.relevance, 2 * e.relevance]), model)


@pytest.mark.parametrize("method", LRP)
def test_versus_is_the_difference_of_two_maps(method: str) -> None:
    model = net()
    e = relprop.explain(model, X, [1, 2], method, versus=0)
    a, b, c = relprop.explain(model, X, [1, 2, 0], method).relevance
    size = float(torch.stack([a, b, c]).abs().sum())
    assert_close_to_rounding(e.relevance, torch.stack([a - c, b - c]), model, size)
    assert e.asked == ("class 1 − class 0", "class 2 − class 0")
    assert e.ledger is not None
    assert e.ledger.closes


@pytest.mark.parametrize("method", ["gradient", "gradient-x-input", "smoothgrad", "integrated-gradients"])
def test_versus_of_gradients_is_the_difference_too(method: str) -> None:
    model = net()
    e = relprop.explain(model, X, 1, method, versus=torch.tensor([0, 2]))
    a, b, c = relprop.explain(model, X, [1, 0, 2], method).relevance
    assert_close_to_rounding(e.relevance, a - torch.stack([b[0], c[1]]), nn.Linear(50 * 300, 1))


def test_versus_behind_a_sigmoid_compares_the_logits() -> None:
    e = relprop.explain(net(end=nn.Sigmoid()), X, 1, "lrp-0", versus=0)
    assert_close_to_rounding(e.relevance, relprop.explain(net(), X, 1, "lrp-0", versus=0).relevance, net())
    with pytest.raises(
        relprop.errors.InputError, match="on logits but the network's outputs are behind sigmoid"
    ):
        relprop.explain(net(end=nn.Sigmoid()), X, lambda o: o[:, 0], "lrp-0")


def questions() -> dict[str, dict[str, Any]]:
    return {
        "versus": {"target": 1, "versus": 0},
        "score": {"target": lambda o: o[:, 0] + o[:, 1]},
        "seed": {"target": torch.ones(2, 4, dtype=torch.float64)},
        "start": {"target": 1, "start": "4"},
    }


@pytest.mark.parametrize("name", sorted(nets.METHODS))
@pytest.mark.parametrize("kind", sorted(questions()))
def test_every_method_answers_what_it_takes_and_refuses_the_rest_by_name(name: str, kind: str) -> None:
    method = resolve(NEEDED.get(name, name))
    if kind in method.takes:
        e = relprop.explain(net(), X, method=method, **questions()[kind])
        assert bool(torch.isfinite(e.relevance).all())
        assert e.asked
    else:
        with pytest.raises(
            relprop.errors.InputError, match=f"targets of {name}, which starts from one class"
        ):
            relprop.explain(net(), X, method=method, **questions()[kind])


def test_class_names() -> None:
    facts = Facts(classes=NAMES)
    found = relprop.explain(net(), X, ["Tiger cat", "tabby cat", 3], "lrp-0", facts=facts)
    assert found.targets.tolist() == [[1, 1], [0, 0], [3, 3]]
    assert found.asked == ()
    e = relprop.explain(net(), X, "owl", "lrp-0", versus="dog", facts=facts)
    assert e.asked == ("owl − dog",)
    with pytest.raises(relprop.errors.UnknownNameError, match="Did you mean 'owl'"):
        relprop.explain(net(), X, "owll", "lrp-0", facts=facts)
    with pytest.raises(relprop.errors.InputError, match="the model has no class names"):
        relprop.explain(net(), X, "owl", "lrp-0")


def test_a_typo_among_many_names_gets_close_ones() -> None:
    many = [f"class number {i}" for i in range(40)] + ["armadillo"]
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 41)).eval().double()
    with pytest.raises(relprop.errors.UnknownNameError, match="Close ones: armadillo"):
        relprop.explain(model, X, "armadilo", "lrp-0", facts=Facts(classes=many))


def test_a_region_of_a_map() -> None:
    model = segmenter()
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:4, 3:6] = True
    e = relprop.explain(model, X, 2, "lrp-0", region=mask)
    assert_close_to_rounding(e.relevance, gradient_x_input(model, lambda o: o[:, 2, 2:4, 3:6]), model)
    assert e.asked == ("class 2 in the region",)
    assert not any("positions" in note for note in e.notes)
    rest = relprop.explain(model, X, 2, "lrp-0", region=(~mask).numpy())
    whole = relprop.explain(model, X, 2, "lrp-0")
    assert_close_to_rounding(e.relevance + rest.relevance, whole.relevance, model)
    assert "sum over all 8×8 positions" in whole.notes[0]
    own = torch.stack([mask, ~mask])
    two = relprop.explain(model, X, 2, "lrp-0", region=own)
    assert_close_to_rounding(two.relevance, torch.stack([e.relevance[0], rest.relevance[1]]), model)
    against = relprop.explain(model, X, 2, "lrp-0", region=mask, versus=1)
    one = relprop.explain(model, X, 1, "lrp-0", region=mask)
    assert_close_to_rounding(against.relevance, e.relevance - one.relevance, model)


def test_the_top_class_of_a_region_is_that_of_its_sum() -> None:
    model = segmenter()
    mask = torch.zeros(8, 8)
    mask[0, :4] = 1
    e = relprop.explain(model, X, method="lrp-0", region=mask)
    assert e.targets.tolist() == model(X)[:, :, 0, :4].sum(-1).argmax(1).tolist()


def test_a_hidden_channel() -> None:
    model = net()
    e = relprop.explain(model, X, 2, "lrp-0", start="4")
    v = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(model[:5](v)[:, 2].sum(), v)
    assert_close_to_rounding(e.relevance, g * X, model)
    assert e.asked == ("4[2]",)
    assert e.ledger is not None
    assert float(e.ledger.summary()["start"]) == pytest.approx(float(model[:5](X)[:, 2].detach().sum()))
    position = torch.zeros(4, 4, dtype=torch.bool)
    position[1, 3] = True
    at = relprop.explain(model, X, 2, "lrp-0", start="4", region=position)
    (g,) = torch.autograd.grad(model[:5](v)[:, 2, 1, 3].sum(), v)
    assert_close_to_rounding(at.relevance, g * X, model)


@pytest.mark.parametrize("place", ["0", "1", "2", "3", "5", "7"])
def test_a_hidden_place_before_within_and_behind_a_step(place: str) -> None:
    model = net()
    e = relprop.explain(model, X, 1, "gradient-x-input", start=place)
    v = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(model[: int(place) + 1](v)[:, 1].sum(), v)  # type: ignore[index]
    assert_close_to_rounding(e.relevance, g * X, model)
    lrp = relprop.explain(model, X, 1, "lrp-0", start=place)
    assert_close_to_rounding(lrp.relevance, g * X, model)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"target": lambda o: o.sum()}, r"to return scores \(2,\) or \(K, 2\)"),
        ({"target": lambda o: o[:, 0].detach()}, "differentiable in the outputs"),
        ({"target": lambda o: o[:, 0] / o[:, 0].sum()}, "it mixes them"),
        ({"target": lambda o: o[:, 0] - o[0, 0]}, "it mixes them"),
        ({"target": lambda o: o[:, 7]}, "The callable target"),
        ({"target": torch.ones(2, 3)}, "a seed shaped like the output"),
        ({"target": torch.full((2, 4), torch.nan)}, "a finite seed"),
        ({"target": 1, "versus": 1}, "another class than target"),
        ({"target": 1, "versus": [0]}, "versus to be a class index or name"),
        ({"target": lambda o: o[:, 0], "versus": 1}, "versus= beside classes only"),
        ({"target": 1, "region": torch.ones(8, 8)}, "region= only for a map"),
        ({"target": 1, "start": "nowhere"}, "nowhere"),
        ({"target": 9, "start": "4"}, "from 0 to 5 but got 9"),
    ],
)
def test_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(relprop.errors.RelpropError, match=said):
        relprop.explain(net(), X, method="lrp-0", **asked)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (torch.ones(4, 4), "Resize it"),
        (torch.zeros(8, 8), "one is empty"),
        (0.5 * torch.ones(8, 8), "it holds other numbers"),
        ("some", "region to be a mask"),
    ],
)
def test_refused_regions(region: Any, said: str) -> None:
    with pytest.raises(relprop.errors.InputError, match=said):
        relprop.explain(segmenter(), X, 0, "lrp-0", region=region)


def test_what_was_asked_is_saved_and_drawn(tmp_path: Path) -> None:
    e = relprop.explain(net(), X, [1, 2], "lrp-0", versus=0)
    assert "targets class 1 − class 0, class 2 − class 0" in repr(e)
    back = Explanation.load(e.save(tmp_path / "e"))
    assert back.asked == e.asked
    assert repr(back) == repr(e)
    assert e.show() is not None


def test_target_1_of_a_single_output_says_what_it_is() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1)).eval().double()
    with pytest.raises(
        relprop.errors.InputError, match="its negative that of class 0: target=lambda outputs"
    ):
        relprop.explain(model, X, 1, "lrp-0")
    against = relprop.explain(model, X, lambda outputs: -outputs[:, 0], "lrp-0")
    assert_close_to_rounding(against.relevance, -relprop.explain(model, X, 0, "lrp-0").relevance, model)
