"""Which networks have attention, and what `lrp-composite` makes of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.graph.attention import attention_weights, weighed
from relprop.methods.bounds import z_box
from relprop.methods.lrp import is_product
from relprop.rules import Gamma, Product, Softmax, ZPlus


class Net(nn.Module):
    """Patches, something that mixes tokens (N, 9, 8), a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.embed, self.head = nn.Conv2d(3, 8, 2, stride=2), nn.Linear(8, 4)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.module = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Conv2d(2, 2, 1)
        self.position = nn.Parameter(torch.randn(9, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head((x + self.mixed(x)).mean(1))

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        scores = q @ k.transpose(1, 2) / 3
        if self.kind == "function":
            return F.scaled_dot_product_attention(q, k, v)
        if self.kind == "module":
            return self.module(x, x, x, need_weights=False)[0]
        if self.kind == "by hand, masked, with positions":
            mask = torch.ones(9, 9, dtype=torch.bool).tril()
            return (scores + self.position).masked_fill(~mask, -torch.inf).softmax(2) @ v
        if self.kind == "positions of the query":
            return (scores + q @ self.position[:8]).softmax(2) @ v
        if self.kind == "talking heads":
            heads = self.mix(torch.stack([scores, -scores], 1)).softmax(-1)
            return (self.mix(heads) @ v[:, None]).sum(1)
        if self.kind == "einsum":
            return torch.einsum("nij,njc->nic", torch.einsum("nic,njc->nij", q, k).softmax(2), v)
        if self.kind == "selective kernel":  # weighs branches by scores of their mean
            weights = torch.stack([q, k], 1).mean((1, 2)).unflatten(1, (2, 4)).softmax(1)
            return (torch.stack([q, k], 1) * weights.repeat(1, 1, 2)[:, :, None]).sum(1)
        if self.kind == "pooled by scores of one signal":
            return q.mean(2, keepdim=True).softmax(1) * v
        return F.relu(q)


ATTENDS = {
    "function": True,
    "module": True,
    "by hand, masked, with positions": True,
    "positions of the query": True,
    "talking heads": True,
    "einsum": True,
    "selective kernel": False,
    "pooled by scores of one signal": False,
    "none": False,
}


@pytest.mark.parametrize("kind", ATTENDS)
def test_which_networks_attend_and_what_the_composite_takes(kind: str) -> None:
    torch.manual_seed(2)
    model, x = Net(kind).double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    graph = relprop.trace(model, x).graph
    weights = attention_weights(graph)
    assert len(weights) == ATTENDS[kind]
    assert all(n.kind == "softmax" and weighed(graph, n) for n in weights)
    e = relprop.explain(model, x, 1)
    assert e.method == "lrp-composite"
    assert e.ledger is not None
    assert e.ledger.closes
    plain = relprop.explain(model, x, 1, "lrp-composite:lower=z-plus")
    said = [note for note in e.notes if "attention" in note]
    if not ATTENDS[kind]:
        assert not said
        assert torch.equal(e.relevance, plain.relevance)
        return
    (note,) = said
    assert "γ = 0.05 in matrix products here, and attention's weights as sharing with the values" in note
    rules = [
        ("first", z_box("sample")), ("softmax", Softmax()),
        (lambda p: p.kind in ("gate", "product") and p.node.op not in ("mul", "div"), Product()),
        (is_product, Gamma(0.05)), ("linear", ZPlus()),
    ]  # fmt: skip
    expected = relprop.explain(model, x, 1, relprop.LRP(composite=relprop.Composite(rules, "value")))
    assert_close_to_rounding(e.relevance, expected.relevance, model)
    assert not torch.equal(e.relevance, plain.relevance)
    constant = relprop.explain(model, x, 1, "lrp-composite:attention=constant")
    assert any("weights as constants" in note for note in constant.notes)
    assert "Softmax" not in str(constant.plan)
    assert "Softmax" not in str(plain.plan)
    named = relprop.explain(model, x, 1, relprop.LRP(composite="epsilon-network-box"))
    assert torch.equal(named.relevance, e.relevance)
