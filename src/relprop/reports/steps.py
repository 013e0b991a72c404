"""Steps: how far a report has come."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "Steps"]

#: Called with the steps done (parts of one too), their number, and what is being done.
Progress = Callable[[float, int, str], None]


class Steps:
    """Counts finished steps of a long task, and tells whoever asked.

    >>> steps = Steps(lambda done, total, what: print(f"{done:g} of {total}: {what}"), 2)
    >>> steps.doing("a.png")
    0 of 2: a.png
    >>> steps.part(1, 4)
    0.25 of 2: a.png
    >>> steps.done()
    1 of 2: a.png
    """

    def __init__(self, progress: Progress | bool | None, total: int) -> None:
        self._progress = progress if callable(progress) else None
        self._total = total
        self._finished = 0
        self._what = ""

    def doing(self, what: str) -> None:
        """Name the step that starts."""
        self._what = what
        self._show(self._finished)

    def part(self, done: int, total: int) -> None:
        """Show how much of the current step is done."""
        self._show(self._finished + done / max(total, 1))

    def done(self) -> None:
        """Count a step."""
        self._finished += 1
        self._show(self._finished)

    def _show(self, completed: float) -> None:
        if self._progress is not None:
            self._progress(completed, self._total, self._what)
