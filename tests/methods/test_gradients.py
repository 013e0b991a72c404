"""Gradients, SmoothGrad, integrated gradients, DeconvNet and guided backprop beyond the table."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.methods.table import gradient
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.errors import InputError


def nearly(a: Tensor, b: Tensor, relative: float = 1e-12) -> bool:
    return float((a - b).abs().max()) <= relative * float(b.abs().max())


@pytest.mark.parametrize("make", [nets.vgg, nets.resnet, nets.video])
def test_gradient_is_autograd(make: object) -> None:
    model = make()  # type: ignore[operator]
    x = nets.pictures(2, 3, 4, 8, 8) if make is nets.video else nets.pictures(2, 3, 16, 16)
    for target in range(5):
        ours = relprop.explain(model, x, target, "gradient").relevance
        assert nearly(ours, gradient(model, x, target))


def test_gradient_of_smooth_activations_gates_and_norms() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
            self.norm, self.head = nn.GroupNorm(2, 6), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.gelu(self.norm(self.a(x)))
            x = x * torch.sigmoid(self.b(x)) + F.silu(x)
            return torch.softmax(self.head(x.mean((2, 3))), 1)

    model, x = nets.seeded(Net(), 4), nets.pictures()
    assert nearly(relprop.explain(model, x, 2, "gradient").relevance, gradient(model, x, 2))


def test_layers_hold_the_derivative_by_the_layer() -> None:
    model, x = nets.vgg(), nets.pictures()
    middle = model[:5](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(model[5:](middle)[:, 1].sum(), middle)
    assert nearly(relprop.explain(model, x, 1, "gradient", layers=["4"]).layers["4"], g)
    times = relprop.explain(model, x, 1, "gradient-x-input", layers=["4"]).layers["4"]
    assert nearly(times, g * middle.detach())


def test_smoothgrad_has_its_own_randomness() -> None:
    model, x = nets.vgg(), nets.pictures()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = relprop.explain(model, x, 1, relprop.SmoothGrad(samples=4)).relevance
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(first, relprop.explain(model, x, 1, relprop.SmoothGrad(samples=4)).relevance)
    other = relprop.explain(model, x, 1, relprop.SmoothGrad(samples=4, seed=1)).relevance
    assert not nearly(first, other, 1e-3)
    for chunk in (1, 5, 100):
        again = relprop.explain(model, x, 1, relprop.SmoothGrad(samples=4, chunk=chunk)).relevance
        assert nearly(again, first)


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    model, x = nets.vgg(), nets.pictures()
    ours = relprop.explain(model, x, 1, relprop.SmoothGrad(samples=3, noise=0.0)).relevance
    assert nearly(ours, gradient(model, x, 1))


def test_integrated_gradients_account_for_the_difference() -> None:
    model, x = nets.vgg(), nets.pictures()
    start = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64).reshape(3, 1, 1)
    y, y0 = model(x).detach(), model(start.expand_as(x)).detach()
    gaps = []
    for steps in (10, 1000):
        method = relprop.IntegratedGradients(baseline=start, steps=steps, quadrature="midpoint", chunk=300)
        e = relprop.explain(model, x, [1, 3], method)
        difference = torch.stack([y[:, t] - y0[:, t] for t in (1, 3)])
        assert nearly(e.extras["reference_difference"], difference)
        total = e.relevance.flatten(2).sum(-1)
        assert torch.allclose(total + e.extras["completeness_gap"], difference, rtol=0, atol=1e-12)
        gaps.append(float((e.extras["completeness_gap"] / difference).abs().max()))
    # The path of a network with kinks is cut into straight pieces: the gap falls like 1 / steps.
    assert gaps[0] > 1e-4
    assert gaps[1] < gaps[0] / 10


def test_integrated_gradients_of_a_polynomial_are_exact() -> None:
    class Cubic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, :1] ** 2 * x[:, 1:]).sum((2, 3))

    x = nets.pictures(2, 2, 3, 3)
    e = relprop.explain(Cubic(), x, 0, relprop.IntegratedGradients(steps=2))
    a, b = x[:, 0], x[:, 1]
    assert nearly(e.relevance[:, 0], 2 / 3 * a**2 * b)  # by hand: integral of 2 t^2 a b, times a
    assert nearly(e.relevance[:, 1], 1 / 3 * a**2 * b)
    assert float(e.extras["completeness_gap"].abs().max()) < 1e-13


def test_progress_is_told() -> None:
    model, x = nets.vgg(), nets.pictures()
    seen: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    relprop.explain(model, x, 1, relprop.IntegratedGradients(steps=5, chunk=6, progress=note))
    relprop.explain(model, x, 1, relprop.SmoothGrad(samples=5, chunk=6, progress=note))
    assert seen == [(2, 5), (4, 5), (5, 5)] * 2


def test_fixed_batch_size() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nets.vgg()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.reshape(3, 3, 16, 16))

    x = nets.pictures()
    fixed, free = Fixed().eval(), nets.vgg()
    for method in (relprop.IntegratedGradients(steps=3), relprop.SmoothGrad(samples=3)):
        ours, theirs = (relprop.explain(m, x, 1, method).relevance for m in (fixed, free))
        assert nearly(ours, theirs)


def test_captum_misses_functional_relus_and_we_do_not() -> None:
    """captum hooks ReLU modules: with F.relu its guided backprop is the gradient, and says nothing."""
    load_torchvision()  # which captum imports
    from captum.attr import GuidedBackprop

    model, x = nets.resnet(), nets.pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = GuidedBackprop(model).attribute(x.clone(), target=1)
    plain = gradient(model, x, 1)
    assert nearly(theirs, plain)
    assert not nearly(relprop.explain(model, x, 1, "guided-backprop").relevance, plain, 0.1)


@pytest.mark.parametrize("name", ["deconvnet", "guided-backprop"])
def test_rectified_gradients_by_hand(name: str) -> None:
    """Autograd with a ReLU of our own, in a network with a residual sum, ReLU6 and batch norm."""

    class Ours(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor, top: float) -> Tensor:
            ctx.save_for_backward((x > 0) & (x < top))  # type: ignore[attr-defined]
            return x.clamp(0, top)

        @staticmethod
        def backward(ctx: object, g: Tensor) -> tuple[Tensor, None]:
            (is_open,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return g.clamp(min=0) * (is_open if name == "guided-backprop" else 1), None

    class Net(nets.Residual):
        rectify = staticmethod(lambda x, top: F.relu(x) if top > 6 else F.relu6(x))

        def forward(self, x: Tensor) -> Tensor:
            x = self.rectify(self.stem(x), 6.0)
            y = self.rectify(self.bn1(self.conv1(x)), 1e9)
            x = self.rectify(x + self.bn2(self.conv2(y)), 1e9)
            return self.head(x.mean(dim=(2, 3)))

    model, x = nets.seeded(Net(), 1), 4 * nets.pictures()  # ReLU6 saturates somewhere
    ours = relprop.explain(model, x, 1, name).relevance
    model.rectify = Ours.apply
    assert nearly(ours, gradient(model, x, 1))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: relprop.SmoothGrad(samples=0), "Expected samples to be a whole number from 1"),
        (lambda: relprop.SmoothGrad(noise=-1), "Expected noise to be >= 0"),
        (lambda: relprop.SmoothGrad(seed=0.5), "Expected seed to be a whole number"),
        (lambda: relprop.SmoothGrad(progress=3), "Expected progress to be a function"),
        (lambda: relprop.IntegratedGradients(steps=2.5), "Expected steps to be a whole number from 1"),
        (
            lambda: relprop.IntegratedGradients(baseline="black"),
            "Expected baseline to be a number or a tensor",
        ),
        (lambda: relprop.IntegratedGradients(baseline=float("nan")), "Expected a finite baseline"),
        (lambda: relprop.IntegratedGradients(quadrature="simpson"), "Expected quadrature to be one of"),
    ],
)
def test_settings_are_checked(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]


def test_baseline_must_fit() -> None:
    with pytest.raises(InputError, match=r"baseline .*\(3, 3, 16, 16\)"):
        relprop.explain(nets.vgg(), nets.pictures(), 1, relprop.IntegratedGradients(baseline=torch.zeros(7)))
