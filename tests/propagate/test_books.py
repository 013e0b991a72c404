"""The walk keeps the books: what a rule forgets is seen, and what it doesn't know of can't make it wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.errors import InputError
from relprop.propagate.ledger import Ledger, Totals
from relprop.rules import Epsilon, Identity, LinearRule, Rule, SharingRule, ZPlus
from relprop.rules.rule import Message
from relprop.tracing.flow import Flow
from relprop.tracing.quotient import Quotient
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


def test_a_ledger_without_rows_closes_only_where_nothing_was_crossed() -> None:
    run = trace(nn.Identity(), torch.randn(1, 3))
    for seed in (torch.ones(1, 3), torch.zeros(1, 3)):
        ledger = run.run(seed, Composite()).ledger
        assert ledger is not None
        assert (ledger.rows, ledger.closes, ledger.start) == ((), True, float(seed.sum()))
    at_once = (
        trace(nn.Linear(3, 2), torch.randn(1, 3)).run(torch.ones(1, 2), Composite(), stop="linear").ledger
    )
    assert at_once is not None
    assert at_once.closes
    for end in (0.0, 2.9, math.nan):  # what started is not there at the end, and no row says why
        assert not Ledger(lambda end=end: Totals((), 3.0, end, 3.0, 0.0), 1e-6).closes


class Shared(SharingRule):
    """Halves what it was handed before its quotient sees it: nothing of what vanished is in its own sums."""

    def prepare(self, site: Site) -> Message:
        quotient = Quotient(site, site.linear.forward(site.x, site.linear.part("all")))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            return site.linear.backward_plain(quotient(part / 2, multiplier, owned=True), site.x, owned=True)

        return message


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.inner, self.last = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.read_twice(x))
        return self.last(torch.relu(self.inner(a)) + a)


@pytest.mark.parametrize("where", ["read_twice", "inner", "last"])
def test_a_rule_that_sums_for_itself_is_held_against_what_it_was_handed(where: str) -> None:
    net = Branches().double()
    for parameter in net.parameters():
        parameter.data.abs_()
    run = trace(net, torch.rand(1, 6, dtype=torch.float64))
    ledger = run.run(torch.tensor([[0.0, 1.0]]).double(), Composite([(where, Shared())])).ledger
    assert ledger is not None
    assert not ledger.closes
    assert max(ledger.rows, key=lambda row: row.error).module in (where, "")  # the adding row, for `inner`


def test_only_the_three_columns_can_be_booked() -> None:
    class Passes(Plain):
        def prepare(self, site: Site) -> Message:
            inner = super().prepare(site)

            def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
                site.book("passed", part)
                return inner(part, multiplier, owned)

            return message

    run = trace(nn.Linear(3, 2), torch.randn(1, 3))
    with pytest.raises(InputError, match="'bias', 'stabiliser', 'lost' but got 'passed'"):
        run.run(torch.ones(1, 2), Composite([("linear", Passes())]))


def test_a_column_may_be_booked_for_some_targets_only() -> None:
    class Sometimes(Plain):
        def prepare(self, site: Site) -> Message:
            inner = super().prepare(site)

            def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
                if bool((part < 0).any()):
                    site.book("lost", part)
                    site.book("stabiliser", part * 0)
                    site.book("stabiliser", part * 0)
                return inner(part, multiplier, owned)

            return message

    run = trace(nn.Linear(6, 2).double(), torch.randn(2, 6, dtype=torch.float64))
    seed = torch.rand(12, 2, 2, dtype=torch.float64)
    seed[5:10] *= -1  # the second of three parts
    found = run.run(seed, Composite([("last", Sometimes())])).ledger
    assert found is not None
    assert found.rows[0].lost == pytest.approx(float(seed[5:10].sum()))
    assert not found.closes


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (lambda flow: [Flow([p.sum(-1) for p in flow.parts], False)], r"relevance \(k, 2, 6\) at 'input'"),
        (lambda flow: [], "a list of 1 flows"),
        (lambda flow: None, "a list of 1 flows"),
    ],
)
def test_what_a_rule_returns_is_looked_at(returned: Callable[[Flow], Any], text: str) -> None:
    class Odd(Rule):
        kinds = frozenset({"linear"})

        def cross(self, site: Site, flow: Flow) -> list[Any]:
            return returned(flow.relevance(site.y))

    run = trace(nn.Linear(6, 2), torch.rand(2, 6))
    with pytest.raises(InputError, match=text):
        run.run(run.output, Composite([("linear", Odd())]))


def test_a_rule_may_hand_on_nothing() -> None:
    class Ends(Rule):
        kinds = frozenset({"linear"})

        def cross(self, site: Site, flow: Flow) -> list[Any]:
            return [None]

    run = trace(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(2, 6))
    found = run.run(run.output, Composite([("last", Ends())]))
    assert not bool(found.relevance.any())
    assert found.ledger is not None
    assert not found.ledger.closes


def test_a_rule_derived_from_identity_is_called() -> None:
    class Marked(Identity):
        def cross(self, site: Site, flow: Flow) -> list[Any]:
            seen.append(site.node.op)
            return super().cross(site, flow)

    seen: list[str] = []
    run = trace(
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).double(), torch.rand(2, 6).double()
    )
    found = run.run(run.output, Composite([("activation", Marked())]))
    assert seen == ["relu"]
    assert_close_to_rounding(found.relevance, run.run(run.output, Composite()).relevance, terms=100)


def test_the_start_in_front_of_a_relu_counts_what_it_was_given() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4)).double()
    run = trace(net, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    z = run.value("conv2d")
    c = torch.randn_like(z)
    ledger = run.run(c, Composite(), start="conv2d", multiplier=True).ledger
    assert ledger is not None
    assert ledger.closes
    assert ledger.start == pytest.approx(float((c * z).sum()))
    assert ledger.start == pytest.approx(ledger.end + ledger.bias)


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
    e = relprop.explain(net.eval(), x, [0, 1], method)
    assert e.ledger is not None
    assert e.ledger.closes, str(e.ledger)
    if method == "lrp-0":
        leaf = x.clone().requires_grad_()
        for k, r in enumerate(e.relevance):
            expected = torch.autograd.grad(net(leaf)[:, k].sum(), leaf)[0] * x
            assert_close_to_rounding(r, expected, net)


def test_a_rule_of_another_kind_books_every_part() -> None:
    class Sometimes(Identity):
        def cross(self, site: Site, flow: Flow) -> list[Any]:
            site.book("lost", flow.parts[0] * 0)
            return super().cross(site, flow)

    run = trace(nn.Sequential(nn.Linear(6, 2), nn.ReLU()), torch.rand(2, 6))
    ledger = run.run(torch.rand(12, 2, 2), Composite([("activation", Sometimes())])).ledger  # three parts
    assert ledger is not None
    with pytest.raises(InputError, match="'lost' to be booked equally often"):
        _ = ledger.rows


@pytest.mark.parametrize("scale", [1e-10, 1e-18, 1e-19, 3e-20])
def test_relevance_below_the_smallest_normal_number_opens_no_ledger(scale: float) -> None:
    """Queries and keys so small that the relevance of their product has lost its digits."""

    class Faint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)
            for p in self.parameters():
                p.data *= scale

        def forward(self, x: Tensor) -> Tensor:
            return ((self.q(x) @ self.k(x).mT).softmax(2) @ x).mean(1)

    torch.manual_seed(0)
    e = relprop.explain(Faint().eval(), torch.randn(2, 5, 8), 0, "lrp-epsilon:attention=shared")
    assert e.ledger is not None
    assert e.ledger.closes
    assert any(row.operator == "matmul" and row.absolute > 0 for row in e.ledger.rows)
