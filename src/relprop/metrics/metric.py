"""Metric: a judgement of explanations that is counted pair by pair and merges exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.datasets.sample import Region, Sample
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.metrics.part_game import PartGame
from relprop.precision import full_precision

__all__ = ["SUBSETS", "Case", "Metric", "Needs", "Outcome", "Tally", "as_heat", "as_region"]

SUBSETS = ("all", "dif", "all-p", "dif-p")
"""ALL: every pair; DIF: the difficult ones; -p: only classes that are labelled and predicted."""

Needs = Literal["heat", "model", "explanation"]
"""What a metric looks at: the map and the truth; the network, too; or all that the method returned."""


@dataclass(frozen=True, eq=False)
class Case:
    """One explanation of one class in one picture, with the truth to judge it by.

    Attributes:
        sample: the picture and its annotation.
        label: the explained class as an index into the data set's classes; -1: all objects are meant.
        heat: (H, W) float64, the map at the picture's own size.
        signed: False where the map holds no negative value, so that 0 is no threshold.
        predicted: the model predicts the class, too.
        map: (h, w), the map on the model's input (before it was resized), on the CPU.
        x: the model's input (1, C, h, w).
        target: the model's output index that was explained.
        model: the network, (N, C, h, w) -> (N, classes).
        multi_label: sigmoid instead of softmax scores.
        explanation: what the method returned for this picture; its ledger may cover further targets.
        explain: the map (h, w) of the same method, input and target on another network.
        explain_at: the maps (N, h, w) of the same method, target and network at other inputs (N, C, h, w).
        game: the model's outputs with any of the parts of the sample's world; None where it has none.
    """

    sample: Sample
    label: int
    heat: NDArray[np.float64]
    signed: bool = True
    predicted: bool = True
    map: Tensor | None = None
    x: Tensor | None = None
    target: int = 0
    model: nn.Module | None = None
    multi_label: bool = False
    explanation: Explanation | None = None
    explain: Callable[[nn.Module], Tensor] | None = None
    explain_at: Callable[[Tensor], Tensor] | None = None
    game: PartGame | None = None

    def limited(self, needs: Needs) -> Case:
        """The case with what a metric says it needs, and no more: a map that was kept has no more either."""
        if needs == "explanation":
            return self
        if needs == "model":
            return replace(self, explanation=None)
        return replace(self, x=None, model=None, explanation=None, explain=None, explain_at=None, game=None)

    def region(self, kind: Region) -> NDArray[np.bool_] | None:
        """The class's region in the picture; see `Sample.region`."""
        return self.sample.region(self.label, kind)

    @property
    def subsets(self) -> tuple[str, ...]:
        """Which of `SUBSETS` the pair belongs to."""
        hard = self.label >= 0 and self.sample.is_hard(self.label)
        return tuple(
            name
            for name in SUBSETS
            if (hard or not name.startswith("dif")) and (self.predicted or not name.endswith("-p"))
        )


@dataclass(frozen=True)
class Outcome:
    """One number that a metric reports.

    Attributes:
        key: its name in measurements.
        title: its name in tables.
        better: whether more or less of it is better, or neither.
        average: "class": mean per class, then over classes; "pair": mean over pairs.
        percent: shown times 100.
        subsets: whether it is reported for each of `SUBSETS` (else for "all" only).
        detail: left to the files that a program reads; tables to look at have enough without it.
        absent: why maps may have no such number, for the note below a table: "they have no negative values".
    """

    key: str
    title: str
    better: Literal["higher", "lower", ""] = "higher"
    average: Literal["class", "pair"] = "class"
    percent: bool = True
    subsets: bool = False
    detail: bool = False
    absent: str = ""


class Tally:
    """Exact sums and counts by class: two tallies merge to what one pass over everything gives.

    Sums are exact fractions (every float64 is one), so neither the order of the pairs nor how they were split
    into parts changes a digit.

    >>> one, two = Tally(), Tally()
    >>> one.add(0, 1.0), one.add(0, 0.0), two.add(1, 1.0)
    (None, None, None)
    >>> one.merge(two)
    >>> one.mean("class"), round(one.mean("pair"), 4), one.count
    (0.75, 0.6667, 3)
    """

    def __init__(self) -> None:
        self.sums: dict[int, Fraction] = {}
        self.counts: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Number of pairs."""
        return sum(self.counts.values())

    def add(self, label: int, value: float) -> None:
        """Count one pair of a class.

        Raises:
            InputError: NaN or infinity.
        """
        if not math.isfinite(value):
            raise InputError(f"Expected a finite value to count but got {value} for class {label}.")
        self.sums[label] = self.sums.get(label, Fraction(0)) + Fraction(value)
        self.counts[label] = self.counts.get(label, 0) + 1

    def merge(self, other: Tally) -> None:
        """Take in another tally's pairs."""
        for label, count in other.counts.items():
            self.sums[label] = self.sums.get(label, Fraction(0)) + other.sums[label]
            self.counts[label] = self.counts.get(label, 0) + count

    def mean(self, average: Literal["class", "pair"]) -> float:
        """Mean per class, then over classes; or over all pairs. NaN where nothing was counted."""
        if not self.counts:
            return math.nan
        if average == "pair":
            return float(sum(self.sums.values(), Fraction(0)) / self.count)
        return float(sum((self.sums[c] / n for c, n in self.counts.items()), Fraction(0)) / len(self.counts))


