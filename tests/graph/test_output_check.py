"""The output of a captured graph is held against the model's own: when, how closely, and what follows."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.nets import resnet, vgg, video
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import CaptureError, RelpropError
from relprop.graph.agreement import disagreement
from relprop.graph.live import live_output
from relprop.tracing import values

capturing = import_module("relprop.graph.capture")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the model itself is run on."""
    seen: list[tuple[int, ...]] = []
    real = values.live_output

    def counted(model: nn.Module, x: Tensor, **settings: Any) -> Any:
        seen.append(tuple(x.shape))
        return real(model, x, **settings)

    monkeypatch.setattr(values, "live_output", counted)
    return seen


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


def test_it_runs_once_for_a_graph_and_a_batch_size(runs: list[tuple[int, ...]]) -> None:
    model = net()
    for n in (2, 2, 1, 2, 1):
        relprop.trace(model, torch.randn(n, 3, 6, 6))
    assert runs == [(2, 3, 6, 6), (1, 3, 6, 6)]
    model[1] = nn.Identity()
    relprop.trace(model, torch.randn(2, 3, 6, 6))
    assert len(runs) == 3


def test_it_runs_at_every_call_where_something_cannot_be_watched(runs: list[tuple[int, ...]]) -> None:
    numbers = [3.0, 2.0, 1.0]
    following = iter(lambda: numbers[-1], None)
    model = Fn(lambda m, x: m.fc(x) * next(following), fc=nn.Linear(4, 3)).eval()
    x = torch.randn(2, 4)
    for _ in range(3):
        with torch.no_grad():
            assert torch.equal(relprop.trace(model, x).output, model(x))
        assert len(runs) >= 3 - len(numbers) + 1
        numbers.pop()
        numbers = numbers or [1.0]


def test_a_difference_is_captured_anew_then_refused() -> None:
    generator = random.Random(0)
    model = Fn(lambda m, x: m.fc(x) + generator.random(), fc=nn.Linear(4, 3)).eval()
    with pytest.raises(CaptureError, match=r"differs by up to .* where values reach .* Pass the part"):
        relprop.trace(model, torch.randn(2, 4))


def test_a_counter_in_a_list_is_no_reason_to_capture_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the forward pass itself changes changes at every call."""
    calls: list[int] = []
    captures = []
    real = capturing._capture
    monkeypatch.setattr(capturing, "_capture", lambda *a: captures.append(1) or real(*a))

    def forward(m: Any, x: Tensor) -> Tensor:
        calls.append(1)
        return m.fc(x)

    model, x = Fn(forward, fc=nn.Linear(4, 3)).eval(), torch.randn(2, 4)
    for _ in range(3):
        relprop.trace(model, x)
        model(x)
    assert len(captures) == 1


def test_the_model_and_the_generators_are_left_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(4, 3), None
            self.register_buffer("b", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            self.last = x
            random.random()
            torch.rand(1)
            return self.fc(x).add_(self.b)

    model, x = Noting().eval(), torch.randn(2, 4)
    kept, state, python = x.clone(), torch.get_rng_state(), random.getstate()
    model.fc.register_forward_hook(lambda m, i, o: print(type(o).__name__))
    output = live_output(model, x)
    assert output.shape == (2, 3)
    assert not output.requires_grad
    assert model.last is None
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert capsys.readouterr().out == "Tensor\n"
    assert live_output(model, x, grad=True).grad_fn is not None


def test_a_write_to_a_buffer_is_undone_and_refused() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.b.view(-1).add_(1)
        return x * m.b

    model = Fn(forward, b=torch.ones(3)).eval()
    for call in (
        lambda: live_output(model, torch.ones(2, 3)),
        lambda: relprop.trace(model, torch.ones(2, 3)),
    ):
        with pytest.raises(CaptureError, match=r"own buffer|own 'b'"):
            call()
        assert model.b.tolist() == [1.0, 1.0, 1.0]


STRUCTURES: dict[str, Callable[[Any, Tensor], Any]] = {
    "tuple": lambda m, x: (m.fc(x), x.sum(1)),
    "dict": lambda m, x: {"a": m.fc(x), "b": [x * 2, {"c": x.mean()}]},
    "whole numbers": lambda m, x: (m.fc(x), m.fc(x).argmax(1), x > 0),
    "with None and numbers": lambda m, x: (m.fc(x), None, 3),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_nested_outputs_are_compared_leaf_by_leaf(name: str, runs: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    model = Fn(STRUCTURES[name], fc=nn.Linear(4, 3)).eval()
    run = relprop.trace(model, torch.randn(2, 4))
    assert len(runs) == 1
    again = lambda dtype: run.output  # noqa: E731
    flat, spec = torch.utils._pytree.tree_flatten(run.output)
    for i, leaf in enumerate(flat):
        if isinstance(leaf, Tensor):
            wrong = list(flat)
            wrong[i] = ~leaf if leaf.dtype == torch.bool else leaf + 1
            other = torch.utils._pytree.tree_unflatten(wrong, spec)
            said = disagreement(run.graph, run.output, other, torch.float32, again)
            assert said is not None
            assert said.startswith("differs")
            assert "output[" in said
    assert disagreement(run.graph, run.output, run.output, torch.float32, again) is None
    said = disagreement(run.graph, run.output, [*flat, 1], torch.float32, again)
    assert said is not None
    assert "structure" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [vgg, resnet, video])
def test_half_precision_is_compared_in_half_precision(
    make: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    """A network that is off by a quarter (float16: three hundredths) is told from rounding."""
    shape = (2, 3, 4, 8, 8) if make is video else (2, 3, 16, 16)
    model = make().to(dtype)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    run = relprop.trace(model, x)
    live = live_output(model, x)
    assert run._disagreement(model, x, live) is None
    assert run._disagreement(model, x, live * (1.25 if dtype == torch.bfloat16 else 1.03)) is not None


def test_kernels_that_sum_in_another_order_agree() -> None:
    """Attention and its fast path round differently."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 3), nn.Flatten(), nn.Linear(80, 3)).eval()
    x = torch.randn(2, 5, 16)
    try:
        run = relprop.trace(model, x)
    except RelpropError as error:
        pytest.fail(str(error))
    with torch.no_grad():
        assert_close_to_rounding(run.output, model(x), model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_reaches_as_far_as_another_precision_shows(dtype: torch.dtype) -> None:
    """Two numbers of a million that cancel: what is left is rounding, and no ground to refuse."""
    model = Fn(lambda m, x: (m.fc(x) + 1e6) - 1e6, fc=nn.Linear(64, 3)).eval().to(dtype)
    run = relprop.trace(model, torch.randn(4, 64, dtype=dtype))
    unit = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
    assert run._disagreement(model, run.input, run.output + 0.06 * unit) is None
    assert run._disagreement(model, run.input, run.output + 5 * unit) is not None


def test_no_output_is_let_through_because_single_precision_overflows() -> None:
    model = Fn(lambda m, x: m.fc(x) * 1e30 * 1e30, fc=nn.Linear(4, 3)).eval().double()
    run = relprop.trace(model, torch.randn(2, 4, dtype=torch.float64))
    assert run._disagreement(model, run.input, run.output * 1.001) is not None
