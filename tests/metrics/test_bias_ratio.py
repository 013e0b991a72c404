"""Bias ratio: the identity of bias gradients, and the local linear map itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.metrics import make
from torch import Tensor, nn

from relprop.errors import InputError, UnknownNameError
from relprop.graph import capture
from relprop.metrics import BiasRatio, affine_parts
from relprop.metrics.bias_ratio import AffinePart, block_outputs

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def bias_by_gradients(model: nn.Module, x: Tensor, target: int) -> float:
    """Sum of bias times gradient at the bias; batch norm's own bias is beta - mean * gamma / sqrt(var + eps)."""
    biases: list[Tensor] = []

    def at(module: nn.Module, _: object, output: Tensor) -> Tensor:
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            value = (
                module.bias - module.running_mean * module.weight / (module.running_var + module.eps).sqrt()
            )
        else:
            value = module.bias  # type: ignore[assignment]
        leaf = value.detach().clone().requires_grad_()
        biases.append(leaf)
        # Its value is not changed, but the gradient by `leaf` is that by the bias.
        shape = (1, -1, *[1] * (output.ndim - 2))
        return output + (leaf - leaf.detach()).reshape(shape)

    biased = [m for m in model.modules() if getattr(m, "bias", None) is not None]
    handles = [m.register_forward_hook(at) for m in biased]
    try:
        score = model(x)[0, target]
    finally:
        for handle in handles:
            handle.remove()
    return float(
        sum((b.detach() * g).sum() for b, g in zip(biases, torch.autograd.grad(score, biases), strict=True))
    )


@pytest.mark.parametrize("make_net", [make.net, nets.vgg])
@pytest.mark.parametrize("target", [0, 2])
def test_bias_is_the_sum_of_bias_gradients(make_net: object, target: int) -> None:
    model = make_net()  # type: ignore[operator]
    (part,) = affine_parts(model, X, target, layers=[])
    assert part.bias == pytest.approx(bias_by_gradients(model, X, target), rel=1e-12)
    assert part.score == pytest.approx(model(X)[0, target].item(), rel=1e-14)


def test_layers_by_autograd() -> None:
    model = nets.vgg()
    parts = {p.layer: p for p in affine_parts(model, X, 1, ["1", "4", "8"])}
    assert list(parts) == ["input", "1", "4", "8"]
    for index in (1, 4, 8):
        value = model[: index + 1](X).detach().requires_grad_()
        score = model[index + 1 :](value)[0, 1]
        (gradient,) = torch.autograd.grad(score, value)
        terms = value.detach() * gradient
        part = parts[str(index)]
        assert part.bias == pytest.approx(float(score.detach() - terms.sum()), rel=1e-12)
        assert part.absolute == pytest.approx(float(terms.abs().sum()), rel=1e-12)


def test_score_is_affine_near_the_input() -> None:
    model = make.net()
    x = X.clone().requires_grad_()
    (w,) = torch.autograd.grad(model(x)[0, 0], x)
    (part,) = affine_parts(model, X, 0, [])
    delta = 1e-7 * torch.randn(X.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        assert float(model(X + delta)[0, 0]) == pytest.approx(
            float((w * (X + delta)).sum()) + part.bias, rel=1e-12
        )


def test_a_network_without_biases_has_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model.append(nn.Linear(196, 2, bias=False))
    found = BiasRatio().measure(make.model_case(model=model.double().eval()))
    assert set(found) == {"ratio", "bounded", "ratio@01 1", "bounded@01 1"}
    assert all(abs(v) < 1e-13 for v in found.values())


class Blocks(nn.Module):
    """A stem, a pool, two residual blocks that use one ReLU module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = (nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(3))
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.stem(x)), 2)
        x = self.relu(self.one(x) + x)
        x = self.relu(self.two(self.relu(x)) + x)
        return self.head(x.mean((2, 3)))


def test_block_outputs() -> None:
    assert block_outputs(capture(make.net(), X)) == ["2", "5"]
    model = Blocks().double().eval()
    names = block_outputs(capture(model, X))
    assert names == ["relu@0", "relu_1", "relu"]  # the stem's, one of each block, none for the ReLU inside
    parts = affine_parts(model, X, 0)
    assert [p.layer for p in parts] == ["input", *names]
    assert parts[-1].bias == pytest.approx(float(model.head.bias[0].detach()), abs=1e-13)
    flat = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    assert block_outputs(capture(flat, torch.ones(1, 3))) == ["1", "3"]


class Fire(nn.Module):
    """Two branches, each behind its ReLU, joined and pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()) for _ in range(2))
        self.rest = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(torch.cat([branch(x) for branch in self.branches], 1))


def test_branches_are_one_layer_where_they_are_joined() -> None:
    model = Fire().double().eval()
    assert block_outputs(capture(model, X)) == ["cat"]
    (_, part) = affine_parts(model, X, 0)
    assert part.bias == pytest.approx(model.rest[2].bias[0].item(), abs=1e-13)


def test_class_numbers_the_layers() -> None:
    case = make.model_case()
    parts = affine_parts(case.model, case.x, case.target)
    found = BiasRatio().measure(case)
    assert list(found) == ["ratio", "bounded", "ratio@01 2", "bounded@01 2", "ratio@02 5", "bounded@02 5"]
    assert found["ratio"] == parts[0].bias / parts[0].score
    assert found["bounded@02 5"] == abs(parts[2].bias) / (abs(parts[2].bias) + parts[2].absolute)
    assert all(0 <= v <= 1 for k, v in found.items() if k.startswith("bounded"))
    assert list(BiasRatio(layers=["input", "5"]).measure(case)) == [
        "ratio",
        "bounded",
        "ratio@01 5",
        "bounded@01 5",
    ]


def test_ratios_that_mean_nothing_are_left_out() -> None:
    assert AffinePart("input", 0.0, -2.0, 2.0).ratio is None
    assert AffinePart("input", 0.0, -2.0, 2.0).bounded == 0.5
    assert AffinePart("input", 0.0, 0.0, 0.0).bounded is None
    dead = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).double().eval()
    nn.init.zeros_(dead[1].weight)
    nn.init.zeros_(dead[1].bias)
    case = make.model_case(model=make.net())
    assert BiasRatio().measure(make.Case(case.sample, 0, case.heat, x=case.x, model=dead)) == {}


def test_refusals() -> None:
    model = make.net()
    with pytest.raises(InputError, match=r"target .*5 but got 9"):
        affine_parts(model, X, 9)
    with pytest.raises(InputError, match=r"one input .*\(2, 3, 16, 16\)"):
        affine_parts(model, X.repeat(2, 1, 1, 1), 0)
    with pytest.raises(UnknownNameError, match="layer or node but got 'conv9'"):
        affine_parts(model, X, 0, ["conv9"])
    with pytest.raises(InputError, match=r"layers .*string 'conv'"):
        BiasRatio(layers="conv")
    with pytest.raises(InputError, match=r"one input|a model that returns"):
        affine_parts(nn.Sequential(nn.Conv2d(3, 2, 3)).double().eval(), X, 0)
