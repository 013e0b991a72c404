"""Document: a report's facts as JSON can hold them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relprop.files import expanded

__all__ = ["Listed", "Whole", "plain"]


@dataclass(frozen=True)
class Whole:
    """A file of the report that the document names by its whole path, from the root on."""

    path: Path


@dataclass(frozen=True)
class Listed:
    """The files in a folder of the report: none until it is saved."""

    path: Path


def plain(value: Any, folder: Path | None = None, *, beside: Path | None = None) -> Any:
    """Containers, words and numbers alone, in the same order.

    Args:
        value: anything. NaN and infinities become None, which JSON has as null; small tensors become lists, larger
            ones their shape in words, and what else JSON doesn't know its text.
        folder: put in front of every path.
        beside: the folder in the report where the document lies: paths lead from there on, none is made whole and
            no folder is listed.

    >>> plain({"a": float("nan"), "b": (1, Path("x.png"))}, Path("out"))
    {'a': None, 'b': [1, 'out/x.png']}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v, folder, beside=beside) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, folder, beside=beside) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if beside is not None and isinstance(value, (Path, Whole, Listed)):
        path = value if isinstance(value, Path) else value.path
        return [] if isinstance(value, Listed) else Path(os.path.relpath(path, beside)).as_posix()
    if isinstance(value, Whole):
        return plain(value.path, None if folder is None else expanded(folder).absolute())
    if isinstance(value, Listed):
        return [] if folder is None else sorted(str(path) for path in (folder / value.path).iterdir())
    if isinstance(value, Path):
        return str(value if folder is None else folder / value)
    # Tensors: small ones as numbers, others by shape.
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "tolist"):
        return plain(value.tolist()) if value.numel() <= 64 else f"tensor{tuple(shape)}"
    return str(value)
