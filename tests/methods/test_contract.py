"""What every registered method promises, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.methods.facts import Facts
from relprop.methods.method import Method
from relprop.methods.registry import METHODS

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg": (nets.vgg, (3, 3, 16, 16)),
    "resnet": (nets.resnet, (3, 3, 16, 16)),
    "video": (nets.video, (3, 3, 4, 8, 8)),
}
# What takes a number of runs takes few here.
QUICK = {"smoothgrad": {"samples": 3}, "integrated-gradients": {"steps": 3}}
# And what can't do without a setting has one.
NEEDED = {"lrp": {"rule": "z-plus"}}


def quick(name: str) -> Method:
    return METHODS[name](**QUICK.get(name, {}), **NEEDED.get(name, {}))


def assert_close(a: Tensor, b: Tensor, relative: float = 1e-11) -> None:
    assert a.shape == b.shape
    scale = max(float(a.abs().max()), float(b.abs().max()))
    assert float((a - b).abs().max()) <= relative * scale


@cache
def made(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """One network for all tests: it is captured once, and explaining must leave it as it is."""
    return NETS[name][0]().to(dtype)


@cache
def widened(dtype: torch.dtype) -> nn.Module:
    """The network with weights rounded to `dtype`, in float64."""
    return nets.vgg().to(dtype).double()


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return made(request.param), nets.pictures(*NETS[request.param][1])


@pytest.mark.parametrize("name", nets.METHODS)
def test_row_of_a_batch_is_the_single_run(name: str, case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    targets = torch.tensor([0, 3, 2])
    batch = relprop.explain(model, x, targets, quick(name))
    assert bool(torch.isfinite(batch.relevance).all())
    for i in range(len(x)):
        one = relprop.explain(model, x[i : i + 1], int(targets[i]), quick(name))
        assert_close(batch.relevance[i : i + 1], one.relevance)
        for key, value in one.extras.items():
            if isinstance(value, Tensor):
                assert_close(batch.extras[key][i : i + 1], value)


@pytest.mark.parametrize("name", nets.METHODS)
def test_targets_at_once_are_targets_one_by_one(name: str, case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    targets = [4, 0, 1, 2, 3, 0, torch.tensor([1, 2, 3])]  # more than are carried in one tensor
    together = relprop.explain(model, x, targets, quick(name))
    assert together.relevance.shape[:2] == (7, 3)
    for k, target in enumerate(targets):
        alone = relprop.explain(model, x, target, quick(name))
        assert_close(together.relevance[k], alone.relevance)
        for key, value in alone.extras.items():
            if isinstance(value, Tensor):
                assert_close(together.extras[key][k], value)


@pytest.mark.parametrize("name", nets.METHODS)
def test_gradients_may_be_off_and_parameters_frozen(name: str, case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    free = relprop.explain(model, x, 1, quick(name)).relevance
    assert not free.requires_grad
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.requires_grad_(False)  # and back, below
    with torch.no_grad():
        off = relprop.explain(model, x, 1, quick(name)).relevance
    with torch.inference_mode():
        inference = relprop.explain(model, x, 1, quick(name)).relevance
    assert_close_to_rounding(free, off, model)
    assert_close_to_rounding(free, inference.clone(), model)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    model.requires_grad_(True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", nets.METHODS)
def test_shapes_and_heatmap(name: str, case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    e = relprop.explain(model, x, 1, quick(name))
    assert e.method == ("agreement" if name == "recommended" else name)
    assert e.relevance.ndim == x.ndim
    assert e.heatmap().shape == (x.shape[0], *x.shape[2:])
    if e.at == "input":
        assert e.relevance.shape == x.shape
    if not e.signed:
        assert float(e.relevance.min()) >= 0
    if e.ledger is not None:
        assert e.ledger.closes, e.ledger.max_error
    answered = relprop.Agreement() if name == "recommended" else quick(name)
    assert repr(e.settings) == repr(answered.informed(Facts()).settings())


class Functional(nn.Module):
    """`nets.vgg()` with functions in place of modules."""

    def __init__(self) -> None:
        super().__init__()
        model = nets.vgg()
        self.a, self.b, self.c, self.d = model[0], model[3], model[7], model[9]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        x = F.max_pool2d(torch.relu_(self.b(x)), 2)
        return self.d(self.c(x.flatten(1)).relu())


@cache
def functional() -> nn.Module:
    return Functional().eval()


@pytest.mark.parametrize("name", nets.METHODS)
def test_functional_is_module(name: str) -> None:
    x = nets.pictures()
    ours = relprop.explain(made("vgg"), x, 2, quick(name)).relevance
    theirs = relprop.explain(functional(), x, 2, quick(name)).relevance
    assert_close(ours, theirs)


@cache
def deepened() -> nn.Module:
    """`nets.vgg()` in 3-D."""
    deep: list[nn.Module] = []
    for layer in nets.vgg():
        if isinstance(layer, nn.Conv2d):
            conv = nn.Conv3d(layer.in_channels, layer.out_channels, (1, 3, 3), padding=(0, 1, 1)).double()
            conv.weight.data, conv.bias.data = layer.weight.data[:, :, None], layer.bias.data
            deep.append(conv)
        else:
            deep.append(nn.MaxPool3d((1, 2, 2)) if isinstance(layer, nn.MaxPool2d) else layer)
    return nn.Sequential(*deep).eval()


@pytest.mark.parametrize("name", nets.METHODS)
def test_a_clip_of_one_frame_is_a_picture(name: str) -> None:
    x = nets.pictures()
    ours = relprop.explain(made("vgg"), x, 2, quick(name)).relevance
    theirs = relprop.explain(deepened(), x[:, :, None], 2, quick(name)).relevance
    assert_close(ours[:, :, None], theirs)


@pytest.mark.parametrize("name", nets.METHODS)
def test_layers(name: str) -> None:
    model, x = made("vgg"), nets.pictures()
    method = quick(name)
    if name == "integrated-gradients":
        with pytest.raises(InputError, match="layers for integrated-gradients"):
            relprop.explain(model, x, 2, method, layers=["4"])
        return
    # RSP starts behind module 4, and so does what is made of it.
    starts_inside = name.endswith("rsp") or name == "agreement"
    other, size = ("2", (6, 8, 8)) if starts_inside else ("5", (8, 4, 4))
    e = relprop.explain(model, x, [2, 3], method, layers=["4", other])
    plain = "lrp-composite" if name == "recommended" else method  # which answers where layers are wanted
    assert_close_to_rounding(e.relevance, relprop.explain(model, x, [2, 3], plain).relevance, model)
    one = name in ("grad-cam", "odam")
    assert e.layers["4"].shape == (2, 3, 1 if one else 8, 8, 8)
    assert e.layers[other].shape == (2, 3, 1 if one else size[0], *size[1:])
    alone = relprop.explain(model, x, 3, method, layers=[other])
    assert_close(alone.layers[other], e.layers[other][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", nets.METHODS)
def test_narrow_dtypes_are_explained_in_float32(name: str, dtype: torch.dtype) -> None:
    model, wider, x = made("vgg", dtype), widened(dtype), nets.pictures().to(dtype)
    e = relprop.explain(model, x, 2, quick(name))
    assert e.relevance.dtype == torch.float32
    wide = relprop.explain(wider, x.double(), 2, quick(name)).relevance
    if dtype != torch.float32 and name in QUICK:
        # Points on a path, or noise, are rounded to the model's dtype: some ReLUs switch.
        assert float(F.cosine_similarity(e.relevance.double().flatten(), wide.flatten(), dim=0)) > 0.98
    else:
        assert_close(e.relevance.double(), wide, 2e-4)


@pytest.mark.parametrize("name", nets.METHODS)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    tensors = {"integrated-gradients": {"baseline": torch.zeros(3, 1, 1)}}
    method = METHODS[name](**QUICK.get(name, {}), **NEEDED.get(name, {}), **tensors.get(name, {}))
    e = relprop.explain(made("vgg"), nets.pictures(), [1, 2], method)
    back = relprop.Explanation.load(e.save(tmp_path / "saved"))
    assert torch.equal(back.relevance, e.relevance)
    assert (back.method, back.at, back.signed) == (e.method, e.at, e.signed)
    assert set(back.extras) == set(e.extras)
