"""The affine form: exact at every layer, as autograd has it, whatever is asked at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from benchmarks.common import randomise
from tests import nets as plain
from tests.close import assert_close_to_rounding
from tests.piecewise import nets
from tests.refusals import assert_refused
from tests.test_contract import assert_same, snapshot
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.errors import InputError, RelpropError, UnknownNameError, UnsupportedOperatorError
from relprop.graph import capture
from relprop.piecewise import AffineForm, affine_by_layer, block_outputs

NETS = nets.NETS | {"vgg": plain.vgg, "resnet": plain.resnet}
X = plain.pictures()


def close(a: Tensor, b: Tensor, relative: float = 1e-12) -> None:
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= relative * float(b.abs().max())


@pytest.mark.parametrize("name", NETS)
def test_weight_and_bias_by_autograd(name: str) -> None:
    model = NETS[name]()
    form = relprop.affine(model, X, 2)
    leaf = X.clone().requires_grad_()
    score = model(leaf)[:, 2]
    (weight,) = torch.autograd.grad(score.sum(), leaf)
    close(form.weight, weight)
    close(form.contribution, weight * X)
    close(form.score, score.detach())
    close(form.bias, score.detach() - (weight * X).flatten(1).sum(1), 1e-11)
    close(form.predict(X), form.score)
    close(form.map, (weight * X).sum(1))
    assert form.exact
    assert form.error is None
    assert form.owners is None
    assert form.residual is None
    assert repr(form) == "AffineForm(3 scores at 'input', exact)"


def test_inside_the_piece_the_network_is_the_form() -> None:
    model = plain.vgg()
    form = relprop.affine(model, X, 1)
    step = 1e-6 * plain.pictures(seed=8)
    close(form.predict(X + step), model(X + step)[:, 1].detach())
    assert float((form.predict(X + 1) - model(X + 1)[:, 1]).detach().abs().min()) > 0.01


def test_shares_and_ratios() -> None:
    form = relprop.affine(plain.vgg(), X, 1)
    terms = form.contribution.flatten(1)
    close(form.bias_ratio, form.bias / form.score)
    close(form.bias_share, form.bias.abs() / (form.bias.abs() + terms.abs().sum(1)))
    dead = nn.Linear(2, 2).double().eval()
    nn.init.zeros_(dead.weight)
    nn.init.zeros_(dead.bias)
    form = relprop.affine(dead, torch.ones(1, 2, dtype=torch.float64), 0, owners=True)
    assert form.bias_ratio.isnan().all()
    assert form.bias_share.isnan().all()
    assert form.residual is not None
    assert form.residual.tolist() == [0.0]


@pytest.mark.parametrize("name", NETS)
def test_rows_and_targets_at_once_are_one_by_one(name: str) -> None:
    model = NETS[name]()
    targets = [4, torch.tensor([0, 1, 2]), 3, 2, 1, 0]  # more than are carried in one tensor
    whole = relprop.affine(model, X, targets, versus=torch.tensor([3, 4, 0]), owners=True)
    assert whole.weight.shape == (6, 3, 3, 16, 16)
    assert whole.bias.shape == whole.score.shape == whole.targets.shape == (6, 3)
    assert whole.owners is not None
    for k in (0, 1, 5):
        for i in range(3):
            target = int(torch.as_tensor(targets[k]).expand(3)[i])
            versus = (3, 4, 0)[i]
            one = relprop.affine(model, X[i : i + 1], target, versus=versus, owners=True)
            close(whole.weight[k, i : i + 1], one.weight)
            close(whole.bias[k, i : i + 1], one.bias, 1e-10)
            y = model(X[i : i + 1]).detach()[0]
            assert float(one.score) == pytest.approx(float(y[target] - y[versus]), rel=1e-12)
            assert one.owners is not None
            for a, b in zip(whole.owners, one.owners, strict=True):
                assert (a.node, a.kind) == (b.node, b.kind)
                scale = sum(float(o.amount.abs()) for o in one.owners)
                assert abs(float(a.amount[k, i] - b.amount)) <= 1e-12 * scale
                for c, d in ((a.channels, b.channels), (a.map, b.map)):
                    assert (c is None) == (d is None)
                    if c is not None and d is not None:
                        assert c[k, i : i + 1].shape == d.shape
                        assert float((c[k, i : i + 1] - d).abs().max()) <= 1e-12 * scale


def at_layers(model: nn.Module, x: Tensor, layers: list[str], target: int = 1) -> dict[str, AffineForm]:
    return {name: relprop.affine(model, x, target, name, owners=True) for name in layers}


@pytest.mark.parametrize("name", ["vgg", "resnet", "branching"])
def test_one_walk_gives_all_layers(name: str) -> None:
    model = NETS[name]()
    forms = affine_by_layer(model, X, [1, 2])
    assert list(forms) == ["input", *block_outputs(capture(model, X))]
    for layer, form in forms.items():
        alone = relprop.affine(model, X, [1, 2], None if layer == "input" else layer)
        close(form.weight, alone.weight)
        close(form.bias, alone.bias, 1e-10)
        assert form.at == alone.at == layer
    assert list(affine_by_layer(model, X, 1, ["input"])) == ["input"]


def test_any_place_may_be_the_layer() -> None:
    model = plain.resnet()
    for place, shape in (
        ("conv1", (3, 6, 16, 16)),
        ("bn1", (3, 6, 16, 16)),
        ("head", (3, 5)),
        ("mean", (3, 6)),
    ):
        form = relprop.affine(model, X, 1, place, owners=True)
        assert form.value.shape == form.weight.shape == shape
        assert form.residual is not None
        assert float(form.residual.max()) < 1e-15
    close(form.score, model(X)[:, 1].detach())
    last = relprop.affine(model, X, 1, "head")
    assert last.bias.abs().max() < 1e-14
    assert_close_to_rounding(last.contribution.sum(1), last.score, model)


TORCHVISION = {
    "alexnet": (3, 64, 64),
    "resnet18": (3, 32, 32),
    "squeezenet1_1": (3, 32, 32),
    "mobilenet_v2": (3, 32, 32),
    "shufflenet_v2_x0_5": (3, 32, 32),
}
MORE = {
    "vgg11_bn": (3, 32, 32),
    "resnet50": (3, 64, 64),
    "densenet121": (3, 64, 64),
    "googlenet": (3, 64, 64),
    "mnasnet0_5": (3, 64, 64),
    "regnet_x_400mf": (3, 64, 64),
    "resnext50_32x4d": (3, 64, 64),
    "inception_v3": (3, 96, 96),
    "r3d_18": (3, 4, 32, 32),
}


def check_torchvision(name: str, size: tuple[int, ...]) -> None:
    pytest.importorskip("PIL")
    torch.manual_seed(0)
    models = load_torchvision().models
    # Without it these two warn that their start will change.
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, num_classes=4, **extra)
    # Batch norms that know their inputs: else values grow from layer to layer, and b with them cancels away.
    randomise(model, size)
    model = model.double().eval()
    x = torch.randn(1, *size, dtype=torch.float64)
    layers = block_outputs(capture(model, x))
    if len(layers) > 6:
        layers = layers[:: len(layers) // 5]
    for form in [relprop.affine(model, x, 2, owners=True), *at_layers(model, x, layers, 2).values()]:
        assert form.owners is not None
        assert form.residual is not None
        assert float(form.residual) < 1e-13
        # Behind the last layer with a bias there is none, and no owner.
        amounts = torch.stack([torch.zeros_like(form.bias), *[o.amount for o in form.owners]])
        # Of the amounts, not of the whole: this is what tells whose bias it is.
        assert float((amounts.sum(0) - form.bias).abs()) <= 1e-10 * float(amounts.abs().sum()) + 1e-15
        rebuilt = (form.weight * form.value).sum() + amounts.sum()
        assert float(rebuilt) == pytest.approx(float(form.score), rel=1e-10)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    check_torchvision(name, TORCHVISION[name])


@pytest.mark.nightly
@pytest.mark.parametrize("name", MORE)
def test_more_of_torchvision(name: str) -> None:
    check_torchvision(name, MORE[name])


def test_float32() -> None:
    """Rounding of float32, and a bias that is summed in float64."""
    model, x = plain.vgg().float(), X.float()
    form = relprop.affine(model, x, 1, owners=True)
    assert form.weight.dtype == torch.float32
    assert form.bias.dtype == form.score.dtype == torch.float64
    assert form.residual is not None
    assert float(form.residual.max()) < 1e-6
    half = relprop.affine(plain.vgg().bfloat16(), X.bfloat16(), 1)
    assert half.weight.dtype == torch.float32


class Gated(nn.Module):
    """A gate from the pooled input on a convolution's output: affine behind the product, not in front."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.gate(x.mean((2, 3))))[:, :, None, None]
        return self.head((self.conv(x).relu() * gate).mean((2, 3)))


