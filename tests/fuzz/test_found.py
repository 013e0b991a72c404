"""What the fuzzer found, each as small as it got: right now, or refused by name."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.fuzz.properties import judge

import relprop

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(36, 3)

    def forward(self, x):
        y = self.norm(self.conv(x))
{code}
        return self.fc(y.flatten(1))


torch.manual_seed(0)
model = Net().double().eval()
x = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
"""

EXACT = {
    # Both terms known to be >= 0, one of them weighed: its share came back without the weight.
    "add with alpha behind relu": "y = torch.relu(y)\ny = torch.add(y, 0.5 * y + 0.2, alpha=0.5)",
    # PyTorch's derivative of as_strided_scatter is that of the part written over.
    "as_strided written": "y = y.clone()\ntorch.as_strided(y, (y.shape[0], 4), (36, 9)).mul_(2)",
    # The functional form of transpose_ has another overload's name.
    "transpose_": "y = y.clone()\ny.transpose_(1, 2)",
    "mT": "y = y.mT",
    # Captured for one batch size (len), with samples last for a while: the books took axis 0 for the samples.
    "samples last, one batch size": "y = y.movedim(0, -1).relu().movedim(-1, 0).reshape(len(y), -1)",
    "samples second, one batch size": "y = (y.transpose(0, 1) * 2).relu().transpose(0, 1).reshape(len(y), -1)",
    # The same, and one sample that is as long as the batch.
    "a sample written, one batch size": (
        "y = y[:, :3].reshape(len(y), 3, -1).clone()\ny[0] = y[0] * 1\ny = y.repeat(1, 2, 1)[:, :4]"
    ),
    # Its graph can't be run operator by operator.
    "vmap": "y = torch.vmap(lambda row: torch.relu(2 * row[0:3] + 1))(y).repeat(1, 2, 1, 1)[:, :4]",
}
"""LRP-0 is gradient x input."""

OTHERS = {
    # The functional form of pow_.Scalar is pow.Tensor_Scalar: the base was given for the exponent.
    "pow_": "y = y.clone().clamp_(min=0).pow_(2)",
    "float_power_": "y = y.clone().float_power_(2.0)",
}

REFUSED = {
    # Autograd knows no derivative, and said so in an error of its own.
    "heaviside": (
        "y = y * torch.heaviside(y, torch.zeros((), dtype=y.dtype))",
        "No rule for operator 'heaviside'",
    ),
    "floor_divide": ("y = y // 0.3 + y", "No rule for operator 'floor_divide'"),
}


def source(code: str) -> str:
    return SOURCE.format(code=textwrap.indent(code, " " * 8))


@pytest.mark.parametrize("name", [*EXACT, *OTHERS])
def test_right(name: str) -> None:
    code, facts = (EXACT[name], {"exact"}) if name in EXACT else (OTHERS[name], set())
    verdict = judge(source(code), frozenset(facts))
    assert verdict.findings == []
    assert "gradient" in verdict.explained
    assert "lrp-0" in verdict.explained or name in OTHERS


def test_a_plain_number_has_no_derivative() -> None:
    """`item()` of the signal: its derivative was asked for, and a float has none, as autograd has it."""
    code = source("y = y * y.abs().max().item()").replace("randn(3, 3, 3, 3", "randn(1, 3, 3, 3")
    names: dict[str, Any] = {}
    exec(code, names)
    model, x = names["model"], names["x"]
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[0, 1], leaf)
    found = relprop.explain(model, x, 1, "gradient").relevance
    assert_close_to_rounding(found, expected, model)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, text = REFUSED[name]
    verdict = judge(source(code), frozenset())
    assert verdict.findings == []
    assert verdict.explained == []
    assert text in verdict.refusals["gradient"]
