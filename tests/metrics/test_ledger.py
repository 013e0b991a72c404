"""Ledger closure: what is read from an explanation's ledger, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.metrics import make

from relprop.metrics import LedgerClosure
from relprop.propagate.ledger import Ledger, Row, Totals


def ledger(error: float = 0.0, start: float = 4.0, lost: float = -1.0) -> Ledger:
    row = Row("relu", "1", "relu", "pass", start, start - lost, 0.0, 0.0, lost, abs(start), error)
    return Ledger(lambda: Totals((row,), start, start - lost, abs(start), 0.0), 1e-6)


def measured(**facts: float) -> dict[str, float]:
    case = make.model_case()
    return LedgerClosure().measure(
        make.Case(**{**vars(case), "explanation": replace(case.explanation, ledger=ledger(**facts))})
    )


def test_numbers() -> None:
    assert measured() == {"closes": 1.0, "error": 0.0, "lost": 0.25}
    assert measured(error=1e-3) == {"closes": 0.0, "error": 1e-3, "lost": 0.25}


def test_what_is_not_finite_is_left_out() -> None:
    assert measured(error=float("nan")) == {"closes": 0.0, "lost": 0.25}
    assert measured(start=0.0) == {"closes": 1.0, "error": 0.0}
    assert measured(lost=float("nan"), error=float("nan")) == {"closes": 0.0}


def test_methods_without_a_ledger_are_left_out() -> None:
    assert LedgerClosure().measure(make.model_case(method="gradient")) == {}
    case = make.model_case()
    assert LedgerClosure().measure(make.Case(case.sample, 0, case.heat)) == {}


@pytest.mark.parametrize("method", ["lrp-epsilon", "lrp-composite", "lrp-gamma"])
def test_real_explanations_close(method: str) -> None:
    case = make.model_case(1, method)
    found = LedgerClosure().measure(case)
    assert found["closes"] == 1.0
    assert found["error"] == case.explanation.ledger.max_error <= 1e-13
    assert found["lost"] == abs(case.explanation.ledger.lost / case.explanation.ledger.start)


def test_a_saved_ledger_is_read_as_well(tmp_path: object) -> None:
    case = make.model_case()
    saved = type(case.explanation).load(case.explanation.save(tmp_path / "e"))  # type: ignore[operator]
    again = make.Case(**{**vars(case), "explanation": saved})
    assert LedgerClosure().measure(again) == LedgerClosure().measure(case)
