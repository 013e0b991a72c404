"""Baselines: maps that know nothing of the model."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from relprop import catalogue
from relprop.errors import InputError
from relprop.registry import Registry

__all__ = ["BASELINES", "Baseline", "Center", "Noise", "baseline"]

BASELINES: Registry[type[Baseline]] = catalogue.BASELINES
"""Every baseline that a recipe knows by name."""


class Baseline:
    """A map made without the model. Subclasses write `draw`.

    Attributes:
        summary: one line for lists.
    """

    summary: ClassVar[str] = ""

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
        """The map, (h, w). `random` is seeded by the recipe, the picture and the class."""
        raise NotImplementedError


class Center(Baseline):
    """Highest in the middle."""

    summary = "Baseline: highest in the middle of the picture, falling with the distance from it"

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
        """1 in the middle, 0 in the corners."""
        height, width = size
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        distance = np.hypot(x, y)
        return np.asarray(1.0 - distance / max(float(distance.max()), 1.0))


class Noise(Baseline):
    """Uniform noise."""

    summary = "Baseline: uniform noise, one seeded draw a pair"

    def draw(self, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
        """From 0 to 1."""
        return random.random(size)


def baseline(
    which: str | Baseline, size: tuple[int, int], seed: int, image: str, label: int
) -> NDArray[np.float64]:
    """The map of a baseline, (h, w); ours lie in [0, 1].

    Args:
        which: a name of `BASELINES`, `file.py:Name`, or the baseline itself.
        size: (h, w).
        seed: of the recipe; with `image` and `label` it decides the noise, whatever ran before.
        image: the picture's name.
        label: the class.

    Raises:
        InputError: no such baseline, or it draws another shape, or NaN or infinity.

    >>> baseline("center", (3, 3), 0, "a", 0)[1, 1]
    np.float64(1.0)
    """
    drawer = BASELINES.find(which)() if isinstance(which, str) else which
    key = hashlib.sha256(f"{seed}/{image}/{label}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big")))
    found = np.asarray(drawer.draw(size, random), dtype=np.float64)
    if found.shape != size or not np.isfinite(found).all():
        raise InputError(
            f"Expected {type(drawer).__name__} to draw a finite map {size} but got shape {found.shape}"
            f"{'' if np.isfinite(found).all() else ' with NaN or infinity'}."
        )
    return found
