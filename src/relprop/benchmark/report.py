"""Report: a finished benchmark as tables, plots and sheets in a folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relprop.benchmark.ceiling import WORLD
from relprop.benchmark.columns import Column
from relprop.benchmark.controls import best_squared, squared_label
from relprop.benchmark.formats import FORMATS
from relprop.benchmark.legend import shown as shown_value
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table, tabulate
from relprop.errors import RelpropError
from relprop.metrics.randomisation import Randomisation
from relprop.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relprop.benchmark.cases_sheet import ShownCase

__all__ = ["table_of", "write_report"]

_SHOWN = 3  # best and worst cases a sheet


def table_of(done: Finished) -> Table:
    """The table of a finished benchmark, with notes on what was left out."""
    recipe, worker = done.recipe, done.worker
    judged = [label for label in recipe.method_labels if label not in worker.controls]
    best = best_squared(done.records, worker.metrics, judged) if recipe.squares else None
    squared = [] if best is None else [squared_label(best)]
    # A control that found nothing to draw (the oracle, where no picture has a region) is no row.
    drawn = {record.method for record in done.records}
    controls = [label for label in worker.controls if label in drawn]
    ceiling = [WORLD] if WORLD in drawn else []
    rows = [
        *(m for m in recipe.method_labels if m in controls or m not in worker.controls),
        *squared,
        *ceiling,
    ]
    table = tabulate(
        [record for record in done.records if record.method in rows],
        worker.metrics,
        rows,
        title=f"{recipe.name}: {recipe.model.spec} on {recipe.data['name']}, {done.pictures} pictures",
        published=recipe.published,
        notes=list(_notes(done)),
        seed=recipe.seed,
        replicates=recipe.replicates,
        controls=[*controls, *squared],
        oracle=worker.oracle if worker.oracle in controls else "",
        sharpened=_sharpened(done, controls) | ({} if best is None else {squared_label(best): best}),
        network=recipe.network,
        source=recipe.source,
        ceiling="".join(ceiling),
    )
    return replace(table, notes=(*table.notes, *_orders(table)))


def _sharpened(done: Finished, controls: Sequence[str]) -> dict[str, str]:
    """Control -> the method that it is a power of, where the recipe has that method, too."""
    entries = {label: entry for label, (entry, _) in done.worker.methods.items()}
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


def write_report(done: Finished, folder: Path, warn: Callable[[str], None]) -> tuple[Table, list[Path]]:
    """Write `table.txt`, `.csv`, `.md`, `.json`, plots and sheets; each file whole or not at all.

    A file that can't be written or drawn is passed to `warn` by name, and the others are still made.

    Returns:
        The table and the files.
    """
    table = table_of(done)
    made: list[Path] = []
    jobs: list[tuple[str, Callable[[], bytes]]] = [
        (f"table.{ending}", partial(_encoded, write, table)) for ending, write in FORMATS.items()
    ]
    jobs += [(name, partial(_png, draw)) for name, draw in _figures(done, table)]
    for name, make in jobs:
        try:
            made.append(write_file(folder / name, make()))
        except (RelpropError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            warn(f"'{folder / name}' could not be written: {reason}")
    return table, made


def _notes(done: Finished) -> Iterator[str]:
    """Sentences about pictures and classes that aren't in the table."""
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


def _figures(done: Finished, table: Table) -> Iterator[tuple[str, Callable[[], Figure]]]:
    from relprop.benchmark.bars import bars_page
    from relprop.benchmark.curves import curves

    if table.main:
        yield "bars.png", partial(bars_page, table)
    for metric in dict.fromkeys(series.metric for series in table.series):
        random = isinstance(done.worker.metrics[metric], Randomisation)
        along = "layers randomised, from the output to the input" if random else ""
        yield f"curves-{metric}.png", partial(curves, table, metric, along=along)
        if random:
            yield f"steps-{metric}.png", partial(_steps, done, metric)
    for column in _judged(done, table):
        yield f"cases-{column.metric}.png", partial(_cases, done, table, column)


def _judged(done: Finished, table: Table) -> list[Column]:
    """The first column of each metric that looks at a region and has a number of a method, not of a baseline."""
    first: dict[str, Column] = {}
    for column in table.columns:
        regional = hasattr(done.worker.metrics[column.metric], "region")
        if column.better and column.subset == "all" and regional and _best(table, column):
            first.setdefault(column.metric, column)
    return list(first.values())


def _best(table: Table, column: Column) -> str | None:
    """The best method in a column that is no control and has a number there."""
    order = [*table.best(column), *table.judged]
    return next((m for m in order if table.cell(m, column).pairs), None)


def _cases(done: Finished, table: Table, column: Column) -> Figure:
    """Best and worst pairs of the best method in a column, drawn once more."""
    from relprop.benchmark.cases_sheet import case_sheet

    method = _best(table, column)
    assert method is not None  # or the sheet wasn't asked for
    found = [
        (r.values[column.key], r.image, r.label)
        for r in done.records
        if r.method == method and r.metric == column.metric and column.key in r.values
    ]
    found.sort(reverse=column.better == "higher")
    count = min(_SHOWN, len(found) // 2 or 1)
    groups = {"best": found[:count], "worst": found[-count:][::-1] if len(found) > 1 else []}
    shown = {
        word: [_shown(done, column, method, image, label, value) for value, image, label in group]
        for word, group in groups.items()
        if group
    }
    return case_sheet(shown, title=f"{method}: best and worst by {column.title}")


def _shown(done: Finished, column: Column, method: str, image: str, label: int, value: float) -> ShownCase:
    from relprop.benchmark.cases_sheet import ShownCase
    from relprop.metrics.region import truth_of

    sample, heat, case = done.worker.maps(image, label, method)
    metric = done.worker.metrics[column.metric]
    name = done.worker.data.classes[label] if label >= 0 else "all objects"
    return ShownCase(
        title=f"{name} in {image}",
        picture=np.asarray(sample.image, dtype=np.float64) / 255.0,
        heat=heat,
        region=truth_of(case, getattr(metric, "region", "auto"))[0],
        lines=(f"{column.title} {shown_value(value, column.percent)}",),
        signed=case.signed,
    )


def _steps(done: Finished, label: str) -> Figure:
    """Every method's maps of one picture while the network is randomised, drawn once more."""
    from relprop.benchmark.cases_sheet import ShownSteps, randomisation_sheet

    worker, metric = done.worker, done.worker.metrics[label]
    assert isinstance(metric, Randomisation)
    image, target = next((r.image, r.label) for r in done.records if r.metric == label and r.values)
    rows = []
    for method in done.recipe.method_labels:
        sample, heat, case = worker.maps(image, target, method)
        assert case.model is not None
        assert case.x is not None
        assert case.explain is not None
        found = {
            path: worker.geometry.back(case.explain(network), sample.size)
            for _, path, network in metric.compared(case.model, case.x)
        }
        picture = np.asarray(sample.image, dtype=np.float64) / 255.0
        rows.append(ShownSteps(method, picture, heat, found, signed=case.signed))
    return randomisation_sheet(rows, title=f"{image}: maps as the network is randomised ({metric.mode})")


def _encoded(write: Callable[[Table], str], table: Table) -> bytes:
    return write(table).encode()


def _png(draw: Callable[[], Figure]) -> bytes:
    from relprop.viz.file import png_bytes

    return png_bytes(draw())
