"""RAP: what its page promises (its numbers are in the table)."""

from __future__ import annotations

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from tests.methods import residual
from tests.rules.test_section import LAYERS, assert_close, case
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropWarning
from relprop.rules import AbsoluteInfluence, RelativeInfluence


def jacobian(layer: nn.Module, x: Tensor) -> Tensor:
    """Contributions t_ij = w_ij x_i of one sample: (out, in)."""
    (j,) = [torch.autograd.functional.jacobian(layer, x)]
    return j.reshape(layer(x).numel(), x.numel()) * x.reshape(1, -1)


def closed_form(layer: nn.Module, x: Tensor, r: Tensor, one_way: bool) -> Tensor:
    t, r = jacobian(layer, x), r.flatten()

    def share(parts: Tensor, total: Tensor, some: Tensor) -> Tensor:
        return (parts / torch.where(total == 0, torch.inf, total)[:, None] * some[:, None]).sum(0)

    up, down = t.clamp(min=0), t.clamp(max=0)
    c = share(up, up.sum(1), r if one_way else r.clamp(min=0)) + share(-down, t.abs().sum(1), r)
    if not one_way:
        c = c + share(down, down.sum(1), r.clamp(max=0))
    live = c != 0
    return (c - live * (c.sum() - r.sum()) / live.sum().clamp(min=1)).reshape(x.shape)


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("name", ["3x3", "stride", "grouped", "1-d", "transposed", "product"])
def test_rule_is_its_closed_form(name: str, one_way: bool) -> None:
    """Inputs of both signs, units without terms of a sign."""
    layer, x, r = case(name)
    run = relprop.trace(layer, x)
    rule = RelativeInfluence(one_way=one_way)
    found = run.run(r, relprop.Composite([("linear", rule)], "gradient"))
    assert found.ledger is not None
    assert found.ledger.closes
    product = isinstance(layer, nn.Linear)
    for k in range(4):
        for n in range(2):
            theirs = closed_form(layer, x[n : n + 1], r[k, n : n + 1], one_way and product)
            assert_close(found.relevance[k, n : n + 1], theirs, 1e-11)


def test_first_step_is_its_closed_form() -> None:
    layer, x, r = case("3x3")
    run = relprop.trace(layer, x)
    ours = run.propagate(r, relprop.Composite([("linear", AbsoluteInfluence())], "gradient"))
    for n in range(2):
        t = jacobian(layer, x[n : n + 1]).abs()
        total = t.sum(1)
        total[total == 0] = torch.inf
        theirs = torch.einsum("oi,o,ko->ki", t, 1 / total, r[:, n].flatten(1))
        assert_close(ours[:, n].flatten(1), theirs)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("net", [nets.vgg, nets.resnet, nets.video])
def test_total_is_the_score(net: object, released: bool) -> None:
    assert callable(net)
    model = net()
    x = nets.pictures(3, 3, 4, 8, 8) if net is nets.video else nets.pictures()
    e = relprop.explain(model, x, [0, 1, 2, 3, 4], relprop.RAP(released=released))
    torch.testing.assert_close(e.relevance.flatten(2).sum(-1), e.outputs.T)
    assert e.ledger is not None
    assert e.ledger.closes
    assert abs(e.ledger.lost) < 1e-12


@pytest.mark.parametrize("name", residual.NETS)
def test_released_on_residual_networks(name: str) -> None:
    """Sums by signed value, projections, batch norms and both pools, against a loop over the layers."""
    model, x = residual.NETS[name](), nets.pictures()
    e = relprop.explain(model, x, [0, 1, 2, 3, 4], relprop.RAP(released=True))
    ours = relprop.explain(model, x, [0, 1, 2, 3, 4], "rap")
    for target in range(5):
        theirs = residual.rap(model, x, target)
        # The largest |R| on the way is what rounding is relative to: terms of a sum cancel.
        size = float(theirs.abs().max()) * max(1.0, e.ledger.growth)
        assert_close_to_rounding(e.relevance[target], theirs, model, size)
        assert float((ours.relevance[target] - theirs).abs().max()) > 0.1 * float(theirs.abs().max())
    assert e.ledger.closes
    assert (name == "silent filters") <= bool(e.ledger.lost)  # what β alone was given is lost, and booked
    assert ours.ledger.lost == 0


def test_released_sums_share_without_bound() -> None:
    """Terms 10 and -9.95 of a sum of 0.05 get 200 and -199 times it; by size no more than all of it."""

    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.a(x)) + self.b(torch.relu(x))).flatten(1)

    model = Cancelling().double().eval()
    for conv, w in ((model.a, 10.0), (model.b, -9.95), (model.head, 1.0)):
        conv.weight.data.fill_(w)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    with pytest.warns(RelpropWarning, match="grows to 200 times"):
        e = relprop.explain(model, x, 0, relprop.RAP(released=True, bounds=(0, 2)))
    assert e.ledger.growth == pytest.approx(200)
    assert e.ledger.closes
    assert len(e.warnings) == 1
    ours = relprop.explain(model, x, 0, relprop.RAP(bounds=(0, 2)))
    assert ours.ledger.growth == pytest.approx(1)
    assert ours.warnings == ()


def test_released_has_the_samples_own_box() -> None:
    """As published: z^B between the sample's least and greatest value, whatever is known of the pixels."""
    model, x = nets.resnet(), nets.pictures()
    box = relprop.pixel_bounds([0.0] * 3, [0.2] * 3, -1, 1)
    facts = relprop.methods.Facts(box=box)
    for method in (relprop.RAP(released=True), relprop.RSP(mode="released")):
        known = relprop.explain(model, x, 1, method, facts=facts)
        assert torch.equal(known.relevance, relprop.explain(model, x, 1, method).relevance)
        assert known.settings["bounds"] == "sample"
    bounded = relprop.explain(model, x, 1, relprop.RAP(released=True, bounds=box)).relevance
    assert not torch.equal(bounded, known.relevance)
    assert not torch.equal(relprop.explain(model, x, 1, "rap", facts=facts).relevance, bounded)


def test_bias_of_the_last_layer_only_scales() -> None:
    model, x = nets.vgg(), nets.pictures()
    before = relprop.explain(model, x, 1, "rap")
    with torch.no_grad():
        model[9].bias[1] += 3.0
    after = relprop.explain(model, x, 1, "rap")
    factor = (after.outputs / before.outputs)[:, 1].reshape(-1, 1, 1, 1)
    assert_close(after.relevance, before.relevance * factor)


def test_large_products_in_blocks() -> None:
    """A product that the engine walks in blocks of rows is shifted once, as a whole."""
    from relprop.tracing import linear_map as linear

    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 3))
    model, x = model.double().eval(), torch.rand(2, 30, dtype=torch.float64)
    whole = relprop.explain(model, x, [0, 2], "rap").relevance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "_SPLIT", 100)
        patch.setattr(linear, "_ROWS", 120)
        blocks = relprop.explain(model, x, [0, 2], "rap")
    assert_close(blocks.relevance, whole)
    assert blocks.ledger is not None
    assert blocks.ledger.closes


def test_layers_of_the_test_exist() -> None:
    assert {"3x3", "stride", "grouped", "1-d", "transposed", "product"} <= set(LAYERS)
