"""Settings under the names that they had before are refused with the names that they have now."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
import torch

import relprop
from relprop.benchmark.recipe import recipe_from
from relprop.cli import run
from relprop.datasets.demo import demo_image_path
from relprop.errors import InputError
from relprop.methods.method import Method, Request, Result
from relprop.methods.registry import METHODS, resolve

OLD = {"seed": "start", "at": ("start", "stop", "layer"), "contrast_at": "contrast", "otherwise": "base"}
KINDS: dict[str, Callable[..., Any]] = {
    **METHODS,
    "LRP": relprop.LRP,
    "Composite": relprop.Composite,
    "affine function": relprop.affine,
    "crossing": relprop.piecewise.crossing,
}
RANDOM = {"smoothgrad"}  # its seed is a number
CASES = [
    (name, old, new)
    for name, kind in KINDS.items()
    for new, olds in OLD.items()
    if new in signature(kind).parameters and name not in RANDOM
    for old in ([olds] if isinstance(olds, str) else olds)
    # One that has both, which no method of that time had, is told of the first.
    if not (new == "at" and old == "start" and "seed" in signature(kind).parameters)
]


def test_there_are_cases() -> None:
    assert len(CASES) > 30
    assert {new for _, _, new in CASES} == set(OLD)


@pytest.mark.parametrize(("name", "old", "new"), CASES, ids=lambda v: v)
def test_in_python(name: str, old: str, new: str) -> None:
    with pytest.raises(
        InputError, match=rf"^Expected {new}=\.\.\. for \w+ but got {old}=\.\.\.: the setting"
    ):
        KINDS[name](**{old: "1"})


@pytest.mark.parametrize(("name", "old", "new"), [c for c in CASES if c[0] in METHODS], ids=lambda v: v)
def test_on_the_command_line(name: str, old: str, new: str) -> None:
    with pytest.raises(
        InputError, match=rf"^Expected {new}=\.\.\. for {name} but got {old}=\.\.\.: the setting"
    ):
        resolve(f"{name}:{old}=1")


def test_in_a_recipe() -> None:
    table = {
        "data": {"name": "scenes"},
        "model": {"spec": "scenes-vgg"},
        "methods": [{"method": "lrp-0", "layer": "features.3"}],
        "metrics": ["energy"],
    }
    with pytest.raises(
        InputError, match=r"^Expected at=\.\.\. for \[\[methods\]\] of .* but got layer=\.\.\."
    ):
        recipe_from(table)


def test_a_method_of_ones_own_may_use_these_words() -> None:
    class Mine(Method):
        name, summary = "mine", "mine"

        def __init__(self, *, start: int = 0) -> None:
            self.start = start

        def explain(self, request: Request) -> Result:
            return Result(request.trace.input[None] * self.start)

    found = relprop.explain(torch.nn.Linear(2, 1), torch.ones(1, 2), 0, Mine(start=3))
    assert found.relevance.tolist() == [[3.0, 3.0]]
    with pytest.raises(TypeError, match="unexpected keyword argument 'stop'"):
        Mine(stop=3)  # type: ignore[call-arg]


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(demo_image_path())
    assert run(["explain", picture, "--model", "scenes-vgg", "--method", "deep-taylor:start=one"]) == 2
    assert "Expected seed=... for deep-taylor but got start=...: the setting" in capsys.readouterr().err
