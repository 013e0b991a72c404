"""relprop.captum: captum's calls give captum's numbers where captum is right, and say so where it isn't."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relprop.captum as ours
from relprop.compat import load_torchvision
from relprop.errors import InputError, UnknownNameError

theirs = pytest.importorskip("captum.attr")

pytestmark = pytest.mark.filterwarnings("ignore:Setting (backward|forward)::captum")

CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
#: captum holds the weights of its points in float32.
IN_STEPS: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-8}


class Plain(nn.Sequential):
    """Layers that captum's LRP has rules for; it has none for a flattening."""

    def forward(self, x: Tensor) -> Tensor:
        *body, head = self
        for layer in body:
            x = layer(x)
        return head(x.flatten(1))


class Functional(nn.Module):
    """A ReLU that is a call, and one module that is used twice: what module hooks don't see."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.a(x))
        return self.head(F.relu(self.b(y) + y).mean((2, 3)))


class Two(nn.Module):
    """Scores of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(torch.relu(self.a(x) + self.b(y)))


def plain() -> nn.Sequential:
    torch.manual_seed(3)
    return Plain(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.Linear(45, 4),
    ).double().eval()  # fmt: skip


def pictures(n: int = 3) -> Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


kept = cache(plain)

TARGETS = [2, torch.tensor([1, 3, 0]), [1, 3, 0], (2,), [(1,), (3,), (0,)], torch.tensor(1)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution", "LRP"])
def test_the_numbers_are_captums(name: str, target: Any) -> None:
    net, x = kept(), pictures()
    mine = getattr(ours, name)(net).attribute(x, target=target)
    captums = getattr(theirs, name)(copy.deepcopy(net)).attribute(x.clone().requires_grad_(), target=target)
    assert mine.shape == x.shape
    assert mine.dtype == x.dtype
    assert float(mine.abs().max()) > 1e-3
    # captum's LRP has a stabiliser of 1e-9, which moves denominators near 0.
    close = {"rtol": 1e-5, "atol": 1e-7} if name == "LRP" else CLOSE
    assert torch.allclose(mine, captums, **close)


def test_signed_saliency() -> None:
    net, x = plain(), pictures()
    mine = ours.Saliency(net).attribute(x, 1, abs=False)
    assert torch.allclose(
        mine, theirs.Saliency(net).attribute(x.clone().requires_grad_(), 1, abs=False), **CLOSE
    )
    assert float(mine.min()) < 0
    (one,) = ours.Saliency(net).attribute((x,), 1)
    assert torch.allclose(one, mine.abs(), **CLOSE)


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_middle"])
@pytest.mark.parametrize(
    "baselines",
    [None, 0.5, torch.full((1, 2, 6, 6), 0.3, dtype=torch.float64)],
    ids=["none", "number", "tensor"],
)
def test_integrated_gradients(method: str, baselines: Any) -> None:
    net, x = plain(), pictures()
    settings: dict[str, Any] = {"target": [1, 3, 0], "n_steps": 20, "method": method}
    a, theirs_a = ours.IntegratedGradients(net), theirs.IntegratedGradients(net)
    mine, delta = a.attribute(x, baselines, return_convergence_delta=True, **settings)
    captums, gap = theirs_a.attribute(x, baselines, return_convergence_delta=True, **settings)
    assert torch.allclose(mine, captums, **IN_STEPS)
    assert torch.allclose(delta, gap, **IN_STEPS)
    in_rows = a.attribute(x, baselines, internal_batch_size=3, **settings)
    assert torch.allclose(in_rows, mine, **CLOSE)


def test_several_inputs() -> None:
    torch.manual_seed(0)
    net = Two().double().eval()
    x = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    grown = tuple(part.clone().requires_grad_() for part in x)
    for name in ("Saliency", "InputXGradient"):
        mine = getattr(ours, name)(net).attribute(x, target=1)
        for a, b in zip(mine, getattr(theirs, name)(net).attribute(grown, target=1), strict=True):
            assert torch.allclose(a, b, **CLOSE)
    mine, delta = ours.IntegratedGradients(net).attribute(x, (0.0, 1.0), 1, return_convergence_delta=True)
    captums, gap = theirs.IntegratedGradients(net).attribute(x, (0.0, 1.0), 1, return_convergence_delta=True)
    assert all(torch.allclose(a, b, **IN_STEPS) for a, b in zip(mine, captums, strict=True))
    assert torch.allclose(delta, gap, **IN_STEPS)


def test_a_place_of_a_map() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).double()
    x = pictures()
    for target in ((1, 2, 3), [(1, 2, 3), (0, 5, 5), (2, 0, 1)]):
        mine = ours.InputXGradient(net).attribute(x, target=target)
        captums = theirs.InputXGradient(net).attribute(x.clone().requires_grad_(), target=target)
        assert torch.allclose(mine, captums, **CLOSE)
    with pytest.raises(InputError, match="3 indices"):
        ours.InputXGradient(net).attribute(x, target=(1, 2))
    with pytest.raises(InputError, match="within the outputs"):
        ours.InputXGradient(net).attribute(x, target=(1, 2, 6))


