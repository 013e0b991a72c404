"""A figure that notebooks show: without a magic command, and once."""

from __future__ import annotations

import base64
from typing import TypeVar

from matplotlib.figure import Figure

from relprop.notebook import cell, in_notebook
from relprop.viz.file import png_bytes

__all__ = ["InlineFigure", "shown"]

F = TypeVar("F", bound=Figure)


class InlineFigure(Figure):
    """matplotlib's figure, which notebooks draw by themselves, whether or not ``%matplotlib inline`` was said.

    One that a cell has shown already isn't shown again by standing on its last line, unless it was changed since.
    """

    _shown_in: int | None = None

    def display(self) -> None:
        """Show it below the cell that is being run; in a notebook alone."""
        from IPython.display import display

        data = base64.b64encode(png_bytes(self)).decode()
        display({"image/png": data, "text/plain": repr(self)}, raw=True)
        self._shown_in = cell()

    def _repr_png_(self) -> bytes:
        return png_bytes(self)

    def _ipython_display_(self) -> None:  # what a cell's last line asks for before all else
        if self._shown_in != cell() or self.stale:
            self.display()


def shown(figure: F) -> F:
    """The figure; a notebook has shown it, elsewhere nothing happens."""
    if isinstance(figure, InlineFigure) and in_notebook():
        figure.display()
    return figure
