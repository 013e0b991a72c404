"""Ledger: does the explanation's relevance add up?"""

from __future__ import annotations

import math

from relprop.metrics.metric import Case, Metric, Outcome

__all__ = ["LedgerClosure"]

_NONE = "the method keeps no ledger"


class LedgerClosure(Metric):
    """How many explanations balance at every operator, and what was lost on the way.

    "closes" is the share of pairs whose rows all balance up to rounding (`Ledger.closes`), "error" the largest
    imbalance of a row relative to the relevance there (averaged over pairs), "lost" the relevance that had
    nowhere to go as a share of the start's sum of magnitudes. Methods without a ledger are left out; so
    is "error" where it isn't finite (such a ledger doesn't close) and "lost" where the start is 0. The
    ledger of an explanation with several targets is one for all of them.

    Source: `relprop.propagate.ledger`; no paper.
    """

    name = "ledger"
    needs = "explanation"
    summary = "Ledger: share of explanations that add up at every operator, largest error, share lost"
    outcomes = (
        Outcome("closes", "Ledger closes", average="pair", absent=_NONE),
        Outcome("error", "Largest error", better="lower", average="pair", percent=False, absent=_NONE),
        Outcome("lost", "Lost", better="lower", average="pair", absent=_NONE),
    )

    def measure(self, case: Case) -> dict[str, float]:
        ledger = case.explanation.ledger if case.explanation is not None else None
        if ledger is None:
            return {}
        sums = {name: float(value) for name, value in ledger.summary().items()}
        found = {"closes": sums["closes"]}
        if math.isfinite(sums["max_error"]):
            found["error"] = sums["max_error"]
        # A contrast starts from relevance that sums to nearly 0: its size is the sum of magnitudes.
        size = ledger.rows[0].absolute if ledger.rows else abs(sums["start"])
        if size and math.isfinite(sums["lost"] / size):
            found["lost"] = abs(sums["lost"]) / size
        return found
