r"""LaTeX: a table for a paper, with booktabs and plain ASCII that every engine reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relprop.benchmark.columns import Column
from relprop.benchmark.latex_words import escaped, number, room, words
from relprop.benchmark.legend import UNBEATEN, gaps, interval, legend, published_heading, share, shown
from relprop.benchmark.table import Table

__all__ = ["document", "to_latex"]

TEXT_WIDTH = 345.0
"""Points between the margins of LaTeX's `article`; columns beyond it go to a further table."""

_SMALL, _NOTES, _SCRIPT = 9.0, 8.0, 7.0  # points of \small, \footnotesize and \scriptsize at 10 points
_GAP = 10.0  # points between columns
_TALL = 500.0  # points that a float may have, a little less than a page of `article`
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}


def to_latex(table: Table, *, intervals: bool = True, width: float = TEXT_WIDTH) -> str:
    r"""A `table*` environment of booktabs rules, or several where the columns don't fit side by side.

    Methods, controls, the ceiling, each below a rule; the best method of a column in bold, intervals small behind
    the numbers, signs and notes below. Published numbers stand in a table of their own. A paper needs
    `\usepackage{booktabs}` and nothing else.

    Args:
        table: what to write.
        intervals: with intervals.
        width: points that a line has.
    """
    signs = gaps(table)
    columns = [_column(table, c, signs, intervals) for c in table.main]
    parts = list(_fitting(columns, table.rows, width))
    counted = [*table.groups, ("pairs", "pictures")]
    notes = [*table.notes, *legend(table, "Bold")]
    floats = []
    apart = bool(parts) and _tall(len(table.rows), notes, width) > _TALL
    for k, part in enumerate(parts, 1):
        caption = table.title + (f" ({k} of {len(parts)})" if len(parts) > 1 else "")
        said = notes
        if apart or k < len(parts):
            said = [f"Signs and notes: {'on a page of their own' if apart else f'below part {len(parts)}'}."]
        floats.append(
            _float(caption, _tabular(part, counted, _titles(table)), said, f"tab:{_slug(table)}-{k}")
        )
    if apart:
        floats.append(_float(f"{table.title}: signs and notes", "", notes, f"tab:{_slug(table)}-notes"))
    if not parts:
        floats.append(_float(table.title, "", ["Nothing was measured.", *notes], f"tab:{_slug(table)}"))
    if table.published:
        held = [m for m in table.rows if any(table.cell(m, c).published is not None for c in table.published)]
        shape = [_published(table, c, held) for c in table.published]
        for k, part in enumerate(_fitting(shape, held, width), 1):
            caption = f"{table.title}: published numbers"
            label = f"tab:{_slug(table)}-published" + (f"-{k}" if k > 1 else "")
            body = _tabular(part, [held], {})
            floats.append(_float(caption, body, [published_heading(table)], label))
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(floats)


def document(table: Table, *, intervals: bool = True) -> str:
    """A whole document with the table alone, to be compiled as it is."""
    return (
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{to_latex(table, intervals=intervals)}\\end{{document}}\n"
    )


@dataclass(frozen=True)
class _Block:
    """One column as it is set: a heading over two aligned parts, numbers and what follows them."""

    head: tuple[str, ...]
    numbers: tuple[str, ...]
    behind: tuple[str, ...]
    wide: float

    @property
    def double(self) -> bool:
        """Whether anything stands behind the numbers."""
        return any(self.behind)


def _column(table: Table, column: Column, signs: Mapping[str, str], intervals: bool) -> _Block:
    numbers, behind, widths = [], [], []
    marked = any(table.cell(m, column).unbeaten for m in table.rows)
    for method in table.rows:
        cell = table.cell(method, column)
        text = shown(cell.value, column.percent) if cell.pairs else signs[cell.missing]
        small = interval(cell.low, cell.high, column.percent) if intervals and cell.pairs else ""
        small = " ".join(filter(None, [small, share(cell)]))
        mark = escaped(UNBEATEN) if cell.unbeaten else ""
        best = method in table.best(column)
        numbers.append(number(text, best))
        behind.append(
            (f"\\makebox[0.6em][l]{{{mark}}}" if marked else "")
            + (f"\\,{{\\scriptsize {words(small)}}}" if small else "")
        )
        widths.append(room(text, _SMALL) + room(small, _SCRIPT) + (6 if marked else 0))
    for what in ("pairs", "images"):
        low, high = table.counts(column, "pairs" if what == "pairs" else "images")
        numbers.append(str(low) if low == high else f"{low}--{high}")
        behind.append("")
    return _block(column, numbers, behind, max(widths))


