"""Excitation backprop, its contrastive form, and CLRP beyond the table."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.methods import residual
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, RelpropWarning, UnknownNameError, UnsupportedOperatorError

EB, CEB, CLRP = relprop.ExcitationBackprop, relprop.ContrastiveExcitationBackprop, relprop.CLRP
STOPS = {"vgg": ["1", "2", "4", "5", "6", "8"], "resnet": ["relu", "relu_1", "relu_2", "mean"]}


def totals(r: Tensor) -> Tensor:
    return r.flatten(2).sum(-1)


@pytest.mark.parametrize("net", STOPS)
def test_totals_at_every_stop(net: str) -> None:
    model, x = getattr(nets, net)(), nets.pictures()
    targets = list(range(5))
    for stop in STOPS[net]:
        e = relprop.explain(model, x, targets, EB(at=stop))
        assert e.at == stop
        through = net == "resnet" and stop == "relu_1"  # the sum's other branch passes it by
        if not through:
            assert torch.allclose(
                totals(e.relevance), torch.ones(5, 3, dtype=torch.float64), rtol=0, atol=1e-13
            )
        if net == "vgg":
            assert float(e.relevance.min()) >= 0
        d = relprop.explain(model, x, targets, CEB(at=stop))
        if not through:
            assert float(totals(d.relevance).abs().max()) < 1e-13
        assert float(totals(d.relevance.abs()).min()) > 0.01


def test_layers_are_stops() -> None:
    model, x = nets.vgg(), nets.pictures()
    for method in (EB, CEB):
        e = relprop.explain(model, x, 1, method(at="1"), layers=["4", "5"])
        for place in ("4", "5"):
            alone = relprop.explain(model, x, 1, method(at=place))
            assert torch.allclose(e.layers[place], alone.relevance, rtol=1e-12, atol=1e-15)


def test_contrast_layer_may_be_lower() -> None:
    model, x = nets.vgg(), nets.pictures()
    high = relprop.explain(model, x, 1, CEB(at="1")).relevance
    low = relprop.explain(model, x, 1, CEB(at="1", contrast_at="5")).relevance
    # The walk is linear in what it carries, so where p and q are subtracted changes nothing.
    assert torch.allclose(high, low, rtol=1e-11, atol=1e-14)
    with pytest.raises(InputError, match="on the way to it"):
        relprop.explain(model, x, 1, CEB(at="8", contrast_at="5"))
    with pytest.raises(UnknownNameError):
        relprop.explain(model, x, 1, CEB(contrast_at="head"))


def test_batch_norm_is_left_out() -> None:
    """EB passes a batch norm by, even one that turns the channel's sign over."""
    conv, norm = nn.Conv2d(2, 8, 1, bias=False), nn.BatchNorm2d(8)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    nets.seeded(model, 5)
    norm.weight.data *= -1
    norm.bias.data += 2  # or the ReLUs would be closed
    conv.weight.data[:, 0] = conv.weight.data[:, 0].abs()  # all units can be reached
    x = nets.pictures(2, 2, 3, 3).abs()
    e = relprop.explain(model, x, 1, EB(at="1"))
    whole = relprop.explain(model, x, 1, EB(at="input"))
    a = x.clone().requires_grad_()
    z = F.conv2d(a, conv.weight.clamp(min=0))
    (g,) = torch.autograd.grad(z, a, e.relevance / z.detach())
    assert torch.allclose(whole.relevance, a.detach() * g, rtol=1e-12, atol=1e-15)
    assert float(whole.relevance.sum()) == pytest.approx(2)
    assert "BatchNorm(form='identity')" in str(whole.plan)


@pytest.mark.parametrize("released", [False, True], ids=["ours", "released"])
@pytest.mark.parametrize("name", residual.NETS)
def test_residual_networks(name: str, released: bool) -> None:
    """Projections, batch norms, both pools, and sums in front of ReLUs, against a loop over the layers.

    By positive parts as a layer of weights 1 would, or by signed value, as the published code has it.
    """
    model, x = residual.NETS[name](), nets.pictures()
    add = "value" if released else "own"
    share = residual.by_value if released else residual.by_positive
    for kind, contrast in ((EB, False), (CEB, True)):
        e = relprop.explain(model, x, [0, 1, 2, 3, 4], kind(at="relu", released=released, add=add))
        assert e.at == "relu"
        for target in range(5):
            theirs = residual.excitation(model, x, target, share, contrast=contrast)
            size = float(theirs.abs().max()) * max(1.0, e.ledger.growth)
            assert_close_to_rounding(e.relevance[target], theirs, model, size)
        assert e.ledger.closes


def test_default_stop_is_the_first_relu() -> None:
    for make, at in ((nets.vgg, "1"), (nets.resnet, "relu"), (nets.video, "relu_")):
        model = make()
        x = nets.pictures(1, 3, 4, 8, 8) if make is nets.video else nets.pictures()
        e = relprop.explain(model, x, 1, "excitation-backprop")
        first = relprop.trace(model, x).graph.find(e.at)
        assert first.op == "relu"
        assert e.at == at


