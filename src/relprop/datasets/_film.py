"""Painting of one clip of `motion`: backdrop, camera, objects frame by frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._backdrop import backdrop, two_colours
from relprop.datasets._choreography import SHAKE, Actor, generator, tremor
from relprop.datasets._surface import FIELDS, smoothstep

__all__ = ["film"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Small pictures need plainer things than `scenes`: bright objects with a dark rim before a calm, darker backdrop.
_RIM = 0.35  # width of the dark edge, in object radii
_CONTRAST = 0.6  # between an object's two colours
_GLOW = 0.3  # white in an object's colours
_CALM = 0.6  # contrast left to the backdrop
_DUSK = 0.6  # light left to the backdrop
_REACH = 1.5  # no outline goes further out, in object radii


def _texture(actor: Actor, u: Array, v: Array, noise: Array) -> Array:
    """Blend between the two colours, 0 to 1, at points on the object in object radii."""
    period, turn, phase_u, phase_v, duty = actor.surface
    cos, sin = np.cos(2.0 * np.pi * turn), np.sin(2.0 * np.pi * turn)
    step = 0.9 + 0.5 * period
    a, b = (u * cos + v * sin) / step + phase_u, (v * cos - u * sin) / step + phase_v
    return smoothstep((FIELDS[actor.texture](a, b, noise) - 0.42 - 0.16 * duty) * 3.5 + 0.5)


def film(
    actors: tuple[Actor, ...], seed: int, split: int, index: int, size: int, frames: int, shake: bool
) -> tuple[NDArray[np.uint8], Mask, Mask, NDArray[np.int64]]:
    """Render a clip.

    Returns:
        frames (T, size, size, 3) uint8; whole silhouettes and visible pixels, (n, T, size, size) each; camera
        offsets (T, 2) in pixels. A pixel belongs to the last object in whose outline its centre lies. Objects
        are painted with no colour outside their outline, so a pixel changes only where an outline passes.
    """
    rng = generator(seed, split, index, 1)
    margin = int(np.ceil(SHAKE * size))
    ground = backdrop(rng, size + 2 * margin)
    ground = _DUSK * (_CALM * ground + (1.0 - _CALM) * ground.mean(axis=(0, 1)))
    offsets = np.zeros((frames, 2), dtype=np.int64)
    if shake:
        offsets = np.floor(tremor(generator(seed, split, index, 2), frames) * size + 0.5).astype(np.int64)
    canvas = np.empty((frames, size, size, 3))
    for picture, (dx, dy) in zip(canvas, offsets, strict=True):
        picture[...] = ground[margin - dy : margin - dy + size, margin - dx : margin - dx + size]
    # Whole pixels, so that a still object has the same grey levels wherever the camera puts it.
    centres = np.arange(size)[None, :] + 0.5 - offsets[:, :, None].transpose(1, 0, 2)
    at_x, at_y = centres[0][:, None, :] / size, centres[1][:, :, None] / size
    if not shake:
        at_x, at_y = at_x[:1], at_y[:1]
    whole = np.zeros((len(actors), frames, size, size), dtype=bool)
    for k, actor in enumerate(actors):
        first, second = (_GLOW + (1.0 - _GLOW) * colour for colour in two_colours(rng))
        noise = rng.random(36)
        x, y, turn, radius = actor.pose(frames)
        dx, dy = (
            (at_x - x[:, None, None]) / radius[:, None, None],
            (at_y - y[:, None, None]) / radius[:, None, None],
        )
        near = np.nonzero(dx * dx + dy * dy < _REACH**2)
        single = len(dx) == 1
        dx, dy = dx[near[0], 0, near[2]], dy[near[0], near[1], 0]
        at = np.zeros_like(near[0]) if len(x) == 1 else near[0]
        cos, sin = np.cos(turn)[at], np.sin(turn)[at]
        u, v = dx * cos + dy * sin, dy * cos - dx * sin
        distance = actor.distance(u, v)
        inside = distance < 0.0
        u, v, distance = u[inside], v[inside], distance[inside]
        time, row, column = (index[inside] for index in near)
        place = (slice(None) if single else time, row, column)
        whole[k][place] = True
        shade = 0.45 + 0.55 * smoothstep(-distance / _RIM)
        blend = _CONTRAST * _texture(actor, u, v, noise)
        colour = (first + blend[:, None] * (second - first)) * shade[:, None]
        alpha = np.minimum(-distance * radius[at[inside]] * size, 1.0)[:, None]
        canvas[place] += alpha * (colour - canvas[place])
    visible = whole.copy()
    for k in range(len(actors) - 1):
        visible[k] &= ~whole[k + 1 :].any(axis=0)
    clip = np.clip(np.floor(canvas * 255.0 + 0.5), 0.0, 255.0).astype(np.uint8)
    return clip, whole, visible, offsets