def _published(table: Table, column: Column, held: Sequence[str]) -> _Block:
    values = [table.cell(m, column).published for m in held]
    numbers = ["" if v is None else number(shown(v, column.percent)) for v in values]
    return _block(column, numbers, ["" for _ in held], 0.0)


def _block(column: Column, numbers: Sequence[str], behind: Sequence[str], wide: float) -> _Block:
    head = _wrapped(column.name, 14)
    if column.below:
        head.append(column.below)
    heading = max(room(line, _SMALL) for line in head)
    lines = [escaped(line) for line in head]
    lines[-1] += _ARROWS[column.better]
    return _Block(tuple(lines), tuple(numbers), tuple(behind), max(wide, heading + 10))


def _fitting(columns: Sequence[_Block], rows: Sequence[str], width: float) -> Iterator[list[_Block]]:
    """Columns in lots that fit beside the rows' names."""
    label = max((room(row, _SMALL) for row in (*rows, "pictures")), default=0.0)
    lot: list[_Block] = []
    used = label
    for column in columns:
        if lot and used + column.wide + _GAP > width:
            yield lot
            lot, used = [], label
        lot.append(column)
        used += column.wide + _GAP
    if lot:
        yield lot


def _titles(table: Table) -> dict[tuple[str, ...], str]:
    """What stands over a block of rows, where there are several kinds."""
    if len(table.groups) < 2:
        return {}
    return {table.controls: "controls", (table.ceiling,): "ceiling"}


def _tabular(
    columns: Sequence[_Block], groups: Sequence[Sequence[str]], titles: Mapping[tuple[str, ...], str]
) -> str:
    shape = "".join("r@{}l" if c.double else "c" for c in columns)
    lines = [f"\\begin{{tabular}}{{@{{}}l{shape}@{{}}}}", "\\toprule"]
    stacked = [f"\\shortstack{{{_stack(c.head)}}}" for c in columns]
    heads = [
        f"\\multicolumn{{2}}{{c}}{{{h}}}" if c.double else h for h, c in zip(stacked, columns, strict=True)
    ]
    across = 1 + sum(2 if c.double else 1 for c in columns)
    lines.append(" & ".join(["Method", *heads]) + r" \\")
    row = 0
    for group in groups:
        lines.append("\\midrule")
        if title := titles.get(tuple(group)):
            lines.append(f"\\multicolumn{{{across}}}{{@{{}}l}}{{\\emph{{{title}}}}} \\\\")
        for name in group:
            cells = [
                f"{c.numbers[row]} & {c.behind[row]}".rstrip() if c.double else c.numbers[row]
                for c in columns
            ]
            lines.append(" & ".join([_guarded(escaped(name)), *cells]) + r" \\")
            row += 1
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _stack(lines: Sequence[str]) -> str:
    return r"\\".join(map(_guarded, lines))


def _tall(rows: int, notes: Sequence[str], width: float) -> float:
    """About the height in points of a table with so many rows, and its notes below."""
    lines = sum(room(note, _NOTES) for note in notes) / width
    return 11.0 * (rows + 8) + 9.5 * lines + 60


def _guarded(text: str) -> str:
    r"""Text at the begin of a line: a bracket or a star there would belong to the `\\` before it."""
    return "{}" + text if text[:1] in ("[", "*") else text


def _float(caption: str, body: str, notes: Sequence[str], label: str) -> str:
    said = " ".join(escaped(note) for note in notes if note)
    box = f"\\begin{{minipage}}{{\\linewidth}}\\footnotesize {said}\\end{{minipage}}"
    lines = [
        "\\begin{table*}", "\\centering", f"\\caption{{{escaped(caption)}}}" if caption else "",
        f"\\label{{{label}}}" if caption else "", "\\par\\smallskip",
        "\\small", "\\setlength{\\tabcolsep}{5pt}", body,
        f"\\par\\smallskip{box}" if said else "",
        "\\end{table*}",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line) + "\n"


def _slug(table: Table) -> str:
    first = re.match(r"[A-Za-z0-9-]+", table.title)
    return first[0].lower() if first else "relprop"


def _wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(longer) > most:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