def test_maps_at_a_layer() -> None:
    net, x = plain(), pictures()
    for settings in ({}, {"relu_attributions": True}, {"attr_dim_summation": False}):
        mine = ours.LayerGradCam(net, net[3]).attribute(x, 2, **settings)
        captums = theirs.LayerGradCam(net, net[3]).attribute(x, 2, **settings)
        assert torch.allclose(mine, captums, **CLOSE)
    mine = ours.GuidedGradCam(net, net[3]).attribute(x, 2)
    assert torch.allclose(
        mine, theirs.GuidedGradCam(net, net[3]).attribute(x.clone().requires_grad_(), 2), **CLOSE
    )
    assert ours.GuidedGradCam(net, "3").attribute((x,), 2)[0].shape == x.shape
    larger = ours.LayerAttribution.interpolate(mine, (12, 12), "bilinear")
    assert torch.allclose(larger, theirs.LayerAttribution.interpolate(mine, (12, 12), "bilinear"), **CLOSE)


def test_any_method_at_a_layer() -> None:
    net, x = plain(), pictures()
    relevance = ours.LayerAttribution(net, net[4], "lrp-0").attribute(x, 1)
    # LRP-0 of a linear layer: weight times value; what is missing of the score is its bias.
    weight, value = net[5].weight[1].reshape(1, 5, 3, 3), nn.Sequential(*list(net)[:5])(x)
    assert torch.allclose(relevance, (weight * value).detach(), **CLOSE)
    assert torch.allclose(relevance.sum((1, 2, 3)), (net(x)[:, 1] - net[5].bias[1]).detach(), **CLOSE)


def test_where_captum_goes_wrong_without_a_word() -> None:
    """captum's guided backprop hooks modules: a functional ReLU keeps its ordinary gradient there."""
    torch.manual_seed(0)
    net, x = Functional().double().eval(), pictures()
    mine = ours.GuidedBackprop(net).attribute(x, 1)
    captums = theirs.GuidedBackprop(copy.deepcopy(net)).attribute(x.clone().requires_grad_(), 1)
    assert float((mine - captums).abs().max()) > 1e-3
    written = Written(net)  # the same network with its ReLUs as modules, each used once
    assert torch.allclose(written(x), net(x))
    right = theirs.GuidedBackprop(written).attribute(x.clone().requires_grad_(), 1)
    assert torch.allclose(mine, right, **CLOSE)


def test_an_addition_that_captum_doesnt_see() -> None:
    torch.manual_seed(0)
    net, x = (
        load_torchvision().models.resnet18(weights=None).double().eval(),
        torch.randn(1, 3, 64, 64).double(),
    )
    mine, delta = ours.LRP(net).attribute(x, 3, return_convergence_delta=True)
    score = float(net(x).detach()[0, 3])
    assert abs(float(delta)) < 1e-10
    assert abs(float(mine.sum()) - score) < 0.1 * abs(score)  # the rest is the biases'
    captums = theirs.LRP(copy.deepcopy(net)).attribute(x.clone().requires_grad_(), 3)
    assert not abs(float(captums.detach().sum()) - score) < 10 * abs(score)


