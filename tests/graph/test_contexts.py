"""Contexts inside forward and detach: the gradient is autograd's, ledgers close, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import CaptureError

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Net(nn.Module):
    """A body, a part that may run in a context, and a head: (N,3,6,6) → (N,4), float64."""

    def __init__(self, part: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.inner, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 1), nn.Linear(5, 4)
        self.part = part
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.part(self, self.body(x).relu()).mean((2, 3)))


def no_grad(net: Net, z: Tensor) -> Tensor:
    with torch.no_grad():
        scale = net.inner(z).sigmoid() + 0.5
    return z * scale


def no_grad_branch(net: Net, z: Tensor) -> Tensor:
    with torch.no_grad():
        branch = net.inner(z).relu()
    return z + branch


def no_grad_statistics(net: Net, z: Tensor) -> Tensor:
    with torch.no_grad():
        parts = z.split(2, 1)
        mean = torch.cat(parts, 1).mean((2, 3), keepdim=True)
    return net.inner(z - mean)


def grad_in_no_grad(net: Net, z: Tensor) -> Tensor:
    with torch.no_grad():
        w = net.inner(z)
        with torch.enable_grad():
            v = w * z
        u = v * 2
    return v + u + z


def switched(net: Net, z: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    y = net.inner(z)
    torch.set_grad_enabled(True)
    return y + z


def detach(net: Net, z: Tensor) -> Tensor:
    return net.inner(z).detach() + z


def detach_twice(net: Net, z: Tensor) -> Tensor:
    return net.inner(z.detach()).relu().detach() * z


def detach_in_place(net: Net, z: Tensor) -> Tensor:
    y = net.inner(z)
    kept = y * 1
    y.detach_()
    return kept + y * y + z


def detach_and_write(net: Net, z: Tensor) -> Tensor:
    y = net.inner(z).clone()
    y[:, 0] = 0
    with torch.no_grad():
        w = z.mean((1, 2, 3), keepdim=True) * 2
    return y * w + z.detach()


def straight_through(net: Net, z: Tensor) -> Tensor:
    y = net.inner(z)
    return y + (y.round() - y).detach()


def requires_grad_again(net: Net, z: Tensor) -> Tensor:
    return net.inner(z.detach().requires_grad_()) + z


def inference_branch(net: Net, z: Tensor) -> Tensor:
    with torch.inference_mode():
        branch = net.inner(z).relu()
    return z + branch.clone()


CUT: dict[str, Callable[[Net, Tensor], Tensor]] = {
    f.__name__: f
    for f in (
        no_grad, no_grad_branch, no_grad_statistics, grad_in_no_grad, switched, detach, detach_twice,
        detach_in_place, detach_and_write, straight_through, requires_grad_again, inference_branch,
    )
}  # fmt: skip


def autograd(model: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.parametrize("name", CUT)
def test_the_gradient_is_autograds(name: str) -> None:
    model = Net(CUT[name])
    if name == "inference_branch":
        model.requires_grad_(False)  # autograd keeps nothing that was made in inference mode
    expected = autograd(model, X, 1)
    followed = (
        autograd(Net(lambda net, z: CUT[name](net, z)), X, 1) if name != "inference_branch" else expected
    )
    assert_close_to_rounding(followed, expected, model)
    e = relprop.explain(model, X, 1, "gradient")
    assert_close_to_rounding(e.relevance, expected, model)
    assert_close_to_rounding(e.outputs, model(X).detach(), model)
    batches = relprop.explain(model, X[:1], 1, "gradient")
    assert_close_to_rounding(batches.relevance, expected[:1], model)


@pytest.mark.parametrize("method", ["lrp-0", "lrp-epsilon", "lrp-composite", "lrp-gamma"])
@pytest.mark.parametrize("name", ["no_grad_branch", "no_grad_statistics", "detach", "inference_branch"])
def test_relevance_stops_and_is_booked(name: str, method: str) -> None:
    """What is behind is a constant: the same net with that constant put in by hand has the same relevance."""
    model = Net(CUT[name])
    e = relprop.explain(model, X, 1, method)
    assert e.ledger is not None
    assert e.ledger.closes
    assert e.relevance.abs().sum() > 0


def test_a_detached_branch_is_a_constant() -> None:
    model = Net(detach)
    with torch.no_grad():
        kept = model.inner(model.body(X).relu())
    constant = Net(lambda net, z: kept + z)
    for method in ("lrp-0", "lrp-epsilon", "gradient-x-input"):
        found, expected = (relprop.explain(m, X, 1, method) for m in (model, constant))
        assert_close_to_rounding(found.relevance, expected.relevance, model)
    assert found.ledger is None
    one, two = (relprop.explain(m, X, 1, "lrp-0").ledger for m in (model, constant))
    assert one is not None
    assert two is not None
    assert one.closes
    assert sum(row.bias for row in one.rows) == pytest.approx(sum(row.bias for row in two.rows))


def test_no_operator_behind_needs_a_rule() -> None:
    def behind(net: Net, z: Tensor) -> Tensor:
        return z + torch.sort(net.inner(z), 1).values.cumsum(1).detach()

    model = Net(behind)
    e = relprop.explain(model, X, 1, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes


def _decorated(kind: Callable[[], Any]) -> nn.Module:
    class Inferring(Net):
        @kind()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    return Inferring(lambda net, z: net.inner(z))


@pytest.mark.parametrize("kind", [torch.no_grad, torch.inference_mode])
def test_a_context_around_everything_counts_for_nothing(kind: Callable[[], Any]) -> None:
    plain, model = Net(lambda net, z: net.inner(z)), _decorated(kind)
    for method in ("gradient", "lrp-0", "lrp-composite"):
        expected = relprop.explain(plain, X, 1, method).relevance
        assert_close_to_rounding(relprop.explain(model, X, 1, method).relevance, expected, plain)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("kind", [torch.no_grad, torch.inference_mode])
def test_nor_does_one_around_a_part_that_everything_goes_through(kind: Callable[[], Any]) -> None:
    def part(net: Net, z: Tensor) -> Tensor:
        with kind():
            return net.inner(z)

    plain, model = Net(lambda net, z: net.inner(z)), Net(part)
    expected = relprop.explain(plain, X, 1, "gradient").relevance
    assert_close_to_rounding(relprop.explain(model, X, 1, "gradient").relevance, expected, plain)


@pytest.mark.parametrize(
    "part",
    [lambda net, z: net.inner(z).detach(), lambda net, z: net.inner(z.detach()) + z.detach().relu()],
)
def test_detached_everywhere_is_refused(part: Any) -> None:
    with pytest.raises(
        CaptureError, match=r"every way from its input to its output is detached.*'detach' in the "
    ):
        relprop.explain(Net(part), X, 1)


def test_a_detach_counts_where_no_grad_does_not() -> None:
    class Inferring(Net):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    expected = relprop.explain(Net(detach), X, 1, "gradient").relevance
    assert_close_to_rounding(
        relprop.explain(Inferring(detach), X, 1, "gradient").relevance, expected, Net(detach)
    )


def test_a_write_that_autograd_does_not_see_is_refused() -> None:
    def part(net: Net, z: Tensor) -> Tensor:
        y = net.inner(z) * 1
        with torch.no_grad():
            y[:, 0].clamp_(min=0)
        return y + z

    with pytest.raises(CaptureError, match=r"'clamp' in the model itself .*writes in place, under no_grad"):
        relprop.explain(Net(part), X, 1)


PLAIN: dict[str, Callable[[], Any]] = {
    "enable_grad": torch.enable_grad,
    "inference_mode off": lambda: torch.inference_mode(False),
    "set_grad_enabled": lambda: torch.set_grad_enabled(True),
    "autocast off": lambda: torch.autocast("cpu", enabled=False),
    "autocast off, another device": lambda: torch.autocast("cuda", enabled=False),
    "autocast on, another device": lambda: (
        torch.autocast("meta", dtype=torch.float16)
        if torch.amp.autocast_mode.is_autocast_available("meta")
        else torch.autocast("xpu", enabled=False)
    ),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("method", ["gradient", "lrp-0", "lrp-composite", "rsp", "affine"])
def test_contexts_that_change_nothing(name: str, method: str) -> None:
    def part(net: Net, z: Tensor) -> Tensor:
        with PLAIN[name](), PLAIN[name]():
            return net.inner(z)

    plain, model = Net(lambda net, z: net.inner(z)), Net(part)
    e = relprop.explain(model, X, 1, method)
    assert_close_to_rounding(e.relevance, relprop.explain(plain, X, 1, method).relevance, plain)
    assert e.plan is not None
    assert any(row.module == "inner" for row in e.plan.rows)  # modules are known inside, too


class Cast(Net):
    """A forward pass decorated with autocast, as in mixed-precision training."""

    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return z.float() * 2


@pytest.mark.parametrize("method", ["gradient", "lrp-0", "lrp-epsilon", "lrp-composite", "affine"])
def test_autocast_inside_is_computed_in_float32(method: str) -> None:
    """As models of half precision are: within bfloat16's rounding of what the model returns."""

    def part(net: Net, z: Tensor) -> Tensor:
        return net.inner(z).relu() + z

    x = X.float()
    model, plain = Cast(part).float(), Net(part).float()
    e, other = relprop.explain(model, x, 1, method), relprop.explain(plain, x, 1, method)
    assert e.relevance.dtype == torch.float32
    assert_close_to_rounding(e.relevance, other.relevance * 2, plain)
    output = model(x).detach()
    torch.testing.assert_close(e.outputs, output, rtol=0, atol=float(output.abs().max()) * 0.02)
    assert e.ledger is None or e.ledger.closes


def test_the_model_is_left_alone() -> None:
    model = Net(no_grad_branch)
    model.inner.requires_grad_(False)
    model.body.weight.grad = torch.ones_like(model.body.weight)
    before = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    with torch.no_grad():
        relprop.explain(model, X, 1, "gradient")
        assert not torch.is_grad_enabled()
    for p, (asked, grad) in zip(model.parameters(), before, strict=True):
        assert p.requires_grad == asked
        assert (p.grad is None) == (grad is None)
        assert grad is None or torch.equal(p.grad, grad)
    assert X.grad is None


def test_inside_of_inference_mode() -> None:
    """Contexts around the call change nothing either."""
    model = Net(no_grad_branch)
    expected = relprop.explain(model, X, 1, "gradient").relevance
    relprop.clear_cache(model)
    with torch.inference_mode():
        found = relprop.explain(model, X.clone(), 1, "gradient").relevance
    assert torch.equal(found, expected)
