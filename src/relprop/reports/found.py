"""Found: results of relprop's commands below some folders, gathered by what they are about."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relprop.benchmark.store import RESULTS
from relprop.errors import InputError
from relprop.explanation.saved import FORMAT as EXPLANATION
from relprop.files import read_text, shown_path
from relprop.paths import named_path
from relprop.reports.told import DOCUMENTS, Kind, Told, read_document
from relprop.video.separation import FORMAT as SEPARATION

__all__ = ["Finds", "Skipped", "Subject", "brief_place", "find_results"]

_MOST = 100_000  # folders that are looked into
_MANIFEST, _DEPTH, _TABLE, _MISTAKES = "manifest.json", "depth.jsonl", "table.json", "mistakes.json"
#: Files that say that a folder is a picture's or a clip's, not one in which somebody keeps results.
_MARKS = ("sheet.png", "detections.png", "figure.png", "film.gif", "layers.png", "bias.png", *DOCUMENTS)
_BATCH = ("settings.json", "pictures.jsonl")  # beside the pictures' folders of `explain_many`
_OF_DETECTION = re.compile(r"(box|anchor)-\d+(-edges|-rather)?")


@dataclass(frozen=True)
class Skipped:
    """What looks like a result and isn't shown.

    Attributes:
        path: where it lies.
        why: in a sentence.
    """

    path: Path
    why: str


@dataclass(frozen=True)
class Subject:
    """What some results are about: a picture, a clip, a study, a benchmark.

    Attributes:
        kind: of results.
        folder: where its files lie.
        own: whether the folder is the subject's own, made by a command, so that its name says what it is about.
        numbers: folders of explanations and separations.
        told: what documents say of it: by the folder of numbers, or by `folder`.
    """

    kind: Kind
    folder: Path
    own: bool
    numbers: tuple[Path, ...] = ()
    told: Mapping[Path, Told] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    def of(self, numbers: Path) -> Told | None:
        """What a document says that names this folder of numbers."""
        return self.told.get(numbers)

    @property
    def document(self) -> Told | None:
        """What a document says of the whole."""
        return self.told.get(self.folder) or next(iter(self.told.values()), None)


@dataclass(frozen=True)
class Finds:
    """What was found.

    Attributes:
        subjects: in order of the places, and of the folders' names.
        skipped: what looked like a result and isn't.
    """

    subjects: tuple[Subject, ...]
    skipped: tuple[Skipped, ...]


def find_results(places: Iterable[str | Path]) -> Finds:
    """The results at some places; what is given twice is found once.

    Args:
        places: folders, which are searched with all below them but links and hidden ones; documents that a command
            printed with ``--json``; files of a result.

    Raises:
        InputError: a place isn't there, holds no results, or is something else; a document that can't be read.
    """
    search = _Search()
    for place in places:
        before = search.count
        path = named_path(place)
        if not str(place):
            raise InputError("Expected a folder of results but got an empty name.")
        if path.is_dir():
            search.folder(path)
            if search.count == before and not search.again:
                raise _nothing(path, search.skipped)
        elif path.suffix == ".json" and path.name not in (_MANIFEST, _TABLE):
            search.document(read_document(path))
        elif path.name in (_MANIFEST, _TABLE, RESULTS, _DEPTH, *_MARKS) and path.is_file():
            search.folder(path.parent)
        else:
            there = "it is neither" if path.exists() else "there is no such thing"
            raise InputError(
                f"Expected a folder of results, or a document that relprop printed with --json, but got "
                f"'{shown_path(place)}': {there}."
            )
    return Finds(tuple(search.subjects()), tuple(search.skipped))


def _nothing(path: Path, skipped: Sequence[Skipped]) -> InputError:
    why = f" ({shown_path(skipped[0].path)}: {skipped[0].why})" if skipped else ""
    return InputError(
        f"Expected results of relprop explain, detect, video, affine or benchmark below '{shown_path(path)}' but "
        f"found none{why}. Name the folder that was given as --out."
    )


class _Search:
    """What was found so far."""

    def __init__(self) -> None:
        self.count = 0
        self.again = False  # whether the last place held something that is known already
        self.skipped: list[Skipped] = []
        self._numbers: dict[tuple[Kind, Path], dict[Path, None]] = {}
        self._own: dict[tuple[Kind, Path], bool] = {}
        self._told: dict[tuple[Kind, Path], dict[Path, Told]] = {}
        self._seen: dict[Path, Path] = {}  # as the system knows it -> as it was found
        self._looked: set[Path] = set()

    def subjects(self) -> Iterator[Subject]:
        """In the order in which they were found."""
        for (kind, folder), numbers in self._numbers.items():
            told = self._told.get((kind, folder), {})
            yield Subject(kind, folder, self._own[kind, folder], tuple(numbers), told)

    def document(self, told: Sequence[Told]) -> None:
        """Take what a document names."""
        for one in told:
            self._add(one.kind, one.folder, one.numbers, True)
            self._tell(one)

    def folder(self, top: Path) -> None:
        """Search a folder and all below it."""
        self.again = False
        for count, (path, folders, files) in enumerate(os.walk(top, onerror=self._closed)):
            if count >= _MOST:
                raise InputError(
                    f"Expected a folder of results but '{shown_path(top)}' holds more than {_MOST:,} folders. "
                    "Name the folder that was given as --out."
                )
            folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)
            here, names = Path(path), set(files)
            if _MISTAKES in names:  # other results may lie beside: commands share a folder by default
                self._skip(
                    here / _MISTAKES, "a detector's mistakes are a page of their own: report.html beside it"
                )
            if _MANIFEST in names:
                self._manifest(here)
                folders.clear()
            else:
                self._marked(here, names)

    def _closed(self, error: OSError) -> None:
        self._skip(Path(str(error.filename)), f"it can't be read: {error.strerror}")

    def _skip(self, path: Path, why: str) -> None:
        if path.resolve() not in self._looked:
            self._looked.add(path.resolve())
            self.skipped.append(Skipped(path, why))

    def _marked(self, here: Path, names: set[str]) -> None:
        """A folder without numbers of its own."""
        if "detections.png" in names:
            self._add("detection", here, (), True)
        if _DEPTH in names:
            self._add("depth", here, (), False)
        if RESULTS in names or {_TABLE, "pairs.csv"} <= names:
            self._add("benchmark", here, (), False)
        for name in sorted(names & set(DOCUMENTS)):
            try:
                told = read_document(here / name)
            except InputError as error:
                self._skip(here / name, str(error))
                continue
            for one in told:
                self._tell(one)

    def _manifest(self, here: Path) -> None:
        """A folder with a manifest: numbers of relprop, or somebody else's."""
        try:
            manifest = json.loads(read_text(here / _MANIFEST, "a manifest"))
            name = str(manifest.get("format", ""))
        except (ValueError, RecursionError, AttributeError):
            ours = any((here / form.numbers).exists() for form in (EXPLANATION, SEPARATION))
            if ours:  # what is wrong with it is said when it is read
                self._add("picture", here.parent, (here,), _is_own(here.parent))
            return
        if name == SEPARATION.name:
            self._add("clip", here.parent, (here,), _is_own(here.parent))
        elif name == EXPLANATION.name:
            kind = _kind(here, manifest)
            self._add(kind, here.parent, (here,), _is_own(here.parent))
        elif name.startswith("relprop-"):
            self._skip(here, f"a result of the kind {name[:60]!r} isn't known")

    def _add(self, kind: Kind, folder: Path, numbers: Sequence[Path], own: bool) -> None:
        key = kind, self._seen.setdefault(folder.resolve(), folder)
        if key not in self._numbers:
            self._numbers[key], self._own[key] = {}, own
            self.count += 1
        elif not numbers:
            self.again = True
        for one in numbers:
            place = self._seen.setdefault(one.resolve(), one)
            if place in self._numbers[key]:
                self.again = True
            else:
                self._numbers[key][place] = None
                self.count += 1

    def _tell(self, one: Told) -> None:
        for name, why in one.problems:
            self._skip(Path(name), f"it could not be explained: {why}")
        folder = self._seen.get(one.folder.resolve(), one.folder)
        self._seen.setdefault(folder.resolve(), folder)
        known = self._told.setdefault((one.kind, folder), {})
        known.setdefault(folder, one)
        for numbers in one.numbers:
            known.setdefault(self._seen.setdefault(numbers.resolve(), numbers), one)


