"""Told: what the documents of relprop's commands say about the folders that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from relprop.errors import InputError
from relprop.files import expanded, read_text, shown_path

__all__ = ["DOCUMENTS", "FORMAT", "VERSION", "Kind", "Told", "read_document"]

Kind = Literal["picture", "detection", "clip", "affine", "depth", "benchmark"]

#: Names of the documents that commands leave beside the results of a subject.
DOCUMENTS = ("explain.json", "detect.json", "video.json", "affine.json", "depth.json")

#: What such a document calls itself, and the version that is written and read.
FORMAT, VERSION = "relprop-document", 1

_HEAD = ("relprop", "model", "sampling", "created")
_WHAT = "a document that relprop printed with --json"


@dataclass(frozen=True)
class Told:
    """What a document says about one subject.

    Attributes:
        kind: of the subject.
        folder: where its files lie; of a benchmark that of the document itself, if none is named.
        head: the version of relprop and the model, as far as they are there.
        page: the subject's part of the document.
        numbers: the folders of numbers that it names.
        problems: pictures that could not be explained, and why.
    """

    kind: Kind
    folder: Path
    head: Mapping[str, Any]
    page: Mapping[str, Any]
    numbers: tuple[Path, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


def read_document(path: str | Path) -> list[Told]:
    """What a document says, subject by subject.

    Args:
        path: what a command printed with ``--json``, or left beside its results.

    Raises:
        InputError: it can't be read, is no such document, or names folders that aren't there.
    """
    file = expanded(path)
    shown = shown_path(path)
    try:
        whole = json.loads(read_text(file, _WHAT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"Expected {_WHAT} but '{shown}' can't be read as JSON: {' '.join(str(error).split())[:120]}. "
            "Print it anew, or give the folder of results."
        ) from None
    if not isinstance(whole, dict):
        raise _unknown(shown)
    version = whole.get("format_version", VERSION)
    if whole.get("format", FORMAT) != FORMAT:
        raise _unknown(shown)
    if version != VERSION:
        raise InputError(
            f"Expected a document of version {VERSION} but '{shown}' has {str(version)[:20]!r}. Make the report "
            "with the relprop that wrote it."
        )
    try:
        found = list(_subjects(whole, file))
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise InputError(
            f"Expected {_WHAT} but a part of '{shown}' has another form. It was changed: print it anew, or "
            "give the folder of results."
        ) from None
    if not found:
        raise InputError(
            f"Expected results in '{shown}' but it speaks of none. Give another document or a folder."
        )
    return found


def _unknown(shown: str) -> InputError:
    return InputError(
        f"Expected {_WHAT} but '{shown}' is another JSON file. Give a folder of results, or what relprop explain, "
        "detect, video, affine or benchmark printed."
    )


def _subjects(whole: dict[str, Any], file: Path) -> Iterator[Told]:
    head = {key: value for key, value in whole.items() if key in _HEAD}
    if "cells" in whole and "columns" in whole:
        files = [Path(str(one)) for one in whole.get("files", ())]
        folder = next((p.parent for one in files if (p := _there(one, file)) is not None), file.parent)
        yield Told("benchmark", folder, head, whole)
    elif "models" in whole and "figure" in whole:
        yield Told("depth", _folder(Path(str(whole["figure"])), file), head, whole)
    elif "rows" in whole and "summary" in whole:
        base = _folder(Path(str(whole["summary"])), file)
        failed = tuple(
            (str(row["picture"]), str(row["problem"])) for row in whole["rows"] if row["problem"] is not None
        )
        for k, (page, numbers) in enumerate(_rows(whole, base)):
            yield Told("picture", numbers[0].parent, head, page, numbers, () if k else failed)
    elif "clips" in whole:
        for page in whole["clips"]:
            numbers = (_numbers(page["files"]["numbers"], file),)
            yield Told("clip", numbers[0].parent, head, page, numbers)
    elif "images" in whole and isinstance(whole["images"], list):
        for page in whole["images"]:
            yield _pictured(page, head, file)
    else:
        raise _unknown(shown_path(file))


def _pictured(page: dict[str, Any], head: Mapping[str, Any], file: Path) -> Told:
    if "detections" in page:
        several = [page_of for one in page["explanations"] for page_of in _of_detection(one)]
        folder = _folder(Path(str(page["drawn"])), file)
        return Told("detection", folder, head, page, tuple(_numbers(one, file) for one in several))
    if "owners" in page:
        numbers = _numbers(page["files"]["Numbers"], file)
        return Told("affine", numbers.parent, head, page, (numbers,))
    several = [one["folder"] for one in page["explanations"]]
    folders = tuple(_numbers(one, file) for one in several)
    return Told("picture", folders[0].parent, head, page, folders)


def _of_detection(one: Mapping[str, Any]) -> list[str]:
    """The folders of numbers of an explained detection."""
    return [str(part["folder"]) for part in (one, one.get("edges"), one.get("rather")) if part is not None]


def _rows(whole: Mapping[str, Any], base: Path) -> Iterator[tuple[dict[str, Any], tuple[Path, ...]]]:
    """The pictures of a summary, each with its folders of numbers."""
    pictures: dict[str, dict[Path, None]] = {}
    for row in whole["rows"]:
        if row["problem"] is None:
            pictures.setdefault(str(row["picture"]), {})[base / str(row["folder"])] = None
    for name, folders in pictures.items():
        yield {"image": name, "explanations": [{"folder": str(f)} for f in folders]}, tuple(folders)


def _numbers(text: Any, file: Path) -> Path:
    """A folder of numbers that a document names."""
    found = _there(Path(str(text)), file)
    if found is None:
        raise InputError(
            f"Expected the results that '{shown_path(file)}' names but '{shown_path(str(text))}' isn't there. "
            "Make the report where the command was run, or give the folder of results."
        )
    return found


def _folder(path: Path, file: Path) -> Path:
    """The folder of a file that a document names."""
    found = _there(path, file)
    return file.parent if found is None else found.parent


def _there(path: Path, file: Path) -> Path | None:
    """A path of a document: beside it, or from where the command was run on."""
    return next((p for p in (file.parent / path, path) if p.exists()), None)
