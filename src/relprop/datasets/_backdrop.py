"""Backgrounds of `scenes`: several octaves of smooth noise, a gradient, strokes, and blobs of no class."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from relprop.datasets._surface import FIELDS, TEXTURES, polygon_distance, smoothstep

__all__ = ["backdrop", "two_colours"]

Array = NDArray[np.float64]

_SPECKLE = 112  # side of the grid of fine grain
_LUMA = np.array([0.299, 0.587, 0.114])


@lru_cache(maxsize=64)
def _interpolation(size: int, knots: int) -> Array:
    """Matrix (size, knots + 1) that blends neighbouring knots with smoothstep weights."""
    at = (np.arange(size) + 0.5) / size * knots
    left = np.minimum(at.astype(np.int64), knots - 1)
    weight = smoothstep(at - left)
    matrix = np.zeros((size, knots + 1))
    matrix[np.arange(size), left] = 1.0 - weight
    matrix[np.arange(size), left + 1] += weight
    return matrix


def _noise(rng: Generator, size: int, base: tuple[int, int], persistence: float) -> Array:
    """Value noise of five octaves, about zero mean and unit spread, (size, size)."""
    total = np.zeros((size, size))
    power = 0.0
    for octave in range(5):
        rows, columns = base[0] << octave, base[1] << octave
        knots = rng.random((rows + 1, columns + 1)) - 0.5
        amplitude = persistence**octave
        total += amplitude * (_interpolation(size, rows) @ knots @ _interpolation(size, columns).T)
        power += amplitude**2 * 0.0459  # variance of one octave: (1/12)·(13/35·2)²
    return np.asarray(total / np.sqrt(power))


def _hsv(hue: float, saturation: float, value: float) -> Array:
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return np.asarray(value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))


def two_colours(rng: Generator) -> tuple[Array, Array]:
    """Draw two colours that differ in brightness by at least 0.3; the order is random, so neither is 'ink'."""
    while True:
        draw = rng.random((2, 3))
        first, second = (_hsv(h, 0.25 + 0.7 * s, 0.25 + 0.75 * v) for h, s, v in draw)
        if abs(float((first - second) @ _LUMA)) >= 0.30:
            return first, second


def _ground_colour(rng: Generator) -> Array:
    """Muted earth, leaf or sky hues."""
    family, hue, saturation, value = rng.random(4)
    low, high = ((0.03, 0.14), (0.17, 0.40), (0.50, 0.66))[int(family * 3)]
    return _hsv(low + (high - low) * hue, 0.08 + 0.45 * saturation, 0.20 + 0.6 * value)


def _window(centre: Array, reach: float, size: int) -> tuple[slice, slice, Array, Array] | None:
    """Slices and pixel-centre coordinates (in image sides) of the square around a point, cut at the border."""
    low = np.clip(np.floor((centre - reach) * size), 0, size).astype(int)
    high = np.clip(np.ceil((centre + reach) * size), 0, size).astype(int)
    if (high - low).min() < 1:
        return None
    x = ((np.arange(low[0], high[0]) + 0.5) / size)[None, :]
    y = ((np.arange(low[1], high[1]) + 0.5) / size)[:, None]
    return slice(low[1], high[1]), slice(low[0], high[0]), x - centre[0], y - centre[1]


def _stroke(rng: Generator, canvas: Array, colour: Array, heading: float) -> None:
    """One bent stroke, like a blade of grass or a twig: two capsules that meet at an angle."""
    size = canvas.shape[0]
    at = rng.random(2)
    draw = rng.random(4)
    length, width = 0.04 + 0.13 * draw[0], 0.003 + 0.009 * draw[1]
    window = _window(at, length + 0.03, size)
    if window is None:
        return
    rows, columns, x, y = window
    bend = heading + (draw[2] - 0.5) * 1.4
    nearest = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
    for angle in (heading + np.pi, bend):
        ex, ey = 0.5 * length * np.cos(angle), 0.5 * length * np.sin(angle)
        along = np.clip((x * ex + y * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        np.minimum(nearest, np.hypot(x - along * ex, y - along * ey), out=nearest)
    alpha = 0.9 * np.clip(0.5 - (nearest - width) * size, 0.0, 1.0)[..., None]
    patch = canvas[rows, columns]
    patch += alpha * (colour * (0.8 + 0.4 * draw[3]) - patch)


def _blob(rng: Generator, canvas: Array) -> None:
    """One irregular flat patch, plain or with one of the objects' textures: texture alone is no evidence."""
    size = canvas.shape[0]
    at = rng.random(2)
    kind, scale, plain, period, turn, *bumps = rng.random(13)
    radius = 0.06 + 0.12 * scale
    window = _window(at, 1.5 * radius, size)
    if window is None:
        return
    rows, columns, x, y = window
    angle = np.arange(24) * (np.pi / 12)
    reach = np.ones(24)
    for order, (strength, phase) in enumerate(np.reshape(bumps, (4, 2)), start=1):
        reach += (0.12 + 0.22 * strength) * np.cos(order * angle + 2.0 * np.pi * phase)
    reach = np.clip(reach, 0.2, 1.45)
    corners = np.stack([reach * np.cos(angle), 0.8 * reach * np.sin(angle)], axis=1)
    cos, sin = np.cos(2.0 * np.pi * turn), np.sin(2.0 * np.pi * turn)
    u, v = (x * cos + y * sin) / radius, (y * cos - x * sin) / radius
    alpha = np.clip(0.5 - polygon_distance(u, v, corners) * radius * size, 0.0, 1.0)[..., None]
    if plain < 0.45:
        colour = np.broadcast_to(_ground_colour(rng), (*u.shape, 3))
    else:
        first, second = two_colours(rng)
        steps = 0.34 + 0.2 * period
        field = FIELDS[TEXTURES[int(kind * len(TEXTURES))]](u / steps, v / steps, rng.random(36))
        blend = smoothstep((field - 0.5) * 4.0 + 0.5)[..., None]
        colour = first + blend * (second - first)
    patch = canvas[rows, columns]
    patch += alpha * (colour - patch)


