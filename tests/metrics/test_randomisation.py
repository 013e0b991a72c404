"""Randomisation: which layers, which tensors, nothing of the user's touched."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from tests.metrics import make
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, UnknownNameError
from relprop.metrics import Randomisation, steps
from relprop.metrics.randomisation import _STEPS, layers_from_output, parse_step

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LAYERS = ["8", "4", "1", "0"]


class Odd(nn.Module):
    """Modules in another order than they run; one runs twice, one never; two share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.relu(self.first(x)))
        return self.last(self.twice(torch.relu(self.tied(x))))


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_order_is_that_of_execution_backwards() -> None:
    assert layers_from_output(make.net(), X) == LAYERS
    odd = layers_from_output(Odd().eval(), torch.ones(1, 4))
    assert odd[:2] == ["last", "twice"]
    assert "never" not in odd
    assert len(odd) == len(set(odd))


def test_cascade_keeps_what_was_randomised_and_independent_does_not() -> None:
    model = make.net()
    for mode in ("cascading", "independent"):
        for number, (path, network) in enumerate(steps(model, X, mode)):  # type: ignore[arg-type]
            assert path == LAYERS[number]
            changed = LAYERS[: number + 1] if mode == "cascading" else [path]
            for name, tensor in network.state_dict(keep_vars=True).items():
                own = model.state_dict(keep_vars=True)[name]
                owner = name.rpartition(".")[0]
                assert (tensor is own) == (owner not in changed)
                if owner in changed and name.endswith("weight") and tensor.ndim > 1:
                    assert not torch.equal(tensor, own)


def test_both_modes_draw_the_same_and_share_it() -> None:
    model = make.net()
    cascade, alone = list(steps(model, X)), dict(steps(model, X, "independent"))
    full = cascade[-1][1]
    for path, network in cascade:
        fresh = network.get_submodule(path)
        assert torch.equal(fresh.weight, alone[path].get_submodule(path).weight)  # type: ignore[arg-type]
        assert full.get_submodule(path).weight is fresh.weight


def test_users_model_and_random_state_are_left_alone() -> None:
    model = make.net()
    before, identities = snapshot(model), {k: id(v) for k, v in model.state_dict(keep_vars=True).items()}
    modules = [id(m) for m in model.modules()]
    state = torch.random.get_rng_state()
    for redraw in ("default", "ae"):
        list(steps(model, X, redraw=redraw))  # type: ignore[arg-type]
    Randomisation().measure(make.model_case(model=model))
    assert same(before, snapshot(model))
    assert identities == {k: id(v) for k, v in model.state_dict(keep_vars=True).items()}
    assert modules == [id(m) for m in model.modules()]
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training


def test_seed_decides() -> None:
    model = make.net()
    first, again, other = (list(steps(model, X, seed=s))[-1][1].state_dict() for s in (0, 0, 1))
    assert same(first, again)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    torch.manual_seed(123)
    assert same(first, list(steps(model, X, seed=0))[-1][1].state_dict())


def test_default_resets_as_the_module_does() -> None:
    model = make.net()
    network = list(steps(model, X))[-1][1]
    bn, conv = network[1], network[0]  # type: ignore[index]
    assert [bn.weight.tolist(), bn.bias.tolist()] == [[1.0] * 4, [0.0] * 4]
    assert [bn.running_mean.tolist(), bn.running_var.tolist()] == [[0.0] * 4, [1.0] * 4]
    bound = 1 / np.sqrt(27)  # He-uniform with a = sqrt(5): 1 / sqrt(fan in)
    assert 0.5 * bound < conv.weight.abs().max() <= bound
    assert conv.weight.dtype == torch.float64


def test_ae_is_xavier_with_biases_from_0_to_1() -> None:
    model = make.net()
    network = list(steps(model, X, redraw="ae"))[-1][1]
    conv, bn, linear = network[0], network[1], network[8]  # type: ignore[index]
    for layer, (fan_in, fan_out) in ((conv, (27, 36)), (linear, (96, 6))):
        bound = np.sqrt(6 / (fan_in + fan_out))
        assert 0.8 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.min() >= 0
        assert layer.bias.max() < 1
        assert layer.bias.std() > 0.05
    assert bn.weight.min() >= 0
    assert [bn.running_mean.tolist(), bn.running_var.tolist()] == [[0.0] * 4, [1.0] * 4]


def test_tied_weights_stay_tied() -> None:
    model = Odd().eval()
    for _, network in steps(model, torch.ones(1, 4)):
        assert network.first.weight is network.tied.weight


def test_frozen_parameters_stay_frozen() -> None:
    model = make.net().requires_grad_(False)
    network = list(steps(model, X))[-1][1]
    assert not any(p.requires_grad for p in network.parameters())


def test_measure_compares_with_each_networks_map() -> None:
    case = make.model_case(3)
    found = Randomisation().measure(case)
    ordered = [f"{number:02} {layer}" for number, layer in enumerate(LAYERS, 1)]
    assert sorted(k for k in found if k.startswith("ssim@")) == [f"ssim@{o}" for o in ordered]
    for key, similarity in (("ssim", relprop_ssim), ("spearman", relprop_spearman), ("hog", relprop_hog)):
        values = []
        for number, (path, network) in enumerate(steps(case.model, case.x), 1):
            heat = relprop.explain(network, case.x, case.target, "lrp-epsilon").heatmap()[0]
            values.append(similarity(case.map, heat))
            assert found[f"{key}@{number:02} {path}"] == values[-1]
        assert found[key] == pytest.approx(np.mean(values), abs=1e-15)


