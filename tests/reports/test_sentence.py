"""The sentence below a map: it is of that map."""

from __future__ import annotations

import pytest
import torch

import relprop
from relprop.reports.sentence import sentence


@pytest.mark.parametrize("name", ["class 0 − class 2", "class 1 − class 2"])
def test_of_several_targets_each_has_its_own_name(name: str) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    e = relprop.explain(net, torch.rand(1, 3, 2, 2), [0, 1], "gradient", versus=2)
    assert name in e.asked
    assert sentence(e, name).startswith(f"Red speaks for {name}.")


def test_the_stabilisers_part_is_named_where_there_is_one() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1, bias=False)).eval()
    torch.nn.init.ones_(net[1].weight)
    x = torch.ones(1, 3, 2, 2)
    plain, damped = (relprop.explain(net, x, 0, f"lrp-epsilon:epsilon={size}") for size in (1e-6, 1 / 3))
    assert "stabiliser" not in sentence(plain, "cat")
    # ε is a third of the output: 1 / (1 + 1/3) of the score arrives.
    assert "accounts for 75.0 % of the score of cat" in sentence(damped, "cat")
    assert "the stabiliser took 25.0 %" in sentence(damped, "cat")
