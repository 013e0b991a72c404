"""`trace` and `inspect` of several inputs and outputs, as `explain` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

A, B = (torch.randn(2, n, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (4, 5))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(12, 6), nn.Linear(15, 6), nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        z = torch.relu(self.a(a.flatten(1)) + self.b(b.flatten(1)))
        return {"logits": self.head(z), "sum": z.sum(1)}


class OfAList(Two):
    def forward(self, parts: list[Tensor]) -> Any:  # type: ignore[override]
        return super().forward(*parts)


INPUTS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "tuple": (Two, (A, B)),
    "list": (OfAList, [A, B]),
    "keywords": (Two, {"b": B, "a": A}),
}


@pytest.mark.parametrize("name", INPUTS)
def test_relevance_is_that_of_explain(name: str) -> None:
    make, x = INPUTS[name]
    model = make().double().eval()
    run = relprop.trace(model, x, output="logits")
    seed = torch.zeros_like(run.output)
    seed[:, 1] = run.output[:, 1]
    found: Any = run.apart(run.propagate(seed, "lrp-epsilon"))
    both: Any = run.apart(run.propagate(torch.stack([seed, 2 * seed]), "lrp-epsilon"))
    expected: Any = relprop.explain(model, x, 1, "lrp-epsilon")
    keys = list(x) if isinstance(x, Mapping) else range(len(x))
    assert type(found) is type(x)
    for key in keys:
        assert_close_to_rounding(found[key], expected[key].relevance, model)
        assert_close_to_rounding(both[key], torch.stack([found[key], 2 * found[key]]), model)
        assert found[key].shape == x[key].shape


def test_one_input_and_one_of_its_outputs() -> None:
    model = nn.Linear(3, 2).double()
    run = relprop.trace(model, A[:, 0], output=lambda scores: scores[:, :1])
    assert run.output.shape == (2, 1)
    relevance = run.propagate(run.output, "lrp-0")
    assert run.apart(relevance) is relevance
    assert_close_to_rounding(relevance, A[:, 0] * model.weight[0].detach(), model)


def test_inspect_looks_at_one_output() -> None:
    model = Two().double().eval()
    whole = relprop.inspect(model, (A, B))
    part = relprop.inspect(model, (A, B), "lrp-epsilon", output="sum")
    hidden = relprop.inspect(model, {"a": A, "b": B}, output="logits", start="a")
    rules = [
        {row.module for row in found.rows if row.operator == "linear"} for found in (whole, part, hidden)
    ]
    assert rules == [{"a", "b", "head"}, {"a", "b"}, {"a"}]
    assert hidden.start == "at a"


def test_what_is_refused() -> None:
    model: Any = Two().double().eval()
    assert_refused(
        InputError,
        (
            lambda: relprop.trace(model, (A, B), output="scores"),
            r"there is no 'scores'. Take one of 'logits', 'sum'",
        ),
        (lambda: relprop.inspect(model, (A, B), output=2), r"there is no 2. Take one of 'logits', 'sum'"),
        (lambda: relprop.inspect(model, (A, B), start="c"), r"known layer or node but got 'c'"),
        (lambda: relprop.trace(model, (A, B.float())), r"inputs of one dtype"),
        (lambda: relprop.trace(model, ()), r"inputs to be tensors"),
        (lambda: relprop.trace(print, (A, B)), r"torch.nn.Module"),  # type: ignore[arg-type]
        (lambda: relprop.inspect(print, (A, B)), r"torch.nn.Module"),  # type: ignore[arg-type]
    )
