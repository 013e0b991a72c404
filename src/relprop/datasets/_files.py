"""What the readers of data sets share: folders, masks, boxes, and a text that tells one set from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.errors import InputError
from relprop.files import expanded, open_picture, regular_file, shown_path

__all__ = ["checked_box", "digest", "existing_folder", "inside", "picture", "read_labels_image", "unique"]

_SLACK = 1.0  # pixels that a box may stick out: 0-based corners in VOC files, rounding in COCO's


def existing_folder(path: str | Path, what: str) -> Path:
    """An absolute path to a folder that is there.

    Raises:
        InputError: it is not there, or no folder.

    >>> existing_folder("nowhere", "VOC")
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a folder of VOC but got 'nowhere', which does not exist.
    """
    folder = expanded(path)
    if folder.is_dir():  # False for what can't be reached or can't be a name
        return folder.absolute()
    regular_file(folder, f"a folder of {what}")
    raise InputError(f"Expected a folder of {what} but got '{path}', which is a file.")


def inside(folder: Path, file: str, where: str) -> Path:
    """The path of a file that a list names, which has to lie in the folder of the data set.

    The folder itself may be a link, as data sets often are; what leads out of it from inside is refused, for a
    list that came with a download shall not make relprop read other files.

    Args:
        folder: of the pictures or masks.
        file: as the list has it, relative to the folder.
        where: what the error names: a file, and a line or an entry in it.

    Raises:
        InputError: an absolute path, one with "..", a link that leads out of the folder, or no file's name.

    >>> inside(Path("data"), "../secret.png", "line 2 of 'labels.csv'")
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a file inside 'data' but got '../secret.png' in line 2 of 'labels.csv', \
which leads out of it. Move the file there.
    """
    path = folder / file
    try:
        leads_out = not path.resolve().is_relative_to(folder.resolve())
        file.encode()  # names are kept in tables, which hold text
    except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte, half a character
        raise InputError(
            f"Expected the name of a file but got '{shown_path(file)}' in {where}. Rename it."
        ) from None
    if leads_out or PurePath(file).is_absolute() or PureWindowsPath(file).is_absolute():
        raise InputError(
            f"Expected a file inside '{folder}' but got '{shown_path(file)}' in {where}, which leads out of it. "
            "Move the file there."
        )
    return path


def picture(path: Path) -> Image.Image:
    """Read a picture as `relprop.models.pictures.read_picture` does, with its errors."""
    from relprop.models.pictures import read_picture  # imports torch; listing a set must not wait for that

    return read_picture(path)


def read_labels_image(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a picture whose pixels are numbers: palette indices, or grey levels; (H, W) uint8.

    Args:
        path: the file.
        size: (H, W) that it must have.

    Raises:
        InputError: no such file, not a picture of one channel, damaged, or of another size.
    """
    try:
        with open_picture(path, "a mask") as opened:
            opened.load()
            if opened.mode == "1":
                numbers = np.asarray(opened).astype(np.uint8)
            elif opened.mode in ("L", "P"):
                numbers = np.array(opened)
            else:
                raise InputError(
                    f"Expected a mask of one channel (palette or grey) but '{path}' has mode {opened.mode}."
                )
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"Expected a mask of the picture's size {size[1]} x {size[0]} but '{path}' claims more than "
            f"{Image.MAX_IMAGE_PIXELS:,} pixels (a decompression bomb)."
        ) from None
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"Expected a whole mask but '{path}' can't be decoded: {text}.") from error
    if numbers.shape != size:
        raise InputError(
            f"Expected a mask of the picture's size {size[1]} x {size[0]} but '{path}' is "
            f"{numbers.shape[1]} x {numbers.shape[0]}."
        )
    return numbers


def checked_box(
    box: tuple[float, float, float, float], size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """A half-open box `x0, y0, x1, y1` in pixels, inside the picture.

    What sticks out by one pixel at most is cut off: some writers of VOC files count from 0, and COCO's
    widths are rounded.

    Args:
        box: corners in pixels.
        size: (H, W) of the picture.
        where: what the error names: a file, and a line or an object in it.

    Raises:
        InputError: NaN, no area, or more than one pixel outside.

    >>> checked_box((-1.0, 0.0, 3.0, 2.0), (2, 4), "a.xml")
    (0.0, 0.0, 3.0, 2.0)
    """
    x0, y0, x1, y1 = box
    text = ", ".join(f"{v:g}" for v in box)
    if not (x1 > x0 and y1 > y0):  # False for NaN, too
        raise InputError(f"Expected a box with an area but got {text} (x0, y0, x1, y1) in {where}.")
    height, width = size
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if (
        min(x0, y0) < -_SLACK
        or x1 > width + _SLACK
        or y1 > height + _SLACK
        or inside[0] >= inside[2]
        or (inside[1] >= inside[3])
    ):
        raise InputError(
            f"Expected a box inside the picture of {width} x {height} but got {text} (x0, y0, x1, y1) in {where}."
        )
    return inside


def unique(names: Iterable[str], where: str) -> list[str]:
    """The names as a list.

    Raises:
        InputError: there are none, or one comes twice.
    """
    listed = list(names)
    if not listed:
        raise InputError(
            f"Expected at least one picture in {where} but it is empty. Is it the right file or folder?"
        )
    if len(set(listed)) != len(listed):
        seen: set[str] = set()
        twice = next(n for n in listed if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise InputError(f"Expected every picture once in {where} but {twice!r} is there twice.")
    return listed


def digest(
    name: str, parts: Iterable[object], *, contents: Iterable[Path] = (), sizes: Iterable[Path] = ()
) -> str:
    """A short text for `fingerprint`: it changes with the parts, the contents and the sizes of files.

    Neither folders nor times go in, so that copies of a set on several machines agree.

    Args:
        name: the set, put in front.
        parts: names and options.
        contents: files that are read (annotations).
        sizes: files of which only the size counts (pictures); a missing one counts as such.
    """
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{part}\0".encode(errors="surrogateescape"))  # a file's name may be any bytes
    for path in contents:
        try:
            state.update(regular_file(path, "an annotation").read_bytes())
        except (InputError, OSError):
            state.update(b"missing")
        state.update(b"\0")
    for path in sizes:
        try:
            state.update(f"{path.stat().st_size}\0".encode())
        except (OSError, ValueError):
            state.update(b"missing\0")
    return f"{name}-{state.hexdigest()[:16]}"
