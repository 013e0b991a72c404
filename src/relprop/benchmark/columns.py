"""Column: one outcome of one metric in one subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from relprop.metrics.metric import SUBSETS, Metric

__all__ = ["SUBSET_TITLES", "Column", "columns_of"]

SUBSET_TITLES = {"all": "ALL", "dif": "DIF", "all-p": "ALL, P", "dif-p": "DIF, P"}
"""How titles name `metrics.SUBSETS`."""


@dataclass(frozen=True)
class Column:
    """One outcome of one metric in one subset.

    Attributes:
        metric: the metric as the recipe labels it.
        key: the outcome's key.
        subset: one of `metrics.SUBSETS`.
        title: what stands above the column.
        better: whether more or less is better, or neither.
        percent: shown times 100.
        detail: for files that a program reads, not for tables and plots to look at.
    """

    metric: str
    key: str
    subset: str
    title: str
    better: Literal["higher", "lower", ""]
    percent: bool
    detail: bool = False

    @property
    def name(self) -> str:
        """The title without the subset."""
        return self.title.removesuffix(f", {SUBSET_TITLES[self.subset]}")

    @property
    def below(self) -> str:
        """What follows the name in a heading: the subset where there are several, and the unit.

        >>> Column("pointing-game", "hit", "dif", "Pointing Game, DIF", "higher", True).below
        'DIF (%)'
        """
        subset = SUBSET_TITLES[self.subset] if self.name != self.title else ""
        return " ".join(filter(None, [subset, "(%)" if self.percent else ""]))

    @property
    def id(self) -> str:
        """A short name, unique in the table.

        >>> Column("pointing-game", "hit", "dif", "", "higher", True).id
        'pointing-game.hit[dif]'
        """
        return f"{self.metric}.{self.key}" + ("" if self.subset == "all" else f"[{self.subset}]")


def columns_of(metrics: Mapping[str, Metric]) -> list[Column]:
    """Every column that the metrics can fill."""
    uses: dict[str, set[str]] = {}
    for name, metric in metrics.items():
        for outcome in metric.reported():
            uses.setdefault(outcome.title, set()).add(name)
    columns = []
    for name, metric in metrics.items():
        for outcome in metric.reported():
            # One metric with two settings: the recipe's label tells them apart.
            title = outcome.title if len(uses[outcome.title]) == 1 else f"{outcome.title} ({name})"
            for subset in SUBSETS if outcome.subsets else ("all",):
                whole = f"{title}, {SUBSET_TITLES[subset]}" if outcome.subsets else title
                columns.append(
                    Column(name, outcome.key, subset, whole, outcome.better, outcome.percent, outcome.detail)
                )
    return columns
