"""Folder: any pictures with a CSV of labels, boxes and masks."""

from __future__ import annotations

import csv as csv_files
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._files import (
    checked_box,
    digest,
    existing_folder,
    inside,
    picture,
    read_labels_image,
    unique,
)
from relprop.datasets.data_set import DataSet
from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.files import expanded, read_text

__all__ = ["Folder"]

_CORNERS = ("x0", "y0", "x1", "y1")
_COLUMNS = ("file", "label", *_CORNERS, "mask")


@dataclass(frozen=True)
class _Row:
    line: int
    label: int
    box: tuple[float, float, float, float] | None
    mask: str


class Folder(DataSet):
    """Pictures of a folder, annotated by a CSV file with a header.

    Columns: `file` and `label`, and, if wanted, `x0, y0, x1, y1` (half-open box in pixels from the upper left
    corner) and `mask` (a picture of one channel and of the picture's size; other than 0 is the object). Paths
    are relative to the folder. A row is an object, so a file may have several; cells for box and mask may be
    empty. Classes are the labels, sorted.

    Args:
        folder: where the pictures are.
        csv: the CSV file, absolute or inside the folder; UTF-8, separated by commas.

    Raises:
        InputError: the folder or the CSV is missing, a column is missing or unknown, or a line can't be used
            (names file and line).
    """

    name = "folder"
    summary = "any pictures with a CSV: file, label, box, mask"
    places = ("folder",)

    def __init__(self, folder: str | Path, *, csv: str | Path = "labels.csv") -> None:
        self.folder = existing_folder(folder, "pictures")
        self.csv = self.folder / expanded(csv)
        read = list(_rows(self.csv))
        self.classes: Sequence[str] = tuple(sorted({label for _, label, *_ in read}))
        index = {label: i for i, label in enumerate(self.classes)}
        self._rows: dict[str, list[_Row]] = {}
        for file, label, line, box, mask in read:
            self._rows.setdefault(file, []).append(_Row(line, index[label], box, mask))
        self.names: Sequence[str] = unique(self._rows, f"'{self.csv}'")

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one picture and its masks.

        A class has a mask where a row of it names one: the union of what its rows name.

        Raises:
            InputError: the picture or a mask is missing or damaged, a mask has another size, or a box has no
                area or lies outside.
        """
        name = self.names[index]
        rows = self._rows[name]
        image = picture(inside(self.folder, name, f"line {rows[0].line} of '{self.csv}'"))
        size = image.height, image.width
        boxes = [
            (row.label, checked_box(row.box, size, f"line {row.line} of '{self.csv}'"))
            for row in rows
            if row.box is not None
        ]
        masks: dict[int, NDArray[np.bool_]] = {}
        for row in rows:
            if row.mask:
                found = self._mask(row, size)
                masks[row.label] = masks[row.label] | found if row.label in masks else found
        return Sample(
            name=name,
            image=image,
            boxes=np.array([box for _, box in boxes], dtype=np.float64).reshape(-1, 4),
            box_labels=np.array([label for label, _ in boxes], dtype=np.int64),
            difficult=np.zeros(len(boxes), dtype=bool),
            labels=tuple(sorted({row.label for row in rows})),
            masks=dict(sorted(masks.items())) or None,
        )

    def _mask(self, row: _Row, size: tuple[int, int]) -> NDArray[np.bool_]:
        return read_labels_image(inside(self.folder, row.mask, f"line {row.line} of '{self.csv}'"), size) != 0

    def fingerprint(self) -> str:
        """Changes with the CSV's content and the sizes of pictures and masks."""
        masks = [row.mask for rows in self._rows.values() for row in rows if row.mask]
        sized = [self.folder / file for file in [*self.names, *masks]]
        return digest(self.name, self.names, contents=[self.csv], sizes=sized)


def _rows(
    path: Path,
) -> Iterator[tuple[str, str, int, tuple[float, float, float, float] | None, str]]:
    """File, label, line number, box or None, and mask or "" of every line."""
    text = read_text(path, "a CSV with the columns file and label")
    try:
        reader = csv_files.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
        _check_header(path, [(c or "").strip() for c in reader.fieldnames or ()])
        reader.fieldnames = [c.strip() for c in reader.fieldnames or ()]
        for cells in reader:
            where = f"line {reader.line_num} of '{path}'"
            if None in cells or None in cells.values():
                raise InputError(f"Expected {len(reader.fieldnames)} cells but {where} has more or fewer.")
            row = {key: value.strip() for key, value in cells.items()}
            for key in ("file", "label"):
                if not row[key]:
                    raise InputError(f"Expected a {key} but {where} has none.")
            yield row["file"], row["label"], reader.line_num, _box(row, where), row.get("mask", "")
    except csv_files.Error as error:
        raise InputError(f"Expected a CSV but '{path}' can't be read: {error}.") from None


def _check_header(path: Path, columns: list[str]) -> None:
    missing = [c for c in ("file", "label") if c not in columns]
    if any(c in columns for c in _CORNERS):
        missing += [c for c in _CORNERS if c not in columns]
    if missing:
        raise InputError(
            f"Expected the column {missing[0]} in line 1 of '{path}' but it has {', '.join(columns) or 'none'}. "
            "A header is file,label, then if wanted x0,y0,x1,y1 and mask."
        )
    unknown = [c for c in columns if c not in _COLUMNS]
    if unknown or len(set(columns)) != len(columns):
        wrong = unknown[0] if unknown else next(c for c in columns if columns.count(c) > 1)
        raise InputError(
            f"Expected the columns {', '.join(_COLUMNS)}, each once, in line 1 of '{path}' but got {wrong!r}."
        )


def _box(row: dict[str, str], where: str) -> tuple[float, float, float, float] | None:
    texts = [row.get(c, "") for c in _CORNERS]
    if not any(texts):
        return None
    try:
        x0, y0, x1, y1 = (float(t) for t in texts)
    except ValueError:
        raise InputError(
            f"Expected four numbers for x0, y0, x1, y1, or nothing, but {where} has {', '.join(map(repr, texts))}."
        ) from None
    return x0, y0, x1, y1
