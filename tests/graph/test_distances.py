"""Similarities and distances of embeddings: closed forms, whichever function computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

_DRAW = torch.Generator().manual_seed(1)
A, B = (torch.randn(2, 6, generator=_DRAW, dtype=torch.float64) for _ in range(2))
W = torch.randn(3, 6, generator=_DRAW, dtype=torch.float64)
TERMS = 100


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Shares of the cosine."""
    return a * b / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))


def of_length(v: Tensor, a: Tensor) -> Tensor:
    """Shares of ‖v‖ that a has, where v = a + ..."""
    return a * v / v.norm(dim=-1, keepdim=True)


PAIRS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = {
    "dot": (lambda a, b: (a * b).sum(1), A * B / 2, A * B / 2),
    "dot by bmm": (lambda a, b: torch.bmm(a[:, None], b[:, :, None])[:, 0], A * B / 2, A * B / 2),
    "cosine": (lambda a, b: F.cosine_similarity(a, b), cosine(A, B) / 2, cosine(A, B) / 2),
    "normalised": (lambda a, b: (F.normalize(a) * F.normalize(b)).sum(1), cosine(A, B) / 2, cosine(A, B) / 2),
    "squared": (lambda a, b: (a - b).square().sum(1), A * (A - B), B * (B - A)),
    "pairwise": (F.pairwise_distance, of_length(A - B + 1e-6, A), of_length(B - A - 1e-6, B)),
    "pairwise, p = 1": (
        lambda a, b: F.pairwise_distance(a, b, p=1.0, eps=0.0, keepdim=True),
        A * (A - B).sign(),
        B * (B - A).sign(),
    ),
    "table": (
        lambda a, b: torch.cdist(a[:, None], b[:, None])[:, 0],
        of_length(A - B, A),
        of_length(B - A, B),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_embeddings(name: str) -> None:
    """A product of two by halves; lengths hold nothing; a distance by what its differences are made of."""
    function, of_a, of_b = PAIRS[name]
    model = Fn(lambda m, x: function(x[:, 0], x[:, 1]))
    e = relprop.explain(model, torch.stack([A, B], 1), 0, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes
    assert_close_to_rounding(e.relevance[:, 0], of_a, TERMS)
    assert_close_to_rounding(e.relevance[:, 1], of_b, TERMS)
    assert_close_to_rounding(e.outputs.flatten(), model(torch.stack([A, B], 1)).flatten(), TERMS)


def test_a_distance_of_everything() -> None:
    """`torch.dist` takes no axis: of one sample."""
    e = relprop.explain(Fn(lambda m, x: torch.dist(x[0], W[0]).reshape(1, 1)), A[:1], 0, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes
    assert_close_to_rounding(e.relevance, of_length(A[:1] - W[0], A[:1]), TERMS)


FIXED: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "cosine": (lambda z: F.cosine_similarity(z[:, None], W, dim=-1), cosine(A, W[1])),
    "cosine along 2 of 3": (lambda z: F.cosine_similarity(z[:, None], W[None], dim=2), cosine(A, W[1])),
    "scaled cosine": (lambda z: F.linear(F.normalize(z), F.normalize(W)), cosine(A, W[1])),
    "table": (lambda z: torch.cdist(z, W), of_length(A - W[1], A)),
    "table squared": (lambda z: torch.cdist(z, W) ** 2, A * (A - W[1])),
    "one by one": (
        lambda z: torch.stack([F.pairwise_distance(z, w, eps=0.0) for w in W], 1),
        of_length(A - W[1], A),
    ),
    "expanded": (
        lambda z: z.square().sum(1, keepdim=True) - 2 * z @ W.T + W.square().sum(1),
        A * A - 2 * A * W[1],
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_an_embedding_and_a_prototype(name: str) -> None:
    """The prototype's own share is bias."""
    function, expected = FIXED[name]
    model = Fn(lambda m, x: function(x))
    e = relprop.explain(model, A, 1, "lrp-0")
    assert e.ledger is not None
    assert e.ledger.closes
    assert_close_to_rounding(e.relevance, expected, TERMS)
    assert_close_to_rounding(
        e.outputs, model(A), TERMS, size=float((A**2).sum(1).max() + (W**2).sum(1).max())
    )


@pytest.mark.filterwarnings("ignore:excitation-backprop assumes")
@pytest.mark.parametrize(
    "method", ["lrp-epsilon", "lrp-composite", "lrp:rule=z-plus", "attnlrp", "excitation-backprop"]
)
def test_ways_to_write_a_distance_agree(method: str) -> None:
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda z: torch.cdist(z, W),
        lambda z: (z[:, None] - W).norm(dim=2),
        lambda z: F.pairwise_distance(z[:, None], W, eps=0.0),
    ]
    found = [relprop.explain(Fn(lambda m, x, way=way: way(x)), A, 1, method) for way in ways]
    for e in found:
        assert e.ledger is not None
        assert e.ledger.closes
        assert_close_to_rounding(e.relevance, found[0].relevance, TERMS)


def squared(m: Any, z: Tensor) -> Tensor:
    return ((z[:, None] - W) ** 2).sum(-1)


FALLING: dict[str, Callable[[Tensor], Tensor]] = {
    "prototypes": lambda d: torch.log((d + 1) / (d + 1e-4)),
    "their logarithms": lambda d: torch.log1p(1 / (d + 1e-4)),
    "one over": lambda d: 1 / (1 + d),
    "reciprocal": lambda d: (d + 1).reciprocal(),
    "student": lambda d: (1 + d / 2).pow(-1.5),
    "less over more": lambda d: (1 - d) / (1 + d),
    "bell": lambda d: torch.exp(-0.5 * d),
}


@pytest.mark.parametrize("name", FALLING)
@pytest.mark.parametrize("method", ["lrp-0", "lrp-composite", "excitation-backprop"])
def test_similarities_that_fall_with_a_distance_are_refused(name: str, method: str) -> None:
    """In front of a last layer; no share of such a value is the distance's."""
    model = Fn(lambda m, x: F.linear(FALLING[name](squared(m, x)), W[:, :3]))
    with pytest.raises(UnsupportedOperatorError, match=r"It is the smaller, .*something-else.md"):
        relprop.explain(model, A, 1, method)


def test_quotients_that_are_in_proportion_stay() -> None:
    quotients: list[Callable[[Tensor], Tensor]] = [
        lambda z: z / (1 + z.abs()),
        lambda z: z.relu() / (1 + z.relu()),
        lambda z: z / (z.square().sum(1, keepdim=True) + 1).sqrt(),
        lambda z: (z + 1) / (z.abs().sum(1, keepdim=True) + 1),
        lambda z: z * torch.exp(-z.square()),
    ]
    for quotient in quotients:
        e = relprop.explain(Fn(lambda m, x, q=quotient: F.linear(q(x), W)), A, 1, "lrp-epsilon")
        assert e.ledger is not None
        assert e.ledger.closes


def test_a_bell_at_the_end_starts_at_minus_the_distance() -> None:
    """There the value in front of the exponential is explained: relevance speaks against the similarity."""
    e = relprop.explain(Fn(lambda m, x: torch.exp(-squared(m, x))), A, 1, "lrp-0")
    assert_close_to_rounding(e.relevance, -A * (A - W[1]), TERMS)


@pytest.mark.parametrize("eps", [1e-8, 1.0, 5.0])
def test_short_vectors_have_autograds_derivative(eps: float) -> None:
    """PyTorch lifts a length to ε without telling autograd."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(4, 3)
            self.other = nn.Parameter(torch.tensor([0.3, -1.0, 2.0]))

        def forward(self, x: Tensor) -> Tensor:
            return F.cosine_similarity(self.line(x), self.other.expand(len(x), 3), eps=eps)[:, None]

    torch.manual_seed(0)
    model, x = Head().double().eval(), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(model(x).sum(), x)
    assert_close_to_rounding(relprop.explain(model, x.detach(), 0, "gradient").relevance, g, model)
    e = relprop.explain(model, x.detach(), 0, "lrp-epsilon")
    assert e.ledger is not None
    assert e.ledger.closes
