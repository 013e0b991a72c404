"""Cards of a benchmark: its table with intervals, to be sorted, beside its bars."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relprop.benchmark.formats import to_json
from relprop.benchmark.legend import NONE, UNBEATEN, interval, shown
from relprop.benchmark.reading import read_finished
from relprop.benchmark.store import RESULTS
from relprop.benchmark.tabled import table_of
from relprop.errors import InputError, RelpropError
from relprop.explanation.folder import as_saved
from relprop.files import read_text
from relprop.reports.card import Card, Listing, ReportSection
from relprop.reports.found import Skipped, Subject, brief_place
from relprop.viz.still import still_file

__all__ = ["benchmark_section"]

_PROVENANCE = "provenance.json"
_GROUPS = {
    "method": "methods",
    "control": "controls, which know nothing of what the network learned",
    "ceiling": "ceiling",
}


def benchmark_section(subject: Subject, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a benchmark; None where its results can't be read."""
    try:
        table = _table(subject)
        with as_saved(subject.folder):
            card = _card(table, subject.folder)
            told = _provenance(subject.folder)
            runs = [run for run in told.get("runs", ()) if isinstance(run, dict)]
            return ReportSection(
                "benchmark", str(table.get("title") or subject.name),
                facts=[*_facts(told), ("results", brief_place(subject.folder))],
                cards=[card], model=str(_at(told, "recipe", "model", "spec") or ""),
                dates=[str(run["date"]) for run in runs if "date" in run],
                versions=[str(v) for run in runs if (v := _at(run, "versions", "relprop"))],
            )  # fmt: skip
    except RelpropError as error:
        skip(Skipped(subject.folder, str(error)))
        return None


