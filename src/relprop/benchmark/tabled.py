"""Tabled: the table of a benchmark as far as it went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Protocol

from relprop.benchmark.ceiling import WORLD
from relprop.benchmark.controls import best_squared, squared_label
from relprop.benchmark.pairs import compare, statements
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.record import Problem, Record
from relprop.benchmark.table import Table, tabulate
from relprop.benchmark.worker import Worker

__all__ = ["table_of"]


class Measurements(Protocol):
    """What a table is made of: see `relprop.benchmark.run.Finished`."""

    @property
    def recipe(self) -> Recipe:
        """What was computed."""

    @property
    def worker(self) -> Worker:
        """Of this process."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All measurements."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be done."""

    @property
    def pictures(self) -> int:
        """How many pictures the recipe takes."""

    @property
    def open(self) -> int:
        """On how many pictures something is still missing."""


def table_of(done: Measurements) -> Table:
    """The table of a finished benchmark, with notes on what was left out."""
    recipe, worker = done.recipe, done.worker
    judged = [label for label in recipe.method_labels if label not in worker.rows.controls]
    best = best_squared(done.records, worker.rows.metrics, judged) if recipe.squares else None
    squared = [] if best is None else [squared_label(best)]
    # A control that found nothing to draw (the oracle, where no picture has a region) is no row.
    drawn = {record.method for record in done.records}
    controls = [label for label in worker.rows.controls if label in drawn]
    ceiling = [WORLD] if WORLD in drawn else []
    rows = [
        *(m for m in recipe.method_labels if m in controls or m not in worker.rows.controls),
        *squared,
        *ceiling,
    ]
    shown = [record for record in done.records if record.method in rows]
    table = tabulate(
        shown,
        worker.rows.metrics,
        rows,
        title=f"{recipe.name}: {recipe.model.spec} on {recipe.data['name']}, {done.pictures} pictures",
        published=recipe.published,
        notes=list(_notes(done)),
        seed=recipe.seed,
        replicates=recipe.replicates,
        controls=[*controls, *squared],
        oracle=worker.rows.oracle if worker.rows.oracle in controls else "",
        sharpened=_sharpened(done, controls) | ({} if best is None else {squared_label(best): best}),
        network=recipe.network,
        source=recipe.source,
        ceiling="".join(ceiling),
    )
    table = replace(table, comparisons=compare(shown, worker.rows.metrics, table))
    return replace(table, notes=(*table.notes, *statements(table), *_orders(table)))


def _sharpened(done: Measurements, controls: Sequence[str]) -> dict[str, str]:
    """Control -> the method that it is a power of, where the recipe has that method, too."""
    entries = {label: entry for label, (entry, _) in done.worker.rows.methods.items()}
    plain = {replace(entry, label=""): label for label, entry in entries.items() if entry.power == 1}
    bases = {
        c: plain.get(replace(entries[c], label="", power=1.0)) for c in controls if entries[c].power != 1
    }
    return {control: base for control, base in bases.items() if base is not None}


def _orders(table: Table) -> Iterator[str]:
    """How far the order of the methods is the published one, which is another network's."""
    for column in table.main:
        known = [table.cell(m, column) for m in table.methods]
        both = [(c.value, c.published) for c in known if c.published is not None and not math.isnan(c.value)]
        pairs = [(a, b) for a, b in combinations(both, 2) if a[1] != b[1]]
        if len(both) > 2 and pairs:
            agree = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
            yield (
                f"{column.title}: of {len(pairs)} pairs of methods with different published numbers, {agree} "
                f"stand in the published order here. That order was found on {table.network or 'another network'}."
            )


def _notes(done: Measurements) -> Iterator[str]:
    """Sentences about pictures and classes that aren't in the table."""
    if done.open:
        yield f"Not finished: on {done.open} of {done.pictures} pictures something is missing."
    worker, recipe = done.worker, done.recipe
    if recipe.targets == "labels":
        unknown = [
            name
            for name, outputs in zip(worker.data.classes, worker.classes.outputs, strict=True)
            if not outputs
        ]
        if unknown:
            yield f"Left out, for the model has no such class: {', '.join(unknown)}."
    if done.problems:
        bad = len({p.image for p in done.problems if p.where in ("data", "model")})
        if bad:
            yield f"Left out: {bad} of {done.pictures} pictures that could not be used."
        failed = Counter(p.where for p in done.problems if p.where not in ("data", "model"))
        for where, count in sorted(failed.items()):
            yield f"{where} failed on {count} {'picture' if count == 1 else 'pictures'}."
