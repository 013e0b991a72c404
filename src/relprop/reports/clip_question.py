"""Question about a clip: which class, by which method, split how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relprop.errors import InputError
from relprop.files import regular_file
from relprop.methods.registry import MethodLike
from relprop.methods.registry import resolve as resolve_method
from relprop.registry import slug
from relprop.video.camera import Camera
from relprop.video.modes import mode_named

__all__ = ["ClipQuestion", "clip_question"]


@dataclass(frozen=True)
class ClipQuestion:
    """What is asked about a clip.

    Attributes:
        target: the class, as asked.
        method: as asked.
        name: the method's, as asked.
        versus: another class, whose score is taken off, or None.
        mode: the split as asked, with its settings; None: films aren't separated.
        split: the mode as `relprop.separate_motion` takes it, or None.
        chunk: frozen clips that run at once.
        fps: frames a second of the films written.
        scale: number that the strongest colour stands for; None: from the films.
    """

    target: str
    method: MethodLike
    name: str
    versus: str | None
    mode: str | None
    split: dict[str, Any] | None
    chunk: int
    fps: float
    scale: float | None

    @property
    def kept(self) -> str:
        """The folder of numbers."""
        return slug(self.name) if self.mode is None else f"{slug(self.mode)}_{slug(self.name)}"


def clip_question(
    *,
    target: str | int = "top",
    method: MethodLike = "deep-taylor",
    versus: str | int | None = None,
    mode: str | None = None,
    camera: Camera = "auto",
    chunk: int = 4,
    fps: float = 6,
    scale: float | None = None,
) -> ClipQuestion:
    """The question that these arguments of `relprop.reports.video` ask.

    Raises:
        RelpropError: no such method or mode, a camera that can't be read, or a scale that isn't positive.
    """
    split = None if mode is None else mode_named(mode)
    recipe = resolve_method(method)  # a typing error shall not wait for the model
    name = method if isinstance(method, str) else recipe.name
    split = _followed(split, camera)
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"Expected --scale as a number above 0 but got {scale:g}.")
    rival = None if versus is None else str(versus)
    return ClipQuestion(str(target), method, name, rival, mode, split, chunk, fps, scale)


def _followed(split: dict[str, Any] | None, camera: Camera) -> dict[str, Any] | None:
    """The split with the camera's path in it.

    Raises:
        InputError: a path beside a mode that follows none; a file that can't be read.
    """
    if isinstance(camera, str) and camera == "auto":
        return split
    if split is None or split["mode"] != "conserving":
        got = "films aren't separated" if split is None else f"the mode is {split['mode']}"
        raise InputError(f"Expected --camera beside --separate or --mode conserving but {got}. Leave it out.")
    if isinstance(camera, str) and camera != "still":
        path = regular_file(Path(camera), "a text file of the camera's path")
        try:
            lines = [line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
            if not any(map(str.strip, lines)):
                raise ValueError("it holds no line")
            numbers = np.loadtxt(lines, ndmin=2)
        except ValueError as error:
            raise InputError(
                f"Expected lines of two or six numbers in '{camera}' but it can't be read so: "
                f"{str(error).rstrip('.')}. Write a line a frame."
            ) from None
        if numbers.shape[1:] not in ((2,), (6,)):
            raise InputError(
                f"Expected lines of two or six numbers in '{camera}' but got {numbers.shape[1]} in each. Write a "
                "line a frame: offsets, or a map."
            )
        camera = numbers.reshape(len(numbers), 2, 3) if numbers.shape[1] == 6 else numbers
    return {**split, "camera": camera}
