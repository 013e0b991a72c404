"""Settings of every method: numbers that make no sense are refused when the method is made, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.refusals import assert_refused

import relprop
from relprop.errors import InputError
from relprop.methods import METHODS, Method
from relprop.methods.bounds import pixel_bounds
from relprop.registry import parameters
from relprop.rules import AlphaBeta, AveragePool, Epsilon, Gamma, Section, ZBox

NAN, INF = float("nan"), float("inf")
NEEDED = {"lrp": {"rule": "gamma"}}
# Below 0 they mean something; the others don't.
SIGNED = {"baseline", "seed", "alpha"}


def _made(name: str, **settings: Any) -> Method:
    return METHODS[name](**(NEEDED.get(name, {}) | settings))


def _defaults(kind: type, *kinds: type) -> list[tuple[str, str]]:
    """(method, setting) for every setting whose default is of one of these types."""
    return [
        (name, key)
        for name in METHODS
        for key, p in parameters(METHODS[name]).items()
        if type(p.default) in (kind, *kinds)
    ]


NUMBERS = _defaults(int, float)
FLAGS = _defaults(bool)
BOXES = [(name, key) for name in METHODS for key in parameters(METHODS[name]) if key == "bounds"]


def test_the_walk_over_settings_finds_them() -> None:
    masks = {"grid", "masks", "probability"}
    rules = {"alpha", "beta", "epsilon", "gamma", "gamma_conv", "ratio", "sigma", "skip", "smooth", "variant"}
    rest = {"baseline", "chunk", "noise", "samples", "seed", "steps"}
    assert {key for _, key in NUMBERS} == rules | masks | rest
    assert len(NUMBERS) >= 20
    assert {key for _, key in FLAGS} >= {"balance", "clamp_input", "linearise", "positive", "released"}
    assert len(BOXES) >= 9


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_number_that_is_none_is_refused_by_name(name: str, key: str) -> None:
    wrong = [NAN, INF, -INF, "much", None, [1], 1j, np.float64("nan"), *([] if key in SIGNED else [-1])]

    def tried(value: Any) -> Callable[[], object]:
        return lambda: _made(name, **{key: value})

    assert_refused(InputError, *[(tried(value), f"Expected .*{key}") for value in wrong])


@pytest.mark.parametrize(("name", "key"), FLAGS)
def test_a_word_for_yes_or_no_is_refused_by_name(name: str, key: str) -> None:
    assert_refused(
        InputError,
        (lambda: _made(name, **{key: "no"}), f"Expected {key} to be True or False but got 'no'"),
        (lambda: _made(name, **{key: NAN}), f"Expected {key} to be True or False"),
    )
    assert _made(name, **{key: np.True_}).settings()[key]


@pytest.mark.parametrize(("name", "key"), BOXES)
def test_a_box_without_sides_is_refused(name: str, key: str) -> None:
    settings = {"first": "z-box"} if "first" in parameters(METHODS[name]) else {}
    wrong: list[Any] = [(NAN, 1), (0, INF), (1, 0), ("a", "b"), (None, 1), 3, (torch.tensor([0.0, NAN]), 1)]

    def tried(value: Any) -> Callable[[], object]:
        return lambda: _made(name, **settings, bounds=value)

    assert_refused(InputError, *[(tried(value), "Expected .*(bounds|low <= high)") for value in wrong])


def test_rules_and_boxes_of_pixels_refuse_them_too() -> None:
    assert_refused(
        InputError,
        (lambda: Epsilon(INF), "epsilon to be a finite number but got inf"),
        (lambda: Epsilon(1.0, relative="no"), "relative"),  # type: ignore[arg-type]
        (lambda: Gamma(INF), "gamma to be a finite number"),
        (lambda: AlphaBeta(INF, INF), "alpha to be a finite number"),
        (lambda: Section(ratio=NAN), "ratio to be a finite number"),
        (lambda: ZBox(NAN, 1.0), "finite bounds"),
        (lambda: AveragePool(uniform=1), "uniform to be True or False"),  # type: ignore[arg-type]
        (lambda: relprop.Depth(NAN, 1), "low to be a finite number"),
        (lambda: pixel_bounds([0.5], [0.0]), "above 0 in std"),
        (lambda: pixel_bounds([0.5], [-1.0]), "above 0 in std"),
        (lambda: pixel_bounds([NAN], [1.0]), "finite numbers in mean"),
        (lambda: pixel_bounds([0.5], [1.0], high=INF), "high to be a finite number"),
        (lambda: pixel_bounds(0.5, 0.5), "one number per channel"),  # type: ignore[arg-type]
    )