def gated() -> nn.Module:
    return plain.seeded(Gated(), 3)


def test_refusals_name_the_operator() -> None:
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"'silu' \(node 'silu', .*slope .*1 more.*linearise=True",
    ):
        relprop.affine(gated(), X, 1)
    with pytest.raises(UnsupportedOperatorError, match=r"'silu' .*module '1'.*slope"):
        relprop.explain(
            nn.Sequential(nn.Flatten(), nn.SiLU(), nn.Linear(768, 2)).double().eval(), X, 1, "affine"
        )
    for module, reason in (
        (nn.Softmax(1), "explain the scores before it"),
        (nn.Hardswish(), "'hardswish'"),
        (nn.LayerNorm(5), "'layer_norm'"),
        (nn.GELU(), "'gelu'"),
        (nn.Sigmoid(), "'sigmoid'"),
    ):
        model = nn.Sequential(plain.vgg(), module).double().eval()
        with pytest.raises(UnsupportedOperatorError, match=reason):
            relprop.affine(model, X, 1)


class Fn(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x * x, "multiplies or divides values"),
        (lambda x: x * x.flip(1), "multiplies or divides values"),
        (lambda x: x / (1 + x.abs()), "multiplies or divides values"),
        (lambda x: 1 / (4 + x), "'reciprocal'|multiplies or divides values"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "it rounds"),
        (lambda x: x.clamp(max=x.flip(1)), "its bounds depend on the input"),
        (lambda x: torch.where(x > 0, x, 2 * x), "'where'"),
        (lambda x: x @ x.transpose(0, 1) @ x, "it multiplies two values that depend on the input"),
        (lambda x: x.gather(1, x.argsort(1)), "'gather'|chosen by other values"),
        (lambda x: x.sort(1).values, "'sort'.* chosen by their order"),
    ],
)
def test_refused_functions(function: object, reason: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), Fn(function), nn.Linear(4, 2)).double().eval()
    with pytest.raises(UnsupportedOperatorError, match=reason):
        relprop.affine(model, torch.randn(3, 4, dtype=torch.float64), 1)


