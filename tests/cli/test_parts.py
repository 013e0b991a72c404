"""Pieces of the command line without a model."""

from __future__ import annotations

import json

import pytest
import torch
from tests.refusals import assert_refused

from relprop.cli.output import print_json, print_table
from relprop.errors import InputError
from relprop.models.classes import check_names, predictions, resolve

CLASSES = ["tench, Tinca tinca", "crane", "maillot", "crane", "tank"]


def _resolve(*wanted: str, multi_label: bool = False, classes: list[str] | None = CLASSES) -> list[int]:
    found = predictions(torch.tensor([0.0, -3.0, 2.0, 1.0, -1.0]), classes, multi_label)
    return resolve(wanted, found, classes, multi_label)


def test_targets() -> None:
    assert _resolve("top") == [2]
    assert _resolve("predicted") == [2]
    assert _resolve("predicted", multi_label=True) == [2, 3, 0]  # 0 has a score of exactly 0.5
    assert _resolve("Tench", "TANK", "4", "0") == [0, 4]


def test_predicted_falls_back_to_the_best() -> None:
    found = predictions(torch.tensor([-2.0, -1.0]), None, True)
    assert resolve(["predicted"], found, None, True) == [1]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("crane", r"fits 1 \(crane\), 3 \(crane\)"),
        ("5", "from 0 to 4 but got 5"),
        ("-1", "from 0 to 4 but got -1"),
        ("tinca", "Close ones: tench, Tinca tinca"),
        ("dog", "Valid: "),
    ],
)
def test_unusable_targets(wanted: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        _resolve(wanted)


def test_names_need_classes() -> None:
    with pytest.raises(InputError, match="--labels"):
        _resolve("dog", classes=None)


def test_outputs_are_checked() -> None:
    assert_refused(
        InputError,
        (lambda: check_names((torch.zeros(1, 2),), None), "but got tuple"),
        (lambda: check_names(torch.zeros(1, 2, 3), None), r"shape \(1, 2, 3\)"),
        (lambda: check_names(torch.zeros(1, 2), ["a"]), "Expected 2 class names"),
        (lambda: check_names(torch.tensor([[0.0, float("nan")]]), None), "NaN"),
    )


def test_scores_sum_to_one() -> None:
    scores = [p.score for p in predictions(torch.tensor([1e4, 0.0, -1e4]), None, False)]
    assert scores == [1.0, 0.0, 0.0]


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": (1, torch.float32), "ü": [True, None, float("-inf")]})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": [1, "torch.float32"],
        "ü": [True, None, None],
    }


def test_tables_keep_markup_and_do_not_wrap(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [["[red]x[/red]", "y" * 90]])
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "y" * 90 in out
