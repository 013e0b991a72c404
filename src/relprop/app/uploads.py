"""Uploads: files that came through the page, read by the guarded reader and removed at once."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from relprop.errors import InputError
from relprop.models.pictures import read_picture

__all__ = ["MOST_BYTES", "MOST_PIXELS", "uploaded_picture"]

#: What a picture may have at most: bytes of the file, and pixels.
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 40_000_000


def uploaded_picture(path: str, folder: Path) -> Image.Image:
    """The picture of an uploaded file, which is removed.

    Args:
        path: as gradio gives it. The page may send anything: only files in `folder` are read.
        folder: where uploads are put.

    Raises:
        InputError: another place, no picture, a damaged one, or one that is too large.
    """
    file = Path(path).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise InputError("Expected a file that was uploaded on this page.")
    try:
        if file.is_file() and file.stat().st_size > MOST_BYTES:
            raise InputError(
                f"Expected a picture of at most {MOST_BYTES // 2**20} MB. Make it smaller first."
            )
        try:
            with Image.open(file) as opened:
                width, height = opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            width = height = 0  # the reader below says what is wrong
        if width * height > MOST_PIXELS:
            raise InputError(
                f"Expected a picture of at most {MOST_PIXELS:,} pixels but it has {width} x {height}. Make it "
                "smaller first."
            )
        try:
            return read_picture(file)
        except InputError as error:  # where it lay on the server is nobody's business
            raise InputError(str(error).replace(str(file), "the upload")) from None
    finally:
        file.unlink(missing_ok=True)
