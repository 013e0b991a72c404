"""Recommended: which method answers which question, and that the explanation says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError

TABLE = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval()


def _seed(n: int) -> Tensor:
    seed = torch.zeros(n, 5)
    seed[:, 1] = 1
    return seed


@pytest.mark.parametrize(
    ("asked", "method", "why"),
    [
        ({"target": 1}, "agreement", "where the class is"),
        ({"target": [0, 3]}, "agreement", "where the class is"),
        ({"target": 1, "versus": 2}, "agreement", "where the class is"),
        ({"target": lambda scores: scores[:, 1]}, "agreement", "where the class is"),
        ({"target": 1, "layers": ["0"]}, "lrp-composite", "relevance at layers"),
        ({"target": 1, "start": "0"}, "agreement", "where the class is"),
        ({"target": _seed(2)}, "agreement", "where the class is"),
    ],
)
def test_what_answers(asked: dict[str, Any], method: str, why: str) -> None:
    model, x = nets.vgg(), nets.pictures()[:2]
    e = relprop.explain(model, x, method="recommended", **asked)
    assert e.method == method
    assert any(note.startswith(f"relprop chose {method}") and why in note for note in e.notes)
    assert_close_to_rounding(e.relevance, relprop.explain(model, x, method=method, **asked).relevance, model)
    assert e.settings == relprop.explain(model, x, method=method, **asked).settings


def test_a_table_of_features() -> None:
    e = relprop.explain(TABLE, torch.rand(1, 6), 0, "recommended")
    assert e.method == "lrp-composite"
    assert "no positions" in e.notes[0]


class RunningMaximum(nn.Module):
    """An operator that no method has a rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(torch.cumprod(self.body(x), 2)).mean((2, 3)))


def test_a_refusal_of_both_names_the_operator() -> None:
    with pytest.raises(UnsupportedOperatorError, match="cumprod"):
        relprop.explain(RunningMaximum().eval(), torch.rand(1, 3, 8, 8), 0, "recommended")


def test_each_sample_is_told_apart() -> None:
    model, x = nets.vgg(), nets.pictures()[:2]
    both = list(relprop.explain_many(model, x, [1, 2], "recommended"))
    assert [e.method for e in both] == ["agreement", "agreement"]
