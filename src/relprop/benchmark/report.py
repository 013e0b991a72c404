"""Report: a finished benchmark as tables, figures and what else a reader needs, in a folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from relprop.benchmark import provenance
from relprop.benchmark.ceiling import WORLD
from relprop.benchmark.controls import best_squared, squared_label
from relprop.benchmark.figures import figures
from relprop.benchmark.formats import FORMATS
from relprop.benchmark.pairs import compare, pairs_csv, pairs_markdown, statements
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table, tabulate
from relprop.catalogue import FIGURE_KINDS
from relprop.errors import RelpropError, unknown_name
from relprop.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["table_of", "write_report"]


def table_of(done: Finished) -> Table:
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


def _sharpened(done: Finished, controls: Sequence[str]) -> dict[str, str]:
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


def write_report(
    done: Finished,
    folder: Path,
    warn: Callable[[str], None],
    *,
    kinds: Sequence[str] = ("png",),
    pictures: Sequence[str] = (),
) -> tuple[Table, list[Path]]:
    """Write the table in every format, comparisons, figures and provenance; each file whole or not at all.

    A file that can't be written or drawn is passed to `warn` by name, and the others are still made.

    Args:
        done: what to report.
        folder: where to.
        warn: told of what failed.
        kinds: of figures: png, pdf, svg.
        pictures: names of those in the figure of maps; some drawn with the recipe's seed by default.

    Returns:
        The table and the files.

    Raises:
        UnknownNameError: no such kind, or no such picture among those that were judged.
    """
    for kind in kinds:
        if kind not in FIGURE_KINDS:
            raise unknown_name("kind of figure", kind, FIGURE_KINDS)
    table = table_of(done)
    drawings = list(figures(done, table, pictures))
    jobs: list[tuple[str, Callable[[], Sequence[tuple[str, bytes]]]]] = [
        ("table", lambda: [(ending, write(table).encode()) for ending, write in FORMATS.items()]),
        ("pairs", lambda: [("csv", pairs_csv(table).encode()), ("md", pairs_markdown(table).encode())]),
        *((name, partial(_drawn, draw, kinds)) for name, draw in drawings),
    ]
    told = partial(_provenance, done, table, folder)
    jobs.append((Path(provenance.NAME).stem, lambda: [("json", told())]))
    made: list[Path] = []
    for name, make in jobs:
        try:
            made += [write_file(folder / f"{name}.{ending}", data) for ending, data in make()]
        except (RelpropError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            warn(f"'{folder / name}' could not be written: {reason}")
    return table, made


def _notes(done: Finished) -> Iterator[str]:
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


def _drawn(draw: Callable[[], Figure], kinds: Sequence[str]) -> list[tuple[str, bytes]]:
    from relprop.viz.file import figure_bytes

    figure = draw()
    return [(kind, figure_bytes(figure, kind)) for kind in kinds]


def _provenance(done: Finished, table: Table, folder: Path) -> bytes:
    try:
        before = json.loads((folder / provenance.NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or somebody edited it
        before = None
    found = provenance.provenance(done, table, before if isinstance(before, dict) else None)
    return (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode()
