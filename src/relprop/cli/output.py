"""What the commands print: a report, tables, one line of progress, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from rich.console import Console

from relprop.reports.document import plain
from relprop.reports.text import WIDTH, Table

if TYPE_CHECKING:
    from relprop.reports.report import Report

__all__ = ["print_json", "print_lines", "print_report", "print_report_lines", "print_table", "results_alone"]


def _console() -> Console:
    # A pipe has no width of its own; rich would wrap at 80.
    # Without a colour system nothing is set in bold either: NO_COLOR alone would leave that.
    width = None if sys.stdout.isatty() else WIDTH
    return Console(width=width, highlight=False, markup=False, color_system=None)


def print_report(report: Report, as_json: bool) -> None:
    """Print a report: its words and tables, or its document."""
    if as_json:
        print_json(report.document)
    else:
        print_report_lines(report.lines)


def print_report_lines(lines: Callable[[Console], Sequence[str]]) -> None:
    """Print lines that are laid out for the width of what they are printed on."""
    print_lines(*lines(_console()))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print a table without frames; `right` names the columns of numbers."""
    print_lines(*Table(headers, rows, right).lines(_console()))


def print_lines(*lines: str) -> None:
    """Print lines as they are."""
    for line in lines:
        sys.stdout.write(line + "\n")


def print_json(document: Any) -> None:
    """Print one JSON document; NaN and infinities become null, which JSON has."""
    json.dump(plain(document), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


@contextmanager
def results_alone() -> Iterator[None]:
    """Standard output gets the results and nothing else: what a download or a user's own code prints goes beside.

    It is the command's own process, in which nobody else prints.
    """
    with redirect_stdout(sys.stderr):
        yield
