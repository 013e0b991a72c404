"""Truth: which objects are in which picture, from a COCO instance file or a folder of VOC's XML, without masks."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._files import checked_box
from relprop.datasets.coco import Instances, corners
from relprop.datasets.voc import VOC_CLASSES, read_objects
from relprop.errors import InputError
from relprop.files import expanded, read_bytes, regular_file, shown_path

__all__ = ["Annotations", "TruthOf", "read_truth"]


@dataclass(frozen=True, eq=False)
class TruthOf:
    """The objects of one picture.

    Attributes:
        boxes: (n, 4) float64, x0, y0, x1, y1 in pixels, half open.
        names: each object's class.
        difficult: (n,) bool, VOC's flag.
        crowd: (n,) bool, COCO's flag: one box around many.
    """

    boxes: NDArray[np.float64]
    names: Sequence[str]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


class Annotations(ABC):
    """The objects of many pictures, found by the name of a picture's file.

    Attributes:
        path: where it was read from.
        kind: "COCO" or "VOC".
        classes: the names of the classes.
        count: how many pictures it speaks of.
    """

    path: Path
    kind: str
    classes: Sequence[str]
    count: int

    @abstractmethod
    def key(self, picture: Path) -> Any:
        """What the truth knows a picture by, or None where it says nothing about it."""

    @abstractmethod
    def of(self, picture: Path, size: tuple[int, int]) -> TruthOf:
        """The objects of a picture that it knows.

        Args:
            picture: its file.
            size: (H, W) that it has.

        Raises:
            InputError: a size or an annotation that doesn't fit.
        """

    @abstractmethod
    def digest(self) -> str:
        """Changes with the annotations."""


def read_truth(path: str | Path) -> Annotations:
    """Read annotations: a COCO instance file, or a folder of VOC's XML files.

    Args:
        path: the JSON file; or a folder with XML files, or with `Annotations` in it, as VOC's.

    Raises:
        InputError: neither of the two, or a file that isn't COCO's.
    """
    place = expanded(path)
    if place.is_dir():
        folder = place / "Annotations" if (place / "Annotations").is_dir() else place
        return _Voc(folder)
    return _Coco(regular_file(place, "a COCO instance file, or a folder of VOC annotations,"))


class _Coco(Annotations):
    kind = "COCO"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = Instances(path)
        self.classes = self._index.classes
        self.count = len(self._index.every)
        self._whole = {entry["file_name"]: entry for entry in self._index.every}
        self._bare: dict[str, dict[str, Any] | None] = {}
        for entry in self._index.every:
            name = Path(entry["file_name"]).name
            self._bare[name] = None if name in self._bare else entry  # two of one name tell nothing

    def key(self, picture: Path) -> Any:
        entry = self._entry(picture)
        return None if entry is None else entry["file_name"]

    def _entry(self, picture: Path) -> dict[str, Any] | None:
        parts = picture.parts
        for n in range(len(parts)):  # the longest end of the path that the file names
            found = self._whole.get("/".join(parts[n:]))
            if found is not None:
                return found
        return self._bare.get(picture.name)

    def of(self, picture: Path, size: tuple[int, int]) -> TruthOf:
        entry = self._entry(picture)
        assert entry is not None  # asked of pictures that it knows
        said = entry.get("height"), entry.get("width")
        if size != said:
            raise InputError(
                f"Expected {said[1]} x {said[0]} pixels, as '{shown_path(self.path)}' says, but the picture has "
                f"{size[1]} x {size[0]}."
            )
        boxes, names, crowd = [], [], []
        for found in self._index.annotations(entry["id"]):
            where = f"annotation {found.get('id')!r} of '{shown_path(self.path)}'"
            names.append(self.classes[self._index.label(found, where)])
            boxes.append(checked_box(corners(found, where), size, where))
            crowd.append(bool(found.get("iscrowd", 0)))
        rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        return TruthOf(rows, names, np.zeros(len(names), bool), np.array(crowd, bool))

    def digest(self) -> str:
        return hashlib.sha256(read_bytes(self.path, "COCO instances")).hexdigest()[:16]


class _Voc(Annotations):
    kind = "VOC"

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._files = {file.stem: file for file in sorted(folder.glob("*.xml"))}
        if not self._files:
            raise InputError(
                "Expected VOC annotations (XML files, or a folder Annotations with them) but "
                f"'{shown_path(folder)}' holds none. Name a COCO instance file, or the folder of the XML files."
            )
        self.count = len(self._files)
        self.classes = self._names()

    def _names(self) -> Sequence[str]:
        """The 20 classes where no other occurs: VOC marks every object of these; else the classes that occur."""
        found: set[str] = set()
        for file in self._files.values():
            try:
                root = ElementTree.fromstring(read_bytes(file, "an annotation"))
            except (ElementTree.ParseError, ValueError, LookupError):
                continue  # it is told of when its picture is read
            found.update((item.findtext("name") or "").strip() for item in root.findall("object"))
        found.discard("")
        return VOC_CLASSES if found <= set(VOC_CLASSES) else sorted(found)

    def key(self, picture: Path) -> Any:
        return picture.stem if picture.stem in self._files else None

    def of(self, picture: Path, size: tuple[int, int]) -> TruthOf:
        boxes, names, difficult = read_objects(self._files[picture.stem], size)
        return TruthOf(boxes, names, difficult, np.zeros(len(names), bool))

    def digest(self) -> str:
        state = hashlib.sha256()
        for name, file in self._files.items():
            state.update(
                name.encode(errors="surrogateescape") + b"\0" + read_bytes(file, "an annotation") + b"\0"
            )
        return state.hexdigest()[:16]
