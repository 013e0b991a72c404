"""Table: what a benchmark found, method by method and column by column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from relprop.benchmark.bootstrap import Average, Estimate, Pairs, Resampling
from relprop.benchmark.columns import Column, columns_of
from relprop.benchmark.comparison import Comparison
from relprop.benchmark.held import Held
from relprop.benchmark.paired import Paired
from relprop.benchmark.record import Record
from relprop.benchmark.significance import enough
from relprop.errors import InputError, unknown_name
from relprop.metrics.metric import Metric, Outcome

__all__ = ["Cell", "Series", "Table", "paired_difference", "tabulate"]


@dataclass(frozen=True)
class Cell:
    """One number, in the outcome's own unit (a share is 0 to 1, also where it is shown in percent).

    Attributes:
        value: the mean; NaN: not applicable, no pair gave a number.
        low: lower end of the interval; NaN where fewer than two pictures were counted.
        high: upper end.
        pairs: how many pairs (picture, class) were averaged.
        images: how many pictures they come from.
        published: what the paper reports, in the same unit, or None.
        missing: where there is no number, why.
        unbeaten: controls that the method doesn't beat in this column; see `tabulate`.
        share: of the ceiling, over the pairs that both have; None where no ceiling is known.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    pairs: int = 0
    images: int = 0
    published: float | None = None
    missing: str = ""
    unbeaten: tuple[str, ...] = ()
    share: Estimate | None = None


@dataclass(frozen=True)
class Series:
    """An outcome that was measured at several places: layers, steps.

    Attributes:
        metric: the metric as the recipe labels it.
        key: the outcome's key, without the places.
        title: its name.
        better: whether more or less is better, or neither.
        percent: shown times 100.
        wheres: the places in order.
        cells: by method, one per place.
    """

    metric: str
    key: str
    title: str
    better: Literal["higher", "lower", ""]
    percent: bool
    wheres: tuple[str, ...]
    cells: Mapping[str, tuple[Cell, ...]]


@dataclass(frozen=True)
class Table:
    """Methods down, outcomes across.

    Attributes:
        title: above the table.
        methods: labels in the recipe's order.
        columns: metrics in the recipe's order, their outcomes and subsets in theirs; without columns that
            hold no number at all (`notes` names them).
        cells: by (method, column id).
        series: outcomes measured at several places.
        notes: sentences that a reader needs.
        replicates: number of draws behind the intervals.
        seed: of the draws.
        level: of the intervals.
        controls: which of `methods` know nothing of what the network learned, or only sharpen another's map.
        ceiling: which of `methods` isn't one but says how much can be had; "" if nothing does.
        oracle: which of `controls` no method has to beat, because it was told the answer; "" if none was.
        network: what the published numbers were measured on.
        source: what they are from.
        comparisons: of every two methods, see `relprop.benchmark.pairs.compare`.
    """

    title: str
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str], Cell]
    series: tuple[Series, ...] = ()
    notes: tuple[str, ...] = ()
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95
    controls: tuple[str, ...] = ()
    ceiling: str = ""
    oracle: str = ""
    network: str = ""
    source: str = ""
    comparisons: tuple[Comparison, ...] = ()

    def __post_init__(self) -> None:
        for what, given, among in (
            ("controls", self.controls, self.methods),
            ("ceiling", (self.ceiling,) if self.ceiling else (), self.methods),
            ("oracle", (self.oracle,) if self.oracle else (), self.controls),
        ):
            for label in given:
                if label not in among:
                    raise unknown_name(f"row for {what}", label, among)
        if self.ceiling in self.controls:
            raise InputError(f"Expected a ceiling that is no control but got {self.ceiling!r} as both.")

    @property
    def judged(self) -> tuple[str, ...]:
        """The methods alone: no controls, no ceiling."""
        return tuple(m for m in self.methods if m not in self.controls and m != self.ceiling)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Rows as they are shown, in blocks: methods, controls, the ceiling. None of them is empty."""
        blocks = (self.judged, self.controls, (self.ceiling,) if self.ceiling else ())
        return tuple(block for block in blocks if block)

    @property
    def rows(self) -> tuple[str, ...]:
        """Every row in the order of `groups`."""
        return tuple(m for block in self.groups for m in block)

    def kind(self, row: str) -> Literal["method", "control", "oracle", "ceiling"]:
        """What a row is."""
        if row == self.ceiling:
            return "ceiling"
        if row in self.controls:
            return "oracle" if row == self.oracle else "control"
        return "method"

    @property
    def main(self) -> tuple[Column, ...]:
        """The columns to look at; the others are details."""
        return tuple(column for column in self.columns if not column.detail)

    def column(self, name: str) -> Column:
        """The column of that id.

        Raises:
            UnknownNameError: no such column.
        """
        for column in self.columns:
            if column.id == name:
                return column
        raise unknown_name("column", name, [c.id for c in self.columns])

    def cell(self, method: str, column: Column | str) -> Cell:
        """The cell of a method in a column."""
        return self.cells[method, column if isinstance(column, str) else column.id]

    def best(self, column: Column) -> tuple[str, ...]:
        """The methods with the best value: several where they tie, none where there is nothing to compare.

        Looked for among methods alone: a control or the ceiling is no answer.
        """
        found = {m: self.cell(m, column).value for m in self.judged}
        found = {m: v for m, v in found.items() if not math.isnan(v)}
        if len(found) < 2 or not column.better:
            return ()
        top = max(found.values()) if column.better == "higher" else min(found.values())
        return tuple(m for m, v in found.items() if v == top)

    @property
    def published(self) -> tuple[Column, ...]:
        """The columns to look at that somebody published numbers of."""
        return tuple(c for c in self.main if any(self.cell(m, c).published is not None for m in self.methods))

    def counts(self, column: Column, what: Literal["pairs", "images"]) -> tuple[int, int]:
        """Least and most pairs or pictures behind a column's numbers, over methods and controls that have one."""
        numbers = [getattr(self.cell(m, column), what) for m in self.methods if m != self.ceiling]
        numbers = [n for n in numbers if n] or [0]
        return min(numbers), max(numbers)


