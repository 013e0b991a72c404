"""Works: what a report can write: a drawing, a film, words, or a folder of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from relprop.storage import write_file
from relprop.viz.file import save_figure
from relprop.viz.film import save_gif, save_mp4

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Film", "Numbers", "Text", "Work"]


class Work(Protocol):
    """Something that is made first and written then, so that a failure leaves no file behind."""

    def made(self) -> Callable[[Path], Any]:
        """Make it, and give back what writes it to a path."""


class Drawing(Work):
    """A figure that is drawn when it is asked for.

    Args:
        draw: gives the figure.
    """

    def __init__(self, draw: Callable[[], Figure]) -> None:
        self.draw = draw

    def made(self) -> Callable[[Path], Any]:
        figure = self.draw()
        return lambda path: save_figure(figure, path)


class Film(Work):
    """Pictures one after another, written as a GIF and as an MP4 beside each other.

    Args:
        draw: gives the frames, (T, H, W, 3) uint8.
        fps: frames a second.
    """

    def __init__(self, draw: Callable[[], NDArray[np.uint8]], fps: float) -> None:
        self.draw = draw
        self.fps = fps

    def made(self) -> Callable[[Path], Any]:
        frames = self.draw()

        def write(path: Path) -> None:
            save_gif(frames, path.with_suffix(".gif"), self.fps)
            save_mp4(frames, path.with_suffix(".mp4"), self.fps)

        return write


class Text(Work):
    """A file of words.

    Args:
        write: gives the words.
    """

    def __init__(self, write: Callable[[], str]) -> None:
        self.write = write

    def made(self) -> Callable[[Path], Any]:
        data = self.write().encode()
        return lambda path: write_file(path, data)


class Numbers(Work):
    """An explanation, or whatever else can save itself into a folder.

    Args:
        what: has `save(path, overwrite=..., **options)`.
        options: how it is saved.
    """

    def __init__(self, what: Any, **options: Any) -> None:
        self.what = what
        self.options = options

    def made(self) -> Callable[[Path], Any]:
        return lambda path: self.what.save(path, overwrite=True, **self.options)
