"""Bar: how far a long task has come, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task

__all__ = ["Shows", "progress_bar"]

Shows = Callable[[float, float | None, str], None]


@contextmanager
def progress_bar(
    unit: str = "", quiet: bool = False
) -> Iterator[Callable[[float, float | None, str], None] | None]:
    """What shows a bar on stderr that goes away at the end; None where quiet, or where stderr is no terminal.

    Args:
        unit: of what is counted, for the rate ("12.5 pictures/s"); "": no rate is shown.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many are done in a second, lately."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.3g} {unit}/s")

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([Rate()] if unit else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=0)
        yield lambda done, total, what: shown.update(task, completed=done, total=total, description=what)
