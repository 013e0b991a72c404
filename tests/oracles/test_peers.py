"""Other people's implementations: equal where they are right, and shown wrong where they are wrong."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.rules.build import error, gradient_times_input
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.compat import load_torchvision
from relprop.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

_ = importlib.util.find_spec("zennit") or pytest.skip("no zennit", allow_module_level=True)
torchvision = load_torchvision()  # zennit imports torchvision, which may need help with its binary
zennit_rules = pytest.importorskip("zennit.rules")
zennit_core = pytest.importorskip("zennit.core")


def zennit_map(model: nn.Module, make: Callable[[nn.Module], Any], x: Tensor, seed: Tensor) -> Tensor:
    """Relevance by zennit: its hook on every linear module, relevance `seed` at the output."""
    handles, hooks = zennit_core.RemovableHandleList(), []
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            hooks.append(make(module))
            handles.append(hooks[-1].register(module))
        elif isinstance(module, nn.ReLU):
            hooks.append(zennit_rules.Pass())
            handles.append(hooks[-1].register(module))
    try:
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(model(leaf), leaf, seed)[0]
    finally:
        handles.remove()


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, groups=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(72, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )
        .double()
        .eval()
    )


# zennit adds a constant to denominators; 1e-12 of one is rounding beside values of order one.
PAIRS: dict[str, tuple[Rule, Callable[[Any], Any]]] = {
    "epsilon": (Epsilon(0.1, relative=False), lambda m: zennit_rules.Epsilon(epsilon=0.1)),
    "z+": (ZPlus(), lambda m: zennit_rules.ZPlus(stabilizer=1e-14, zero_params=["bias"])),
    "αβ 1 0": (AlphaBeta(1, 0), lambda m: zennit_rules.AlphaBeta(alpha=1, beta=0, stabilizer=1e-14)),
    "αβ 2 1": (AlphaBeta(2, 1), lambda m: zennit_rules.AlphaBeta(alpha=2, beta=1, stabilizer=1e-14)),
    "αβ 2 1, no bias": (
        AlphaBeta(2, 1, "none"),
        lambda m: zennit_rules.AlphaBeta(alpha=2, beta=1, stabilizer=1e-14, zero_params=["bias"]),
    ),
    "gamma": (Gamma(0.25), lambda m: zennit_rules.Gamma(gamma=0.25, stabilizer=1e-14)),
    "w²": (WSquare(), lambda m: zennit_rules.WSquare(stabilizer=1e-14, zero_params=["bias"])),
    "flat": (Flat(), lambda m: zennit_rules.Flat(stabilizer=1e-14)),
    "z-box": (
        ZBox(-5.0, 5.5),
        lambda m: zennit_rules.ZBox(
            low=torch.tensor(-5.0).double(), high=torch.tensor(5.5).double(), stabilizer=1e-14
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_zennit_agrees_where_it_is_right(name: str) -> None:
    rule, make = PAIRS[name]
    model = plain_net()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64).clamp(-5, 5)
    run = trace(model, x)
    seed = torch.randn_like(run.output)
    first_only = name == "z-box"
    rules: list[Any] = [("first", rule), ("linear", ZPlus())] if first_only else [("linear", rule)]

    def hook(module: nn.Module) -> Any:
        return make(module) if not first_only or module is model[0] else PAIRS["z+"][1](module)

    # Adds and norms don't occur here, so the base plays no part.
    found = run.propagate(seed, Composite(rules))
    assert error(found, zennit_map(model, hook, x, seed)) < 1e-9


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(3))
        self.head = nn.Linear(4, 3, bias=False)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.stem(x))
        for conv, relu in zip(self.convs, self.relus[1:], strict=True):
            x = relu(x + conv(x))
        return self.head(x.mean((2, 3)))


def seed_of(output: Tensor, target: int = 0) -> Tensor:
    seed = torch.zeros_like(output)
    seed[:, target] = output[:, target]
    return seed


def test_zennit_counts_every_functional_add_twice() -> None:
    """z+ without bias conserves: ours 1, a hook on modules doubles at each of three adds."""
    model, x = Residual().double().eval(), torch.rand(1, 3, 5, 5, dtype=torch.float64)
    run = trace(model, x)
    seed = seed_of(run.output)
    composite = Composite([("linear", ZPlus())], "positive")
    ours = run.run(seed, composite)
    assert ours.ledger is not None
    assert ours.ledger.closes
    assert float(ours.relevance.sum()) + ours.ledger.lost == pytest.approx(float(seed.sum()), rel=1e-12)
    theirs = zennit_map(model, PAIRS["z+"][1], x, seed)
    assert float(theirs.sum() / seed.sum()) == pytest.approx(
        8 * float(ours.relevance.sum() / seed.sum()), rel=1e-6
    )


def test_zennit_is_wrong_by_element_where_a_linear_is_used_twice() -> None:
    """Its sum is right, its elements are not: a check of the sum alone finds nothing."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.fc(F.relu(self.fc(x)))))

    model, x = Twice().double().eval(), torch.randn(1, 6, dtype=torch.float64)
    run = trace(model, x)
    seed = seed_of(run.output)
    exact = gradient_times_input(model, x, seed / run.output)
    ours = run.propagate(seed, Composite())
    assert error(ours, exact) < 1e-13
    theirs = zennit_map(model, lambda m: zennit_rules.Epsilon(epsilon=1e-12), x, seed)
    assert float(theirs.sum() / seed.sum()) == pytest.approx(1, abs=1e-6)
    assert error(theirs, exact) > 0.1


