"""Files that are read: regular ones alone, and pictures in the formats that relprop takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from relprop.errors import InputError
from relprop.quiet import no_warnings

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "FILM",
    "LABELS",
    "PICTURE",
    "PICTURE_ENDINGS",
    "PICTURE_FORMATS",
    "WEIGHTS",
    "brief",
    "expanded",
    "open_picture",
    "read_bytes",
    "read_text",
    "regular_file",
    "shown_path",
]

PICTURE_FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "MPO", "JPEG2000", "AVIF", "HEIF",
)  # fmt: skip
"""What pictures and masks may be, in Pillow's names. Others are left out on purpose: EPS and PS would be handed
to Ghostscript, which runs them as programs, and the rest are rare and little tested."""

#: Kinds of files in words, for errors.
PICTURE, FILM, WEIGHTS = "a picture file", "a film", "a weights file"
LABELS = "a labels file (a name a line, or a JSON list of names)"
PICTURE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".jp2", ".avif", ".heic",
)  # fmt: skip
"""How names of pictures end, for folders that hold other files too."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (a named pipe): save what it gives as a file first"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def expanded(path: str | Path) -> Path:
    """A path with ``~`` as the home folder; the home of a user that isn't there stays as it is written.

    >>> expanded("~nobody-of-this-name/a.png").as_posix()
    '~nobody-of-this-name/a.png'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def regular_file(path: str | Path, what: str) -> Path:
    """A path to a file that can be read to its end: a FIFO or a device would wait or never end.

    Args:
        path: as the user gave it.
        what: the kind of file in words, for the error: "a picture file".

    Raises:
        InputError: nothing is there, or something else than a file.

    >>> regular_file("nowhere.jpg", "a picture file")
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a picture file but got 'nowhere.jpg', which does not exist.
    """
    shown = shown_path(path)
    try:
        if not os.fspath(path):
            raise FileNotFoundError
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"Expected {what} but got '{shown}', which does not exist.") from None
    except ValueError:  # a zero byte, or a character that the file system can't spell
        raise InputError(f"Expected {what} but got '{shown}', which can't be the name of a file.") from None
    except OSError as error:  # a name too long, a loop of links, a folder that may not be entered
        raise InputError(
            f"Expected {what} but got '{shown}', which can't be reached: {error.strerror}."
        ) from None
    if not stat.S_ISREG(mode):
        kind = next((word for test, word in _KINDS if test(mode)), "no file")
        raise InputError(f"Expected {what} but got '{shown}', which is {kind}.")
    return Path(path)


def shown_path(path: str | Path) -> str:
    r"""A path for an error's text, with escapes for what can't be printed.

    >>> shown_path("a\0b.png")
    'a\\x00b.png'
    """
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)[1:-1]


def brief(value: object, most: int = 80) -> str:
    """A value of the user's file as an error names it: its `repr`, cut where it is long.

    >>> brief([1] * 1000, most=12)
    '[1, 1, 1, 1,…'
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested without end; a number of more digits than Python writes
        return f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def read_bytes(path: str | Path, what: str) -> bytes:
    """All bytes of a file.

    Args:
        path: of the file.
        what: the kind of file in words, for the error.

    Raises:
        InputError: no such file, or no regular one, or one that can't be read.
    """
    file = regular_file(path, what)
    try:
        return file.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it doesn't fit into memory"
        raise InputError(f"Expected {what} but '{shown_path(path)}' can't be read: {reason}.") from None


def read_text(path: str | Path, what: str) -> str:
    """A text file in UTF-8, with a byte order mark or without.

    Raises:
        InputError: as `read_bytes`, or another encoding.
    """
    try:
        return read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Expected {what} in UTF-8 but '{shown_path(path)}' has another encoding, or is no text: byte "
            f"{error.object[error.start]:#04x} at position {error.start}. Save it as UTF-8."
        ) from None


def open_picture(path: str | Path, what: str = PICTURE) -> Image.Image:
    """Open a picture or a mask; its pixels are still to be loaded.

    Args:
        path: of the file.
        what: in words, for the errors.

    Raises:
        InputError: no such file, or no regular one, one that may not be read, or none of `PICTURE_FORMATS`.
            What Pillow raises at a damaged header passes through.
        PIL.Image.DecompressionBombError: more than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    file = regular_file(path, what)
    Image.init()  # all formats that this Pillow, and a plug-in of the user's, can read
    known = [name for name in PICTURE_FORMATS if name in Image.OPEN]
    try:
        with no_warnings(Image.DecompressionBombWarning):
            opened = Image.open(file, formats=known)
    except PermissionError:
        raise InputError(f"Expected {what} but got '{shown_path(path)}', which may not be read.") from None
    except UnidentifiedImageError:
        raise InputError(
            f"Expected {what} but got '{shown_path(path)}', which no picture format fits that is read "
            f"({', '.join(known)}). Save it as PNG first."
        ) from None
    # Not by Pillow's warning, which Python tells only once of one size.
    if Image.MAX_IMAGE_PIXELS is not None and opened.width * opened.height > Image.MAX_IMAGE_PIXELS:
        opened.close()
        raise Image.DecompressionBombError(f"{opened.width} x {opened.height} pixels")
    return opened
