"""Difficult list: which pairs (picture, class) a published list puts in the Pointing Game's hard subset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from relprop.errors import InputError
from relprop.files import expanded, read_text

__all__ = ["DifficultList"]

_EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".xml"}


class DifficultList:
    r"""A list in TorchRay's form: a line a picture, its name and one 0 or 1 a class, separated by tabs.

    The columns follow the data set's classes. A picture that is not on the list is evaluated, not skipped:
    all its classes count as hard, as in TorchRay's Pointing Game. Names match with and without an
    extension.

    Args:
        path: the text file, UTF-8.
        classes: number of classes of the data set.

    Raises:
        InputError: no such file, no line in it, or a line with another number of columns, another flag than
            0 or 1, or a name that was there before.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "hard.txt"
    >>> _ = path.write_text("000001\t0\t1\n000002.jpg\t0\t0\n")
    >>> hard = DifficultList(path, 2)
    >>> hard.of("000001"), hard.of("000002"), hard.of("000003")
    ({0: False, 1: True}, {0: False, 1: False}, {0: True, 1: True})
    """

    def __init__(self, path: str | Path, classes: int) -> None:
        self.path = expanded(path).absolute()
        self.classes = classes
        self.rows = dict(self._lines())
        if not self.rows:
            raise InputError(f"Expected a list of difficult pairs but '{path}' is empty.")

    def __len__(self) -> int:
        """Number of pictures on the list."""
        return len(self.rows)

    @property
    def pairs(self) -> int:
        """Number of pairs that the list marks as hard."""
        return sum(sum(row) for row in self.rows.values())

    def of(self, *names: str) -> dict[int, bool]:
        """Class -> hard, for every class; the first of a picture's names that is on the list counts."""
        for name in names:
            row = self.rows.get(_key(name))
            if row is not None:
                return dict(enumerate(row))
        return dict.fromkeys(range(self.classes), True)

    def _lines(self) -> Iterable[tuple[str, tuple[bool, ...]]]:
        text = read_text(self.path, "a list of difficult pairs")
        seen: set[str] = set()
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            where = f"line {number} of '{self.path}'"
            name, *flags = line.rstrip().split("\t")
            if len(flags) != self.classes:
                raise InputError(
                    f"Expected a name and {self.classes} columns of 0 or 1, separated by tabs, but {where} has "
                    f"{len(flags)} behind the name. Is the list for another data set?"
                )
            wrong = [flag for flag in flags if flag.strip() not in ("0", "1")]
            if wrong:
                raise InputError(f"Expected 0 or 1 in every column but {where} has {wrong[0]!r}.")
            key = _key(name.strip())
            if key in seen:
                raise InputError(f"Expected every picture once but {where} has {name.strip()!r} again.")
            seen.add(key)
            yield key, tuple(flag.strip() == "1" for flag in flags)


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in _EXTENSIONS else name
