"""Formats of a table: text for reading, Markdown and LaTeX for publishing, CSV and JSON for computing."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from relprop.benchmark.latex import to_latex
from relprop.benchmark.markdown import to_markdown
from relprop.benchmark.table import Cell, Table
from relprop.benchmark.text import to_text
from relprop.catalogue import TABLE_FORMATS
from relprop.errors import unknown_name

__all__ = ["FORMATS", "format_named", "to_csv", "to_json", "to_latex", "to_markdown", "to_text"]

_CSV = (
    "method metric key subset value low high pairs images published percent better "
    "row unbeaten share share_low share_high missing"
).split()


def to_csv(table: Table) -> str:
    """One line per number, every digit kept; series follow with keys `outcome@where`.

    Shares are 0 to 1 here, published ones too (those are another network's, see `to_json`). Empty: not applicable,
    or no interval. `row` is "method", "control", "oracle" or "ceiling", `unbeaten` the controls that a method
    doesn't beat, joined by ";", `share` that of the ceiling, `missing` why there is no value.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV)
    for method, metric, key, subset, cell, percent, better in _numbers(table):
        share = (math.nan,) * 3 if cell.share is None else (cell.share.value, cell.share.low, cell.share.high)
        numbers = ["" if math.isnan(n) else repr(n) for n in (cell.value, cell.low, cell.high, *share)]
        paper = "" if cell.published is None else repr(cell.published)
        flags = [str(percent).lower(), better, table.kind(method), ";".join(cell.unbeaten)]
        counted = [*numbers[:3], cell.pairs, cell.images, paper]
        writer.writerow([method, metric, key, subset, *counted, *flags, *numbers[3:], cell.missing])
    return buffer.getvalue()


def to_json(table: Table) -> str:
    """Everything in the table; null: not applicable, no interval, or nothing published. Shares are 0 to 1."""
    document = {
        "title": table.title,
        "methods": list(table.methods),
        "controls": list(table.controls),
        "oracle": table.oracle,
        "ceiling": table.ceiling,
        "published": {"network": table.network, "source": table.source},
        "columns": [
            {
                "id": c.id,
                "metric": c.metric,
                "key": c.key,
                "subset": c.subset,
                "title": c.title,
                "better": c.better,
                "percent": c.percent,
                "detail": c.detail,
            }
            for c in table.columns
        ],
        "cells": [
            {"method": m, "column": c.id, **_cell(table.cell(m, c))}
            for c in table.columns
            for m in table.rows
        ],
        "series": [
            {
                "metric": s.metric,
                "key": s.key,
                "title": s.title,
                "better": s.better,
                "percent": s.percent,
                "wheres": list(s.wheres),
                "cells": {m: [_cell(cell) for cell in s.cells[m]] for m in table.rows},
            }
            for s in table.series
        ],
        "bootstrap": {"replicates": table.replicates, "seed": table.seed, "level": table.level},
        "notes": list(table.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "txt": to_text,
    "csv": to_csv,
    "md": to_markdown,
    "json": to_json,
    "tex": to_latex,
}
"""By file ending."""


def format_named(name: str) -> Callable[[Table], str]:
    """The writer of a format, by name or by file ending.

    Raises:
        UnknownNameError: no such format.

    >>> format_named("latex") is format_named("tex")
    True
    """
    ending = TABLE_FORMATS.get(name, name)
    if ending not in FORMATS:
        raise unknown_name("format", name, TABLE_FORMATS)
    return FORMATS[ending]


def _numbers(table: Table) -> Iterator[tuple[str, str, str, str, Cell, bool, str]]:
    for c in table.columns:
        for m in table.rows:
            yield m, c.metric, c.key, c.subset, table.cell(m, c), c.percent, c.better
    for s in table.series:
        for m in table.rows:
            for where, cell in zip(s.wheres, s.cells[m], strict=True):
                yield m, s.metric, f"{s.key}@{where}", "all", cell, s.percent, s.better


def _cell(cell: Cell) -> dict[str, Any]:
    numbers = {"value": cell.value, "low": cell.low, "high": cell.high}
    return {
        **{name: _plain(number) for name, number in numbers.items()},
        "pairs": cell.pairs,
        "images": cell.images,
        "published": cell.published,
        "missing": cell.missing,
        "unbeaten": list(cell.unbeaten),
        "share": None
        if cell.share is None
        else {name: _plain(getattr(cell.share, name)) for name in ("value", "low", "high", "pairs")},
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
