"""A softmax is one however it is written: the same graph node, and the same map under every method."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, UnsupportedOperatorError

METHODS = ("gradient", "lrp-0", "lrp-composite", "attnlrp", "excitation-backprop")


def shares(e: Tensor, axis: int = -1) -> Tensor:
    return e / e.sum(axis, keepdim=True)


def in_place(s: Tensor) -> Tensor:
    e = (s * 1).sub_(s.amax(-1, keepdim=True)).exp_()
    return e.div_(e.sum(-1, keepdim=True))


def _times(e: Tensor, factor: Callable[[Tensor], Tensor]) -> Tensor:
    return e * factor(e.sum(-1, keepdim=True))


# Weights of scores (N, T, T) along the last axis.
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp over sum": lambda s: shares(s.exp()),
    "the largest score taken off": lambda s: shares((s - s.max(-1, keepdim=True)[0]).exp()),
    "amax taken off": lambda s: shares((s - s.amax(-1, keepdim=True)).exp()),
    "a constant taken off": lambda s: shares((s - s.amax(-1, keepdim=True).detach()).exp()),
    "the largest of all taken off": lambda s: shares((s - s.max()).exp()),
    "two things taken off": lambda s: shares((s - s.mean(-1, keepdim=True) - 1.0).exp()),
    "a sum without its axis": lambda s: (lambda e: e / e.sum(2)[:, :, None].expand_as(e))(s.exp()),
    "written twice": lambda s: s.exp() / s.exp().sum(-1, keepdim=True),
    "1 over sum": lambda s: _times(s.exp(), lambda t: 1 / t),
    "reciprocal": lambda s: _times(s.exp(), torch.reciprocal),
    "power": lambda s: _times(s.exp(), lambda t: t**-1),
    "log softmax": lambda s: F.log_softmax(s, -1).exp(),
    "logsumexp": lambda s: (s - s.logsumexp(-1, keepdim=True)).exp(),
    "logsumexp without its axis": lambda s: (s - s.logsumexp(-1).unsqueeze(-1)).exp(),
    "another axis": lambda s: shares(s.mT.exp(), 1).mT,
    "softmin": lambda s: F.softmin(-s, -1),
    "in place": in_place,
}

MASK = torch.ones(4, 4, dtype=torch.bool).tril()

# The same with some of the scores masked.
MASKED: dict[str, Callable[[Tensor], Tensor]] = {
    "no exponential": lambda s: shares(s.masked_fill(~MASK, -torch.inf).exp()),
    "set to 0": lambda s: shares(s.exp().masked_fill(~MASK, 0.0)),
    "set to 0, the largest taken off": lambda s: shares(
        (s - s.amax(-1, keepdim=True)).exp().masked_fill(~MASK, 0)
    ),
    "where": lambda s: shares(torch.where(MASK, s.exp(), 0.0)),
    "where zeros": lambda s: shares(torch.where(MASK, s.exp(), torch.zeros_like(s))),
    "times a mask": lambda s: shares(s.exp() * MASK),
    "times a mask of numbers": lambda s: shares(MASK.to(s.dtype) * s.exp()),
}

# The quotient behind the product with the values.
LATE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "late": lambda s, v: (lambda e: (e @ v) / e.sum(-1, keepdim=True))(s.exp()),
    "late, the largest taken off": lambda s, v: (lambda e: (e @ v) / e.sum(-1, keepdim=True))(
        (s - s.amax(-1, keepdim=True)).exp()
    ),
    "late, bmm": lambda s, v: (lambda e: torch.bmm(e, v) / e.sum(2)[:, :, None])(s.exp()),
}

# Quotients that are no softmax.
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "something added": lambda s: (lambda e: e / (e.sum(-1, keepdim=True) + 1.0))(s.exp()),
    "the sum of another axis": lambda s: s.exp() / s.exp().sum(1, keepdim=True).mT,
    "the sum of something else": lambda s: s.exp() / (2 * s).exp().sum(-1, keepdim=True),
    "what is taken off differs": lambda s: s.exp() / (s - s.mT).exp().sum(-1, keepdim=True),
    "laid along the wrong axis": lambda s: (lambda e: e / e.sum(-1)[:, None])(s.exp()),
    "a factor": lambda s: (lambda e: e / e.sum(-1, keepdim=True))(s.exp() * torch.arange(1, 5)),
    "no exponential": lambda s: (lambda e: e / e.sum(-1, keepdim=True))(s.square() + 1),
}


class Attention(nn.Module):
    """Attention between the tokens of x (N, T, D), its weights as it is told, and a head."""

    def __init__(self, attend: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.q, self.k, self.v = (nn.Linear(6, 5) for _ in range(3))
            self.head = nn.Linear(20, 3)
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(self.q(x) @ self.k(x).mT / 2, self.v(x)).flatten(1))


def explained(attend: Callable[[Tensor, Tensor], Tensor]) -> tuple[Attention, dict[str, relprop.Explanation]]:
    net = Attention(attend).double().eval()
    x = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return net, {method: relprop.explain(net, x, [0, 1, 2], method) for method in METHODS}


@cache
def expected() -> tuple[Attention, dict[str, relprop.Explanation]]:
    return explained(lambda s, v: s.softmax(-1) @ v)


@pytest.mark.parametrize("name", [*WEIGHTS, *LATE])
def test_every_spelling_gives_the_same_map(name: str) -> None:
    attend = LATE[name] if name in LATE else lambda s, v: WEIGHTS[name](s) @ v
    net, found = explained(attend)
    _, wanted = expected()
    for method, e in found.items():
        assert e.ledger is None or e.ledger.closes
        assert_close_to_rounding(e.relevance, wanted[method].relevance, terms=net)
    x = found["lrp-0"].input
    ops = [n.op for n in relprop.trace(net, x).graph.nodes]
    assert "softmax" in ops
    assert not {"exp", "log_softmax", "logsumexp"} & set(ops)  # nothing is computed twice


@pytest.mark.parametrize("name", MASKED)
def test_masked_scores_are_a_softmax_too(name: str) -> None:
    net, found = explained(lambda s, v: MASKED[name](s) @ v)
    _, wanted = _masked()
    for method, e in found.items():
        assert e.ledger is None or e.ledger.closes
        assert_close_to_rounding(e.relevance, wanted[method].relevance, terms=net)


@cache
def _masked() -> tuple[Attention, dict[str, relprop.Explanation]]:
    return explained(lambda s, v: s.masked_fill(~MASK, -torch.inf).softmax(-1) @ v)


@pytest.mark.parametrize("name", OTHERS)
def test_other_quotients_stay_what_they_are(name: str) -> None:
    net, found = explained(lambda s, v: OTHERS[name](s) @ v)
    x = found["lrp-0"].input
    assert "softmax" not in [n.op for n in relprop.trace(net, x).graph.nodes]
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    assert_close_to_rounding(found["gradient"].relevance[1], gradient, terms=net)
    assert found["lrp-0"].ledger is not None
    assert found["lrp-0"].ledger.closes


def test_what_else_reads_the_parts_of_a_softmax_still_has_them() -> None:
    """Entropy: the logarithm of the weights stays, and is refused by name where relevance comes to it."""

    def attend(s: Tensor, v: Tensor) -> Tensor:
        log = s.log_softmax(-1)
        return (log.exp() * log) @ v

    net = Attention(attend).double().eval()
    x = torch.randn(1, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with pytest.raises(UnsupportedOperatorError, match="'log_softmax'"):
        relprop.explain(net, x, 0, "lrp-0")


def test_a_softmax_by_hand_at_the_end_is_refused_as_one() -> None:
    net = nn.Sequential(nn.Linear(4, 3), _Shares())
    with pytest.raises(UnsupportedOperatorError, match="Explain the scores before it"):
        relprop.explain(net, torch.ones(1, 4), 0, "lrp-0")


def test_a_softmax_by_hand_that_overflows_is_told_so() -> None:
    """exp(1000) is infinite in the model, whatever the graph computes."""
    net = nn.Sequential(nn.Linear(4, 4), _Overflows(), nn.Linear(4, 2))
    with pytest.raises(InputError, match="Expected finite outputs"):
        relprop.explain(net, torch.ones(1, 4), 0, "lrp-0")


class _Overflows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return shares((x + 1000).exp()) * x


class _Shares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return shares((x - x.amax(-1, keepdim=True)).exp())