class Metric:
    """A judgement of explanations. Subclasses set the class facts and write `measure`.

    `measure` looks at one pair and returns numbers; `update` counts them, `merge` takes in what another
    process counted, `compute` gives the means. Settings are keyword-only constructor arguments, kept as
    attributes of the same name.

    Attributes:
        name: the name in the registry.
        summary: one line for lists.
        outcomes: the numbers it reports. A measurement may also hold keys `outcome@where` (a layer, a step);
            they are counted under their own key and belong to the outcome before the `@`.
        of_model: it looks at the network and the class alone, so that one method's cases are enough.
        needs: what it looks at. "heat": the map, the truth and the prediction (`Case.heat`, `map`, `sample`,
            `label`, `target`, `predicted`, `signed`); "model": also `model`, `x`, `explain`, `explain_at` and
            `game`; "explanation": also `explanation`. Nothing else is in the case. A benchmark judges kept maps by
            the first without the network, by the second without explaining anything; for the third it explains
            again.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    outcomes: ClassVar[tuple[Outcome, ...]]
    of_model: ClassVar[bool] = False
    needs: ClassVar[Needs] = "explanation"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "measure" in vars(cls):
            setattr(cls, "measure", full_precision(vars(cls)["measure"]))  # noqa: B010

    def measure(self, case: Case) -> dict[str, float]:
        """The numbers of one pair by outcome key; outcomes that mean nothing for it are left out."""
        raise NotImplementedError

    def ceiling(self, case: Case) -> dict[str, float]:
        """The numbers of the world's own map, for those outcomes where they say how much there is to have.

        Args:
            case: with the map that puts on every part of a drawn picture what that is worth (`world_map`).
        """
        return {}

    def update(self, case: Case) -> dict[str, float]:
        """Measure one pair and count it."""
        found = self.measure(case)
        self.count(found, case.label, case.subsets)
        return found

    def count(self, measured: Mapping[str, float], label: int, subsets: Iterable[str] = ("all",)) -> None:
        """Count numbers that were measured before."""
        for key, value in measured.items():
            outcome = self.outcome(key)
            for subset in subsets if outcome.subsets else ("all",):
                self.tallies.setdefault((key, subset), Tally()).add(label, value)

    def merge(self, other: Metric) -> None:
        """Take in another accumulator of the same metric with the same settings.

        Raises:
            InputError: another metric, or other settings.
        """
        if type(other) is not type(self) or other.settings() != self.settings():
            raise InputError(f"Expected another {self!r} to merge but got {other!r}.")
        for key, tally in other.tallies.items():
            self.tallies.setdefault(key, Tally()).merge(tally)

    def compute(self) -> dict[str, float]:
        """Means by `key` (all pairs) and `key[subset]`; see `Outcome.average`."""
        return {
            key if subset == "all" else f"{key}[{subset}]": tally.mean(self.outcome(key).average)
            for (key, subset), tally in self.tallies.items()
        }

    def reset(self) -> None:
        """Forget what was counted."""
        self.tallies.clear()

    @property
    def tallies(self) -> dict[tuple[str, str], Tally]:
        """(key, subset) -> what was counted."""
        return self.__dict__.setdefault("_tallies", {})

    @classmethod
    def outcome(cls, key: str) -> Outcome:
        """The outcome that a measurement's key belongs to."""
        return next(o for o in cls.outcomes if o.key == key.split("@")[0])

    def reported(self) -> tuple[Outcome, ...]:
        """The outcomes that these settings ask for, as tables show them; all of them unless a metric says less."""
        return self.outcomes

    def settings(self) -> dict[str, Any]:
        """The configured settings, as plain values."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.settings().items())
        return f"{type(self).__name__}({inner})"


def as_heat(heat: Any) -> NDArray[np.float64]:
    """A map (H, W) as float64.

    Raises:
        InputError: another shape, NaN or infinity.
    """
    array = np.asarray(heat.detach().cpu() if isinstance(heat, torch.Tensor) else heat, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise InputError(f"Expected a map (H, W) but got shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(f"Expected a finite map but {bad} of {array.size} values are NaN or infinite.")
    return array


def as_region(region: Any, heat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A region (H, W) as bool, of the map's size.

    Raises:
        InputError: another shape, or values besides 0 and 1.
    """
    array = np.asarray(region.detach().cpu() if isinstance(region, torch.Tensor) else region)
    if array.shape != heat.shape:
        raise InputError(f"Expected a region of the map's shape {heat.shape} but got {array.shape}.")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError(
            f"Expected a region of booleans or of 0 and 1 but got {array.dtype} with other values."
        )
    return array.astype(bool)
