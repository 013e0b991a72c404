"""Layout and painting of one scene: where the objects stand, then light, shadow and texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from relprop.datasets._backdrop import backdrop, two_colours
from relprop.datasets._surface import BEVEL, DISTANCES, FIELDS, smoothstep

__all__ = ["CLASS_PARTS", "Instance", "Layer", "Stage", "composed", "layers", "layout", "paint", "stage"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Eight of the sixteen pairs: each shape has two textures and each texture two shapes, so neither decides alone.
CLASS_PARTS: tuple[tuple[str, str], ...] = (
    ("striped", "ball"),
    ("dotted", "ball"),
    ("dotted", "star"),
    ("checked", "star"),
    ("checked", "ring"),
    ("mottled", "ring"),
    ("mottled", "block"),
    ("striped", "block"),
)

_GRID = 64  # side of the grid on which the layout checks overlaps, whatever the picture's size
_SEEN = 0.5  # least share of an object that later objects must leave visible, on that grid


@dataclass(frozen=True)
class Instance:
    """One object: its class and its place, lengths in image sides, angles in radians."""

    label: int
    x: float
    y: float
    radius: float
    turn: float
    squash: float
    surface: tuple[float, ...]

    def distance(self, x: Array, y: Array) -> Array:
        """Signed distance to the outline at points (x, y), in image sides; below 0 is inside."""
        u, v = self.local(x, y)
        return DISTANCES[CLASS_PARTS[self.label][1]](u, v) * (self.radius * self.squash)

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Coordinates on the object, turned and foreshortened, in object radii."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        dx, dy = (x - self.x) / self.radius, (y - self.y) / self.radius
        return (dx * cos + dy * sin) / self.squash, dy * cos - dx * sin


def _generator(seed: int, split: int, index: int, stream: int) -> Generator:
    return Generator(np.random.PCG64(SeedSequence([seed, split, index, stream])))


def _centres(size: int, low: int = 0, high: int | None = None) -> Array:
    return (np.arange(low, size if high is None else high) + 0.5) / size


def layout(seed: int, split: int, index: int) -> tuple[Instance, ...]:
    """Draw one to four objects, from back to front; does not depend on the picture's size."""
    rng = _generator(seed, split, index, 0)
    wanted = 1 + int(rng.random() * 4)
    x, y = _centres(_GRID)[None, :], _centres(_GRID)[:, None]
    placed: list[Instance] = []
    visible: list[Mask] = []
    whole: list[int] = []
    for _ in range(wanted):
        label = int(rng.random() * len(CLASS_PARTS))
        for attempt in range(24):
            draw = rng.random(16)
            radius = (0.13 + (0.15 - 0.02 * wanted) * draw[0]) * (1.0 - 0.01 * attempt)
            margin = 1.2 * radius
            new = Instance(
                label=label,
                x=margin + (1.0 - 2.0 * margin) * draw[1],
                y=margin + (1.0 - 2.0 * margin) * draw[2],
                radius=radius,
                turn=2.0 * np.pi * draw[3],
                squash=0.82 + 0.18 * draw[4],
                surface=tuple(draw[5:].tolist()),
            )
            silhouette = new.distance(x, y) <= 0.0
            left = [mask & ~silhouette for mask in visible]
            if all(mask.sum() >= _SEEN * area for mask, area in zip(left, whole, strict=True)):
                placed.append(new)
                visible = [*left, silhouette]
                whole.append(int(silhouette.sum()))
                break
    return tuple(placed)


def _texture(item: Instance, u: Array, v: Array, noise: Array) -> Array:
    texture, shape = CLASS_PARTS[item.label]
    period, turn, phase_u, phase_v, duty = item.surface[:5]
    if shape == "ball":  # wrap the texture round the sphere
        rho = np.minimum(np.hypot(u, v) / 0.9, 0.999)
        bulge = np.where(rho > 1e-6, np.arcsin(rho) / np.maximum(rho, 1e-6), 1.0)
        u, v = u * (0.35 + 0.65 * bulge), v * (0.35 + 0.65 * bulge)
    cos, sin = np.cos(2.0 * np.pi * turn), np.sin(2.0 * np.pi * turn)
    step = 0.36 + 0.14 * period
    a, b = (u * cos + v * sin) / step + phase_u, (v * cos - u * sin) / step + phase_v
    return smoothstep((FIELDS[texture](a, b, noise) - 0.42 - 0.16 * duty) * 3.5 + 0.5)


@dataclass(frozen=True, eq=False)
class Stage:
    """Everything about a scene that was drawn besides the layout: what is behind, the light, each object's paint.

    Attributes:
        ground: (size, size, 3), the backdrop, about 0 to 1.
        azimuth: of the light, in radians.
        height, softness, ambient: of the light, its shadows and what comes from everywhere, 0 to 1.
        paints: two colours, 36 numbers for the texture and the gloss of each object.
    """

    ground: Array
    azimuth: float
    height: float
    softness: float
    ambient: float
    paints: tuple[tuple[Array, Array, Array, float], ...]


