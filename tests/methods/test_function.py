"""A plain function as a method: what it is given, what it may return, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import nets
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.methods.function import FunctionMethod
from relprop.methods.method import Method
from relprop.methods.registry import resolve

CALLS = """
from relprop.methods import Method, Result
import relprop
import torch


def times(model, x, targets, *, factor=2.0):
    leaf = x.requires_grad_()
    score = model(leaf).gather(1, targets[:, None]).sum()
    return factor * torch.autograd.grad(score, leaf)[0] * leaf


class Mine(Method):
    def __init__(self, *, power=1.0):
        self.power = power

    def explain(self, request):
        return Result(request.trace.input.expand(len(request.targets), *request.trace.input.shape) * self.power)


ready = relprop.LRP(rule="z-plus")
number = 3
"""


def times(model: nn.Module, x: Tensor, targets: Tensor, *, factor: float = 2.0) -> Tensor:
    leaf = x.requires_grad_()
    score = model(leaf).gather(1, targets[:, None]).sum()
    return factor * torch.autograd.grad(score, leaf)[0] * leaf


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path = tmp_path / "calls.py"
    path.write_text(CALLS)
    return path


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_it_is_explained_as_any_method_is(mode: Callable[[], Any]) -> None:
    model, x = nets.vgg(), nets.pictures()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with mode():
        e = relprop.explain(model, x, [0, torch.tensor([1, 2, 3])], times)
    expected = relprop.explain(model, x, [0, torch.tensor([1, 2, 3])], "gradient-x-input").relevance
    assert float((e.relevance - 2 * expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    assert (e.method, e.settings, e.plan, e.ledger) == ("times", {"factor": 2.0}, None, None)
    assert "relprop doesn't see its steps" in e.extras["ledger_of"]
    assert not e.relevance.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_input_that_it_changes_is_its_own() -> None:
    def rude(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        x.fill_(7)
        targets.fill_(0)
        return x

    x = nets.pictures()
    e = relprop.explain(nets.vgg(), x, [1, 2], rude)
    assert torch.equal(e.input, x)
    assert e.targets.tolist() == [[1] * 3, [2] * 3]
    assert bool((e.relevance == 7).all())


def test_half_precision_is_handed_on_as_the_model_has_it() -> None:
    model, x = nets.vgg().to(torch.bfloat16), nets.pictures().to(torch.bfloat16)
    assert relprop.explain(model, x, 1, times).relevance.dtype == torch.float32


WRONG: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "no tensor": (lambda m, x, t: x.tolist(), InputError, "to return a tensor of relevance but got list"),
    "shape": (
        lambda m, x, t: x.sum(1),
        InputError,
        r"of the input's shape \(3, 3, 16, 16\) but got \(3, 16, 16\)",
    ),
    "integers": (lambda m, x, t: x.long(), InputError, "floating-point relevance but got torch.int64"),
    "not finite": (lambda m, x, t: x / 0, InputError, "finite relevance but .* values are NaN or infinite"),
    "raises": (lambda m, x, t: {}[3], RelpropError, r"The function <lambda> raised KeyError: 3"),
    "two arguments": (lambda m, x: x, InputError, r"a function \(model, x, targets\) -> relevance but"),
    "four arguments": (lambda m, x, t, more: x, InputError, r"a function \(model, x, targets\) -> relevance"),
    "a setting missing": (lambda m, x, t, *, more: x, InputError, "setting 'more' of <lambda>"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    function, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        relprop.explain(nets.vgg(), nets.pictures(), 1, function)


def test_layers_are_refused() -> None:
    with pytest.raises(InputError, match="Expected no layers for times but got '4'"):
        relprop.explain(nets.vgg(), nets.pictures(), 1, times, layers=["4"])


def test_from_a_file(calls: Path) -> None:
    method = resolve(f"{calls}:times:factor=3")
    assert isinstance(method, FunctionMethod)
    assert method.settings() == {"factor": 3}
    mine = resolve(f"{calls}:Mine:power=2")
    assert (mine.name, mine.settings()) == ("Mine", {"power": 2})
    assert isinstance(resolve(f"{calls}:ready"), relprop.LRP)
    model, x = nets.vgg(), nets.pictures()
    assert torch.equal(relprop.explain(model, x, 0, f"{calls}:Mine:power=2").relevance, 2 * x)
    assert relprop.explain(model, x, 0, f"{calls}:times").method == "times"


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ("times:faktor=3", UnknownNameError, "setting of times but got 'faktor'. Did you mean 'factor'"),
        ("Mine:pover=3", UnknownNameError, "setting of .*:Mine but got 'pover'. Did you mean 'power'"),
        ("ready:rule=zero", InputError, "no settings behind .*:ready"),
        ("number", InputError, r"a function \(model, x, targets\) -> relevance but got int"),
        ("Main", UnknownNameError, "Did you mean 'Mine'"),
    ],
)
def test_unusable_names_of_a_file(calls: Path, asked: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        resolve(f"{calls}:{asked}")


def test_classes_and_other_things() -> None:
    assert isinstance(resolve(relprop.DeepTaylor), relprop.DeepTaylor)
    with pytest.raises(InputError, match="but got type"):
        resolve(dict)  # type: ignore[arg-type]
    assert issubclass(FunctionMethod, Method)
