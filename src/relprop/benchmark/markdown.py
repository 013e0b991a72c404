"""Markdown: a table for a README or an issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relprop.benchmark.columns import Column
from relprop.benchmark.legend import UNBEATEN, gaps, interval, legend, published_heading, share, shown
from relprop.benchmark.table import Table

__all__ = ["escaped", "row", "to_markdown"]


def to_markdown(table: Table) -> str:
    """A Markdown table: methods, controls, the ceiling; the best method in bold, intervals in square brackets.

    Published numbers follow in a table of their own.
    """
    lines = [f"**{escaped(table.title)}**", ""] if table.title else []
    lines += _head(table.main)
    signs = gaps(table)
    named = (("*methods*", table.judged), ("*controls*", table.controls), ("*ceiling*", (table.ceiling,)))
    for name, block in named:
        if len(table.groups) > 1 and block in table.groups:
            lines.append(row([name, *("" for _ in table.main)]))
        if block in table.groups:
            lines += [row([escaped(m), *(_cell(table, m, c, signs) for c in table.main)]) for m in block]
    if table.main:
        lines.append(row(["*pairs*", *(_range(table.counts(c, "pairs")) for c in table.main)]))
        lines.append(row(["*pictures*", *(_range(table.counts(c, "images")) for c in table.main)]))
    notes = [*table.notes, *legend(table, "Bold")]
    lines += ["", escaped(" ".join(filter(None, notes)))]
    if table.published:
        lines += ["", escaped(published_heading(table)), "", *_head(table.published)]
        for method in table.rows:
            cells = [table.cell(method, c).published for c in table.published]
            if any(value is not None for value in cells):
                texts = [
                    "" if value is None else shown(value, c.percent)
                    for value, c in zip(cells, table.published, strict=True)
                ]
                lines.append(row([escaped(method), *texts]))
    return "\n".join(lines).rstrip() + "\n"


def _head(columns: Sequence[Column]) -> list[str]:
    heads = [escaped(" ".join(filter(None, [c.title, "(%)" if c.percent else ""]))) for c in columns]
    return [row(["Method", *heads]), row([":---", *("---:" for _ in heads)])]


def _cell(table: Table, method: str, column: Column, signs: Mapping[str, str]) -> str:
    cell = table.cell(method, column)
    if not cell.pairs:
        return signs[cell.missing]
    text = shown(cell.value, column.percent)
    text = f"**{text}**" if method in table.best(column) else text
    text += UNBEATEN if cell.unbeaten else ""
    return " ".join(filter(None, [text, interval(cell.low, cell.high, column.percent), share(cell)]))


def _range(counts: tuple[int, int]) -> str:
    low, high = counts
    return str(low) if low == high else f"{low}–{high}"


def escaped(text: str) -> str:
    """Text that can stand in a cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"
