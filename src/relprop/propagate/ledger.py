"""Ledger: where the relevance went, operator by operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

__all__ = ["Balance", "Ledger", "Row", "Totals"]


@dataclass(frozen=True)
class Row:
    """The accounts of one operator, summed over targets and samples where not said otherwise.

    Attributes:
        node, module, operator, rule: which operator, and how relevance crossed it.
        arrived: relevance that came to the operator's output.
        passed: relevance handed on to its inputs.
        bias: relevance absorbed by the bias.
        stabiliser: relevance absorbed by the stabiliser.
        lost: relevance that had nowhere to go under the rule (a unit active through its bias alone).
        absolute: sum of |relevance| at the output.
        error: largest |arrived - passed - bias - stabiliser - lost| of a target and sample, relative to
            the sum of |relevance| at the operator (its output or its inputs, whichever is larger).
    """

    node: str
    module: str
    operator: str
    rule: str
    arrived: float
    passed: float
    bias: float
    stabiliser: float
    lost: float
    absolute: float
    error: float

    def __str__(self) -> str:
        return (
            f"{self.operator:<28.27}{self.module:<28.27}{self.rule:<24.23}{self.arrived:>12.5g}{self.passed:>12.5g}"
            f"{self.bias:>12.5g}{self.stabiliser:>11.3g}{self.lost:>11.3g}{self.error:>9.1e}"
        )


@dataclass(frozen=True)
class Balance:
    """The accounts of one target and sample, over all operators; see `Row` and `Ledger` for the fields.

    Attributes:
        size: sum of |relevance| at the start.
        largest: the largest sum of |relevance| at any operator.
        error: the largest error of any operator.
    """

    start: float
    size: float
    end: float
    bias: float
    stabiliser: float
    lost: float
    largest: float
    error: float


@dataclass(frozen=True)
class Totals:
    """The worked-out books of a walk; see `Ledger` for the fields."""

    rows: tuple[Row, ...]
    start: float
    end: float
    absolute_start: float
    aside: float
    balances: tuple[tuple[Balance, ...], ...] = field(default=(), compare=False, repr=False)


class Ledger:
    """All rows of one propagation, from the start backward.

    The sums are taken during the walk; the rows are worked out when first asked for.

    Args:
        totals: works out the books.
        tolerance: what counts as rounding at the precision used: 1e-6 (float32), 1e-13 (float64).
        of_sample: works out the books of one sample; None where samples can't be told apart.
    """

    def __init__(
        self,
        totals: Callable[[], Totals],
        tolerance: float,
        of_sample: Callable[[int], Totals] | None = None,
    ) -> None:
        self._make = totals
        self._of_sample = of_sample
        self.tolerance = tolerance

    @classmethod
    def recorded(cls, summary: Mapping[str, float | bool], tolerance: float) -> Ledger:
        """A ledger of which nothing but the `summary` was kept: no rows, and the verdict as it was recorded."""
        start, end = float(summary["start"]), float(summary["input"])
        ledger = cls(lambda: Totals((), start, end, 0.0, 0.0), tolerance)
        vars(ledger)["_summary"] = dict(summary)
        return ledger

    def __getstate__(self) -> dict[str, Any]:
        # What a copy, a pickle or a folder keeps: the books worked out, without the walk that they came from.
        kept = {"tolerance": self.tolerance, "_totals": self._totals, "_summary": self._summary}
        return kept | {"_of_sample": None}

    @cached_property
    def _totals(self) -> Totals:
        return self._make()

    @cached_property
    def _summary(self) -> dict[str, float | bool]:
        rows, start = self.rows, self._totals.absolute_start
        # Without a row all that started has to have arrived: where the walk stops is where it starts.
        gone = abs(self._totals.start - self._totals.end)
        missing = math.inf if not rows and not gone <= self.tolerance * start else 0.0
        worst = max((math.inf if math.isnan(r.error) else r.error for r in rows), default=missing)
        return {
            "start": self._totals.start,
            "input": self._totals.end,
            "bias": sum(r.bias for r in rows),
            "stabiliser": sum(r.stabiliser for r in rows),
            "lost": sum(r.lost for r in rows),
            "growth": max((r.absolute for r in rows), default=0.0) / start if start else 0.0,
            "max_error": worst,
            "closes": worst <= self.tolerance,
        }

    @property
    def totals(self) -> Totals:
        """The rows and totals as plain data."""
        return self._totals

    @classmethod
    def merged(cls, ledgers: Sequence[Ledger]) -> Ledger:
        """One ledger for targets that were walked in groups."""
        if len(ledgers) == 1:
            return ledgers[0]
        parts = [ledger._of_sample for ledger in ledgers]
        apart = [part for part in parts if part is not None]
        return cls(
            lambda: _merged([ledger._totals for ledger in ledgers]),
            ledgers[0].tolerance,
            None if len(apart) < len(parts) else lambda n: _merged([part(n) for part in apart]),
        )

    def sample(self, n: int) -> Ledger | None:
        """The ledger of one sample of the batch, as it would be without the others.

        None where sums run over several samples (a network that lays windows of all samples side by side), and of
        ledgers that were saved, copied or recorded.
        """
        of_sample = self._of_sample
        return None if of_sample is None else Ledger(lambda: of_sample(n), self.tolerance)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per operator that relevance crossed."""
        return self._totals.rows

    @property
    def balances(self) -> tuple[tuple[Balance, ...], ...]:
        """The accounts of every target (outer) and sample; one for all samples where they can't be told apart.

        Empty in ledgers that were saved and loaded.
        """
        return self._totals.balances

    @property
    def start(self) -> float:
        """Total relevance of the seed."""
        return self._totals.start

    @property
    def end(self) -> float:
        """Total relevance that arrived at the stop (the input by default)."""
        return self._totals.end

    @property
    def aside(self) -> float:
        """Relevance on ways that pass an inner stop by (0 when the stop is the input)."""
        return self._totals.aside

    @property
    def max_error(self) -> float:
        """The largest error of a row, relative to the sum of |relevance| there; infinite for NaN.

        Infinite too where an operator was crossed and nobody booked what arrived, and where there is no row at
        all between a start and an end that differ.
        """
        return self._summary["max_error"]

    @property
    def closes(self) -> bool:
        """Whether every row balances up to rounding."""
        return bool(self._summary["closes"])

    @property
    def bias(self) -> float:
        """Relevance absorbed by biases."""
        return self._summary["bias"]

    @property
    def stabiliser(self) -> float:
        """Relevance absorbed by stabilisers."""
        return self._summary["stabiliser"]

    @property
    def lost(self) -> float:
        """Relevance that had nowhere to go."""
        return self._summary["lost"]

    @property
    def growth(self) -> float:
        """The largest sum of |relevance| at any operator, relative to the start's."""
        return self._summary["growth"]

    def summary(self) -> dict[str, float | bool]:
        """The accounts in one line, as plain numbers."""
        return dict(self._summary)

    def __str__(self) -> str:
        head = f"{'operator':<28}{'module':<28}{'rule':<24}{'in':>12}{'out':>12}{'bias':>12}"
        head += f"{'stab.':>11}{'lost':>11}{'error':>9}"
        lines = [head, *map(str, self.rows)]
        verdict = "closes" if self.closes else "DOES NOT CLOSE"
        aside = f" + past the stop {self.aside:.6g}" if self.aside else ""
        lines += [
            (
                f"start {self.start:.6g} = input {self.end:.6g} + bias {self.bias:.6g} + stabiliser "
                f"{self.stabiliser:.3g} + lost {self.lost:.3g}{aside}"
            ),
            (
                f"{verdict} (largest error {self.max_error:.1e}, allowed {self.tolerance:.0e}); sum of |R| grows "
                f"to {self.growth:.3g} x start"
            ),
        ]
        return "\n".join(lines)


def _merged(several: Sequence[Totals]) -> Totals:
    rows = []
    by_node: dict[str, list[Row]] = {}
    for one in several:
        for row in one.rows:  # a group that has no relevance at an operator has no row for it
            by_node.setdefault(row.node, []).append(row)
    for same in by_node.values():
        names = ("arrived", "passed", "bias", "stabiliser", "lost", "absolute")
        sums = {name: sum(getattr(r, name) for r in same) for name in names}
        rows.append(replace(same[0], **sums, error=max(r.error for r in same)))
    totals = {n: sum(getattr(t, n) for t in several) for n in ("start", "end", "absolute_start", "aside")}
    return Totals(rows=tuple(rows), balances=tuple(b for t in several for b in t.balances), **totals)
