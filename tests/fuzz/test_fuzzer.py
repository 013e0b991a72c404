"""The fuzzer itself: the table is whole, a number makes one network, and what is wrong is found and shrunk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fuzz.generator import GROUPS, Recipe, Unfit, draw, write
from tests.fuzz.minimise import minimised
from tests.fuzz.operators import OPERATORS
from tests.fuzz.properties import check
from tests.fuzz.seeds import COUNT, EXACT, OTHERS

import relprop
from relprop.rules import Scale


def test_the_table() -> None:
    assert len(OPERATORS) >= 250
    assert sorted(name for group in GROUPS for name in group) == sorted(OPERATORS)
    assert len(EXACT) + len(OTHERS) >= COUNT
    drawn = Counter(name for seed in (*EXACT, *OTHERS) for name in draw(seed).operators)
    assert len(drawn) >= 0.98 * len(OPERATORS), sorted(set(OPERATORS) - set(drawn))


def test_a_number_makes_one_network() -> None:
    for seed in range(0, 150, 10):
        assert write(draw(seed)) == write(draw(seed))
    assert write(draw(1)) != write(draw(2))


def test_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    check(draw(4))
    assert torch.equal(torch.get_rng_state(), before)


def wrong(recipe: Recipe, name: str) -> bool:
    try:
        return name in check(recipe, {name}).wrong
    except Unfit:
        return False


def test_a_wrong_gradient_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    cross = Scale.cross
    monkeypatch.setattr(
        Scale, "cross", lambda self, site, flow: [_tripled(f) for f in cross(self, site, flow)]
    )
    recipe = draw(0, ["conv", "times number", "relu", "flatten"], steps=4)
    assert "lrp-0" in check(recipe).wrong
    small = minimised(recipe, lambda r: wrong(r, "lrp-0"))
    assert len(small.steps) < len(recipe.steps)
    assert "lrp-0" in check(small).wrong
    assert "times number" in small.operators


def _tripled(flow: object) -> object:
    for part in flow.parts:  # type: ignore[attr-defined]
        part.mul_(3)
    return flow


def test_a_wrong_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = relprop.explain

    def explain(*args: Any, **settings: Any) -> relprop.Explanation:
        e = plain(*args, **settings)
        return replace(e, outputs=e.outputs * 1.001)

    monkeypatch.setattr(relprop, "explain", explain)
    assert "output" in check(draw(0, ["conv", "relu"], steps=2)).wrong
