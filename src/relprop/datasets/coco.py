"""COCO: pictures of COCO 2014 or 2017 with boxes and masks of 80 classes, from the user's folder."""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._files import checked_box, digest, existing_folder, inside, picture, unique
from relprop.datasets.data_set import DataSet
from relprop.datasets.difficult import DifficultList
from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.files import brief, expanded, read_bytes, regular_file

__all__ = ["COCO", "Instances", "corners"]


class COCO(DataSet):
    """COCO's instances from a folder: boxes, and the union of each class's masks.

    Classes are the file's categories in the order of their ids (COCO's 80 ids run to 90). Pictures without
    any annotation have no class to explain and are left out. Crowds are part of the masks and of the boxes;
    nothing is flagged as difficult. Source: Lin et al., Microsoft COCO, ECCV 2014, and the data format page.

    Args:
        folder: with `annotations/instances_val2014.json` and the pictures in `val2014` (or `images/val2014`,
            or `images`).
        split: "val", "train" …, where there are several instance files.
        year: 2014 or 2017, likewise.
        annotations: the instance file itself, absolute or inside the folder.
        difficult: a list of difficult pairs in TorchRay's form (see `DifficultList`), instead of the
            definition.

    Raises:
        InputError: the folder, the file or the pictures are missing, the file isn't COCO's, several files fit,
            or pycocotools is missing.
    """

    name = "coco"
    summary = "COCO 2014 or 2017 instances: boxes and masks of 80 classes"
    places = ("folder", "annotations", "difficult")
    synsets = "coco"

    def __init__(
        self,
        folder: str | Path,
        *,
        split: str | None = None,
        year: int | str | None = None,
        annotations: str | Path | None = None,
        difficult: str | Path | None = None,
    ) -> None:
        _mask_functions()
        self.folder = existing_folder(folder, "COCO")
        self.annotations = _instance_file(self.folder, split, year, annotations)
        self._index: Instances | None = Instances(self.annotations)
        self.classes: Sequence[str] = self._index.classes
        entries = self._index.pictures
        self.files: list[str] = [entry["file_name"] for entry in entries]
        self.ids: list[int] = [entry["id"] for entry in entries]
        self.names: Sequence[str] = unique((Path(f).stem for f in self.files), f"'{self.annotations}'")
        self.pictures = _picture_folder(self.folder, self.annotations, self.files)
        self.difficult = None if difficult is None else DifficultList(difficult, len(self.classes))

    def __len__(self) -> int:
        """Number of pictures with at least one annotation."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one picture and decode its masks.

        Raises:
            InputError: the picture is missing, damaged or of another size than the file says, or an
                annotation of it can't be used.
        """
        name, key = self.names[index], self.ids[index]
        image = picture(inside(self.pictures, self.files[index], f"picture {key} of '{self.annotations}'"))
        size = image.height, image.width
        if self._index is None:
            self._index = Instances(self.annotations)
        entry = self._index.pictures[range(len(self))[index]]
        if size != (entry.get("height"), entry.get("width")):
            raise InputError(
                f"Expected {entry.get('width')} x {entry.get('height')} pixels, as '{self.annotations}' says, but "
                f"'{self.pictures / self.files[index]}' has {size[1]} x {size[0]}."
            )
        boxes: list[tuple[float, float, float, float]] = []
        labels: list[int] = []
        masks: dict[int, NDArray[np.bool_]] = {}
        for found in self._index.annotations(key):
            where = f"annotation {brief(found.get('id'))} of picture '{name}' in '{self.annotations}'"
            label = self._index.label(found, where)
            labels.append(label)
            boxes.append(checked_box(corners(found, where), size, where))
            mask = _decode(found.get("segmentation"), size, where)
            masks[label] = masks[label] | mask if label in masks else mask
        return Sample(
            name=name,
            image=image,
            boxes=np.array(boxes),
            box_labels=np.array(labels, dtype=np.int64),
            difficult=np.zeros(len(boxes), dtype=bool),
            labels=tuple(sorted(set(labels))),
            masks=dict(sorted(masks.items())),
            hard={} if self.difficult is None else self.difficult.of(name, str(key)),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the parsed file: a worker parses it when it first needs it."""
        return {**self.__dict__, "_index": None}

    def fingerprint(self) -> str:
        """Changes with the instance file, the difficult list, and the pictures' sizes."""
        lists = [] if self.difficult is None else [self.difficult.path]
        sized = [self.pictures / file for file in self.files]
        return digest(self.name, self.names, contents=[self.annotations, *lists], sizes=sized)


class Instances:
    """The parts of an instance file that are needed, by picture.

    Attributes:
        classes: names of the categories in the order of their ids.
        labels: category id -> index among the classes.
        every: the entries of all pictures, by id.
        pictures: of those that have an annotation.

    Raises:
        InputError: the file isn't there, or isn't COCO's.
    """

    def __init__(self, path: Path) -> None:
        content = _read_json(path)
        if not isinstance(content, dict):
            raise _something_else(path, f"it is {brief(content)}, no object")
        categories = _entries(content, "categories", {"id": int, "name": str}, path)
        categories.sort(key=lambda entry: entry["id"])
        self.classes = tuple(entry["name"] for entry in categories)
        self.labels: dict[Any, int] = {entry["id"]: i for i, entry in enumerate(categories)}
        self._packed: dict[int, list[bytes]] = {}
        for number, found in enumerate(_listed(content, "annotations", path)):
            if not isinstance(found, _Packed) or not _is_id(found.image):
                raise _something_else(
                    path, f"entry {number} of 'annotations' has no image_id that is a number"
                )
            self._packed.setdefault(found.image, []).append(found.text)
        entries = _entries(content, "images", {"id": int, "file_name": str}, path)
        self.every: list[dict[str, Any]] = sorted(entries, key=lambda entry: entry["id"])
        self.pictures = [entry for entry in self.every if entry["id"] in self._packed]

    def annotations(self, key: int) -> list[dict[str, Any]]:
        """The annotations of one picture as the file has them."""
        return [marshal.loads(text) for text in self._packed.get(key, [])]

    def label(self, found: Mapping[str, Any], where: str) -> int:
        """The class of an annotation.

        Raises:
            InputError: it is none of the file's.
        """
        category = found.get("category_id")
        label = self.labels.get(category) if _is_id(category) else None
        if label is None:
            raise InputError(
                f"Expected category_id to be one of the file's {len(self.classes)} categories but got "
                f"{brief(category)} in {where}."
            )
        return label


class _Packed(NamedTuple):
    """One annotation as bytes: lists of numbers take many times the room, in every worker."""

    image: Any
    text: bytes


def _pack(found: dict[str, Any]) -> Any:
    """What the parser puts in place of an object of the file."""
    return _Packed(found["image_id"], marshal.dumps(found)) if "image_id" in found else found


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _something_else(path: Path, problem: str) -> InputError:
    return InputError(
        f"Expected COCO instances (images, annotations and categories with ids) but '{path}' holds something "
        f"else: {problem}."
    )


def _listed(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    if not isinstance(content.get(key), list):
        raise _something_else(path, f"it has no list '{key}'")
    found: list[Any] = content[key]
    return found


def _entries(
    content: dict[str, Any], key: str, needed: Mapping[str, type], path: Path
) -> list[dict[str, Any]]:
    """The objects of a list, each with what is needed of it, and each id once."""
    seen: set[int] = set()
    found = _listed(content, key, path)
    for number, entry in enumerate(found):
        for name, kind in needed.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                word = "whole number" if kind is int else "text"
                raise _something_else(
                    path, f"{name} of entry {number} of '{key}' is no {word} but {brief(value)}"
                )
        if entry["id"] in seen:
            raise _something_else(path, f"id {brief(entry['id'])} comes twice in '{key}'")
        seen.add(entry["id"])
    return found


def _read_json(path: Path) -> Any:
    data = read_bytes(path, "COCO instances")
    if data.startswith(b"\x1f\x8b"):
        raise InputError(
            f"Expected JSON but '{path}' is compressed with gzip. Unpack it first: gunzip --keep FILE."
        )
    try:
        return json.loads(data, object_hook=_pack)
    except RecursionError:
        raise InputError(
            f"Expected COCO instances but '{path}' is nested too deeply for that (damaged, or made to crash "
            "readers). Take the published file."
        ) from None
    except ValueError as error:
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"Expected JSON but '{path}' can't be parsed: {text}. Is it whole? Download or export it again."
        ) from None


def _instance_file(
    folder: Path, split: str | None, year: int | str | None, annotations: str | Path | None
) -> Path:
    if annotations is not None:
        return regular_file(folder / expanded(annotations), "COCO instances")
    every = sorted((folder / "annotations").glob("instances_*.json"))
    if not every:
        raise InputError(
            f"Expected annotations/instances_*.json in '{folder}' but there is none. Pass annotations."
        )
    head, tail = f"instances_{split or ''}", f"{year or ''}.json"
    fitting = [
        p
        for p in every
        if p.name.startswith(head)
        and p.name.endswith(tail)
        and (split is None or p.stem.removeprefix(head).isdigit() or p.stem == head)
    ]
    if len(fitting) != 1:
        wanted = " ".join(str(v) for v in (split, year) if v is not None)
        count = f"{len(fitting)} fit" if fitting else "none fits"
        raise InputError(
            f"Expected one instance file{f' for {wanted}' if wanted else ''} but of "
            f"{', '.join(p.name for p in every)} {count}. Pass split and year."
        )
    return fitting[0]


def _picture_folder(folder: Path, annotations: Path, files: list[str]) -> Path:
    """The first likely folder that holds any of the pictures."""
    part = annotations.stem.removeprefix("instances_")
    likely = [folder / part, folder / "images" / part, folder / "images", folder]
    for candidate in likely:
        if candidate.is_dir() and any((candidate / file).is_file() for file in files):
            return candidate
    raise InputError(
        f"Expected the pictures of '{annotations.name}' in {part}, images/{part} or images of '{folder}' but "
        "none is there."
    )


def corners(found: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    """The box of an annotation, x0, y0, x1, y1 in pixels, half open.

    Raises:
        InputError: it has no bbox of four numbers.
    """
    box = found.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise InputError(
            f"Expected a bbox of four numbers (x, y, width, height) but got {brief(box)} in {where}."
        )
    x, y, width, height = (float(v) for v in box)
    return x, y, x + width, y + height


def _is_number(value: object) -> bool:
    # A whole number of JSON may have any length; no picture is larger than this.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _decode(segmentation: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Pixels of one annotation, (H, W) bool: polygons, or run lengths, plain or compressed."""
    rle = _mask_functions()
    height, width = size
    try:
        if isinstance(segmentation, list):
            for polygon in segmentation:
                _check_polygon(polygon, max(size))
            if not segmentation:
                raise ValueError("there is no polygon")
            counts = rle.merge(rle.frPyObjects(segmentation, height, width))["counts"]
        elif isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise ValueError(f"it is of size {brief(segmentation['size'])}")
            counts = segmentation["counts"]
        else:
            raise ValueError(f"it is {brief(segmentation)}")
        # Not pycocotools' decode: where runs end early, it leaves the other pixels as the memory was.
        runs = np.array(counts if isinstance(counts, list) else _run_lengths(counts))
        whole = height * width
        # Each run first: the sum of huge ones may come round to the right number.
        fits = len(runs) > 0 and runs.dtype.kind == "i" and runs.ndim == 1 and runs.min() >= 0
        if not (fits and runs.max() <= whole and runs.sum() == whole):
            raise ValueError(f"{len(runs)} runs don't cover the picture")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise InputError(
            f"Expected polygons or run lengths for {width} x {height} pixels but {where} can't be used: {text}."
        ) from None
    # Runs go down the columns and start with the background.
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _check_polygon(polygon: Any, side: int) -> None:
    """Refuse what pycocotools takes for a box (four numbers) or doesn't return from (NaN, huge numbers)."""
    corners = np.asarray(polygon, dtype=np.float64)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError("a polygon has fewer than three corners, or half a corner")
    if not (np.abs(corners) <= 2 * side).all():
        raise ValueError("a polygon's corner lies far outside, or is NaN")


def _run_lengths(counts: str | bytes) -> list[int]:
    """Lengths of the runs of a compressed COCO mask (the format of pycocotools' maskApi.c).

    Each number is a sequence of characters from "0" on with 5 bits each, the lowest first; bit 5 says that
    more follow, bit 4 of the last is the sign. From the third on it is the difference to the run two before.

    >>> _run_lengths("52203")
    [5, 2, 2, 2, 5]
    """
    if isinstance(counts, str) and not counts.isascii():
        raise ValueError("its run lengths hold characters that the format doesn't know")
    codes = counts.encode("ascii") if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs


def _mask_functions() -> Any:
    """Functions on masks of pycocotools; its COCO class isn't used, because it prints."""
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError(
            "Reading COCO's masks needs `pycocotools`. Install it with: pip install 'relprop[coco]'."
        ) from None
    return mask
