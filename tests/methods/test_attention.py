"""Transformers: both treatments of attention against gradients with parts held fixed, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError

EXACT = 1e-11

_MASK = torch.tril(torch.ones(5, 5, dtype=torch.bool))
_SHIFT = torch.linspace(-1, 1, 25, dtype=torch.float64).reshape(5, 5)


def part(value: Tensor, share: float) -> Tensor:
    """The value, with `share` of its gradient."""
    return value * share + value.detach() * (1 - share)


class Tiny(nn.Module):
    """A transformer of one block on 4 patches and a class token; `share` tells how its oracle is read.

    With `share` the gradient times input is the relevance that the published rules give: the deviation of a
    layer norm and the ratio of an activation are held fixed; "constant": so are attention's weights; "shared":
    values pass half of their gradient, queries and keys a quarter.
    """

    def __init__(self, attend: Callable[..., Tensor], share: str = "") -> None:
        super().__init__()
        torch.manual_seed(5)
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(8) for _ in range(3))
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        for p in (q for n in (self.norm1, self.norm2, self.norm3) for q in n.parameters()):
            nn.init.normal_(p, mean=1.0, std=0.3)
        self.attend, self.share = attend, share

    def normed(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        if not self.share:
            out: Tensor = norm(x)
            return out
        deviation = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / deviation.detach() * norm.weight + norm.bias

    def forward(self, x: Tensor) -> Tensor:
        z = self.patch(x).flatten(2).transpose(1, 2)
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1) + self.place
        y = self.normed(self.norm1, z)
        q, k, v = (f(y).unflatten(2, (2, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.share == "constant":
            q, k = q.detach(), k.detach()
        elif self.share == "shared":
            q, k, v = part(q, 0.25), part(k, 0.25), part(v, 0.5)
        z = z + self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))
        h = self.up(self.normed(self.norm2, z))
        h = h * (F.gelu(h) / h).detach() if self.share else F.gelu(h)
        return self.head(self.normed(self.norm3, z + self.down(h)).mean(1))  # type: ignore[no-any-return]


ATTENTION: dict[str, Callable[..., Tensor]] = {
    "function": F.scaled_dot_product_attention,
    "scale": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.9),
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=_MASK),
    "added": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=_SHIFT),
    "grouped": lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True),
    "by hand": lambda q, k, v: (q @ k.mT / 2).softmax(-1) @ v,
    "masked by hand": lambda q, k, v: (q @ k.mT / 2).masked_fill(~_MASK, -torch.inf).softmax(-1) @ v,
    "einsum": lambda q, k, v: torch.einsum(
        "nhqk,nhkd->nhqd", torch.einsum("nhqd,nhkd->nhqk", q, k).softmax(-1), v
    ),
    "batched": lambda q, k, v: torch.bmm(
        torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).softmax(2), v.flatten(0, 1)
    ).unflatten(0, (-1, 2)),
}


@cache
def tiny(name: str) -> Tiny:
    """The transformer with an attention of that name, captured once for all that is asked of it."""
    return Tiny(ATTENTION[name]).double().eval()


def relevance_by_gradient(attend: Callable[..., Tensor], share: str, x: Tensor, target: int) -> Tensor:
    model = Tiny(attend, share).double().eval()
    leaf = x.clone().requires_grad_()
    score = model(leaf)[:, target]
    return x * torch.autograd.grad(score.sum(), leaf)[0]


@pytest.mark.parametrize("attention", ["constant", "shared"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_against_its_gradient_form(name: str, attention: Any) -> None:
    model = tiny(name)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    if name == "added" and attention == "shared":
        pytest.skip("a score and what is added to it share by value: compared in the next test")
    method = relprop.AttnLRP(gamma=0, gamma_conv=0, epsilon=0, attention=attention)
    found = relprop.explain(model, x, 1, method)
    assert found.ledger is not None
    assert found.ledger.closes
    expected = relevance_by_gradient(ATTENTION[name], attention, x, 1)
    assert float((found.relevance - expected).abs().max()) < EXACT * float(expected.abs().max())
    assert abs(found.ledger.start - float(model(x)[:, 1].sum().detach())) < EXACT


def test_ways_to_write_attention_agree() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for name in ("masked by hand", "causal"):
        expected = relprop.explain(tiny("mask"), x, 1, "attnlrp").relevance
        found = relprop.explain(tiny(name), x, 1, "attnlrp").relevance
        assert float((found - expected).abs().max()) < EXACT * float(expected.abs().max())


METHODS = (
    "lrp-0 lrp-epsilon lrp-gamma lrp-alpha-beta lrp-composite attnlrp excitation-backprop clrp rap".split()
)


class Modules(nn.Module):
    """Attention as torch's own modules write it."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        z = self.patch(x).flatten(2).transpose(1, 2)
        if self.module == "encoder":
            return self.head(self.encoder(z).mean(1))  # type: ignore[no-any-return]
        z = self.attention(z, z, z, need_weights=self.module == "need weights")[0]
        return self.head(z.mean(1))  # type: ignore[no-any-return]


@cache
def modules(module: str) -> Modules:
    torch.manual_seed(0)
    return Modules(module).eval()


@pytest.mark.parametrize("module", ["need weights", "no weights", "encoder"])
@pytest.mark.parametrize("method", METHODS)
def test_modules_of_torch_close(module: str, method: str) -> None:
    model = modules(module)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = relprop.explain(model, x, [0, 2], method)
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    with torch.no_grad():
        torch.testing.assert_close(found.outputs, model(x))


def test_the_exact_form_refuses_attention_by_name() -> None:
    model = Tiny(ATTENTION["function"]).eval()
    with pytest.raises(UnsupportedOperatorError, match=r"layer_norm"):
        relprop.explain(model, torch.randn(1, 3, 8, 8), 0, "affine")
