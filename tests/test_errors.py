"""The error matrix: each bad input with the text it gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop import Composite
from relprop.errors import CaptureError, InputError, RelpropError, UnknownNameError, UnsupportedOperatorError
from relprop.rules import (
    Add,
    AlphaBeta,
    AveragePool,
    BatchNorm,
    Epsilon,
    Gamma,
    MaxPool,
    Norm,
    Rectify,
    ZBox,
    ZPlus,
)


@cache
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()


def x(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 6, 6)), generator=torch.Generator().manual_seed(0))


def bad(value: float) -> Tensor:
    t = x()
    t[1, 2, 3, 4] = value
    return t


INPUTS: dict[str, tuple[Any, str]] = {
    "NaN": (bad(float("nan")), r"finite input but 1 of 216 values of x are NaN or infinite"),
    "Inf": (bad(float("inf")), r"finite input but 1 of 216 values"),
    "integers": (torch.zeros(2, 3, 6, 6, dtype=torch.uint8), r"floating point but got torch.uint8"),
    "complex": (torch.zeros(2, 3, 6, 6, dtype=torch.complex64), r"floating point but got torch.complex64"),
    "bool": (torch.zeros(2, 3, 6, 6, dtype=torch.bool), r"floating point but got torch.bool"),
    "an array": (np.zeros((2, 3, 6, 6), np.float32), r"tensor \(N, C, \*spatial\) but got ndarray"),
    "nothing": (None, r"tensor \(N, C, \*spatial\) but got NoneType"),
    "no batch axis, one axis": (torch.zeros(3), r"\(N, C, \*spatial\) with N >= 1 but got shape \(3,\)"),
    "a number": (torch.zeros(()), r"but got shape \(\)"),
    "empty batch": (torch.zeros(0, 3, 6, 6), r"N >= 1 but got shape \(0, 3, 6, 6\)"),
    "no batch axis": (x(3, 6, 6), r"."),
    "too many axes": (x(1, 2, 3, 6, 6), r"."),
    "wrong channels": (x(2, 4, 6, 6), r"."),
    "wrong size": (x(2, 3, 7, 6), r"."),
    "too small": (x(2, 3, 2, 2), r"."),
    "another dtype": (x().double(), r"one dtype but Sequential has torch.float32 and x is torch.float64"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_bad_input(name: str) -> None:
    value, text = INPUTS[name]
    with pytest.raises(RelpropError, match=text):
        relprop.explain(net(), value, 0, "lrp-0")


TARGETS: dict[str, tuple[Any, str]] = {
    "too large": (3, r"targets from 0 to 2 but got 3"),
    "negative": (-1, r"targets from 0 to 2 but got -1"),
    "one of a list": ([0, 1, 5], r"targets from 0 to 2 but got 5"),
    "one of a tensor": (torch.tensor([0, 9]), r"targets from 0 to 2 but got 9"),
    "beyond 64 bits": (10**30, r"targets from 0 to 2 but got 1000"),
    "floats of numpy": (np.array([0.0, 1.0]), r"integers"),
    "too many of numpy": (np.array([0, 1, 1]), r"shape \(2,\)"),
    "objects of numpy": (np.array([0, None]), r"class index"),
    "empty range": (range(0), r"at least one target"),
    "empty list": ([], r"at least one target but got an empty list"),
    "a word": ("cat", r"class index but got 'cat', and the model has no class names"),
    "a fraction": (1.0, r"class index.*but got float 1.0"),
    "a truth value": (True, r"class index.*but got bool True"),
    "fractions": (torch.tensor([0.0, 1.0]), r"integers with shape \(2,\) but got torch.float32 \(2,\)"),
    "wrong length": (torch.tensor([0, 1, 2]), r"integers with shape \(2,\) but got torch.int64 \(3,\)"),
    "wrong rank": (
        torch.zeros(2, 3, dtype=torch.long),
        r"integers with shape \(2,\) but got torch.int64 \(2, 3\)",
    ),
    "a list in a list": ([[0, 1]], r"class index"),
    "nothing in a list": ([None], r"class index.*NoneType"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_bad_target(name: str) -> None:
    value, text = TARGETS[name]
    with pytest.raises(InputError, match=text):
        relprop.explain(net(), x(), value, "lrp-0")


ONE: list[Any] = [
    1, np.int64(1), np.array(1), np.array([1, 1]), torch.tensor(1), torch.tensor([1, 1]),
    torch.tensor([1, 1], dtype=torch.int32),
]  # fmt: skip


@pytest.mark.parametrize("target", ONE, ids=repr)
def test_ways_to_name_one_target(target: Any) -> None:
    expected = relprop.explain(net(), x(), 1, "lrp-0").relevance
    assert torch.equal(relprop.explain(net(), x(), target, "lrp-0").relevance, expected)
    several = relprop.explain(net(), x(), [target], "lrp-0")
    assert torch.equal(several.relevance, expected[None])


def test_a_range_of_targets() -> None:
    found, expected = (relprop.explain(net(), x(), t, "lrp-0").relevance for t in (range(3), [0, 1, 2]))
    assert torch.equal(found, expected)


NAMES: dict[str, tuple[Callable[[], Any], str]] = {
    "method": (
        lambda: relprop.explain(net(), x(), 0, "lrp-epsilom"),
        r"known method but got 'lrp-epsilom'. Did you mean 'lrp-epsilon'\? Valid: .*lrp-0",
    ),
    "layer": (
        lambda: relprop.explain(net(), x(), 0, "lrp-0", layers=["9"]),
        r"known layer or node but got '9'",
    ),
    "call of a layer": (lambda: relprop.trace(net(), x()).value("0@7"), r"known layer or node but got '0@7'"),
    "start": (
        lambda: relprop.trace(net(), x()).propagate(torch.ones(2, 3), Composite(), start="heat"),
        r"layer or node but got 'heat'",
    ),
    "stop": (
        lambda: relprop.trace(net(), x()).propagate(torch.ones(2, 3), Composite(), stop="heat"),
        r"layer or node but got 'heat'",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_unknown_name(name: str) -> None:
    call, text = NAMES[name]
    with pytest.raises(UnknownNameError, match=text):
        call()


SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "method type": (lambda: relprop.explain(net(), x(), 0, 3), r"a function .* but got int"),
    "layers as one string": (
        lambda: relprop.explain(net(), x(), 0, "lrp-0", layers="0"),
        r"list of names but got the string '0'",
    ),
    "rule word": (lambda: relprop.LRP(rule="zerro"), r"rule to be one of 'zero'.* but got 'zerro'"),
    "composite word": (
        lambda: relprop.LRP(composite="epsilon-minus"),
        r"composite to be one of .*'epsilon-plus'.* but got 'epsilon-minus'",
    ),
    "rule and composite": (
        lambda: relprop.LRP(rule="zero", composite="epsilon-plus"),
        r"either rule=... or composite=...",
    ),
    "neither": (lambda: relprop.LRP(), r"either rule=... or composite=..."),
    "first word": (
        lambda: relprop.LRP(rule="zero", first="box"),
        r"first to be one of .*'z-box'.* but got 'box'",
    ),
    "seed word": (
        lambda: relprop.LRP(rule="zero", seed="two"),
        r"seed to be one of 'score', 'one' but got 'two'",
    ),
    "alpha - beta": (lambda: AlphaBeta(1, 1), r"alpha - beta = 1 and beta >= 0 but got alpha=1, beta=1"),
    "negative beta": (lambda: AlphaBeta(0.5, -0.5), r"beta >= 0"),
    "alpha NaN": (lambda: AlphaBeta(float("nan"), 1), r"alpha to be a finite number but got nan"),
    "alpha-beta method": (lambda: relprop.LRP(rule="alpha-beta", alpha=3, beta=1), r"alpha - beta = 1"),
    "bias word": (lambda: AlphaBeta(2, 1, "half"), r"'paper', 'none', 'full' but got 'half'"),
    "epsilon": (lambda: Epsilon(-1), r"epsilon to be >= 0 but got -1"),
    "epsilon NaN": (lambda: Epsilon(float("nan")), r"epsilon to be a finite number but got nan"),
    "gamma": (lambda: Gamma(-0.1), r"gamma to be >= 0 but got -0.1"),
    "box without bounds": (lambda: ZBox(), r"low and high, or bounds='sample'"),
    "box with one bound": (lambda: ZBox(0.0), r"low and high"),
    "box upside down": (lambda: ZBox(1.0, 0.0), r"low <= high for the z-box rule but got 1.0 and 0.0"),
    "box upside down in a channel": (
        lambda: ZBox(torch.zeros(3), torch.tensor([1.0, -1, 1])),
        r"low <= high",
    ),
    "box word": (lambda: ZBox(bounds="batch"), r"bounds to be 'sample' or None but got 'batch'"),
    "box of wrong shape": (
        lambda: relprop.explain(
            net(), x(), 0, relprop.DeepTaylor(bounds=(torch.zeros(4) - 9, torch.ones(4) * 9))
        ),
        r"bounds that broadcast to \(3, 6, 6\) but got \(4, 1, 1\)",
    ),
    "bounds not a pair": (lambda: relprop.DeepTaylor(bounds=(0, 1, 2)), r"'sample' or a pair \(low, high\)"),
    "bounds word": (
        lambda: relprop.DeepTaylor(bounds="image"),
        r"bounds to be one of 'auto', 'sample' but got 'image'",
    ),
    "otherwise": (
        lambda: Composite([], "plus"),
        r"'value', 'positive', 'gradient' or None but got 'plus'",
    ),
    "derivatives of fused steps": (lambda: Composite([], "gradient", fuse=True), "Expected fuse=False with"),
    "ties": (lambda: MaxPool("last"), r"ties to be one of 'first', 'share' but got 'last'"),
    "add by": (
        lambda: Add("size"),
        r"by to be one of 'value', 'absolute', 'positive', 'own', 'either', 'halves' but got 'size'",
    ),
    "add epsilon": (lambda: Add("halves", 0.1), r"only with by='value'"),
    "batch norm form": (
        lambda: BatchNorm("merge"),
        r"form to be one of 'affine', 'identity', 'proportional' but got 'merge'",
    ),
    "norm form": (lambda: Norm("merge"), r"form to be one of 'affine', 'identity' but got 'merge'"),
    "rectify form": (lambda: Rectify("relu"), r"form to be one of 'deconvnet', 'guided' but got 'relu'"),
    "mean and std": (
        lambda: relprop.pixel_bounds([0.5], [0.1, 0.2]),
        r"mean and std with one number per channel",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_setting(name: str) -> None:
    call, text = SETTINGS[name]
    with pytest.raises(InputError, match=text):
        call()


@pytest.mark.parametrize(
    "rules",
    [
        [("convolution", ZPlus())],
        [("op:linaer", ZPlus())],
        [("nothing.*", ZPlus())],
        [("batch_norm", ZPlus())],
        [("linear", AveragePool())],
    ],
    ids=["kind", "operator", "module", "rule of another kind", "another kind of rule"],
)
def test_a_match_without_effect_is_refused(rules: list[Any]) -> None:
    """A misspelt match would leave the default rule in place, silently."""
    run = relprop.trace(net(), x())

    def use() -> Tensor:
        return run.propagate(run.output, Composite(rules))

    with pytest.raises(InputError, match=r"match|rule|kind|Expected"):
        use()


SEEDS: dict[str, tuple[Any, str]] = {
    "shape": (torch.ones(2, 4), r"seed shaped like .*\(2, 3\).* but got \(2, 4\)"),
    "batch": (torch.ones(1, 3), r"\(2, 3\).* but got \(1, 3\)"),
    "two target axes": (torch.ones(1, 1, 2, 3), r"but got \(1, 1, 2, 3\)"),
    "flat": (torch.ones(6), r"but got \(6,\)"),
    "not a tensor": ([[1.0] * 3] * 2, r"but got list"),
    "NaN": (torch.full((2, 3), float("nan")), r"finite|NaN"),
    "no target": (torch.ones(0, 2, 3), r"."),
}


@pytest.mark.parametrize("name", SEEDS)
def test_bad_seed(name: str) -> None:
    value, text = SEEDS[name]
    with pytest.raises(InputError, match=text):
        relprop.trace(net(), x()).propagate(value, Composite())


def test_stop_must_lie_before_start() -> None:
    run = relprop.trace(net(), x())
    with pytest.raises(InputError, match="before 'relu' but 'linear'"):
        run.propagate(run.value("2"), Composite(), start="2", stop="4")


def test_a_node_of_another_graph() -> None:
    node = relprop.trace(net.__wrapped__(), x()).graph.output
    with pytest.raises(InputError, match="belongs to another one"):
        relprop.trace(net(), x()).propagate(torch.ones(2, 3), Composite(), start=node)


# Models -------------------------------------------------------------------------------------------------


def unsupported(function: Callable[[Any, Tensor], Any], **parts: Any) -> nn.Module:
    return Fn(function, **parts).eval()


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        self.seen.copy_(y.detach().mean(0))
        return y


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if y.sum() > 0:
            y = y * 2
        return y


MODELS: dict[str, tuple[Callable[[], Any], type[RelpropError], str]] = {
    "not a module": (lambda: lambda t: t, InputError, r"torch.nn.Module but got function"),
    "training, batch norm": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train(),
        InputError,
        r"evaluation mode but .*batch_?\s?norm.*model.eval\(\)",
    ),
    "training, dropout": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout()).train(),
        InputError,
        r"evaluation mode but .*dropout.*model.eval\(\)",
    ),
    "control flow": (
        Decides,
        CaptureError,
        r"Can't capture Decides: its control flow depends on the values of the input.*test_errors.py:\d+",
    ),
    "writes a buffer": (Writes, CaptureError, r"writes to .*'seen'"),
    "a dict of two": (
        lambda: unsupported(lambda m, t: {"scores": t, "twice": 2 * t}),
        InputError,
        r"returns 'scores', 'twice': pass output='scores'",
    ),
    "batch mixed away": (
        lambda: unsupported(lambda m, t: t.sum(0, keepdim=True)),
        InputError,
        r"but it returns shape \(1, 4\)",
    ),
    "constant": (
        lambda: unsupported(lambda m, t: m.c.expand(t.shape[0], -1), c=torch.ones(3)),
        InputError,
        r".",
    ),
    "NaN weights": (
        lambda: unsupported(lambda m, t: t * m.c, c=torch.tensor(float("nan"))),
        InputError,
        r"returned NaN or infinity",
    ),
    "overflow": (lambda: unsupported(lambda m, t: t * 1e38 * 1e38), InputError, r"returned NaN or infinity"),
    "softmax": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)),
        UnsupportedOperatorError,
        r"operator 'softmax' \(node 'softmax', in module '1'.*scores before it",
    ),
    "log softmax": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)),
        UnsupportedOperatorError,
        r"operator 'log_softmax'.*scores before it",
    ),
    "no rule": (
        lambda: unsupported(lambda m, t: t.cumprod(1)),
        UnsupportedOperatorError,
        r"No rule for operator 'cumprod' \(node 'cumprod', in the model itself",
    ),
    "log of a sum": (
        lambda: unsupported(lambda m, t: t.logsumexp(1, keepdim=True)),
        UnsupportedOperatorError,
        r"operator 'logsumexp'",
    ),
    "running product": (
        lambda: unsupported(lambda m, t: t.cumprod(1)),
        UnsupportedOperatorError,
        r"operator 'cumprod'",
    ),
    "products scattered": (
        lambda: unsupported(
            lambda m, t: t.scatter_reduce(1, torch.zeros_like(t, dtype=torch.long), t, "prod")
        ),
        UnsupportedOperatorError,
        r"operator 'scatter_reduce'",
    ),
    "a number over the signal": (
        lambda: unsupported(lambda m, t: 1 / (t + 9)),
        UnsupportedOperatorError,
        r"operator '(div|reciprocal)'",
    ),
    "fft": (lambda: unsupported(lambda m, t: torch.fft.rfft(t).real), RelpropError, r"."),
    "several results": (
        lambda: unsupported(lambda m, t: torch.var_mean(t, 1)[0][:, None]),
        UnsupportedOperatorError,
        r"operator 'var_mean'",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_bad_model(name: str) -> None:
    maker, kind, text = MODELS[name]
    model = maker()
    if isinstance(model, nn.Module) and not name.startswith("training"):
        model.eval()
    with pytest.raises(kind, match=text):
        relprop.explain(model, x(2, 4), 0, "lrp-0")


def test_an_operator_off_the_path_needs_no_rule() -> None:
    """Relevance stops before it; or it feeds a gate, which gets none."""
    run = relprop.trace(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).eval(), x(2, 4))
    found = run.run(run.value("0"), Composite(), start="0")
    assert found.ledger is not None
    assert found.ledger.closes
    gated = unsupported(lambda m, t: t * torch.sigmoid(t.cumsum(1).exp().pow(2)))
    assert relprop.explain(gated, x(2, 4), 0, "lrp-0").ledger is not None


def test_inspect_tells_before_what_explain_would_refuse() -> None:
    models: list[nn.Module] = [
        nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4)),
        nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)),
        unsupported(lambda m, t: t.cumsum(1)),
        unsupported(lambda m, t: m.c @ t.t(), c=torch.randn(3, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    ]
    for model in models:
        covered = relprop.inspect(model.eval(), x(2, 4)).complete
        run = relprop.trace(model, x(2, 4))
        try:
            run.propagate(run.output, Composite())
            assert covered, model
        except UnsupportedOperatorError:
            assert not covered, model


def test_inputs_outside_the_box_are_told() -> None:
    """z^B holds for l <= x <= h only: outside, its shares turn negative."""
    with pytest.raises(RelpropError, match=r"box|bounds"):
        relprop.explain(net(), x() * 3, 0, relprop.DeepTaylor(bounds=(0, 1)))


def test_messages_have_one_form() -> None:
    """Every message that a user's argument causes begins with "Expected" (or "Can't capture")."""
    for table in (TARGETS, INPUTS):
        for name, (value, _) in table.items():
            target, seen = (value, x()) if table is TARGETS else (0, value)
            with pytest.raises((InputError, CaptureError)) as caught:
                relprop.explain(net(), seen, target, "lrp-0")
            text = str(caught.value)
            assert text.startswith(("Expected ", "Can't capture ")), name
            assert text.endswith((".", ")")), name
