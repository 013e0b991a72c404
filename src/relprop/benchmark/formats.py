"""Formats of a table: text for reading, CSV and JSON for computing, Markdown for publishing."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from relprop.benchmark.table import SUBSET_TITLES, Cell, Column, Table

__all__ = ["FORMATS", "shown", "to_csv", "to_json", "to_markdown", "to_text"]

NONE = "–"
"""Stands for a number or an interval that there is no such thing as."""

_CSV = "method metric key subset value low high pairs images published percent better".split()


def shown(value: float, percent: bool) -> str:
    """A number as tables print it: one decimal of a percentage; else three decimals, or an exponent.

    >>> shown(0.7119, True), shown(0.5, False), shown(-3e-8, False), shown(0.0, False), shown(math.nan, True)
    ('71.2', '0.500', '−3.0e-08', '0', '–')
    """
    if math.isnan(value):
        return NONE
    if percent:
        text = f"{100 * value:.1f}"
    elif value == 0:
        text = "0"
    elif 0.0095 <= abs(value) < 1000:
        text = f"{value:.3f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 and text.strip("-0.") else text.lstrip("-")


def interval(cell: Cell, percent: bool) -> str:
    """The interval in square brackets; a dash in them where there is none.

    >>> interval(Cell(0.5, 0.25, 0.75, 4, 4), True), interval(Cell(0.5, pairs=1, images=1), True)
    ('[25.0, 75.0]', '[–]')
    """
    if math.isnan(cell.low):
        return f"[{NONE}]"
    return f"[{shown(cell.low, percent)}, {shown(cell.high, percent)}]"


def to_text(table: Table, width: int = 120) -> str:
    """A table of fixed width; columns that don't fit follow in further blocks.

    The best of a column carries a `*`, what a paper reports stands in round brackets.
    """
    label = max([len(m) for m in table.methods] + [len("pictures")])
    blocks: list[list[tuple[list[str], list[str]]]] = [[]]
    used = label
    for column in table.main:
        lines = _text_column(table, column)
        wide = 2 + len(lines[1][0])
        if blocks[-1] and used + wide > width:
            blocks.append([])
            used = label
        blocks[-1].append(lines)
        used += wide
    parts = [table.title] if table.title else []
    parts += [_block(table, block, label) for block in blocks if block]
    legend = ["n/a: no pair to judge."] if _any_missing(table) else []
    if any(table.best(column) for column in table.main):
        legend.append("*: best of the column.")
    notes = table.notes if table.main else ("Nothing was measured.", *table.notes)
    parts.append(_fill([*notes, *legend], width))
    return "\n\n".join(part for part in parts if part) + "\n"


def _text_column(table: Table, column: Column) -> tuple[list[str], list[str]]:
    """The lines of the heading, and those below: one per method, pairs, pictures. All of one width."""
    best = table.best(column)
    cells = [table.cell(m, column) for m in table.methods]
    values = [shown(c.value, column.percent) if c.pairs else "n/a" for c in cells]
    room = max(len(v) for v in values)
    body = []
    for method, cell, value in zip(table.methods, cells, values, strict=True):
        text = value.rjust(room) + ("* " if method in best else "  ")
        if cell.pairs:
            text += interval(cell, column.percent)
        if cell.published is not None:
            text += f" (paper {shown(cell.published, column.percent)})"
        body.append(text.rstrip())
    counts = [_range(table.counts(column, "pairs")), _range(table.counts(column, "images"))]
    below = [*body, *counts]
    subset = SUBSET_TITLES[column.subset]
    name = column.title.removesuffix(f", {subset}")
    subset = subset if name != column.title else ""
    room = max(16, *(len(line) for line in below))
    last = " ".join(filter(None, [subset, _unit(column)]))
    head = [*textwrap.wrap(name, room), *([last] if last else [])]
    wide = max(len(line) for line in [*head, *below])
    return [line.ljust(wide) for line in head], [line.ljust(wide) for line in below]


def _block(table: Table, columns: Sequence[tuple[list[str], list[str]]], label: int) -> str:
    # Headings of several lengths end on one line.
    tall = max(len(head) for head, _ in columns)
    padded = [[" " * len(body[0])] * (tall - len(head)) + head + body for head, body in columns]
    names = [*[""] * tall, *table.methods, "pairs", "pictures"]
    lines = ["  ".join([name.ljust(label), *(c[k] for c in padded)]).rstrip() for k, name in enumerate(names)]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([*lines[:tall], rule, *lines[tall:-2], rule, *lines[-2:]])


def to_markdown(table: Table) -> str:
    """A Markdown table: the best of a column in bold, intervals in square brackets, the paper's in round ones."""
    lines = [f"**{_escaped(table.title)}**", ""] if table.title else []
    heads = [_escaped(" ".join(filter(None, [c.title, _unit(c)]))) for c in table.main]
    lines.append(_row(["Method", *heads]))
    lines.append(_row([":---", *("---:" for _ in heads)]))
    for method in table.methods:
        row = [_escaped(method)]
        for column in table.main:
            cell = table.cell(method, column)
            text = shown(cell.value, column.percent) if cell.pairs else "n/a"
            text = f"**{text}**" if method in table.best(column) else text
            text += f" {interval(cell, column.percent)}" if cell.pairs else ""
            if cell.published is not None:
                text += f" (paper {shown(cell.published, column.percent)})"
            row.append(text)
        lines.append(_row(row))
    if table.main:
        for name, what in (("*pairs*", "pairs"), ("*pictures*", "images")):
            counts = [table.counts(c, "pairs" if what == "pairs" else "images") for c in table.main]
            lines.append(_row([name, *map(_range, counts)]))
    notes = [*table.notes, "n/a: no pair to judge." if _any_missing(table) else ""]
    if any(table.best(column) for column in table.main):
        notes.append("Bold: best of the column.")
    return "\n".join([*lines, "", _escaped(" ".join(filter(None, notes)))]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """One line per number, every digit kept; series follow with keys `outcome@where`.

    Shares are 0 to 1 here, published ones too. Empty: not applicable, or no interval.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV)
    for method, metric, key, subset, cell, percent, better in _numbers(table):
        numbers = [_plain(n) for n in (cell.value, cell.low, cell.high)]
        written = ["" if n is None else repr(n) for n in numbers]
        paper = "" if cell.published is None else repr(cell.published)
        flags = [str(percent).lower(), better]
        writer.writerow([method, metric, key, subset, *written, cell.pairs, cell.images, paper, *flags])
    return buffer.getvalue()


def to_json(table: Table) -> str:
    """Everything in the table; null: not applicable, no interval, or nothing published. Shares are 0 to 1."""
    document = {
        "title": table.title,
        "methods": list(table.methods),
        "columns": [
            {
                "id": c.id,
                "metric": c.metric,
                "key": c.key,
                "subset": c.subset,
                "title": c.title,
                "better": c.better,
                "percent": c.percent,
            }
            for c in table.columns
        ],
        "cells": [
            {"method": m, "column": c.id, **_cell(table.cell(m, c))}
            for c in table.columns
            for m in table.methods
        ],
        "series": [
            {
                "metric": s.metric,
                "key": s.key,
                "title": s.title,
                "better": s.better,
                "percent": s.percent,
                "wheres": list(s.wheres),
                "cells": {m: [_cell(cell) for cell in s.cells[m]] for m in table.methods},
            }
            for s in table.series
        ],
        "bootstrap": {"replicates": table.replicates, "seed": table.seed, "level": table.level},
        "notes": list(table.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS = {"txt": to_text, "csv": to_csv, "md": to_markdown, "json": to_json}
"""By file ending."""


def _numbers(table: Table) -> Iterator[tuple[str, str, str, str, Cell, bool, str]]:
    for c in table.columns:
        for m in table.methods:
            yield m, c.metric, c.key, c.subset, table.cell(m, c), c.percent, c.better
    for s in table.series:
        for m in table.methods:
            for where, cell in zip(s.wheres, s.cells[m], strict=True):
                yield m, s.metric, f"{s.key}@{where}", "all", cell, s.percent, s.better


def _cell(cell: Cell) -> dict[str, Any]:
    numbers = {"value": cell.value, "low": cell.low, "high": cell.high}
    return {
        **{name: _plain(number) for name, number in numbers.items()},
        "pairs": cell.pairs,
        "images": cell.images,
        "published": cell.published,
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _unit(column: Column) -> str:
    return "(%)" if column.percent else ""


def _range(counts: tuple[int, int]) -> str:
    low, high = counts
    return str(low) if low == high else f"{low}–{high}"


def _any_missing(table: Table) -> bool:
    return any(cell.pairs == 0 for cell in table.cells.values())


def _fill(sentences: Sequence[str], width: int) -> str:
    return "\n".join(textwrap.fill(s, width, subsequent_indent="  ") for s in sentences)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