def tabulate(
    records: Iterable[Record],
    metrics: Mapping[str, Metric],
    methods: Sequence[str],
    *,
    title: str = "",
    published: Mapping[str, Mapping[str, float]] | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
    controls: Sequence[str] = (),
    ceiling: str = "",
    oracle: str = "",
    sharpened: Mapping[str, str] | None = None,
    network: str = "",
    source: str = "",
) -> Table:
    """Average records to a table with intervals.

    The order of the records doesn't matter, not for a single digit. A method without any number in a column
    has a NaN there, which is not 0.

    Args:
        records: at most one for each picture, class, method and metric.
        metrics: by the recipe's label, in the order of the columns.
        methods: the recipe's labels, in the order of the rows.
        title: above the table.
        published: by column id (`pointing-game.hit[dif]`) and method, in the unit that the table shows
            (percent where the outcome is a share). Methods that aren't in the table are passed over.
        notes: sentences put before the table's own.
        seed: of the bootstrap over pictures, see `Resampling`.
        replicates: number of draws.
        level: of the intervals.
        controls, ceiling, oracle: labels among `methods`, see `Table`. A method beats a control where the
            interval of their paired difference lies on the better side of 0, on enough pictures that differ
            for a sign test to say so (`relprop.benchmark.significance.enough`).
        sharpened: control -> the method whose map it sharpens. Where the two are equal pair by pair, because
            a metric looks at the order of pixels alone, that control judges nothing.
        network: what the published numbers were measured on.
        source: what the published numbers are from.

    Raises:
        InputError: two records of the same pair, or a value that is NaN or infinite.
        UnknownNameError: a record, a control, a ceiling or a published number of an unknown method, metric,
            outcome or column.
    """
    held = Held(records, metrics, methods)
    draws = Resampling(sorted(held.images), replicates, seed)
    ours = published or {}
    possible = columns_of(metrics)
    for name in ours:
        if name not in {c.id for c in possible}:
            raise unknown_name("column with published numbers", name, [c.id for c in possible])

    def estimate(method: str, metric: str, key: str, subset: str, outcome: Outcome) -> Estimate:
        return draws.estimate(held.pairs(method, metric, key, subset, draws), outcome.average, level)

    columns, cells, empty = [], {}, []
    series = _series(held, metrics, methods, estimate)
    curved = {(s.metric, s.key) for s in series}
    rows = Table(title, tuple(methods), (), {}, controls=tuple(controls), ceiling=ceiling, oracle=oracle)
    for column in possible:
        outcome = metrics[column.metric].outcome(column.key)
        pairs = {m: held.pairs(m, column.metric, column.key, column.subset, draws) for m in methods}
        papers = {m: _own_unit(ours.get(column.id, {}).get(m), column.percent) for m in methods}
        if not any(len(found.values) for found in pairs.values()) and set(papers.values()) == {None}:
            if (column.metric, column.key) not in curved:
                empty.append(column.title)
            continue
        columns.append(column)
        for method, cell in _column_cells(
            rows, column, pairs, outcome, draws, level, sharpened or {}
        ).items():
            missing = ""
            if not cell.pairs:
                missing = held.missing(method, column.metric, column.subset, outcome.absent)
                if method == ceiling:
                    missing = "no ceiling is known for this metric"
            cells[method, column.id] = replace(cell, published=papers[method], missing=missing)
    said = list(notes)
    if draws.images:
        pictures = "1 picture" if len(draws.images) == 1 else f"{len(draws.images)} pictures"
        said.append(
            f"Intervals: {100 * level:g} %, percentile bootstrap over {pictures}, {replicates} draws, seed {seed}."
        )
    if empty:
        said.append(f"Without any number, so not shown: {'; '.join(empty)}.")
    return Table(
        title,
        tuple(methods),
        tuple(columns),
        cells,
        tuple(series),
        tuple(said),
        replicates,
        seed,
        level,
        tuple(controls),
        ceiling,
        oracle,
        network,
        source,
    )