def stage(objects: int, seed: int, split: int, index: int, size: int) -> Stage:
    """Draw what stands around and on so many objects of a scene."""
    rng = _generator(seed, split, index, 1)
    ground = backdrop(rng, size)
    azimuth, height, softness, ambient = rng.random(4)
    # Colours, then texture, then gloss, object by object: the order of the random numbers is the scene's.
    paints = tuple((*two_colours(rng), rng.random(36), 0.5 * rng.random()) for _ in range(objects))
    return Stage(ground, 2.0 * np.pi * azimuth, height, softness, ambient, paints)


@dataclass(frozen=True, eq=False)
class Layer:
    """What one object and its shadow do to the pixels of a window.

    Attributes:
        window: rows and columns of the picture.
        dark: (h, w, 1), what the ground is multiplied by under the shadow.
        colour: (h, w, 3), the object's own.
        alpha: (h, w, 1), how much of a pixel it covers.
        inside: (h, w), pixels whose centre lies inside the outline.
    """

    window: tuple[slice, slice]
    dark: Array
    colour: Array
    alpha: Array
    inside: Mask


def layers(items: tuple[Instance, ...], scene: Stage) -> tuple[Layer, ...]:
    """Every object of a scene, ready to be put on a ground; none depends on what else is there."""
    size = len(scene.ground)
    elevation = 0.6 + 0.5 * scene.height
    light = np.array(
        [
            np.cos(scene.azimuth) * np.cos(elevation),
            np.sin(scene.azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    found = []
    for item, (first, second, noise, gloss) in zip(items, scene.paints, strict=True):
        reach = 1.75 * item.radius
        left, right = max(0, int((item.x - reach) * size)), min(size, int((item.x + reach) * size) + 1)
        top, bottom = max(0, int((item.y - reach) * size)), min(size, int((item.y + reach) * size) + 1)
        x, y = _centres(size, left, right)[None, :], _centres(size, top, bottom)[:, None]

        throw = 0.28 * item.radius / np.tan(elevation)
        shadow = item.distance(
            x + throw * light[0] / np.cos(elevation), y + throw * light[1] / np.cos(elevation)
        )
        blur = (0.12 + 0.25 * scene.softness) * item.radius
        dark = (1.0 - 0.5 * smoothstep(0.5 - shadow / blur))[..., None]

        u, v = item.local(x, y)
        distance = item.distance(x, y)
        bevel = BEVEL[CLASS_PARTS[item.label][1]] * item.radius * item.squash
        rise = 1.0 - np.clip(-distance / bevel, 0.0, 1.0)
        slope_y, slope_x = np.gradient(distance * size)
        facing = np.sqrt(1.0 - 0.96 * rise * rise)
        tilt = 0.98 * rise / np.maximum(np.hypot(slope_x, slope_y), 1e-3)
        lit = np.clip(tilt * (slope_x * light[0] + slope_y * light[1]) + facing * light[2], 0.0, None)
        shade = 0.42 + 0.14 * scene.ambient + 0.62 * lit
        half = light + np.array([0.0, 0.0, 1.0])
        half /= np.sqrt(half @ half)
        mirror = np.clip(tilt * (slope_x * half[0] + slope_y * half[1]) + facing * half[2], 0.0, 1.0)
        colour = (first + _texture(item, u, v, noise)[..., None] * (second - first)) * shade[..., None]
        colour += (gloss * mirror**40)[..., None]
        alpha = np.clip(0.5 - distance * size, 0.0, 1.0)[..., None]
        found.append(Layer((slice(top, bottom), slice(left, right)), dark, colour, alpha, distance <= 0.0))
    return tuple(found)


def composed(
    ground: Array,
    objects: Sequence[Layer],
    shown: Sequence[bool] | None = None,
    shadowed: Sequence[bool] | None = None,
) -> NDArray[np.uint8]:
    """The picture of a ground with objects on it, (size, size, 3) uint8.

    Args:
        ground: (size, size, 3).
        objects: from back to front.
        shown: which of them are there; None: all. One that isn't throws no shadow.
        shadowed: which of them throw a shadow; None: all.
    """
    canvas = ground.copy()
    for k, layer in enumerate(objects):
        if shown is not None and not shown[k]:
            continue
        patch = canvas[layer.window]
        if shadowed is None or shadowed[k]:
            patch *= layer.dark
        patch += layer.alpha * (layer.colour - patch)
    return np.clip(np.floor(canvas * 255.0 + 0.5), 0.0, 255.0).astype(np.uint8)


def paint(
    items: tuple[Instance, ...], seed: int, split: int, index: int, size: int
) -> tuple[NDArray[np.uint8], Mask, Mask]:
    """Render the picture: (size, size, 3) uint8, whole silhouettes and visible pixels, each (n, size, size).

    A pixel belongs to an object where its centre lies inside the outline and no later object covers it.
    """
    scene = stage(len(items), seed, split, index, size)
    objects = layers(items, scene)
    whole = np.zeros((len(items), size, size), dtype=bool)
    for silhouette, layer in zip(whole, objects, strict=True):
        silhouette[layer.window] = layer.inside
    visible = whole.copy()
    for k in range(len(items) - 1):
        visible[k] &= ~whole[k + 1 :].any(axis=0)
    return composed(scene.ground, objects), whole, visible
