"""VOC: pictures of PASCAL VOC 2007 to 2012 with boxes, difficult flags and class masks, from the user's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

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
from relprop.datasets.difficult import DifficultList
from relprop.datasets.sample import Sample
from relprop.errors import InputError, unknown_name
from relprop.files import brief, read_bytes, read_text

__all__ = ["VOC", "VOC_CLASSES", "read_objects"]

VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes in VOC's order (alphabetical) and spelling; class masks hold 1 + the index."""

_IGNORE = 255  # the white borders in class masks
_MASKS = ("SegmentationClass", "SegmentationClassAug")


class VOC(DataSet):
    """PASCAL VOC from a folder, with the XML boxes as truth.

    Corners in VOC's files count from 1 and lie inside the box: `x0 = xmin - 1, y0 = ymin - 1, x1 = xmax,
    y1 = ymax` is the same box in half-open pixels. A class is present where it has at least one object that
    isn't flagged as difficult (the Pointing Game skips pairs whose objects all are). Source: Everingham et
    al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010, and the development kit's notes.

    Args:
        folder: `VOC2007` itself (with `JPEGImages` and `Annotations` in it), or `VOCdevkit` above it.
        year: which of several years in `VOCdevkit`.
        split: a list in `ImageSets/Main` ("test", "val", "trainval" …), or in another folder there
            ("Segmentation/val"). Without an `ImageSets` folder, or with None, all pictures by name.
        difficult: a list of difficult pairs in TorchRay's form (see `DifficultList`), instead of the
            definition.
        masks: folder of class masks inside the VOC folder; None: `SegmentationClass`, else
            `SegmentationClassAug`, else there are none. Single pictures may lack one.

    Raises:
        InputError: the folder, the year, the list or the mask folder is missing, or there are no pictures.
        UnknownNameError: no such split; lists those that are there.
    """

    name = "voc"
    summary = "PASCAL VOC 2007 to 2012: boxes, difficult flags, class masks"
    places = ("folder", "difficult")
    synsets = "voc"

    def __init__(
        self,
        folder: str | Path,
        *,
        year: int | str | None = None,
        split: str | None = "test",
        difficult: str | Path | None = None,
        masks: str | None = None,
    ) -> None:
        self.folder = _voc_folder(existing_folder(folder, "VOC"), year)
        self.split = split if (self.folder / "ImageSets").is_dir() else None
        self.classes: Sequence[str] = VOC_CLASSES
        self.names: Sequence[str] = self._listed()
        self.difficult = None if difficult is None else DifficultList(difficult, len(VOC_CLASSES))
        if masks is not None and not (self.folder / masks).is_dir():
            raise InputError(f"Expected a folder of class masks but '{self.folder / masks}' does not exist.")
        found = next((m for m in _MASKS if (self.folder / m).is_dir()), None) if masks is None else masks
        self.masks = None if found is None else self.folder / found

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one picture, its boxes and its class masks.

        Masks hold the classes that the mask file has pixels of; a picture without a mask file has none.

        Raises:
            InputError: the picture, the XML or the mask is missing, damaged, or doesn't fit the others.
        """
        name = self.names[index]
        for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            inside(self.folder / folder, f"{name}.{ending}", f"the list of {self._from}")
        image = picture(self._picture(name))
        size = image.height, image.width
        boxes, box_labels, difficult = _read_xml(self._annotation(name), size)
        masks, ignore = self._read_masks(name, size)
        return Sample(
            name=name,
            image=image,
            boxes=boxes,
            box_labels=box_labels,
            difficult=difficult,
            labels=tuple(sorted(set(box_labels[~difficult].tolist()))),
            masks=masks,
            ignore=ignore,
            hard={} if self.difficult is None else self.difficult.of(name),
        )

    def fingerprint(self) -> str:
        """Changes with the names, the XML files, the difficult list, and the sizes of pictures and masks."""
        annotations = [self._annotation(name) for name in self.names]
        sized = [self._picture(name) for name in self.names]
        if self.masks is not None:
            sized += [self.masks / f"{name}.png" for name in self.names]
        lists = [] if self.difficult is None else [self.difficult.path]
        parts = [self.masks and self.masks.name, *self.names]
        return digest(self.name, parts, contents=[*annotations, *lists], sizes=sized)

    def _picture(self, name: str) -> Path:
        return self.folder / "JPEGImages" / f"{name}.jpg"

    def _annotation(self, name: str) -> Path:
        return self.folder / "Annotations" / f"{name}.xml"

    @property
    def _from(self) -> str:
        """Where the names are from, for errors."""
        return f"split {self.split!r}" if self.split is not None else f"'{self.folder / 'JPEGImages'}'"

    def _listed(self) -> list[str]:
        if self.split is None:
            pictures = self.folder / "JPEGImages"
            return unique(sorted(p.stem for p in pictures.glob("*.jpg")), f"'{pictures}'")
        sets = self.folder / "ImageSets"
        path = sets / f"{self.split}.txt" if "/" in self.split else sets / "Main" / f"{self.split}.txt"
        if not path.is_file():
            # Lists of single classes are called "dog_test" and hold negatives, too.
            main = [p.stem for p in (sets / "Main").glob("*.txt") if "_" not in p.stem]
            others = [p.relative_to(sets).with_suffix("").as_posix() for p in sets.glob("*/*.txt")]
            raise unknown_name(
                "split", self.split, main + [p for p in others if "_" not in p and not p.startswith("Main/")]
            )
        lines = read_text(path, "a list of pictures").splitlines()
        return unique((line.split()[0] for line in lines if line.strip()), f"'{path}'")

    def _read_masks(
        self, name: str, size: tuple[int, int]
    ) -> tuple[dict[int, NDArray[np.bool_]] | None, NDArray[np.bool_] | None]:
        """Class index -> (H, W) bool, and the pixels without truth; (None, None) without a mask file."""
        if self.masks is None:
            return None, None
        path = inside(self.masks, f"{name}.png", f"the list of {self._from}")
        if not path.exists():
            return None, None
        numbers = read_labels_image(path, size)
        present = [int(v) for v in np.unique(numbers) if v not in (0, _IGNORE)]
        unknown = [v for v in present if v > len(VOC_CLASSES)]
        if unknown:
            raise InputError(
                f"Expected class numbers 0 to {len(VOC_CLASSES)} and {_IGNORE} but '{path}' holds {unknown[0]}."
            )
        return {v - 1: numbers == v for v in present}, numbers == _IGNORE


def _voc_folder(folder: Path, year: int | str | None) -> Path:
    """The folder that holds JPEGImages: the given one, or a year's below it."""
    if (folder / "JPEGImages").is_dir():
        named = re.fullmatch(r"VOC(\d{4})", folder.name)
        if year is not None and named is not None and named.group(1) != str(year):
            raise InputError(f"Expected VOC {year} but got the folder '{folder}'. Give the folder above it.")
        return folder
    below = folder / "VOCdevkit" if (folder / "VOCdevkit").is_dir() else folder
    years = sorted(p.name.removeprefix("VOC") for p in below.glob("VOC*") if (p / "JPEGImages").is_dir())
    if not years:
        raise InputError(
            f"Expected a folder with JPEGImages and Annotations, or VOCdevkit above it, but got '{folder}'."
        )
    if year is None:
        if len(years) > 1:
            raise InputError(
                f"Expected one year but '{below}' has {', '.join(years)}. Pass year, for example {years[0]}."
            )
        year = years[0]
    if str(year) not in years:
        raise unknown_name("year", year, years)
    return below / f"VOC{year}"