def test_only_what_lies_behind_the_layer_counts() -> None:
    """A gate that the layer doesn't move is a constant factor."""
    model = gated()
    form = relprop.affine(model, X, 1, "conv", owners=True)
    assert form.exact
    assert form.residual is not None
    assert float(form.residual.max()) < 1e-15
    behind = model.conv(X).relu().detach()
    gate = F.silu(model.gate(X.mean((2, 3))))[:, :, None, None].detach()
    moved = model.head((torch.relu(form.value + 1e-9) * gate).mean((2, 3)))[:, 1].detach()
    close(form.predict(form.value + 1e-9 * (behind > 0)), moved)


def test_linearised() -> None:
    model = gated()
    form = relprop.affine(model, X, [1, 2], linearise=True, owners=True)
    assert not form.exact
    assert form.error is not None
    assert form.error.size == 0.01
    assert form.error.missed.shape == form.error.moved.shape == (5, 2, 3)
    close(form.predict(X), form.score)
    assert form.residual is not None
    assert float(form.residual.max()) < 1e-15
    assert form.owners is not None
    assert {o.kind for o in form.owners} == {"bias", "tangent"}
    # The first direction by hand.
    w = form.weight[0]
    length = X.flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1)
    y = X + 0.01 * w * length.reshape(-1, 1, 1, 1)
    there = model(y)[:, 1].detach()
    close(form.error.missed[0, 0], (there - form.predict(y)[0]).abs(), 1e-9)
    close(form.error.moved[0, 0], (there - form.score[0]).abs(), 1e-9)
    assert 0 < float(form.error.relative.min()) < float(form.error.relative.max()) < 0.5
    one = relprop.affine(model, X, 2, linearise=True)
    assert one.error is not None
    assert one.error.relative.shape == (3,)
    close(one.error.relative, form.error.relative[1])
    exact = relprop.affine(plain.vgg(), X, 1, linearise=True)
    assert exact.exact
    assert exact.error is None


def test_bad_input() -> None:
    model = plain.vgg()
    assert_refused(
        InputError,
        (lambda: relprop.affine(model, X, 9), r"targets .*got 9"),
        (lambda: relprop.affine(model, X, 1, versus=7), r"targets .*got 7"),
        (lambda: relprop.affine(model, X, 1, versus=[1]), r"versus .*got \[1\]"),
    )
    with pytest.raises(UnknownNameError, match="layer or node but got 'conv9'"):
        relprop.affine(model, X, 1, "conv9")
    with pytest.raises(InputError, match=r"layers .*string 'conv'"):
        affine_by_layer(model, X, 1, "conv")
    with pytest.raises(InputError, match=r"'input', \(3, 3, 16, 16\), but got \(4,\)"):
        relprop.affine(model, X, 1).predict(torch.zeros(4))
    chunks = nn.Sequential(
        nn.Flatten(), Fn(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)), nn.Linear(768, 2)
    ).double()
    assert_refused(
        InputError,
        (lambda: relprop.affine(chunks.eval(), X, 1, "chunk"), "'chunk' is a list"),
        (lambda: relprop.piecewise.crossing(chunks, X, X, "chunk"), "'chunk' is a list"),
        (lambda: relprop.affine(plain.resnet().train(), X, 1), "evaluation mode"),
    )


@pytest.mark.parametrize("call", ["plain", "refused", "linearised", "crossing"])
def test_model_leaves_as_it_came(call: str) -> None:
    model = plain.resnet() if call in ("plain", "crossing") else gated()
    before = snapshot(model)
    if call == "refused":
        with pytest.raises(RelpropError):
            relprop.affine(model, X, 1)
    elif call == "crossing":
        relprop.piecewise.crossing(model, X, X)
    else:
        relprop.affine(model, X, [0, 1], owners=True, linearise=call == "linearised")
    assert_same(before, snapshot(model))


def test_works_without_gradients() -> None:
    model = plain.vgg()
    expected = relprop.affine(model, X, 1, owners=True)
    with torch.inference_mode():
        found = relprop.affine(model, X, 1, owners=True)
    assert_close_to_rounding(found.weight, expected.weight, model)
    assert_close_to_rounding(found.bias, expected.bias, model)
    assert not found.weight.is_inference()
