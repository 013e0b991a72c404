"""Report: what a command draws, writes and prints, as one value of Python."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from relprop.reports.document import plain
from relprop.reports.text import Block, Table, lines
from relprop.reports.told import FORMAT, VERSION
from relprop.reports.works import Drawing, Film, Numbers, Work
from relprop.storage import write_file
from relprop.viz.file import png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "Page", "Report", "gathered", "leave_document"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Page:
    """One subject of a report: a picture, a clip, a study.

    Attributes:
        works: what is written of it, by path in the report's folder, in the order of writing.
        document: its part of the document, plain values; a `Path` in it stands for a file of the report.
        text: what is printed of it.
        open: whether a ledger of it does not close, or a part of it could not be made.
    """

    works: Mapping[Path, Work]
    document: Mapping[str, Any]
    text: tuple[Block, ...]
    open: bool = False

    def write(self, folder: Path) -> None:
        """Make everything, then write it; works that can be made again replace those of an earlier run."""
        writers = [(folder / path, work.made()) for path, work in self.works.items()]
        for path, writer in writers:
            writer(path)


class Drawn(Mapping[str, T]):
    """What can be drawn, by file name; each is drawn anew when it is asked for."""

    def __init__(self, draws: Mapping[str, Callable[[], T]]) -> None:
        self._draws = draws

    def __getitem__(self, name: str) -> T:
        return self._draws[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._draws)

    def __len__(self) -> int:
        return len(self._draws)


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """Figures, numbers, one document and its words: what a command gives, for a notebook or a program.

    ``print(report)`` shows what the command prints; notebooks show the figures too.

    Attributes:
        head: the document's first entries.
        key: under which the pages stand in the document; None: there is one, and its entries follow the head's.
        pages: one a subject.
        folder: where it was saved, or None.
        binding: what stands for all pages together, or None; its entries follow the head's.
        told: name of the document that is left beside each page's files; "": none is.
    """

    head: Mapping[str, Any]
    key: str | None
    pages: tuple[Page, ...]
    folder: Path | None = None
    binding: Page | None = None
    told: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """What the command prints with ``--json``: plain values.

        Names of files are those under `folder`, and relative to it until the report is saved.
        """
        described = [page.document for page in self.pages]
        head = {**self.head, **({} if self.binding is None else self.binding.document)}
        whole = {**head, self.key: described} if self.key else {**head, **described[0]}
        found: dict[str, Any] = plain(whole, self.folder)
        return found

    @property
    def open(self) -> bool:
        """Whether a ledger does not close, or a picture failed: the command ends with exit code 1."""
        return any(page.open for page in self.pages)

    @property
    def figures(self) -> Drawn[Figure]:
        """The figures, by the name of their file in the report's folder, such as ``"street/sheet.png"``."""
        return Drawn({name: work.draw for name, work in self._works() if isinstance(work, Drawing)})

    @property
    def films(self) -> Drawn[NDArray[np.uint8]]:
        """The frames of films, (T, H, W, 3) uint8, by the name of their files without the ending."""
        return Drawn({name: work.draw for name, work in self._works() if isinstance(work, Film)})

    @property
    def numbers(self) -> dict[str, Any]:
        """Explanations and separations, by the name of their folder."""
        return {name: work.what for name, work in self._works() if isinstance(work, Numbers)}

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables that are printed, in order."""
        return tuple(block for page in self._all for block in page.text if isinstance(block, Table))

    def lines(self, console: Console | None = None) -> list[str]:
        """What the command prints, line by line; tables as wide as the console (160 characters) at most."""
        return [line for page in self._all for line in lines(page.text, self.folder, console)]

    def _works(self) -> Iterator[tuple[str, Work]]:
        return ((path.as_posix(), work) for page in self._all for path, work in page.works.items())

    @property
    def _all(self) -> tuple[Page, ...]:
        return self.pages if self.binding is None else (*self.pages, self.binding)

    def save(self, folder: str | Path) -> Report:
        """Write figures and numbers as the command does.

        Args:
            folder: made if it isn't there. Results of an earlier run in it are replaced; folders of numbers that
                hold anything else are refused.

        Returns:
            The report, with the names of the files in its document and words.

        Raises:
            InputError: the folder is a file, or a folder in it holds other things.
        """
        for page in self._all:
            page.write(Path(folder))
            if page is not self.binding:
                leave_document(self.told, self.head, self.key, page, Path(folder))
        return replace(self, folder=Path(folder))

    def __str__(self) -> str:
        return "\n".join(self.lines()).rstrip("\n")

    def __repr__(self) -> str:
        return f"Report({', '.join(self.figures)})"

    def _repr_html_(self) -> str:
        images = [base64.b64encode(png_bytes(figure)).decode() for figure in self.figures.values()]
        drawn = "".join(
            f'<img style="max-width: 100%" src="data:image/png;base64,{data}">' for data in images
        )
        return f"{drawn}<pre>{html.escape(str(self))}</pre>"


def leave_document(name: str, head: Mapping[str, Any], key: str | None, page: Page, folder: Path) -> None:
    """Write what a document says of one page beside its files, so that they can be understood without the command.

    Args:
        name: of the file; "": none is written.
        head, key: as `Report`.
        page: what it is about; paths become relative to the file.
        folder: the report's, in which the page's files lie.
    """
    if not name:
        return
    homes = [str(path.parent) for path in page.works]
    home = Path(os.path.commonpath(homes)) if homes else Path()
    entries = {key: [page.document]} if key else page.document
    facts = {
        "format": FORMAT,
        "format_version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found = plain({**facts, **head, **entries}, beside=home)
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    # A name that is no text stays what it is: JSON knows \udce9.
    write_file(folder / home / name, (text + "\n").encode(errors="backslashreplace"))


def gathered(
    head: Mapping[str, Any],
    key: str | None,
    pages: Iterable[Page],
    out: str | Path | None,
    bind: Callable[[Sequence[Page]], Page | None] | None = None,
    *,
    told: str = "",
) -> Report:
    """The report of pages that are made one after another; each is written to `out` once it is made.

    Args:
        head, key: as `Report`.
        pages: made as they are asked for.
        out: a folder, or None.
        bind: makes what stands for all of them together, or None, once they are done.
        told: as `Report`.
    """
    kept = []
    for page in pages:
        if out is not None:
            page.write(Path(out))
            leave_document(told, head, key, page, Path(out))
        kept.append(page)
    binding = None if bind is None else bind(kept)
    if out is not None and binding is not None:
        binding.write(Path(out))
    return Report(head, key, tuple(kept), None if out is None else Path(out), binding, told)
