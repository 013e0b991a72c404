"""Silhouettes and textures of the objects of `scenes`, as functions of the plane.

Silhouettes are signed distances (negative inside) in units of the object's radius; textures are fields
in [0, 1] whose values are close to uniform, so that one threshold covers the same share of each of them.
Everything is float64 NumPy: one rounding step to uint8 at the very end keeps pictures equal everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEVEL", "DISTANCES", "FIELDS", "SHAPES", "TEXTURES", "polygon_distance", "smoothstep"]

Array = NDArray[np.float64]

SHAPES = ("ball", "star", "ring", "block")
TEXTURES = ("striped", "dotted", "checked", "mottled")


def smoothstep(x: Array) -> Array:
    """Cubic step: 0 below 0, 1 above 1, 3x² - 2x³ between."""
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def polygon_distance(u: Array, v: Array, corners: Array) -> Array:
    """Signed distance to a closed polygon: nearest edge by projection, inside by crossing parity.

    Args:
        u: horizontal coordinates, any shape.
        v: vertical coordinates, same shape.
        corners: (n, 2) corner coordinates in order.

    >>> square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    >>> polygon_distance(np.array([0.0, 3.0]), np.array([0.0, 0.0]), square).tolist()
    [-1.0, 2.0]
    """
    best = np.full(u.shape, np.inf)
    inside = np.zeros(u.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        px, py = u - ax, v - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        dx, dy = px - along * ex, py - along * ey
        np.minimum(best, dx * dx + dy * dy, out=best)
        if ey != 0.0:
            crosses = (v >= min(ay, by)) & (v < max(ay, by))
            inside ^= crosses & (px < py * (ex / ey))
    distance = np.sqrt(best)
    return np.asarray(np.where(inside, -distance, distance))


def _ball(u: Array, v: Array) -> Array:
    return np.asarray(np.hypot(u, v) - 0.88)


@lru_cache(maxsize=1)
def _star_corners() -> Array:
    angle = np.arange(10) * (np.pi / 5)
    radius = np.where(np.arange(10) % 2 == 0, 1.12, 0.58)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _star(u: Array, v: Array) -> Array:
    return polygon_distance(u, v, _star_corners()) - 0.06


def _ring(u: Array, v: Array) -> Array:
    return np.asarray(np.abs(np.hypot(u, v) - 0.66) - 0.34)


def _block(u: Array, v: Array) -> Array:
    du, dv = np.abs(u) - 0.66, np.abs(v) - 0.66
    outside = np.hypot(np.maximum(du, 0.0), np.maximum(dv, 0.0))
    return np.asarray(outside + np.minimum(np.maximum(du, dv), 0.0) - 0.14)


DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "ball": _ball,
    "star": _star,
    "ring": _ring,
    "block": _block,
}
# Width of the rounded edge in object radii: how far inside the outline the surface keeps rising.
BEVEL = {"ball": 0.88, "star": 0.38, "ring": 0.34, "block": 0.30}


def _wave(x: Array) -> Array:
    """Triangle wave of period 1 with values in [0, 1]: uniform over a period."""
    return np.abs(2.0 * (x - np.floor(x)) - 1.0)


def _striped(u: Array, v: Array, noise: Array) -> Array:
    return _wave(u)


def _dotted(u: Array, v: Array, noise: Array) -> Array:
    # Staggered rows, as in a hexagonal lattice. Half of the plane lies nearer than 0.371 to a lattice point.
    row = v / 0.866
    spots = np.full(u.shape, np.inf)
    for offset in (0.0, 0.5):
        du = u - offset
        dv = row * 0.5 - offset
        x = du - np.round(du)
        y = (dv - np.round(dv)) * 1.732
        np.minimum(spots, x * x + y * y, out=spots)
    return np.asarray(np.clip(1.0 - spots * (np.pi / 0.866), 0.0, 1.0))


def _checked(u: Array, v: Array, noise: Array) -> Array:
    product = (2.0 * _wave(u * 0.62) - 1.0) * (2.0 * _wave(v * 0.62) - 1.0)
    return np.asarray(0.5 + 0.5 * np.sign(product) * np.sqrt(np.abs(product)))


def _mottled(u: Array, v: Array, noise: Array) -> Array:
    # Twelve plane waves with random directions and phases: irregular patches of no preferred direction.
    total = np.zeros(u.shape)
    for a, b, c in noise.reshape(12, 3):
        k = 2.0 * np.pi * (0.42 + 0.34 * b)
        total += np.cos(k * (np.cos(2.0 * np.pi * a) * u + np.sin(2.0 * np.pi * a) * v) + 2.0 * np.pi * c)
    return np.asarray(0.5 + 0.5 * np.tanh(0.8 * total / np.sqrt(6.0)))


# Each takes lattice coordinates (period about 1) and 36 random numbers in [0, 1).
FIELDS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "mottled": _mottled,
}