def relprop_ssim(one: Tensor, two: Tensor) -> float:
    from relprop.metrics import ssim

    return ssim(one, two)


def relprop_spearman(one: Tensor, two: Tensor) -> float:
    from relprop.metrics import spearman

    return spearman(one, two)


def relprop_hog(one: Tensor, two: Tensor) -> float:
    from relprop.metrics import hog_correlation

    return hog_correlation(one, two)


def test_a_method_that_ignores_the_network_stays_the_same() -> None:
    case = make.model_case()
    fixed = make.Case(**{**vars(case), "explain": lambda network: case.map})
    found = Randomisation().measure(fixed)
    assert set(found) >= {"ssim", "spearman", "hog"}
    assert all(v == pytest.approx(1, abs=1e-12) for v in found.values())


def test_similarities_are_a_choice() -> None:
    found = Randomisation(similarities=("spearman",), mode="independent").measure(make.model_case())
    assert {k.split("@")[0] for k in found} == {"spearman"}


def test_layers_narrow_the_steps_and_change_nothing_else() -> None:
    case = make.model_case()
    every = Randomisation(similarities=("spearman",)).measure(case)
    steps_ = sorted(k for k in every if "@" in k)
    wanted = parse_step(steps_[-1])[2]
    found = Randomisation(similarities=("spearman",), layers=[wanted]).measure(case)
    assert found == {steps_[-1]: every[steps_[-1]], "spearman": every[steps_[-1]]}
    with pytest.raises(UnknownNameError, match=r"layer but got 'head'.*Valid: "):
        Randomisation(layers=["head"]).measure(case)


def test_networks_are_made_once_and_go_with_the_model() -> None:
    model = make.net()
    metric, other = Randomisation(), Randomisation()
    first = metric.networks(model, X)
    assert other.networks(model, X) is first
    assert Randomisation(seed=1).networks(model, X) is not first
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))  # type: ignore[index]
    renewed = metric.networks(model, X)
    assert renewed is not first
    assert renewed[0][1][0].weight is model[0].weight  # type: ignore[index]
    assert model in _STEPS
    gone = weakref.ref(model)
    del model, first, renewed
    gc.collect()
    assert gone() is None


def test_steps_follow_weights_changed_in_place() -> None:
    model = make.net()
    (_, network), *_ = steps(model, X)
    with torch.no_grad():
        model[0].weight.mul_(2)  # type: ignore[index]
    assert network[0].weight is model[0].weight  # type: ignore[index]


def test_parse_step() -> None:
    assert parse_step("spearman@103 layer1.0.conv1") == ("spearman", 103, "layer1.0.conv1")
    outcome = Randomisation.outcome("spearman@103 layer1.0.conv1")
    assert (outcome.key, outcome.better, outcome.percent) == ("spearman", "lower", False)


class NoReset(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[0]


def test_modules_without_a_reset_are_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), NoReset()).eval()
    text = r"Expected every layer to have reset_parameters but '1' \(NoReset\) has none. Use redraw='ae'"
    with pytest.raises(InputError, match=text):
        list(steps(model, torch.ones(1, 3)))
    assert [path for path, _ in steps(model, torch.ones(1, 3), redraw="ae")] == ["1", "0"]
    with pytest.raises(InputError, match="NoReset"):
        list(steps(NoReset().eval(), torch.ones(1, 3)))


def test_refusals() -> None:
    case = make.model_case()
    for missing in ("map", "explain"):
        bare = make.Case(**{**vars(case), missing: None})
        text = rf"Expected a case with map and explain for 'randomisation' but got {missing}=None."
        with pytest.raises(InputError, match=text):
            Randomisation().measure(bare)
    assert_refused(
        InputError,
        (
            lambda: Randomisation().measure(make.Case(case.sample, 0, case.heat)),
            "'randomisation' but got model=None",
        ),
        (lambda: Randomisation(mode="all"), r"mode .*got 'all'"),
        (lambda: list(steps(make.net(), X, redraw="he")), r"redraw .*got 'he'"),
        (lambda: Randomisation(similarities=("mse",)), r"similarities .*got 'mse'"),
        (lambda: Randomisation(similarities="ssim"), r"similarities .*list.*got 'ssim'"),
        (lambda: Randomisation(layers="fc"), r"layers .*list.*'fc'"),
        (lambda: Randomisation(layers=[]), r"layers .*got \[\]"),
    )
    for seed in (-1, True, 0.5, 2**31):
        with pytest.raises(InputError, match=r"seed .*from 0 to 2147483647"):
            Randomisation(seed=seed)  # type: ignore[arg-type]


def test_settings_are_plain_and_copy() -> None:
    metric = Randomisation(mode="independent", seed=3)
    assert metric.settings() == {
        "mode": "independent", "redraw": "default", "seed": 3,
        "similarities": ("ssim", "spearman", "hog"), "absolute": False, "layers": None,
    }  # fmt: skip
    copy.deepcopy(metric).merge(metric)
