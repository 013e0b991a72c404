"""HTML: a table for a notebook."""

from __future__ import annotations

from collections.abc import Mapping

from relprop.benchmark.columns import Column
from relprop.benchmark.legend import UNBEATEN, gaps, interval, legend, published_heading, share, shown
from relprop.benchmark.table import Table
from relprop.glance import Entry, framed, table_html

__all__ = ["to_html"]


def to_html(table: Table) -> str:
    """A table with the numbers of :func:`relprop.benchmark.text.to_text`, the best of a column in bold.

    What the signs mean, and notes, are folded; published numbers stand in a table of their own.
    """
    signs = gaps(table)
    named = (("methods", table.judged), ("controls", table.controls), ("ceiling", (table.ceiling,)))
    several = len(table.groups) > 1
    groups: list[tuple[str, list[list[Entry | str]]]] = [
        (name if several else "", [[m, *(_entry(table, m, c, signs) for c in table.main)] for m in block])
        for name, block in named
        if block in table.groups
    ]
    inside = table_html(["method", *map(_heading, table.main)], groups) if table.main else ""
    if table.published:
        held = [m for m in table.rows if any(table.cell(m, c).published is not None for c in table.published)]
        numbers = [[m, *(_published(table, m, c) for c in table.published)] for m in held]
        heads = ["method", *map(_heading, table.published)]
        inside += framed(published_heading(table), table_html(heads, [("", numbers)]))
    said = [] if table.main else ["Nothing was measured."]
    return framed(table.title or "benchmark", inside, said, [*table.notes, *legend(table, "Bold")])


def _heading(column: Column) -> str:
    return " ".join(filter(None, [column.title, "(%)" if column.percent else ""]))


def _entry(table: Table, method: str, column: Column, signs: Mapping[str, str]) -> Entry:
    cell = table.cell(method, column)
    if not cell.pairs:
        return Entry(signs[cell.missing])
    behind = [interval(cell.low, cell.high, column.percent), share(cell)]
    mark = UNBEATEN if cell.unbeaten else ""
    best = method in table.best(column)
    return Entry(shown(cell.value, column.percent) + mark, " ".join(filter(None, behind)), best)


def _published(table: Table, method: str, column: Column) -> str:
    value = table.cell(method, column).published
    return "" if value is None else shown(value, column.percent)
