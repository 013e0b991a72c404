"""The ways out that the refusal of an operator names: each is a call, and each call works."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, UnknownNameError, UnsupportedOperatorError
from relprop.rules import Epsilon, Gradient, ZPlus


class Net(nn.Module):
    """Convolution, a row of tokens, and a head in question: (N, 3, 8, 8) -> (N, 4)."""

    def __init__(self, head: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
        self.out, self.head = nn.Linear(8, 4), head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self, self.body(x).flatten(2).transpose(1, 2))


HEADS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "var_mean": lambda s, z: s.out(torch.var_mean(z, 1)[0]),
    "grid_sampler": lambda s, z: s.out(  # a constant picture, read at places that the network finds
        F.grid_sample(
            torch.arange(72.0).to(z).reshape(1, 8, 3, 3).expand(len(z), -1, -1, -1),
            z[:, :1, None, :2].tanh(),
            align_corners=False,
        ).flatten(1)
    ),
    "logsumexp": lambda s, z: s.out(z.logsumexp(1)),
    "cumprod": lambda s, z: s.out((z + 0.5).cumprod(1)[:, -1]),
    "div": lambda s, z: s.out((z[:, 0] + 2) / (z[:, 0] + 1)),
    "softmax": lambda s, z: torch.softmax(s.out(z[:, 0]), -1),
    "log_softmax": lambda s, z: F.log_softmax(s.out(z[:, 0]), -1).flatten(1),
    "rounded div": lambda s, z: s.out(torch.div(z[:, 0], 0.1, rounding_mode="floor") + z[:, 0]),
    "scatter_reduce": lambda s, z: s.out(
        z[:, 0].scatter_reduce(1, torch.arange(8).expand(len(z), 8) // 2, z[:, 1] + 0.5, "prod")
    ),
    "three": lambda s, z: s.out(z.logcumsumexp(1).cumprod(1).logsumexp(1)),  # in a row
}
"""By the operator that is refused."""


def refusal(model: nn.Module, x: Tensor) -> str:
    with pytest.raises(UnsupportedOperatorError) as caught:
        relprop.explain(model, x, [0, 1], "lrp-composite")
    return str(caught.value)


@pytest.mark.parametrize("op", HEADS)
def test_every_call_that_a_refusal_names_works(op: str) -> None:
    model, x = Net(HEADS[op]).eval().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    text = refusal(model, x)
    if op != "three":  # the operator that relevance comes to first is named
        assert f"operator '{op.split()[-1]}'" in text
    composite, names = relprop.Composite(), {"relprop": relprop, "model": model, "x": x}
    methods = re.findall(r"method=('[^']+'|relprop\.LRP\(.*?\]\)\))", text)
    places = re.findall(r"\((relprop\.trace\(.*?'\))\)", text)
    assert (len(methods), len(places)) == ((0, 1) if "softmax" in op else (2, 1))
    for method in methods:
        found = relprop.explain(model, x, [0, 1], eval(method, names))
        assert found.relevance.abs().max() > 0
        if found.ledger is not None:
            assert found.ledger.closes, found.ledger
            assert found.ledger.start == pytest.approx(
                found.ledger.end + found.ledger.bias + found.ledger.stabiliser + found.ledger.lost
            )
    for place in places:
        seed = relprop.trace(model, x).output
        found = eval(place, names | {"seed": seed, "composite": composite})
        assert found.abs().max() > 0


def test_a_rule_for_an_operator_that_relprop_does_not_know() -> None:
    """Gradient x value of |z| is |z| itself, so nothing is lost; of z² it is 2 z², and -z² is booked."""
    for op, factor in (("abs", 1.0), ("square", 2.0)):
        model = nn.Sequential(nn.Linear(3, 4, bias=False), _Calls(op), nn.Linear(4, 2, bias=False)).double()
        x = torch.randn(2, 3, dtype=torch.float64)
        for rule in (None, ZPlus(), Epsilon(0.1)):  # relevance comes as multipliers, and as itself
            rules = [(f"op:{op}", Gradient()), *([("last", rule)] if rule else [])]
            run = relprop.trace(model, x)
            found = run.run(run.output, relprop.Composite(rules), record=["1"])
            assert found.ledger is not None
            assert found.ledger.closes, found.ledger
            at = found.layers["1"].sum()
            assert found.ledger.lost == pytest.approx(float((1 - factor) * at), abs=1e-9) or rule is not None
            assert float(found.relevance.sum()) == pytest.approx(float(factor * at))


class _Calls(nn.Module):
    def __init__(self, op: str) -> None:
        super().__init__()
        self.function = getattr(torch, op)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("ledger", [True, False])
def test_books_do_not_change_derivatives(ledger: bool) -> None:
    model, x = Net(HEADS["var_mean"]).eval().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    seed = torch.zeros(2, 4, dtype=torch.float64)
    seed[:, 1] = 1
    composite = relprop.Composite([], "gradient")
    found = relprop.trace(model, x).run(seed, composite, multiplier=True, ledger=ledger)
    assert float((found.relevance - expected).abs().max()) < 1e-12
    if found.ledger is not None:
        assert found.ledger.closes, found.ledger


def test_operator_names() -> None:
    for known in ("lstm", "pow", "relu", "getitem", "cosine_similarity", "max_pool2d"):
        relprop.Composite([(f"op:{known}", Gradient())])
    for wrong, text in (
        ("softmx", "Did you mean 'softmax'"),
        ("relu_", "Did you mean 'relu'"),
        ("zzzzzz", "zzzzzz"),
    ):
        with pytest.raises(UnknownNameError, match=text):
            relprop.Composite([(f"op:{wrong}", Gradient())])
    with pytest.raises(InputError, match="covers 'activation' operators"):
        relprop.Composite([("op:relu", Epsilon(0.1))])


class TwoHeads(nn.Module):
    """Class scores, and a box branch with an operator that has no rule, side by side in one output."""

    def __init__(self, *, boxes: bool = True) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.classes, self.bins, self.boxes = nn.Linear(8, 3), nn.Linear(8, 4), boxes

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x).mean((2, 3))
        if not self.boxes:
            return self.classes(features)  # type: ignore[no-any-return]
        box = (self.bins(features).softmax(1) * torch.arange(4.0, dtype=x.dtype)).sum(1, keepdim=True)
        return torch.cat([self.classes(features), box], 1)


@pytest.mark.parametrize("method", ["lrp-0", "lrp-composite", "excitation-backprop", "rap", "deep-taylor"])
def test_a_branch_without_relevance_needs_no_rules(method: str) -> None:
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    model = TwoHeads().double().eval()
    found = relprop.explain(model, x, [0, 2], method)
    assert found.ledger is not None
    assert found.ledger.closes
    alone = relprop.explain(TwoHeads(boxes=False).double().eval(), x, [0, 2], method)
    assert float((found.relevance - alone.relevance).abs().max()) < 1e-13
    for target in (3, [0, 3]):
        with pytest.raises(UnsupportedOperatorError, match=r"No rule for operator 'softmax'"):
            relprop.explain(model, x, target, method)


def test_a_plan_names_what_relevance_could_meet() -> None:
    """Before anything runs it isn't known where relevance will be 0."""
    run = relprop.trace(TwoHeads().eval(), torch.rand(1, 3, 6, 6))
    with pytest.raises(UnsupportedOperatorError, match="softmax"):
        run.plan("lrp-0")
