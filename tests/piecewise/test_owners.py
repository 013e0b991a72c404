"""Whose bias it is: owners against bias gradients, the ledger of LRP-0, closed forms, and each other."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from tests import nets as plain
from tests.close import assert_close_to_rounding
from tests.metrics.test_bias_ratio import bias_by_gradients
from tests.piecewise import nets
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.piecewise import AffineForm, Owner
from relprop.propagate.targets import one_hot
from relprop.rules import Slope

NETS = nets.NETS | {"vgg": plain.vgg, "resnet": plain.resnet, "video": plain.video}


def pictures(name: str) -> Tensor:
    return plain.pictures(3, 3, 4, 8, 8) if name == "video" else plain.pictures()


def amounts(form: AffineForm) -> Tensor:
    assert form.owners is not None
    return torch.stack([o.amount for o in form.owners])


def named(form: AffineForm, node: str) -> Owner:
    assert form.owners is not None
    (found,) = [o for o in form.owners if o.node == node]
    return found


@pytest.mark.parametrize("name", NETS)
def test_owners_add_up_to_the_bias(name: str) -> None:
    form = relprop.affine(NETS[name](), pictures(name), [0, 3], owners=True)
    found = amounts(form)
    scale = found.abs().sum(0)
    assert float(((found.sum(0) - form.bias).abs() / scale).max()) < 1e-13
    assert form.residual is not None
    assert float(form.residual.max()) < 1e-15
    assert form.owners is not None
    for owner in form.owners:
        for parts in (owner.channels, owner.map):
            if parts is not None:
                assert parts.shape[:2] == (2, 3)
                assert float(((parts.flatten(2).sum(2) - owner.amount).abs() / scale).max()) < 1e-13
    kinds = {
        "clamped": {"bias", "batch norm", "saturation", "constant"},
        "branching": {"bias", "batch norm", "constant"},
    }
    assert {o.kind for o in form.owners} >= kinds.get(name, {"bias"})


@pytest.mark.parametrize("name", ["vgg", "resnet"])
@pytest.mark.parametrize("target", [0, 2])
def test_bias_gradients(name: str, target: int) -> None:
    model, x = NETS[name](), pictures(name)[:1]
    form = relprop.affine(model, x, target, owners=True)
    assert float(amounts(form).sum()) == pytest.approx(bias_by_gradients(model, x, target), rel=1e-12)
    # Each layer's own: the bias times the score's gradient by the bias.
    (score,) = model(x)[:, target]
    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            (g,) = torch.autograd.grad(score, module.bias, retain_graph=True)
            assert form.owners is not None
            (owner,) = [o for o in form.owners if o.module == path]
            assert owner.kind == "bias"
            assert owner.channels is not None
            torch.testing.assert_close(owner.channels[0], (g * module.bias).detach(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["vgg", "resnet", "video"])
def test_ledger_of_lrp_0_says_the_same(name: str) -> None:
    """Relevance that its biases absorb, operator by operator: the engine's books, kept another way."""
    model, x = NETS[name](), pictures(name)
    run = relprop.trace(model, x)
    targets = torch.tensor([[1, 2, 3]])
    seed = one_hot(targets, run.output, run.output)
    books = run.run(seed, relprop.Composite([("activation", Slope())])).bias
    form = relprop.affine(model, x, targets[0], owners=True)
    by_module: dict[str, Tensor] = {}
    assert form.owners is not None
    for owner in form.owners:
        by_module[owner.node] = owner.amount
    found = {k: v[0] for k, v in books.items() if bool(v.any())}
    assert len(found) == len(by_module)
    for node, sums in found.items():
        torch.testing.assert_close(sums, by_module[node], rtol=1e-11, atol=1e-13)


def test_map_is_the_bias_times_the_derivative_at_each_position() -> None:
    model, x = plain.vgg(), plain.pictures()
    form = relprop.affine(model, x, 1, owners=True)
    layer = relprop.affine(model, x, 1, "3")
    owner = named(form, "conv2d_1")
    assert (owner.module, owner.call, owner.operator, owner.kind) == ("3", 0, "conv2d", "bias")
    expected = layer.weight * model[3].bias.detach().reshape(1, -1, 1, 1)
    assert owner.map is not None
    torch.testing.assert_close(owner.map, expected.sum(1), rtol=1e-12, atol=1e-15)


def test_saturated_units_are_the_constant_6() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU6(), nn.Linear(3, 1, bias=False)).double()
    model[0].weight.data = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).double()
    model[2].weight.data = torch.tensor([[3.0, 5.0, 7.0]]).double()
    form = relprop.affine(model.eval(), torch.tensor([[4.0, 2.0]]).double(), 0, owners=True)
    assert form.weight.tolist() == [[0.0, 5.0]]
    assert form.bias.tolist() == [18.0]
    assert form.owners is not None
    (owner,) = form.owners
    assert (owner.kind, owner.module, owner.amount.tolist()) == ("saturation", "1", [18.0])
    assert owner.channels is not None
    assert owner.channels.tolist() == [[18.0, 0.0, 0.0]]