def test_released_warns_of_signed_inputs_and_clamp_keeps_a_distribution() -> None:
    model, x = nets.vgg(), nets.pictures()
    with pytest.warns(RelpropWarning, match="1 of 4 convolutions"):
        wild = relprop.explain(model, x, 1, EB(at="input", released=True))
    assert float(wild.relevance.min()) < 0
    tame = relprop.explain(model, x, 1, EB(at="input", clamp_input=True))
    assert float(tame.relevance.min()) >= 0
    assert bool((tame.relevance[x < 0] == 0).all())
    lost = tame.ledger.lost if tame.ledger else 0.0
    assert float(tame.relevance.sum()) == pytest.approx(3 - lost, abs=1e-12)


def test_shares_at_sums() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(2, 2, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x)
            return self.c(F.relu(self.a(x) + self.b(x)))

    model = Sum().double()
    for name, w in {"a": [[2.0, 0], [0, 3]], "b": [[0, -1.0], [1, 0]], "c": [[1.0, 1], [0, 1]]}.items():
        getattr(model, name).weight.data = torch.tensor(w, dtype=torch.float64)
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    # a: (4, 3), b: (-1, 2), sum: (3, 5); class 0 starts with (3, 5) / 8 at the sum.
    seen = {}
    for add in ("own", "value", "positive", "absolute"):
        e = relprop.explain(model, x, 0, EB(at="relu", add=add), layers=["linear", "linear_1"])
        seen[add] = [e.layers[n][0].tolist() for n in ("linear", "linear_1")]
    assert seen["own"] == seen["positive"]
    assert seen["value"] == [pytest.approx([4 / 8, 3 / 8]), pytest.approx([-1 / 8, 2 / 8])]
    assert seen["positive"] == [pytest.approx([3 / 8, 3 / 8]), pytest.approx([0, 2 / 8])]
    assert seen["absolute"] == [pytest.approx([12 / 40, 3 / 8]), pytest.approx([3 / 40, 2 / 8])]


def test_no_last_linear_operator() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 3), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x)
            return self.a(x) + self.b(x)

    model, x = nets.seeded(Two(), 6), nets.pictures(2, 16).abs()
    with pytest.raises(InputError, match=r"linear .*found 'a', 'b'"):
        relprop.explain(model, x, 1, "contrastive-excitation-backprop")
    method = CEB(contrast_at="relu", at="relu", add="absolute")
    named = relprop.explain(model, x, 1, method)
    assert float(named.relevance.sum()) == pytest.approx(0, abs=1e-12)
    assert float(named.relevance.abs().sum()) > 0.1


def test_a_class_without_negative_weights_has_no_opposite() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)).double().eval()
    model[1].weight.data = torch.tensor([[1.0, 2, 0], [-1.0, -2, 0]], dtype=torch.float64)
    x = torch.tensor([[2.0, 1.0, 5.0]], dtype=torch.float64)
    e = relprop.explain(model, x, [0, 1], CEB(at="0"))
    assert e.relevance[:, 0].tolist() == [pytest.approx([0.5, 0.5, 0]), pytest.approx([-0.5, -0.5, 0])]


def test_operators_without_a_rule_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Softmax(1)).eval()
    for name in ("excitation-backprop", "contrastive-excitation-backprop", "clrp"):
        with pytest.raises(UnsupportedOperatorError, match="softmax"):
            relprop.explain(model, torch.rand(1, 3), 1, name)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("net", ["vgg", "resnet"])
def test_clrp_totals_zero_everywhere(net: str, variant: int) -> None:
    model, x = getattr(nets, net)(), nets.pictures()
    layer = "4" if net == "vgg" else "relu_1"
    e = relprop.explain(model, x, [0, 1, 2, 3, 4], CLRP(variant=variant), layers=[layer])
    for r in (e.relevance, e.layers[layer]):
        assert float((totals(r).abs() / totals(r.abs())).max()) < 1e-12
        assert float(totals(r.abs()).min()) > 1e-3


def test_clrp_start_is_a_factor() -> None:
    model, x = nets.vgg(), nets.pictures()
    one = relprop.explain(model, x, 2, CLRP()).relevance
    score = relprop.explain(model, x, 2, CLRP(seed="score"))
    factor = score.outputs[:, 2].reshape(-1, 1, 1, 1)
    assert torch.allclose(one * factor, score.relevance, rtol=1e-11, atol=1e-13)


def test_clrp_tells_classes_apart_where_z_plus_does_not() -> None:
    """The point of the paper: z+ maps of different classes look alike, the contrast's don't."""
    model, x = nets.vgg(), nets.pictures()

    def likeness(method: object) -> float:
        r = relprop.explain(model, x, [1, 2], method).relevance.flatten(2)
        return float(F.cosine_similarity(r[0], r[1], dim=-1).mean())

    assert likeness(relprop.DeepTaylor(seed="one")) > 0.8
    assert likeness(CLRP()) < 0.5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: EB(add="max"), "Expected add to be one of"),
        (lambda: EB(at=["a"]), "Expected at to name a module or node but got list"),
        (lambda: CEB(contrast_at=True), "Expected contrast_at to name a module or node but got bool"),
        (lambda: CLRP(variant=3), "Expected variant 1"),
        (lambda: CLRP(bounds=3), r"a pair \(low, high\)"),
        (lambda: CLRP(seed="zero"), "Expected seed to be one of"),
    ],
)
def test_settings_are_checked(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]


def test_clrp_variant_1_needs_other_classes() -> None:
    with pytest.raises(InputError, match="two classes"):
        relprop.explain(nn.Linear(2, 1), torch.ones(1, 2), 0, CLRP(bounds=None))
