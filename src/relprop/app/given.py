"""Given: the pictures and clips that a path on the command line stands for."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from relprop.errors import InputError
from relprop.files import PICTURE_ENDINGS, open_picture, regular_file

__all__ = ["given_files", "is_clip"]

_CLIP_ENDINGS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".ts",
    ".ogv",
    ".flv",
    ".wmv",
)
_MOST = 48  # files of a folder that are offered


def given_files(path: Path | None) -> tuple[list[Path], list[Path]]:
    """The pictures and the clips; of a folder those that lie in it, by name, the first 48.

    Raises:
        InputError: no such file or folder, no picture or clip, or a folder without any.
    """
    if path is None:
        return [], []
    if path.is_dir():
        try:
            held = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        except PermissionError:
            raise InputError(
                f"Expected a folder of pictures or clips but '{path}' may not be read."
            ) from None
    else:
        held = [regular_file(path, "a picture, a clip or a folder of them")]
    films = {p for p in held if p.suffix.lower() in _CLIP_ENDINGS}
    clips = [p for p in held if p in films or ((p == path or p.suffix.lower() == ".gif") and is_clip(p))]
    pictures = [p for p in held if p not in clips and (p == path or p.suffix.lower() in PICTURE_ENDINGS)]
    if pictures == [path]:
        try:
            open_picture(path, "a picture or a clip").close()
        except InputError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass  # said when it is opened
    if not pictures and not clips:
        raise InputError(
            f"Expected a folder with pictures or clips in it but '{path}' has none (by their endings). Take "
            "another folder, or name a file."
        )
    return pictures[:_MOST], clips[:_MOST]


def is_clip(path: Path) -> bool:
    """Whether a file is a film: it has several frames, and isn't a still picture."""
    if not path.is_file():
        return False
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1 and picture.format == "GIF"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass
    from relprop.video.clip import film_length  # torch, which a mistaken path shall not wait for

    try:
        return film_length(path)[0] > 0
    except InputError:
        return False
