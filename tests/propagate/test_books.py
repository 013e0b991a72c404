"""The walk keeps the books: what a rule forgets is seen, and what it doesn't know of can't make it wrong."""

from __future__ import annotations

import math

import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.rules import Epsilon, LinearRule, ZPlus
from relprop.rules.rule import Message
from relprop.tracing.site import Site


class Plain(LinearRule):
    """LRP-0 without a quotient; keeps books of the bias, or doesn't."""

    def __init__(self, factor: float = 1.0, *, books: bool = True) -> None:
        self.factor, self.books = factor, books

    def prepare(self, site: Site) -> Message:
        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            c = part if multiplier else part / site.y
            if self.books:
                site.book_bias(c, site.linear.bias)
            return site.linear.backward_plain(c, site.x, owned=False) * self.factor

        return message


def nets() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(3)
    flat, picture = torch.randn(2, 3), torch.randn(2, 1, 8, 8)
    return {
        "one": (nn.Sequential(nn.Linear(3, 2)), flat),
        "two": (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), flat),
        "relu": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), flat),
        "norm": (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)),
            picture,
        ),
        "wide": (
            nn.Sequential(nn.Linear(3, 2100), nn.ReLU(), nn.Linear(2100, 2100), nn.Linear(2100, 2)),
            flat,
        ),
    }


@pytest.mark.parametrize("name", nets())
def test_a_rule_that_loses_half_and_books_nothing_does_not_close(name: str) -> None:
    model, x = nets()[name]
    method = relprop.LRP(composite=Composite([("linear", Plain(0.5, books=False))]))
    ledger = relprop.explain(model.double().eval(), x.double(), 0, method).ledger
    assert ledger is not None
    assert not ledger.closes
    assert ledger.start == pytest.approx(float(model(x.double())[:, 0].detach().sum()))
    wrong = [row for row in ledger.rows if row.error > ledger.tolerance]
    assert {row.rule for row in wrong} == {"Plain(factor=0.5, books=False)"}
    assert len(wrong) == sum(isinstance(m, (nn.Linear, nn.Conv2d)) for m in model)


@pytest.mark.parametrize("name", nets())
def test_a_rule_without_a_quotient_is_lrp_0(name: str) -> None:
    model, x = (part.double() for part in nets()[name])
    method = relprop.LRP(composite=Composite([("linear", Plain())]))
    found, expected = (relprop.explain(model.eval(), x, [0, 1], m) for m in (method, "lrp-0"))
    assert torch.allclose(
        found.relevance, expected.relevance, rtol=0, atol=1e-13 * float(x.abs().max()) * 100
    )
    assert found.ledger is not None
    assert found.ledger.closes


class Silent(LinearRule):
    """Says that it sums what arrives, and doesn't."""

    sums_arrival = True

    def prepare(self, site: Site) -> Message:
        return lambda part, multiplier, owned: site.linear.backward_plain(part, site.x, owned=False)


def test_an_operator_that_nobody_booked_does_not_close() -> None:
    run = trace(nn.Linear(3, 2), torch.randn(1, 3))
    ledger = run.run(torch.ones(1, 2), Composite([("linear", Silent())])).ledger
    assert ledger is not None
    assert [row.error for row in ledger.rows] == [math.inf]
    assert not ledger.closes


def test_a_ledger_without_rows_does_not_close() -> None:
    run = trace(nn.Identity(), torch.randn(1, 3))
    started = run.run(torch.ones(1, 3), Composite()).ledger
    assert started is not None
    assert (started.rows, started.closes, started.start) == ((), False, 3.0)
    nothing = run.run(torch.zeros(1, 3), Composite()).ledger
    assert nothing is not None
    assert nothing.closes  # nothing started, so nothing is missing


@pytest.mark.parametrize("rule", [Epsilon(0.1), ZPlus(), Plain()])
def test_relevance_asked_in_front_of_a_relu(rule: LinearRule) -> None:
    """Recording the value before a ReLU changes nothing, and gives what is behind it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 2),
    )
    run = trace(model.double().eval(), torch.randn(2, 1, 8, 8, dtype=torch.float64))
    composite = Composite([("linear", rule)], "positive" if isinstance(rule, ZPlus) else "value")
    seed = torch.randn(3, 2, 2, dtype=torch.float64)
    plain = run.run(seed, composite)
    found = run.run(seed, composite, record=["0", "1", "2", "3", "4"])
    assert_close_to_rounding(found.relevance, plain.relevance, model)
    assert torch.equal(found.layers["0"], found.layers["2"])
    assert torch.equal(found.layers["1"], found.layers["2"])
    assert torch.equal(found.layers["3"], found.layers["4"])
    names = [row.operator for row in run.plan(composite).rows]
    assert names == ["linear", "flatten", "conv2d + relu", "conv2d + batch_norm + relu"]
    # A multiplier is 0 where the ReLU is off; relevance is multiplier times value on both sides.
    ratio = run.run(seed, composite, record=["3", "4"], multiplier=True)
    dead = run.value("3") <= 0
    assert bool(dead.any())
    assert bool((ratio.layers["3"][:, dead] == 0).all())
    same = ratio.layers["4"].masked_fill(dead, 0)
    assert torch.equal(ratio.layers["3"], same)


class PaddedPool(nn.Module):
    """TensorFlow's "same" max pooling: one more row and column of -inf, then pool."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)


@pytest.mark.parametrize("method", ["lrp-0", "lrp-composite", "deep-taylor", "excitation-backprop"])
def test_padding_with_minus_infinity_closes(method: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), PaddedPool(), nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    e = relprop.explain(
        net.eval(), x, [0, 1], relprop.ExcitationBackprop(clamp_input=True) if "exc" in method else method
    )
    assert e.ledger is not None
    assert e.ledger.closes, str(e.ledger)
    if method == "lrp-0":
        leaf = x.clone().requires_grad_()
        for k, r in enumerate(e.relevance):
            expected = torch.autograd.grad(net(leaf)[:, k].sum(), leaf)[0] * x
            assert_close_to_rounding(r, expected, net)
