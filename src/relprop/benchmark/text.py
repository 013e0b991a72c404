"""Text: a table of fixed width for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from relprop.benchmark.columns import Column
from relprop.benchmark.legend import UNBEATEN, gaps, interval, legend, published_heading, share, shown
from relprop.benchmark.table import Table

__all__ = ["to_text"]

_Lines = tuple[list[str], list[str]]
"""The lines of a column's heading, and those below it; all of one width."""


def to_text(table: Table, width: int = 120) -> str:
    """A table of fixed width; columns that don't fit follow in further blocks.

    Methods, controls, the ceiling, each between rules. The best method of a column carries a `*`, one that doesn't
    beat every control a `†`. What others published stands in a block of its own.
    """
    signs = gaps(table)
    counted = [*table.groups, ("pairs", "pictures")]
    parts = [table.title] if table.title else []
    parts += _blocks([_column(table, c, signs) for c in table.main], counted, width)
    notes = table.notes if table.main else ("Nothing was measured.", *table.notes)
    parts.append(_fill([*notes, *legend(table, "*")], width))
    if table.published:
        held = [m for m in table.rows if any(table.cell(m, c).published is not None for c in table.published)]
        parts.append(_fill([published_heading(table)], width))
        parts += _blocks([_published(table, c, held) for c in table.published], [held], width)
    return "\n\n".join(part for part in parts if part) + "\n"


def _column(table: Table, column: Column, signs: Mapping[str, str]) -> _Lines:
    best = table.best(column)
    cells = [table.cell(m, column) for m in table.rows]
    values = [shown(c.value, column.percent) if c.pairs else signs[c.missing] for c in cells]
    marks = [
        ("*" if m in best else "") + (UNBEATEN if c.unbeaten else "")
        for m, c in zip(table.rows, cells, strict=True)
    ]
    ranges = [interval(c.low, c.high, column.percent) if c.pairs else "" for c in cells]
    room, marked, ranged = max(map(len, values)), max(1, *map(len, marks)), max(map(len, ranges))
    body = [
        f"{value.rjust(room)}{mark.ljust(marked)} {span.ljust(ranged)} {share(cell)}".rstrip()
        for value, mark, span, cell in zip(values, marks, ranges, cells, strict=True)
    ]
    counts = [_range(table.counts(column, "pairs")), _range(table.counts(column, "images"))]
    return _headed(column, [*body, *counts])


def _published(table: Table, column: Column, held: Sequence[str]) -> _Lines:
    numbers = [table.cell(m, column).published for m in held]
    return _headed(column, ["" if n is None else shown(n, column.percent).rjust(5) for n in numbers])


def _headed(column: Column, body: Sequence[str]) -> _Lines:
    room = max(16, *map(len, body))
    head = [*textwrap.wrap(column.name, room), *([column.below] if column.below else [])]
    wide = max(len(line) for line in [*head, *body])
    return [line.ljust(wide) for line in head], [line.ljust(wide) for line in body]


def _blocks(columns: Sequence[_Lines], groups: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns beside the rows' names, as many as fit; a rule above every group of rows."""
    label = max(len(name) for group in groups for name in group)
    blocks: list[list[_Lines]] = [[]]
    used = label
    for column in columns:
        wide = 2 + len(column[1][0])
        if blocks[-1] and used + wide > width:
            blocks.append([])
            used = label
        blocks[-1].append(column)
        used += wide
    return [_block(block, groups, label) for block in blocks if block]


def _block(columns: Sequence[_Lines], groups: Sequence[Sequence[str]], label: int) -> str:
    tall = max(len(head) for head, _ in columns)  # headings of several lengths end on one line
    heads = [[" " * len(body[0])] * (tall - len(head)) + head for head, body in columns]
    lines = [_line("", label, [head[k] for head in heads]) for k in range(tall)]
    names = [(name, k) for k, group in enumerate(groups) for name in group]
    below = [_line(name, label, [body[r] for _, body in columns]) for r, (name, _) in enumerate(names)]
    rule = "-" * max(len(line) for line in [*lines, *below])
    for r, line in enumerate(below):
        if r == 0 or names[r][1] != names[r - 1][1]:
            lines.append(rule)
        lines.append(line)
    return "\n".join(lines)


def _line(name: str, label: int, cells: Sequence[str]) -> str:
    return "  ".join([name.ljust(label), *cells]).rstrip()


def _range(counts: tuple[int, int]) -> str:
    low, high = counts
    return str(low) if low == high else f"{low}–{high}"


def _fill(sentences: Sequence[str], width: int) -> str:
    return "\n".join(textwrap.fill(s, width, subsequent_indent="  ") for s in sentences)
