"""Painting of one clip of `motion`: backdrop, camera, objects frame by frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._backdrop import backdrop, two_colours
from relprop.datasets._choreography import REACH, SHAKE, Actor, generator, tremor
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
_FINE = 2  # how much finer the backdrop is drawn for a camera that turns or zooms, along each side


def _texture(actor: Actor, u: Array, v: Array, noise: Array) -> Array:
    """Blend between the two colours, 0 to 1, at points on the object in object radii."""
    period, turn, phase_u, phase_v, duty = actor.surface
    cos, sin = np.cos(2.0 * np.pi * turn), np.sin(2.0 * np.pi * turn)
    step = 0.9 + 0.5 * period
    a, b = (u * cos + v * sin) / step + phase_u, (v * cos - u * sin) / step + phase_v
    return smoothstep((FIELDS[actor.texture](a, b, noise) - 0.42 - 0.16 * duty) * 3.5 + 0.5)


def _sources(views: Array, size: int, right: float, down: float) -> tuple[Array, Array]:
    """Where a point of every pixel of each frame lies in the resting camera's picture, (T, y, x), in image sides.

    Args:
        views: (T, 2, 3).
        size: of the frames.
        right, down: where the point lies in its pixel, 0 to 1.
    """
    (a, b, u), (c, d, v) = views.transpose(1, 2, 0)[..., None, None]
    dx = (np.arange(size)[None, None, :] + right) / size - u
    dy = (np.arange(size)[None, :, None] + down) / size - v
    area = a * d - b * c
    return np.asarray((d * dx - b * dy) / area), np.asarray((a * dy - c * dx) / area)


def _seen(ground: Array, views: Array, size: int, margin: int) -> Array:
    """The backdrop through a camera that turns or zooms, (T, size, size, 3): the mean of four points a pixel."""
    total = np.zeros((len(views), size, size, 3))
    last = len(ground) - 1
    for shift in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        at = _sources(views, size, *shift)
        x, y = (np.clip((place * size + margin) * _FINE - 0.5, 0, last) for place in at)
        left, top = np.minimum(x.astype(np.int64), last - 1), np.minimum(y.astype(np.int64), last - 1)
        u, v = (x - left)[..., None], (y - top)[..., None]
        upper = ground[top, left] + u * (ground[top, left + 1] - ground[top, left])
        lower = ground[top + 1, left] + u * (ground[top + 1, left + 1] - ground[top + 1, left])
        total += upper + v * (lower - upper)
    return total / 4


def film(
    actors: tuple[Actor, ...],
    seed: int,
    split: int,
    index: int,
    size: int,
    frames: int,
    shake: bool,
    views: Array | None = None,
) -> tuple[NDArray[np.uint8], Mask, Mask, NDArray[np.int64]]:
    """Render a clip.

    Args:
        actors, seed, split, index: what is in it.
        size, frames: its shape.
        shake: the camera shakes.
        views: how a camera turns or zooms that doesn't shake, see `relprop.datasets._choreography.views`.

    Returns:
        frames (T, size, size, 3) uint8; whole silhouettes and visible pixels, (n, T, size, size) each; camera
        offsets (T, 2) in pixels. A pixel belongs to the last object in whose outline its centre lies. Objects
        are painted with no colour outside their outline, so a pixel changes only where an outline passes.
    """
    rng = generator(seed, split, index, 1)
    margin = int(np.ceil((SHAKE if views is None else REACH) * size))
    fine = 1 if views is None else _FINE
    ground = backdrop(rng, fine * (size + 2 * margin))
    ground = _DUSK * (_CALM * ground + (1.0 - _CALM) * ground.mean(axis=(0, 1)))
    offsets = np.zeros((frames, 2), dtype=np.int64)
    if views is not None:
        canvas = _seen(ground, views, size, margin)
        at_x, at_y = _sources(views, size, 0.5, 0.5)
    else:
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
        if views is None:
            dx, dy = dx[near[0], 0, near[2]], dy[near[0], near[1], 0]
        else:
            dx, dy = dx[near], dy[near]
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
