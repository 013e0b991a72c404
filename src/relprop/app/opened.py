"""What the app was opened with, and which tab it belongs to."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from relprop.app.desk import Desk
from relprop.errors import InputError
from relprop.video.clip import film_length

__all__ = ["is_clip", "opens_clip"]


def is_clip(path: Path) -> bool:
    """Whether a file is a film: it has several frames, and isn't a still picture."""
    if not path.is_file():
        return False
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1 and picture.format == "GIF"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass
    try:
        return film_length(path)[0] > 0
    except InputError:
        return False


def opens_clip(desk: Desk) -> bool:
    """Whether the app was opened with a clip, which the tab Video then offers."""
    return desk.opens is not None and is_clip(desk.opens)
