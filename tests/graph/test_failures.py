"""What is said of a model that can't be captured: whose fault it is, where, and what helps."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.errors import CaptureError, InputError


def scores() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).eval()


class Around(nn.Module):
    """Scores, and what a function makes of them."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.scores, self.function = scores(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.scores(x), x)


class Two(Around):
    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.scores(x) + self.scores(y)


class ByName(Around):
    def forward(self, *, pixel_values: Tensor) -> Any:
        return self.scores(pixel_values)


@dataclasses.dataclass
class Output:
    name: str
    logits: Tensor


class Mapping(dict[str, Any]):
    """As some libraries return their outputs."""


def fails(y: Tensor, x: Tensor) -> Tensor:
    raise KeyError("weights")


def explained(model: nn.Module, x: Tensor | None = None) -> Callable[[], object]:
    model.eval()
    return lambda: relprop.explain(model, torch.randn(2, 3, 8, 8) if x is None else x, 0, "lrp-0")


def traced(model: nn.Module) -> Callable[[], object]:
    model.eval()
    return lambda: relprop.trace(model, torch.randn(2, 3, 8, 8))


def test_a_model_that_fails_by_itself_says_its_own_sentence() -> None:
    assert_refused(
        InputError,
        (
            explained(scores(), torch.randn(2, 3, 9, 8)),
            r"takes but model\(x\) itself fails for x of shape \(2, 3, 9, 8\)",
        ),
        (
            explained(scores(), torch.randn(2, 3, 9, 8)),
            r"RuntimeError: mat1 and mat2 shapes cannot .*Check the size",
        ),
        (
            explained(scores(), torch.randn(2, 1, 8, 8)),
            r"to have 3 channels, but got 1 channels instead. Check",
        ),
        (
            explained(scores(), torch.randn(3, 8, 8)),
            r"\(3, 8, 8\).*batch axis in front of .*: pass x\[None\]",
        ),
        (explained(Two(fails)), r"missing 1 required positional argument: 'y'. Where it takes more than x"),
        (explained(ByName(fails)), r"takes 1 positional argument but 2 were given. .*forward takes x alone"),
        (explained(Around(fails)), r"KeyError: 'weights'"),
        (explained(nn.Module()), r"missing the required \"forward\" function"),
    )


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_what_cannot_be_captured_though_it_runs() -> None:
    quantised = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    quantised[1] = torch.ao.nn.quantized.dynamic.Linear(192, 3)
    assert_refused(
        CaptureError,
        (
            traced(Around(lambda y, x: Output("a", y))),
            r"Output, which torch.export can't take apart.*\.logits",
        ),
        (traced(Around(lambda y, x: Mapping(logits=y))), r"returns Mapping, .*\.logits"),
        (explained(quantised), r"its part '1' is quantised \(Linear\).*floating-point model"),
        (explained(Around(lambda y, x: y * 2 if y.sum() > 0 else y)), r"control flow .*test_failures.py:\d+"),
        (
            explained(Around(lambda y, x: y + float(x.numpy().sum()))),
            r"though model\(x\) runs .*own operators",
        ),
    )
    assert_refused(
        InputError,
        (
            explained(Around(lambda y, x: {"out": (y,)})),
            r"one tensor of scores but it returns dict",
        ),
        (explained(Around(lambda y, x: ((y, x), [x]))), r"returns tuple"),
        (explained(Around(lambda y, x: None)), r"returns NoneType"),
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript() -> None:
    traced, scripted = torch.jit.trace(scores(), torch.randn(2, 3, 8, 8)), torch.jit.script(scores())
    assert_refused(
        CaptureError,
        (explained(traced), r"it is a TorchScript module, .*Pass the nn.Module"),
        (explained(nn.Sequential(scripted, nn.ReLU())), r"its part '0' is a TorchScript module"),
    )


def test_advice_on_control_flow_only_where_that_is_the_reason() -> None:
    with pytest.raises(InputError) as caught:
        explained(Around(lambda y, x: fails(y, x) if y.sum() > 0 or True else y))()
    assert "control flow" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrapped_models_are_explained(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, x = scores(), torch.randn(2, 3, 8, 8)
    found = relprop.explain(wrap(plain), x, 0, "lrp-0").relevance
    assert torch.equal(found, relprop.explain(plain, x, 0, "lrp-0").relevance)


def test_the_look_at_the_model_leaves_no_trace() -> None:
    """The run that tells whose fault it is writes nothing to the model and draws from no generator."""

    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(4, 2), None
            self.seen = nn.Buffer(torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.last = x
            random.random()
            y = self.fc(x) + torch.rand(2)
            if y.sum() > 1e6:
                raise ValueError("too large")
            return y

    model = Keeps().eval()
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    with pytest.raises((InputError, CaptureError)):
        relprop.explain(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), 0)
    assert model.last is None
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_not_a_line_on_stderr() -> None:
    """torch's own loggers write to the stream that they found first, so a fresh process has to tell."""
    code = """
        import torch, relprop
        from torch import nn
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 3)).eval()
        class Decides(nn.Module):
            def forward(self, x):
                return x.flatten(1) * 2 if x.sum() > 0 else x.flatten(1)
        for net, *shape in [(model, 1, 3, 9, 9), (model, 3, 8, 8), (model, 1, 1, 8, 8), (Decides(), 1, 3, 4, 4)]:
            try:
                relprop.explain(net, torch.randn(shape), 0)
            except relprop.errors.RelpropError as error:
                print(type(error).__name__)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["InputError", "InputError", "InputError", "CaptureError"]
    assert run.stderr == ""


@pytest.mark.parametrize("causal", [True, False])
def test_a_transformer_that_is_told_whether_its_mask_is_causal_is_captured(causal: bool) -> None:
    """As the troubleshooting page says; left to itself it decides by the values of the mask."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
            return self.encoder(x, mask=mask, is_causal=causal)

    model, x = Masked().eval(), torch.randn(2, 4, 8)
    run = relprop.trace(model, x)
    with torch.no_grad():
        assert_close_to_rounding(run.output, model(x), model)
