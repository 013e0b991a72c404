"""Report: a finished benchmark as tables, figures and what else a reader needs, in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from relprop.benchmark import provenance
from relprop.benchmark.figures import figures
from relprop.benchmark.formats import FORMATS
from relprop.benchmark.pairs import pairs_csv, pairs_markdown
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table
from relprop.benchmark.tabled import table_of
from relprop.catalogue import FIGURE_KINDS
from relprop.errors import RelpropError, unknown_name
from relprop.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]


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