class Floor(nn.Module):
    """A maximum, and a minimum, with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = (nn.Parameter(torch.tensor(v)) for v in ([1.0, 2.0, 3.0], [9.0, 9.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(self.high, torch.maximum(x, self.low)).sum(1, keepdim=True)


def test_equals_of_a_maximum_share() -> None:
    form = relprop.affine(Floor().double().eval(), torch.tensor([[0.5, 2.0, 7.0]]).double(), 0, owners=True)
    assert form.weight.tolist() == [[0.0, 0.5, 0.0]]
    assert form.owners is not None
    found = [(o.operator, o.channels.tolist()) for o in form.owners if o.channels is not None]
    assert found == [("maximum", [[1.0, 1.0, 0.0]]), ("minimum", [[0.0, 0.0, 2.0]])]
    assert form.bias.tolist() == [4.0]


class Ways(nn.Module):
    """Two ways that a sum joins, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.relu(self.left(x)), F.relu(self.right(x))
        return self.head((F.relu(a - b) + b).mean((2, 3)))


def test_what_passes_a_layer_by_is_listed() -> None:
    model, x = plain.seeded(Ways(), 2), plain.pictures()
    form = relprop.affine(model, x, 2, "left", owners=True)
    assert form.owners is not None
    assert [(o.kind, o.node) for o in form.owners] == [
        ("bypass", "relu_1"),
        ("bypass", "relu_1"),
        ("bias", "linear"),
    ]
    assert form.residual is not None
    assert float(form.residual.max()) < 1e-15
    # With the other way cut the score is what is left.
    other = F.relu(model.right(x)).detach()
    here = F.relu(model.left(x) - other)
    gate = (F.relu(model.left(x)) > other).double()
    past = ((other - gate * other).mean((2, 3)) @ model.head.weight[2]).detach()
    torch.testing.assert_close(form.owners[0].amount + form.owners[1].amount, past, rtol=1e-11, atol=1e-13)
    assert here.shape == other.shape


def merged(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    factor = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    one = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1).double()
    bias = 0 if conv.bias is None else conv.bias
    one.weight.data = (conv.weight * factor.reshape(-1, 1, 1, 1)).detach()
    one.bias.data = (bn.bias + (bias - bn.running_mean) * factor).detach()
    return one


def test_batch_norm_merged_by_hand_is_not_merged() -> None:
    x, model, other = plain.pictures(), plain.resnet(), plain.resnet()
    other.conv1, other.bn1 = merged(model.conv1, model.bn1), nn.Identity()
    other.conv2, other.bn2 = merged(model.conv2, model.bn2), nn.Identity()
    a, b = (relprop.affine(m.eval(), x, 1, owners=True) for m in (model, other))
    torch.testing.assert_close(a.weight, b.weight, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(a.bias, b.bias, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(amounts(a), amounts(b), rtol=1e-11, atol=1e-13)
    assert a.owners is not None
    assert b.owners is not None
    assert [o.kind for o in a.owners] == ["bias", "batch norm", "batch norm", "bias"]
    assert [o.kind for o in b.owners] == ["bias"] * 4


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(F.relu(self.layer(x))))


def test_calls_of_one_module_are_told_apart() -> None:
    model = plain.seeded(Twice(), 4)
    form = relprop.affine(model, torch.ones(1, 3).double(), 0, owners=True)
    assert form.owners is not None
    calls = [(o.node, o.module, o.call) for o in form.owners]
    assert calls == [("linear", "layer", 0), ("linear_1", "layer", 1), ("linear_2", "head", 0)]


class Folded(nn.Module):
    """Frames of a clip folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        x = x.transpose(1, 2).reshape(n * t, c, h, w)
        return self.head(F.relu(self.conv(x)).mean((2, 3)).reshape(n, t, 4).mean(1))


def test_batches_folded_into_another_axis() -> None:
    model, x = plain.seeded(Folded(), 1), plain.pictures(2, 3, 4, 8, 8)
    form = relprop.affine(model, x[:1], 1, owners=True)
    assert form.residual is not None
    assert float(form.residual) < 1e-15
    owner = named(form, "conv2d")
    assert owner.channels is not None
    assert owner.channels.shape == (1, 4)
    assert relprop.affine(model, x, 1).bias.shape == (2,)
    with pytest.raises(InputError, match="axis 0 at operator 'mean'"):
        relprop.affine(model, x, 1, owners=True)


def test_targets_walked_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the values of all targets don't fit into memory together."""
    model, x = nets.clamped(), plain.pictures()
    whole = relprop.affine(model, x, [0, 1, 2, 3, 4, 0, 1], owners=True)
    monkeypatch.setattr(import_module("relprop.propagate.walk"), "_BYTES", 1)
    groups = relprop.affine(model, x, [0, 1, 2, 3, 4, 0, 1], owners=True)
    assert_close_to_rounding(whole.weight, groups.weight, model)
    assert_close_to_rounding(amounts(whole), amounts(groups), model)
