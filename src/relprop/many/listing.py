"""Listing: files, folders and patterns as the pictures that they name."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from relprop.errors import InputError
from relprop.files import PICTURE_ENDINGS, expanded, shown_path

__all__ = ["listed_pictures", "names_several"]

_RESULTS = ("pictures.jsonl", "depth.jsonl")
"""Files by which a folder of results is known."""


def listed_pictures(paths: Iterable[str | Path], *, below: bool = True) -> list[Path]:
    """The pictures that files, folders (by their endings) and patterns name, in that order.

    Inside a folder or a pattern they come by name. A file that is named is taken whatever its ending.

    Args:
        paths: files, folders and patterns.
        below: folders stand for what lies in their folders too, but for those that relprop wrote results to.

    Raises:
        InputError: a folder or a pattern without pictures.
    """
    found: list[Path] = []
    for given in paths:
        path = expanded(given)
        if path.is_dir():
            inside = sorted(_below(path) if below else (p for p in path.iterdir() if _is_picture(p)))
        elif _is_pattern(path):
            inside = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if _is_picture(p))  # noqa: PTH207
        else:
            inside = [path]
        if not inside:
            raise InputError(
                f"Expected pictures in '{shown_path(path)}' but it holds none ({', '.join(PICTURE_ENDINGS)}). "
                "Name a folder or a pattern of pictures."
            )
        found += inside
    return found


def names_several(path: str | Path) -> bool:
    """Whether it is a folder or a pattern, which may stand for any number of pictures."""
    try:
        return expanded(path).is_dir() or _is_pattern(expanded(path))
    except OSError:  # what can't even be looked for, such as a name too long, is told to who reads it
        return False


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not any((path / name).exists() for name in _RESULTS):
            yield from _below(path)
        elif _is_picture(path):
            yield path


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_ENDINGS and path.is_file() and not path.name.startswith(".")