class Written(nn.Module):
    """`Functional`, every ReLU a module of its own."""

    def __init__(self, net: Functional) -> None:
        super().__init__()
        self.net, self.one, self.two = copy.deepcopy(net), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(self.net.a(x))
        return self.net.head(self.two(self.net.b(y) + y).mean((2, 3)))


def test_what_the_account_leaves() -> None:
    net, x = plain(), pictures()
    a = ours.Attribution(net, "lrp-epsilon")
    assert a.has_convergence_delta()
    assert a.multiplies_by_inputs
    found, delta = a.attribute(x, [1, 3, 0], return_convergence_delta=True)
    assert delta.shape == (3,)
    assert float(delta.abs().max()) <= 1e-12  # biases, stabiliser and losses are in the account
    told = a.compute_convergence_delta(found, end_point=x, target=[1, 3, 0])
    assert torch.allclose(told, delta, atol=1e-12)
    moved = found.clone()
    moved[1, 0, 0, 0] += 0.25  # what isn't ours shows
    assert a.compute_convergence_delta(moved, end_point=x, target=[1, 3, 0])[1] == pytest.approx(-0.25)
    slope = ours.Attribution(net, "gradient")
    assert not slope.has_convergence_delta()
    assert not slope.multiplies_by_inputs
    with pytest.raises(InputError, match="accounts for its map but gradient doesn't"):
        slope.attribute(x, 1, return_convergence_delta=True)


@pytest.mark.parametrize(
    "name", ["lrp-composite", "integrated-gradients", "gradient-x-input", "grad-cam", "agreement"]
)
def test_which_methods_have_a_delta(name: str) -> None:
    assert ours.Attribution(plain(), name).has_convergence_delta() == (
        name in ("lrp-composite", "integrated-gradients")
    )


def test_the_model_is_left_as_it_was() -> None:
    net, x = plain(), pictures()
    before, hooks = copy.deepcopy(net.state_dict()), [len(m._forward_hooks) for m in net.modules()]
    x.requires_grad_()
    for name in ("Saliency", "GuidedBackprop", "IntegratedGradients", "LRP"):
        found = getattr(ours, name)(net).attribute(x, target=1)
        assert not found.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert hooks == [len(m._forward_hooks) for m in net.modules()]
    assert x.grad is None
    assert all(p.grad is None for p in net.parameters())


def test_refusals() -> None:
    net, x = plain(), pictures()
    a = ours.Attribution(net, "lrp-0")
    with pytest.raises(InputError, match=r"torch\.nn\.Module"):
        ours.Attribution(lambda x: x, "lrp-0")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        ours.Attribution(net, "lpr-0")
    with pytest.raises(InputError, match="no additional_forward_args"):
        a.attribute(x, 1, 5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no baselines for lrp-0"):
        a.attribute(x, 1, baselines=0)
    with pytest.raises(InputError, match="each of 3 samples but the list has 2"):
        a.attribute(x, [1, 2])
    for wrong in (1.5, True, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2]), [], ["cat"] * 3, (1.0,)):
        with pytest.raises(InputError, match="Expected target to be"):
            a.attribute(x, wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shaped like the inputs but grad-cam gives one at"):
        ours.Attribution(net, "grad-cam").attribute(x, 1)
    with pytest.raises(InputError, match="end_point"):
        a.compute_convergence_delta(x)
    with pytest.raises(InputError, match="inside Plain"):
        ours.LayerAttribution(net, nn.ReLU())
    with pytest.raises(InputError, match="attribute_to_layer_input"):
        ours.LayerGradCam(net, net[3]).attribute(x, 1, attribute_to_layer_input=True)
    with pytest.raises(InputError, match="multiply_by_inputs"):
        ours.IntegratedGradients(net, multiply_by_inputs=False)
    with pytest.raises(InputError, match="riemann_middle"):
        ours.IntegratedGradients(net).attribute(x, target=1, method="riemann_left")
    two = Two().double()
    rows = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="broadcast to"):
        ours.IntegratedGradients(two).attribute(rows, (torch.ones(7), 0), 1)
    net[1].rule = object()
    with pytest.raises(InputError, match="'1' carry some"):
        ours.LRP(net)


def test_captum_is_not_imported() -> None:
    import subprocess
    import sys

    code = "import sys, relprop.captum; print('captum' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
