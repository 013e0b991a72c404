"""Table: what a benchmark found, method by method and column by column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from relprop.benchmark.bootstrap import Average, Estimate, Pairs, Resampling
from relprop.benchmark.record import Record
from relprop.errors import InputError, unknown_name
from relprop.metrics.metric import SUBSETS, Metric, Outcome

__all__ = ["SUBSET_TITLES", "Cell", "Column", "Series", "Table", "paired_difference", "tabulate"]

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
    def id(self) -> str:
        """A short name, unique in the table.

        >>> Column("pointing-game", "hit", "dif", "", "higher", True).id
        'pointing-game.hit[dif]'
        """
        return f"{self.metric}.{self.key}" + ("" if self.subset == "all" else f"[{self.subset}]")


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
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    pairs: int = 0
    images: int = 0
    published: float | None = None


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

    def counts(self, column: Column, what: Literal["pairs", "images"]) -> tuple[int, int]:
        """Least and most pairs or pictures behind a column's numbers, over methods that have one."""
        numbers = [getattr(self.cell(m, column), what) for m in self.methods]
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
        controls, ceiling, oracle: labels among `methods`, see `Table`.

    Raises:
        InputError: two records of the same pair, or a value that is NaN or infinite.
        UnknownNameError: a record, a control, a ceiling or a published number of an unknown method, metric,
            outcome or column.
    """
    held = _Held(records, metrics, methods)
    draws = Resampling(sorted(held.images), replicates, seed)
    ours = published or {}
    possible = _columns(metrics)
    for name in ours:
        if name not in {c.id for c in possible}:
            raise unknown_name("column with published numbers", name, [c.id for c in possible])

    def estimate(method: str, metric: str, key: str, subset: str, outcome: Outcome) -> Estimate:
        return draws.estimate(held.pairs(method, metric, key, subset, draws), outcome.average, level)

    columns, cells, empty = [], {}, []
    series = _series(held, metrics, methods, estimate)
    curved = {(s.metric, s.key) for s in series}
    for column in possible:
        outcome = metrics[column.metric].outcome(column.key)
        row = {}
        for method in methods:
            found = estimate(method, column.metric, column.key, column.subset, outcome)
            paper = _own_unit(ours.get(column.id, {}).get(method), column.percent)
            row[method] = _cell(found, paper)
        if all(cell.pairs == 0 and cell.published is None for cell in row.values()):
            if (column.metric, column.key) not in curved:
                empty.append(column.title)
            continue
        columns.append(column)
        cells.update({(method, column.id): cell for method, cell in row.items()})
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
    found = next((c for c in _columns(metrics) if c.id == column), None)
    if found is None:
        raise unknown_name("column", column, [c.id for c in _columns(metrics)])
    held = _Held((r for r in records if r.method in (one, two)), metrics, (one, two))
    draws = Resampling(sorted(held.images), replicates, seed)
    average: Average = metrics[found.metric].outcome(found.key).average
    a, b = (held.pairs(m, found.metric, found.key, found.subset, draws) for m in (one, two))
    return draws.difference(a, b, average, level)


@dataclass
class _Held:
    """Records by (method, metric, key), checked."""

    records: Iterable[Record]
    metrics: Mapping[str, Metric]
    methods: Sequence[str]
    images: set[str] = field(default_factory=set)
    rows: dict[tuple[str, str, str], list[tuple[str, int, float, tuple[str, ...]]]] = field(
        default_factory=dict
    )
    places: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[tuple[str, int, str, str]] = set()
        known = {name: {o.key for o in metric.outcomes} for name, metric in self.metrics.items()}
        for record in self.records:
            if record.method not in self.methods:
                raise unknown_name("method in the records", record.method, self.methods)
            if record.metric not in known:
                raise unknown_name("metric in the records", record.metric, known)
            pair = (record.image, record.label, record.method, record.metric)
            if pair in seen:
                raise InputError(
                    f"Expected one record for each picture, class, method and metric but got two of "
                    f"{record.image!r}, class {record.label}, {record.method!r}, {record.metric!r}. "
                    "Read each result once."
                )
            seen.add(pair)
            self.images.add(record.image)
            placed: dict[str, list[str]] = {}
            for key, value in record.values.items():
                if key.split("@")[0] not in known[record.metric]:
                    raise unknown_name(f"outcome of {record.metric!r}", key, known[record.metric])
                if "@" in key:
                    own, where = key.split("@", 1)
                    placed.setdefault(own, []).append(where)
                self.rows.setdefault((record.method, record.metric, key), []).append(
                    (record.image, record.label, value, record.subsets)
                )
            for own, wheres in placed.items():
                self.places.setdefault((record.metric, own), set()).add(tuple(wheres))

    def pairs(self, method: str, metric: str, key: str, subset: str, draws: Resampling) -> Pairs:
        rows = self.rows.get((method, metric, key), [])
        return Pairs.of([(draws.index[i], label, v) for i, label, v, subsets in rows if subset in subsets])

    def wheres(self, metric: str, key: str) -> tuple[str, ...]:
        """Places in order: `0.1` and `01 conv1` by their numbers, bare names as the measurements list them."""
        after: TopologicalSorter[str] = TopologicalSorter()
        names: set[str] = set()
        for places in sorted(self.places.get((metric, key), ())):
            names.update(places)
            for k, place in enumerate(places):
                after.add(place, *places[max(0, k - 1) : k])
        try:
            return tuple(sorted(names, key=lambda place: float(place.split(" ")[0])))
        except ValueError:
            pass
        try:
            return tuple(after.static_order())
        except CycleError:  # measurements disagree
            return tuple(sorted(names))


def _columns(metrics: Mapping[str, Metric]) -> list[Column]:
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


def _series(
    held: _Held,
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


def _cell(found: Estimate, published: float | None = None) -> Cell:
    return Cell(found.value, found.low, found.high, found.pairs, found.images, published)


def _own_unit(shown: float | None, percent: bool) -> float | None:
    # In decimals: 57.6 % is 0.576, not the 0.5760000000000001 that a division by 100 may give.
    return shown if shown is None or not percent else float(Decimal(repr(float(shown))).scaleb(-2))
