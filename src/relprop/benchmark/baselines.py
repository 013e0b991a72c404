"""Baselines: maps that know nothing of the model."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["BASELINES", "baseline"]

BASELINES = {
    "center": "Baseline: highest in the middle of the picture, falling with the distance from it",
    "random": "Baseline: uniform noise, one seeded draw a pair",
}


def baseline(name: str, size: tuple[int, int], seed: int, image: str, label: int) -> NDArray[np.float64]:
    """The map of a baseline, (h, w) in [0, 1].

    Args:
        name: of `BASELINES`.
        size: (h, w).
        seed: of the recipe; with `image` and `label` it decides the noise, whatever ran before.
        image: the picture's name.
        label: the class.

    >>> baseline("center", (3, 3), 0, "a", 0)[1, 1]
    np.float64(1.0)
    """
    height, width = size
    if name == "random":
        key = hashlib.sha256(f"{seed}/{image}/{label}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big"))).random((height, width))
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    x = (np.arange(width) - (width - 1) / 2)[None, :]
    distance = np.hypot(x, y)
    return np.asarray(1.0 - distance / max(float(distance.max()), 1.0))