def _kind(here: Path, manifest: Mapping[str, Any]) -> Kind:
    """What an explanation is about, by its own facts and by what lies beside it."""
    shapes = manifest.get("shapes")
    shape = shapes.get("input") if isinstance(shapes, dict) else None
    if isinstance(shape, list) and len(shape) == 5:
        return "clip"
    beside = here.parent
    if _OF_DETECTION.fullmatch(here.name) and (beside / "detections.png").exists():
        return "detection"
    if manifest.get("method") == "affine" and here.name == "affine" and (beside / "bias.png").exists():
        return "affine"
    return "picture"


def _is_own(folder: Path) -> bool:
    """Whether a command made it for one picture or clip."""
    return any((folder / mark).exists() for mark in _MARKS) or all(
        (folder.parent / mark).exists() for mark in _BATCH
    )


def brief_place(folder: Path) -> str:
    """Where a folder lies, for a page that goes to others: from here on, or its last two names.

    >>> brief_place(Path("/home/ann/secret/out/cat"))
    '…/out/cat'
    """
    whole = folder.absolute()
    if whole.is_relative_to(Path.cwd()):
        return whole.relative_to(Path.cwd()).as_posix()
    return "/".join(["…", *whole.parts[-2:]])


def _natural(name: str) -> list[str | int]:
    """A key by which box-10 comes behind box-9."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))]