def _table(subject: Subject) -> Mapping[str, Any]:
    """The table as JSON: of a document, of the folder, or made anew of the kept results."""
    if subject.document is not None:
        return subject.document.page
    file = subject.folder / "table.json"
    if not file.exists():
        found: dict[str, Any] = json.loads(to_json(table_of(read_finished(subject.folder / RESULTS))))
        return found
    try:
        table = json.loads(read_text(file, "a benchmark's table"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        table = None
    if not isinstance(table, dict) or not {"columns", "cells", "methods"} <= set(table):
        raise InputError(
            f"Expected a benchmark's table but '{file}' holds something else. Run the benchmark again: nothing is "
            "computed anew."
        )
    return table


def _card(table: Mapping[str, Any], folder: Path) -> Card:
    columns = [one for one in table["columns"] if not one.get("detail")]
    cells = {(one["method"], one["column"]): one for one in table["cells"]}
    rows = _ordered(table)
    best = {c["id"]: _best(c, rows, cells) for c in columns}
    words, values, strong = [], {}, set()
    for i, (method, _) in enumerate(rows):
        line = [method]
        for j, column in enumerate(columns, 1):
            cell = cells.get((method, column["id"]), {})
            line.append(_cell(cell, column))
            if cell.get("value") is not None:
                values[i, j] = float(cell["value"])
            if method in best[column["id"]]:
                strong.add((i, j))
        words.append(line)
    groups: dict[int, str] = {}
    for i, (_, kind) in enumerate(rows):
        if (i == 0 or rows[i - 1][1] != kind) and len({kind for _, kind in rows}) > 1:
            groups[i] = _GROUPS[kind]
    heads = ["method", *(_head(column) for column in columns)]
    listing = Listing("", heads, words, range(1, len(heads)), values, False, groups, frozenset(strong))
    bars = folder / "bars.png"
    figures = []
    if bars.is_file():
        figures.append(
            still_file(
                bars, alt=f"Bars of every column with their intervals: {table.get('title', '')}", width=1000
            )
        )
    return Card(
        "Methods side by side",
        sentence=_sentence(rows, columns, table),
        figures=figures,
        below=True,
        notes=[*_legend(table, cells.values(), best), *map(str, table.get("notes", ()))],
        listings=[listing, *_published(columns, rows, cells, table)],
        wide=True,
    )


def _ordered(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows, each with its kind: methods, controls, the ceiling."""
    controls, ceiling = set(table.get("controls", ())), table.get("ceiling", "")
    kinds = [
        (str(m), "ceiling" if m == ceiling else "control" if m in controls else "method")
        for m in table["methods"]
    ]
    return sorted(kinds, key=lambda pair: list(_GROUPS).index(pair[1]))


def _best(
    column: Mapping[str, Any], rows: Iterable[tuple[str, str]], cells: Mapping[Any, Mapping[str, Any]]
) -> tuple[str, ...]:
    found = {
        m: float(value)
        for m, kind in rows
        if kind == "method" and (value := cells.get((m, column["id"]), {}).get("value")) is not None
    }
    if len(found) < 2 or not column["better"]:
        return ()
    top = (max if column["better"] == "higher" else min)(found.values())
    return tuple(m for m, value in found.items() if value == top)


def _cell(cell: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    if cell.get("value") is None:
        return "n/a"
    low, high = (math.nan if cell.get(key) is None else float(cell[key]) for key in ("low", "high"))
    mark = UNBEATEN if cell.get("unbeaten") else ""
    share = (cell.get("share") or {}).get("value")
    of = "" if share is None else f" ({100 * float(share):.0f} %)".replace("-", "−")
    return (
        f"{shown(float(cell['value']), column['percent'])}{mark} {interval(low, high, column['percent'])}{of}"
    )


def _head(column: Mapping[str, Any]) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(column["better"], "")
    return f"{column['title']}{' (%)' if column['percent'] else ''}{arrow}"


def _sentence(
    rows: Iterable[tuple[str, str]], columns: Sequence[Mapping[str, Any]], table: Mapping[str, Any]
) -> str:
    """What the table holds."""
    kinds = Counter(kind for _, kind in rows)
    judged = f"{kinds['method']} {'method' if kinds['method'] == 1 else 'methods'}"
    beside = f" beside {kinds['control']} controls" if kinds["control"] else ""
    pictures = max((int(cell.get("images") or 0) for cell in table["cells"]), default=0)
    numbers = f"{len(columns)} {'number' if len(columns) == 1 else 'numbers'}"
    return f"{judged}{beside}, judged by {numbers} on up to {pictures} pictures."


def _legend(
    table: Mapping[str, Any], cells: Iterable[Mapping[str, Any]], best: Mapping[str, tuple[str, ...]]
) -> list[str]:
    several = list(cells)
    said = ["Mean, and its interval in square brackets. ↑: higher is better, ↓: lower is better."]
    if any(best.values()):
        said.append("Bold: the best method of a column.")
    if any(cell.get("unbeaten") for cell in several):
        said.append(f"{UNBEATEN}: doesn't beat every control in this column.")
    if any(cell.get("share") for cell in several):
        said.append("(… %): share of the ceiling, which says how much can be had.")
    reasons = dict.fromkeys(str(cell["missing"]) for cell in several if cell.get("missing"))
    return [*said, *([f"n/a: {'; '.join(reasons)}."] if reasons else [])]


def _published(
    columns: Iterable[Mapping[str, Any]],
    rows: Iterable[tuple[str, str]],
    cells: Mapping[Any, Mapping[str, Any]],
    table: Mapping[str, Any],
) -> list[Listing]:
    """What others published, which is another network's, in a table of its own."""
    held = [
        c for c in columns if any(cells.get((m, c["id"]), {}).get("published") is not None for m, _ in rows)
    ]
    if not held:
        return []
    words: list[list[str]] = []
    values: dict[tuple[int, int], float] = {}
    for method, _ in rows:
        numbers = [cells.get((method, c["id"]), {}).get("published") for c in held]
        if any(n is not None for n in numbers):
            values |= {(len(words), j): float(n) for j, n in enumerate(numbers, 1) if n is not None}
            words.append(
                [
                    method,
                    *(
                        NONE if n is None else shown(float(n), c["percent"])
                        for n, c in zip(numbers, held, strict=True)
                    ),
                ]
            )
    network = _at(table, "published", "network") or "a network that isn't named"
    title = f"Published by others, measured on {network}: not comparable with the numbers above"
    return [Listing(title, ["method", *map(_head, held)], words, range(1, len(held) + 1), values)]


def _provenance(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / _PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    spec, data = _at(told, "recipe", "model", "spec"), _at(told, "recipe", "data", "name")
    return [(name, str(value)) for name, value in (("model", spec), ("data", data)) if value]


def _at(found: Any, *keys: str) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