def test_zennit_loses_a_gate() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.fc, self.head = (
                nn.Conv2d(3, 4, 3, bias=False),
                nn.Linear(4, 4),
                nn.Linear(4, 2, bias=False),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(x))
            return self.head((h * torch.sigmoid(self.fc(h.mean((2, 3))))[:, :, None, None]).mean((2, 3)))

    model, x = Gated().double().eval(), torch.randn(1, 3, 5, 5, dtype=torch.float64)
    run = trace(model, x)
    seed = seed_of(run.output)
    ours = run.propagate(seed, Composite())
    assert float(ours.sum() / seed.sum()) == pytest.approx(1, abs=1e-12)
    theirs = zennit_map(model, lambda m: zennit_rules.Epsilon(epsilon=1e-12), x, seed)
    assert abs(float(theirs.sum() / seed.sum()) - 1) > 0.05


@pytest.fixture
def captum_lrp() -> Any:
    return pytest.importorskip("captum.attr").LRP


@pytest.mark.filterwarnings("ignore")
def test_captum_agrees_on_a_plain_network(captum_lrp: Any) -> None:
    class Plain(nn.Module):  # without nn.Flatten, for which captum has no rule
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(45, 4)
            self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu2(self.b(self.relu1(self.a(x)))).flatten(1))

    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    theirs = captum_lrp(Plain().double().eval()).attribute(x, target=1).detach()
    ours = relprop.explain(Plain().double().eval(), x, 1, "lrp-0").relevance
    assert error(ours, theirs) < 1e-5  # its epsilon rule has 1e-9


@pytest.mark.filterwarnings("ignore")
def test_captum_misses_functional_adds(captum_lrp: Any) -> None:
    model, x = Residual().double().eval(), torch.randn(1, 3, 5, 5, dtype=torch.float64)
    run = trace(model, x)
    exact = gradient_times_input(model, x, (seed_of(run.output) != 0).double())
    ours = run.propagate(seed_of(run.output), Composite())
    assert error(ours, exact) < 1e-12
    theirs = captum_lrp(model).attribute(x, target=0).detach()
    assert error(theirs, exact) > 0.5


@pytest.mark.filterwarnings("ignore")
def test_captum_on_resnet18(captum_lrp: Any) -> None:
    """LRP-ε with 1e-9 is gradient × input on a ReLU network; theirs is many powers of ten away."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, num_classes=5).eval()
    x = torch.randn(1, 3, 64, 64)
    found = relprop.explain(model, x, 0, "lrp-0")
    assert found.ledger is not None
    assert found.ledger.closes
    mask = torch.zeros(1, 5)
    mask[:, 0] = 1
    exact = gradient_times_input(model, x, mask)
    assert error(found.relevance, exact) < 1e-4
    theirs = captum_lrp(model).attribute(x, target=0).detach()
    assert float(theirs.sum().abs()) > 1e3 * float(exact.abs().sum())