def _read_xml(
    path: Path, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Boxes (n, 4) in half-open pixels, classes (n,) and difficult flags (n,)."""
    boxes, names, difficult = read_objects(path, size, VOC_CLASSES)
    if not names:
        raise InputError(f"Expected at least one object with a box but '{path}' has none.")
    return boxes, np.array([VOC_CLASSES.index(name) for name in names], dtype=np.int64), difficult


def read_objects(
    path: Path, size: tuple[int, int], classes: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], list[str], NDArray[np.bool_]]:
    """The objects of an annotation in VOC's XML: boxes (n, 4) in half-open pixels, names, difficult flags (n,).

    Args:
        path: of the file.
        size: (H, W) of the picture.
        classes: that names have to be among; None: any.

    Raises:
        InputError: no such file, no such XML, an unknown class, or a box that doesn't fit the picture.
    """
    data = read_bytes(path, "an annotation")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"Expected XML but '{path}' can't be parsed: {error}.") from None
    boxes: list[tuple[float, float, float, float]] = []
    names: list[str] = []
    difficult: list[bool] = []
    for number, item in enumerate(root.findall("object"), start=1):
        where = f"object {number} of '{path}'"
        name = (item.findtext("name") or "").strip()
        if classes is not None and name not in classes:
            raise InputError(f"Expected one of VOC's 20 classes but got {brief(name)} in {where}.")
        if not name:
            raise InputError(f"Expected a name but {where} has none.")
        boxes.append(checked_box(_corners(item, where), size, where))
        names.append(name)
        difficult.append((item.findtext("difficult") or "0").strip() == "1")
    return np.array(boxes).reshape(-1, 4), names, np.array(difficult, dtype=bool)


def _corners(item: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """Corners in half-open pixels from VOC's 1-based ones, both inside."""
    # find looks at direct children only: persons have parts with boxes of their own.
    box = item.find("bndbox")
    if box is None:
        raise InputError(f"Expected a bndbox but {where} has none.")
    values: list[float] = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = box.findtext(key)
        try:
            values.append(float(text or ""))  # a few of VOC 2011's are not whole numbers
        except ValueError:
            raise InputError(f"Expected a number for {key} but got {brief(text)} in {where}.") from None
    return values[0] - 1, values[1] - 1, values[2], values[3]
