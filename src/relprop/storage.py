"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relprop.errors import OutputError
from relprop.files import expanded, shown_path
from relprop.parts import part_beside, sweep

__all__ = ["check_room", "new_folder", "write_file"]


def check_room(folder: str | Path) -> None:
    """Refuse a folder that results can't be written to, before they are computed; nothing is left behind.

    Args:
        folder: that is there, or can be made.

    Raises:
        OutputError: it is a file, can't be the name of a folder, can't be made or written to, or the disk is full.
    """
    path = expanded(folder).absolute()
    shown = shown_path(folder)
    shown = shown if len(shown) <= 160 else f"{shown[:160]}…"
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
        there = next(p for p in (path, *path.parents) if os.path.lexists(p))
        if not there.is_dir():
            raise OutputError(
                f"Expected a folder for results but '{shown_path(there)}' is a file. Take another one."
            )
        for name in path.relative_to(
            there
        ).parts:  # none too long, which the system tells of what it can reach
            with suppress(FileNotFoundError):
                (there / name).lstat()
        # Writing is the one way to know: there are permissions, read-only disks, quotas, full disks.
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OutputError:
        raise
    except ValueError:
        raise OutputError(
            f"Expected a folder for results but '{shown}' can't be the name of one. Take another one."
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"Expected a folder that results can be written to but '{shown}' is none: {reason}. Take "
            "another one, or make room."
        ) from None


def write_file(path: str | Path, data: bytes) -> Path:
    """Write bytes to a file, replacing an old one in a single step; an error leaves the old file as it was."""
    path = _missing_parents(Path(path))[0]
    sweep(path.parent)
    part = part_beside(path, "part")
    try:
        _write(part, data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


@contextmanager
def new_folder(
    path: str | Path, overwrite: bool = False, ours: Callable[[Path], str | None] | None = None
) -> Iterator[Path]:
    """A folder that appears at ``path`` only once the block has ended well.

    Yields a temporary folder beside ``path`` to write into. At the end its files are flushed to the disk
    and it is renamed. An error or an interrupt removes it; with ``overwrite`` the old folder is then as it
    was. (Two renames put a new folder in an old one's place; should the machine stop between them, the old
    one lies beside it as ``.NAME.….old``.) What a killed process left in the same parent is taken away: see
    `relprop.parts`.

    Args:
        path: where the folder shall be; parents are made.
        overwrite: whether an existing folder may be replaced.
        ours: says why an existing folder must not be replaced (None: it may).

    Raises:
        OutputError: if ``path`` is a file, or a folder that may not be replaced.
    """
    path = expanded(path).absolute()
    if path.is_symlink():
        path = path.resolve()
    if path.exists():
        if not path.is_dir():
            raise OutputError(f"Expected a folder to save to but {str(path)!r} is a file.")
        if not overwrite:
            raise OutputError(
                f"Expected a new folder but {str(path)!r} exists. Pass overwrite=True or another path."
            )
        reason = ours(path) if ours is not None else None
        if reason:
            raise OutputError(
                f"Expected a folder saved by relprop to overwrite but {reason}. Remove it yourself."
            )
    made = _missing_parents(path)[1]
    sweep(path.parent)
    part = part_beside(path, "part")
    try:
        part.mkdir()
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        _sync_folder(part)
        _swap(part, path, overwrite)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        for parent in reversed(made):
            with suppress(OSError):
                parent.rmdir()
        raise
    _sync_folder(path.parent)


def _swap(part: Path, path: Path, overwrite: bool) -> None:
    if not path.exists():
        part.rename(path)
        return
    if not overwrite:  # somebody made it meanwhile
        raise OutputError(
            f"Expected a new folder but {str(path)!r} exists. Pass overwrite=True or another path."
        )
    old = part_beside(path, "old")
    try:
        path.rename(old)
        part.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _missing_parents(path: Path) -> tuple[Path, list[Path]]:
    """Make the parents; return the absolute path and the parents that were made, outermost first."""
    path = expanded(path).absolute()
    missing = [parent for parent in reversed(path.parents) if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, missing


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(path: Path) -> None:
    # Folders can't be opened for this on every system; the rename itself is done.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
