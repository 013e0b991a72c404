"""Bar: how far a long task has come, on a terminal or in a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from relprop.errors import InputError, RelpropWarning
from relprop.notebook import in_notebook

if TYPE_CHECKING:
    from rich.progress import Task

__all__ = ["Shows", "draws_bar", "progress_bar"]

P = ParamSpec("P")
R = TypeVar("R")


class Shows(Protocol):
    """Shows how much is done (parts of a step too), of how much (None: nobody knows), and what is being done."""

    def __call__(self, done: float, total: float | None, what: str = ..., /) -> None: ...


@contextmanager
def progress_bar(unit: str = "", quiet: bool = False) -> Iterator[Shows | None]:
    """What shows a bar that goes away at the end: tqdm's in a notebook, else one on stderr.

    None where quiet, or where stderr is neither a notebook's nor a terminal.

    Args:
        unit: of what is counted, for the rate ("12.5 pictures/s"); "": no rate is shown.
        quiet: show nothing.

    Warns:
        RelpropWarning: a notebook without tqdm.
    """
    if quiet or not (in_notebook() or sys.stderr.isatty()):
        yield None
        return
    with (_in_notebook if in_notebook() else _on_terminal)(unit) as shows:
        yield shows


def draws_bar(unit: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function's ``progress=True`` mean a bar: the function itself is given what shows it, or None.

    Args:
        unit: see `progress_bar`.

    Raises:
        InputError: by the function, for anything but True, False, None or a function.
    """

    def around(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def with_bar(*args: P.args, **kwargs: P.kwargs) -> R:
            asked = kwargs.pop("progress", None)
            with progress_bar(unit, quiet=asked is not True) as shows:
                return function(*args, **kwargs, progress=_told(asked) or shows)  # type: ignore[arg-type]

        return with_bar

    return around


def _told(progress: object) -> object:
    """The function that was given, or None."""
    if progress is None or isinstance(progress, bool):
        return None
    if not callable(progress):
        raise InputError(f"Expected progress to be a function, or True for a bar, but got {progress!r:.80}.")
    return progress


@contextmanager
def _in_notebook(unit: str) -> Iterator[Shows | None]:
    tqdm = _tqdm()
    if tqdm is None:
        text = (
            "No progress bar is shown: in notebooks tqdm draws it, which isn't installed (pip install tqdm)."
        )
        warnings.warn_explicit(text, RelpropWarning, "relprop", 0)  # a line of contextlib's would say nothing
        yield None
        return
    bar: Any = None

    def show(done: float, total: float | None, what: str = "", /) -> None:
        nonlocal bar
        total = total or None
        if bar is None:
            form = None if unit else "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
            bar = tqdm(total=total, unit=f" {unit}", leave=False, bar_format=form)
        elif bar.total != total:
            bar.reset(total)
        bar.set_description_str(what, refresh=False)
        bar.update(done - bar.n)
        bar.n = int(done) if done == int(done) else round(done, 2)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _tqdm() -> Any:
    """Tqdm for a notebook; None where it isn't installed."""
    if find_spec("tqdm") is None:
        return None
    if find_spec("ipywidgets") is None:  # tqdm.auto would advise to install it; a line of text does as well
        from tqdm import tqdm
    else:
        from tqdm.auto import tqdm
    return tqdm


@contextmanager
def _on_terminal(unit: str) -> Iterator[Shows]:
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

        def show(done: float, total: float | None, what: str = "", /) -> None:
            shown.update(task, completed=done, total=total, description=what)

        yield show
