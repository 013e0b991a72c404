"""Doctor: what it tells of a machine that works, and of one that doesn't."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relprop.cli import run
from relprop.errors import RelpropError
from relprop.reports.doctor import EXTRAS, Checkup, _pair, _partner, _tested, doctor

MODULE = sys.modules["relprop.reports.doctor"]  # relprop.reports.doctor is the function
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def found() -> Checkup:
    return doctor()


def test_the_self_test_passes(found: Checkup) -> None:
    assert found.well
    test = found.document["self_test"]
    assert 0 <= test["max_error"] <= test["tolerance"]
    assert "Self-test passed" in str(found)


def test_every_extra_of_the_package_is_told(found: Checkup) -> None:
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    extras = found.document["extras"]
    for name, extra in extras.items():
        assert extra["there"] == all(extra["packages"].values())
        assert extra["install"] == f"pip install 'relprop[{name}]'"
        assert name in str(found)
    absent = [extra for extra in extras.values() if not extra["there"]]
    assert all(extra["install"] in str(found) for extra in absent)


def test_documents(found: Checkup, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--json"], ["--format", "json"]):
        assert run(["doctor", *words]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document.keys() == found.document.keys()
        assert document["packages"] == found.document["packages"]
    assert run(["doctor", "--format", "word"]) == 2
    assert "Expected a known format but got 'word'" in capsys.readouterr().err


def broken() -> Any:
    raise RelpropError("Expected weights but they are damaged.")


def open_books() -> Any:
    return SimpleNamespace(ledger=SimpleNamespace(closes=False, max_error=0.5, tolerance=1e-6))


@pytest.mark.parametrize(
    ("explained", "problem"),
    [(broken, "weights but they are damaged"), (open_books, "ledger does not close")],
)
def test_a_self_test_that_fails(
    explained: Any, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not _tested(explained)["passed"]
    monkeypatch.setattr(MODULE, "_explained", explained)
    assert run(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "SELF-TEST FAILED" in told
    assert problem in told


def test_pairs_of_torch_and_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    # As torchvision's own page of releases lists them.
    assert [_partner(t) for t in ("2.6.0", "2.7.1", "2.8.0+cpu", "2.9.1", "3.0.0")] == [
        "0.21", "0.22", "0.23", "0.24", None,
    ]  # fmt: skip
    numbers = {"torch": "2.6.0", "torchvision": "0.24.1"}
    monkeypatch.setattr(MODULE, "_version", numbers.get)
    told = _pair()
    assert told["pairs"] is False
    assert "pip install 'torchvision==0.21.*'" in told["verdict"]
    numbers["torchvision"] = None  # type: ignore[assignment]
    assert "torchvision is not installed: pip install 'relprop[torchvision]'" in _pair()["verdict"]
