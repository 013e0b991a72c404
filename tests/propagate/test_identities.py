"""LRP-0 is gradient × input: on torchvision's networks, and with everything bent held constant on the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.rules.build import error, gradient_times_input, lrp0, seeds
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.compat import load_torchvision
from relprop.propagate.ledger import Ledger
from relprop.rules import AlphaBeta, Epsilon, Gamma, Slope, ZPlus

PIECEWISE_LINEAR = {
    "squeezenet1_1": (3, 64, 64),
    "resnet18": (3, 64, 64),
    "shufflenet_v2_x0_5": (3, 32, 32),
    "vgg11_bn": (3, 32, 32),
}


def shaken(model: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, biases that are not zero."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def torchvision_net(name: str) -> nn.Module:
    pytest.importorskip("PIL")
    torch.manual_seed(0)
    return shaken(getattr(load_torchvision().models, name)(weights=None, num_classes=4))


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_piecewise_linear_networks(name: str) -> None:
    model = torchvision_net(name).double()
    x = torch.randn(1, *PIECEWISE_LINEAR[name], dtype=torch.float64)
    c = seeds(model(x).detach())
    assert error(lrp0(model, x, c).relevance, gradient_times_input(model, x, c)) < 1e-12


def test_relu6_with_the_slope_rule() -> None:
    model = torchvision_net("mobilenet_v2").double()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    c = seeds(model(x).detach())
    composite = Composite([("activation", Slope())])
    assert error(lrp0(model, x, c, composite).relevance, gradient_times_input(model, x, c)) < 1e-12


class Held:
    """Run a network with gates, activation ratios and norm deviations held constant, by replaced modules."""

    def __enter__(self) -> None:
        self.saved = (
            nn.SiLU.forward,
            nn.Hardswish.forward,
            nn.Sigmoid.forward,
            nn.Hardsigmoid.forward,
            nn.GELU.forward,
            nn.LayerNorm.forward,
        )
        nn.SiLU.forward = lambda m, z: z * torch.sigmoid(z).detach()  # type: ignore[method-assign]
        nn.Hardswish.forward = lambda m, z: z * nn.functional.hardsigmoid(z).detach()  # type: ignore[method-assign]
        nn.Sigmoid.forward = lambda m, z: torch.sigmoid(z).detach()  # type: ignore[method-assign]
        nn.Hardsigmoid.forward = lambda m, z: nn.functional.hardsigmoid(z).detach()  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        nn.SiLU.forward, nn.Hardswish.forward, nn.Sigmoid.forward, nn.Hardsigmoid.forward = self.saved[:4]  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_networks_with_gates(name: str) -> None:
    model = torchvision_net(name).double()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    c = seeds(model(x).detach())
    found = lrp0(model, x, c).relevance
    with Held():
        expected = gradient_times_input(model, x, c)
    assert error(found, expected) < 1e-11
    assert error(found, gradient_times_input(model, x, c)) > 0.01, "held constant or not makes no difference"


def test_batch_norm_in_front_of_a_convolution_merged_by_hand() -> None:
    """BN → conv without padding is one convolution: LRP-0 and ε (which look at values only) agree."""
    torch.manual_seed(0)
    bn, conv, head = nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3), nn.Linear(5 * 16, 3)
    model = shaken(nn.Sequential(bn, conv, nn.ReLU(), nn.Flatten(), head)).double()
    factor = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
    merged = nn.Conv2d(3, 5, 3).double()
    with torch.no_grad():
        merged.weight.copy_(conv.weight * factor.view(1, -1, 1, 1))
        merged.bias.copy_(conv.bias + (conv.weight.sum((2, 3)) * (bn.bias - bn.running_mean * factor)).sum(1))
    other = nn.Sequential(merged, nn.ReLU(), nn.Flatten(), head).eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    one, two = trace(model, x), trace(other, x)
    assert error(two.output, one.output) < 1e-13
    for rule in (Epsilon(0.0), Epsilon(0.1), Epsilon(0.1, relative=False)):
        composite = Composite([("linear", rule)])
        a, b = one.run(one.output, composite), two.run(two.output, composite)
        assert error(a.relevance, b.relevance) < 1e-12, rule
        assert a.ledger is not None
        assert b.ledger is not None
        assert a.ledger.bias == pytest.approx(b.ledger.bias, rel=1e-10)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "bottleneck": lambda: nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)
    ),
    "plain": lambda: nn.Conv2d(4, 4, 3, padding=1),
}


@pytest.mark.parametrize("stop", ["stem", "a", "b", "join"])
@pytest.mark.parametrize("rule", [Epsilon(0.0), Epsilon(0.05), Gamma(), ZPlus(), AlphaBeta()], ids=repr)
def test_books_balance_at_every_stop(stop: str, rule: Epsilon) -> None:
    """Relevance that goes past the stop on another path is accounted for too."""

    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.a, self.b = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
            self.join, self.head = nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x))
            x = self.join(torch.relu(self.a(x)) + self.b(x))
            return self.head(x.mean((2, 3)))

    model, x = Parallel().double().eval(), torch.randn(2, 2, 6, 6, dtype=torch.float64)
    run = trace(model, x)
    for base in ("value", "positive"):
        composite = Composite([("linear", rule)], base)  # type: ignore[arg-type]
        found = run.run(run.output, composite, stop=stop)
        assert found.ledger is not None
        assert found.ledger.closes, str(found.ledger)
        whole = run.run(run.output, composite, record=[stop])
        assert error(found.relevance, whole.layers[stop]) < 1e-13


@pytest.mark.parametrize("where", [0, 1])
def test_books_with_a_nan_do_not_close(where: int) -> None:
    ledger = lrp0(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 3), torch.ones(2, 2)
    ).ledger
    assert ledger is not None
    for wrong, closes in ((float("nan"), False), (float("inf"), False), (2e-6, False), (0.5e-6, True)):
        rows = [replace(row, error=0.0) for row in ledger.rows]
        rows[where] = replace(rows[where], error=wrong)
        tally = replace(ledger._totals, rows=tuple(rows))
        assert Ledger(lambda t=tally: t, 1e-6).closes == closes, wrong


def test_a_network_without_operators() -> None:
    x = torch.randn(2, 3)
    found = trace(nn.Identity(), x)
    seed = torch.randn(2, 3)
    assert torch.equal(found.propagate(seed, Composite()), seed)