def backdrop(rng: Generator, size: int) -> Array:
    """Paint one background, (size, size, 3) in about [0, 1]; not yet clipped."""
    colours = [_ground_colour(rng) for _ in range(4)]
    grain, slope, heading, spread, strokes, blobs, coarse, level = rng.random(8)
    stretch = ((2, 2), (3, 3), (2, 5), (5, 2))[int(coarse * 4)]
    mix = smoothstep(0.5 + 0.45 * _noise(rng, size, stretch, 0.62))[..., None]
    patches = smoothstep(0.5 + 1.6 * (_noise(rng, size, (3, 3), 0.5) - 1.2 * (level - 0.3)))[..., None]
    canvas = colours[0] + mix * (colours[1] - colours[0])
    canvas += patches * (colours[2] - canvas)
    centres = (np.arange(size) + 0.5) / size - 0.5
    ramp = centres[None, :] * np.cos(2.0 * np.pi * heading) + centres[:, None] * np.sin(2.0 * np.pi * heading)
    canvas *= (1.0 + 0.5 * (slope - 0.2) * ramp + 0.09 * _noise(rng, size, (9, 9), 0.8))[..., None]
    for _ in range(int(blobs * 5)):
        _blob(rng, canvas)
    for _ in range(int(4 + strokes * 22)):
        _stroke(
            rng,
            canvas,
            colours[2] if rng.random() < 0.5 else colours[3],
            2.0 * np.pi * (heading + (rng.random() - 0.5) * spread),
        )
    # Drawn at one resolution always, so that what is drawn next doesn't depend on the picture's size.
    speckle = rng.random((_SPECKLE, _SPECKLE, 1))
    near = ((2 * np.arange(size) + 1) * _SPECKLE) // (2 * size)
    canvas += (0.01 + 0.03 * grain) * (speckle[near[:, None], near[None, :]] - 0.5) * 2.0
    return canvas
