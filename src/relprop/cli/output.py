"""What the commands print: tables, one line of progress, or one JSON document."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Steps", "percent", "print_json", "print_lines", "print_table", "progress"]

_WIDE = 160  # a pipe has no width of its own; rich would wrap at 80


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print a table without frames; `right` names the columns of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = _console()
    with console.capture() as captured:
        console.print(table)
    print_lines(*(line.rstrip() for line in captured.get().splitlines()))


def print_lines(*lines: str) -> None:
    """Print lines as they are."""
    for line in lines:
        sys.stdout.write(line + "\n")


def print_json(document: Any) -> None:
    """Print one JSON document; NaN and infinities become null, which JSON has."""
    json.dump(_plain(document), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # Tensors: small ones as numbers, others by shape.
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "tolist"):
        return _plain(value.tolist()) if value.numel() <= 64 else f"tensor{tuple(shape)}"
    return str(value)


def percent(part: float, whole: float) -> str:
    """A share in percent, one decimal.

    >>> percent(1, 8), percent(-1e-9, 1), percent(1, 0)
    ('12.5 %', '0.0 %', '–')
    """
    if not whole or not math.isfinite(part / whole):
        return "–"
    return f"{100 * part / whole + 0.0:.1f} %".replace("-0.0 %", "0.0 %").replace("-", "−")


class Steps:
    """Counts finished steps of a long task."""

    def __init__(self, bar: Progress | None, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total) if bar is not None else None
        self._finished = 0

    def doing(self, what: str) -> None:
        """Name the step that starts."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what)

    def part(self, done: int, total: int) -> None:
        """Show how much of the current step is done."""
        self._show(self._finished + done / max(total, 1))

    def so_far(self, done: int, total: int) -> None:
        """Set how many steps are done, and of how many."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def done(self) -> None:
        """Count a step."""
        self._finished += 1
        self._show(self._finished)

    def _show(self, completed: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=completed)


@contextmanager
def progress(total: int, quiet: bool) -> Iterator[Steps]:
    """A bar on stderr that goes away at the end; none where quiet, or where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield Steps(None, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Steps(bar, total)