def paired_difference(
    records: Iterable[Record],
    metrics: Mapping[str, Metric],
    column: str,
    one: str,
    two: str,
    *,
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """How much method `one` differs from `two` in a column, over the pairs that both have a number for.

    The interval is of the difference itself, each draw with the same pictures for both (see
    `Resampling.difference`), in the outcome's own unit.

    Raises:
        UnknownNameError: no such column, or a record of an unknown metric or outcome.
    """
    found = next((c for c in columns_of(metrics) if c.id == column), None)
    if found is None:
        raise unknown_name("column", column, [c.id for c in columns_of(metrics)])
    held = Held((r for r in records if r.method in (one, two)), metrics, (one, two))
    draws = Resampling(sorted(held.images), replicates, seed)
    average: Average = metrics[found.metric].outcome(found.key).average
    a, b = (held.pairs(m, found.metric, found.key, found.subset, draws) for m in (one, two))
    return draws.difference(a, b, average, level)


def _column_cells(
    rows: Table,
    column: Column,
    pairs: Mapping[str, Pairs],
    outcome: Outcome,
    draws: Resampling,
    level: float,
    sharpened: Mapping[str, str],
) -> dict[str, Cell]:
    """The cells of one column: means, what isn't beaten, shares of the ceiling."""
    filled = [m for m, found in pairs.items() if len(found.values)]
    rivals = [c for c in rows.controls if c in filled and c != rows.oracle and column.better]
    judged = [m for m in rows.judged if m in filled]
    capped = rows.ceiling in filled and column.better == "higher"
    below = [m for m in filled if m != rows.ceiling] if capped else []
    twins = [(c, sharpened[c]) for c in rivals if sharpened.get(c) in filled]
    compared = [*((m, c) for m in judged for c in rivals), *((m, rows.ceiling) for m in below), *twins]
    paired = Paired(pairs, outcome.average, dict.fromkeys(compared))
    paired.draw(draws)
    rivals = [c for c in rivals if (c, sharpened.get(c)) not in twins or paired.differing(c, sharpened[c])]
    sign = -1 if column.better == "lower" else 1

    def beats(one: str, two: str) -> bool:
        found = paired.difference(one, two, level)
        ahead = found.low > 0 if sign > 0 else found.high < 0
        return ahead and enough(paired.differing(one, two), level)

    cells = {}
    for method in pairs:
        found = paired.estimate(method, level)
        unbeaten = tuple(c for c in rivals if not beats(method, c)) if method in judged else ()
        share = paired.ratio(method, rows.ceiling, level) if method in below else None
        share = None if share is None or math.isnan(share.value) else share
        cells[method] = replace(_cell(found), unbeaten=unbeaten, share=share)
    return cells


def _series(
    held: Held,
    metrics: Mapping[str, Metric],
    methods: Sequence[str],
    estimate: Callable[[str, str, str, str, Outcome], Estimate],
) -> list[Series]:
    found = []
    for name, metric in metrics.items():
        for outcome in metric.outcomes:
            wheres = held.wheres(name, outcome.key)
            if not wheres:
                continue
            cells = {
                m: tuple(_cell(estimate(m, name, f"{outcome.key}@{w}", "all", outcome)) for w in wheres)
                for m in methods
            }
            found.append(
                Series(name, outcome.key, outcome.title, outcome.better, outcome.percent, wheres, cells)
            )
    return found


def _cell(found: Estimate) -> Cell:
    return Cell(found.value, found.low, found.high, found.pairs, found.images)


def _own_unit(shown: float | None, percent: bool) -> float | None:
    # In decimals: 57.6 % is 0.576, not the 0.5760000000000001 that a division by 100 may give.
    return shown if shown is None or not percent else float(Decimal(repr(float(shown))).scaleb(-2))
