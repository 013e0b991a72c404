"""Words of a report: plain lines, tables, and lines that name a file; and how numbers are written in them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Drawn

from relprop.viz.labels import number

__all__ = ["WIDTH", "Block", "Table", "Written", "lines", "percent", "remark_lines", "signed"]

WIDTH = 160  # characters a line where there is no terminal to ask


@dataclass(frozen=True)
class Table:
    r"""Rows of words under headers.

    Attributes:
        headers: one a column.
        rows: each as long as the headers.
        right: the columns of numbers, which are set to the right.

    >>> print(*Table(["layer", "b"], [["input", "0.5"], ["conv1", "−12.0"]], (1,)).lines(), sep="\n")
    layer      b
    input    0.5
    conv1  −12.0
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()

    def lines(self, console: Console | None = None) -> list[str]:
        """The table as lines of text, without frames, as wide as the console (160 characters) at most.

        Where that would cut up words, a row stands below the other, without headers but for several cells.
        """
        # In a notebook rich would show an empty cell output of its own beside the lines.
        console = console or Console(
            width=WIDTH, highlight=False, markup=False, color_system=None, force_jupyter=False
        )
        if self._least() > console.width:
            return self._stacked(console.width)
        table = Drawn(box=None, pad_edge=False, header_style="bold")
        for index, header in enumerate(self.headers):
            table.add_column(header, justify="right" if index in self.right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        with console.capture() as captured:
            console.print(table)
        return [line.rstrip() for line in captured.get().splitlines()]

    def _least(self) -> int:
        """Columns of a terminal below which a word would be cut up."""
        columns = zip(self.headers, *self.rows, strict=True)
        return (
            sum(2 + max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns)
            - 2
        )

    def _stacked(self, width: int) -> list[str]:
        """A row below the other: its first cell, then each of the others with its header."""
        found = []
        for first, *others in self.rows:
            several = len(others) > 1
            cells = [
                f"{h}: {cell}" if several else cell for h, cell in zip(self.headers[1:], others, strict=True)
            ]
            for text, indent in [(first, ""), *((cell, "    ") for cell in cells if cell)]:
                found += textwrap.wrap(
                    text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
                )
        return found


@dataclass(frozen=True)
class Written:
    """A line that says where something was written; left out while it isn't.

    Attributes:
        what: the words before the colon.
        path: in the report's folder.
    """

    what: str
    path: Path


Block = str | Table | Written
_MOST_TOLD = 100  # shares, of which the digits are told


def lines(text: Sequence[Block], folder: Path | None, console: Console | None = None) -> list[str]:
    """The blocks of a text as lines; files are named under the folder, and not at all without one."""
    found: list[str] = []
    for block in text:
        if isinstance(block, Table):
            found += block.lines(console)
        elif isinstance(block, str):
            found.append(block)
        elif folder is not None:
            found.append(f"{block.what}: {folder / block.path}")
    return found


def remark_lines(found: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """Warnings, each with the name of its map, and notes, each once.

    Args:
        found: by the name of the map its warnings and its notes.

    >>> remark_lines({"lrp-0": (["The ledger is open."], ["Look."]), "rsp": ([], ["Look."])})
    ['WARNING, lrp-0: The ledger is open.', 'Note: Look.']
    """
    warned = [f"WARNING, {name}: {text}" for name, (several, _) in found.items() for text in several]
    noted = dict.fromkeys(text for _, several in found.values() for text in several)
    return [*warned, *(f"Note: {text}" for text in noted)]


def percent(part: float, whole: float) -> str:
    """A share in percent, one decimal. Of a hundred times the whole and more, the digits say nothing.

    >>> percent(1, 8), percent(-1e-9, 1), percent(1, 0), percent(4e7, 1), percent(-4e7, 1)
    ('12.5 %', '0.0 %', '–', '> 10,000 %', '< −10,000 %')
    """
    if not whole or not math.isfinite(part / whole):
        return "–"
    if abs(part / whole) > _MOST_TOLD:
        return "> 10,000 %" if part / whole > 0 else "< −10,000 %"
    return f"{100 * part / whole + 0.0:.1f} %".replace("-0.0 %", "0.0 %").replace("-", "−")


def signed(value: float) -> str:
    """A number of two significant digits with a true minus.

    >>> signed(-0.01234)
    '−0.012'
    """
    return number(value).replace("-", "−")
