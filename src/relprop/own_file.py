"""Things from the user's own files: `file.py:Name`."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any

from relprop.errors import InputError, RelpropError, unknown_name
from relprop.files import expanded, read_bytes, regular_file
from relprop.shortage import is_shortage

__all__ = [
    "FILE_FORM",
    "beside",
    "blame",
    "code_of",
    "from_file",
    "importable",
    "left",
    "seeded",
    "split_file",
    "split_settings_off",
    "without_folder",
]

#: How a thing of one's own is written, for lists of what there is.
FILE_FORM = "file.py:Name"

_FILE = r"((?:[A-Za-z]:)?[^:]*\.py)"
_FORM = re.compile(f"{_FILE}:([^:]+)")
_WITH_MORE = re.compile(f"{_FILE}:(.*)", re.DOTALL)
_WITH_SETTINGS = re.compile(f"({_FILE}:[^:]*)(?::(.*))?", re.DOTALL)
_kept: dict[tuple[str, int, int], ModuleType] = {}
_drawing = threading.RLock()  # whoever holds it may capture, but nobody takes it while capturing


def split_file(text: str) -> tuple[Path, str] | None:
    """The file and the name of `file.py:Name`; None for other texts.

    >>> split_file("own/ig.py:captum_ig"), split_file("lrp-0")
    ((PosixPath('own/ig.py'), 'captum_ig'), None)
    """
    found = _FORM.fullmatch(text)
    return None if found is None else (expanded(found[1]), found[2])


def split_settings_off(text: str) -> tuple[str, str]:
    """The name, which may be `file.py:Name`, and what stands behind its colon.

    >>> split_settings_off("own/ig.py:captum_ig:steps=20"), split_settings_off("lrp-0")
    (('own/ig.py:captum_ig', 'steps=20'), ('lrp-0', ''))
    """
    found = _WITH_SETTINGS.fullmatch(text)
    if found is not None:
        return found[1], found[3] or ""
    name, _, settings = text.partition(":")
    return name, settings


def beside(text: str, folder: str | Path) -> str:
    """`file.py:Name`, settings behind it or not, with a relative file that lies in `folder` as an absolute one.

    Other texts stay as they are, and so does a file that isn't in the folder.
    """
    found = _WITH_MORE.fullmatch(text)
    if found is None or Path(found[1]).is_absolute() or not (Path(folder) / found[1]).is_file():
        return text
    return f"{(Path(folder) / found[1]).absolute()}:{found[2]}"


def without_folder(text: str) -> str:
    """`file.py:Name`, settings behind it or not, with the file's own name alone; other texts as they are."""
    found = _WITH_MORE.fullmatch(text)
    return text if found is None else f"{PureWindowsPath(found[1]).name}:{found[2]}"


def code_of(text: str) -> str:
    """SHA-256 of the file of `file.py:Name`; "" for other texts, whose code has a version."""
    found = _WITH_MORE.fullmatch(text)
    if found is None:
        return ""
    return hashlib.sha256(read_bytes(expanded(found[1]), "a Python file")).hexdigest()


def from_file(path: Path, name: str, *, again: bool = False) -> Any:
    """What a file calls `name`. The file is run, as it is, the first time and when it has changed.

    Args:
        path: a Python file. Files beside it can be imported by it.
        name: something that it defines.
        again: run it in any case, so that nothing is shared with an earlier call.

    Raises:
        InputError: no such file or name.
        RelpropError: the file's own code raised.
    """
    regular_file(path, "a Python file")
    state = path.stat()
    key = str(path.resolve()), state.st_mtime_ns, state.st_size
    if again or key not in _kept:
        _kept[key] = _run(path)
    file = _kept[key]
    if not hasattr(file, name):
        public = sorted(n for n, v in vars(file).items() if callable(v) and not n.startswith("_"))
        raise unknown_name(f"name in '{path}'", name, public)
    return getattr(file, name)


def _run(path: Path) -> ModuleType:
    # Files of one name in two folders are two modules.
    mark = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"relprop_file_{path.stem}_{mark}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"Expected a Python file but got '{path}'.")
    file = importlib.util.module_from_spec(spec)
    with seeded(), blame(f"Running '{path}'"), importable(path.resolve().parent):
        sys.modules[spec.name] = file  # dataclasses and pickles look their module up
        spec.loader.exec_module(file)
    return file


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Random weights come out the same each time, and the caller's random state stays.

    Layers draw from the generators of the process, so that threads take turns here.

    Args:
        seed: 0 to 2³² - 1.
    """
    import torch

    # A GPU that is not in use yet would be seeded when it comes into use, long after this.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with _drawing, torch.random.fork_rng(devices=list(devices)):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Files of the folder can be imported inside the block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # code of the folder has taken it away
            sys.path.remove(str(folder))


def left(doing: str, error: SystemExit) -> RelpropError:
    """The error for code of the user's that would end the whole program, with code 0 as if all were well."""
    return RelpropError(
        f"{doing} called sys.exit({'' if error.code is None else repr(error.code)}). Keep what is for running "
        'the file as a program under: if __name__ == "__main__".'
    )


@contextmanager
def blame(doing: str) -> Iterator[None]:
    """An error of the user's own code becomes one line that says what was being done.

    Raises:
        RelpropError: whatever was raised inside, `SystemExit` too, unless it is one of ours. An interrupt passes.
    """
    try:
        yield
    except RelpropError:
        raise
    except SystemExit as error:
        raise left(doing, error) from error
    except Exception as error:
        if is_shortage(error):
            raise
        text = " ".join(str(error).split()).rstrip(".")
        raise RelpropError(f"{doing} raised {type(error).__name__}{': ' if text else ''}{text}.") from error
