"""Who is in a clip of `motion` and how it moves: looks, places, phases, camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from relprop.datasets._surface import DISTANCES, TEXTURES

__all__ = [
    "APPEARANCES", "CAMERAS", "MOTIONS", "REACH", "SHAKE", "Actor", "cast", "drawn_label", "generator", "tremor",
    "views",
]  # fmt: skip

Array = NDArray[np.float64]

MOTIONS = ("up-down", "left-right", "rotating", "growing-shrinking")
APPEARANCES = ("star", "ring", "block")

_BEAT = 16.0  # frames in which a motion goes through `cycles` periods
_SWING = 0.11  # how far from its base a pebble swings, in image sides
_SWELL = 0.35  # greatest change of the logarithm of a pebble's radius
_TURNS = 0.65  # turns per cycle of a rotating object
_APART = 0.34  # least distance of two bases, in image sides
_MARGIN = 0.23  # least distance of a base from the border

CAMERAS = ("still", "shake", "turn", "zoom")

SHAKE = 0.06  # greatest camera offset, in image sides
_TURN = 0.12  # greatest angle of a camera that turns, in radians
_ZOOM = 0.12  # greatest change of the logarithm of a picture's scale under a camera that zooms
REACH = 0.1  # so far outside the picture such a camera sees at most, in image sides


@dataclass(frozen=True)
class Actor:
    """One object. Lengths in image sides, angles and phases in radians.

    An object's pose has four coordinates: x, y, turn and size. Each has a phase of its own, drawn uniformly;
    a motion moves one of the phases on and leaves the others where they are. Circling moves those of x and y,
    a quarter period apart.
    """

    look: str
    motion: str
    decides: bool
    x: float
    y: float
    radius: float
    phases: tuple[float, float, float, float]
    rate: float
    outline: tuple[float, ...]
    texture: str
    surface: tuple[float, ...]

    def pose(self, frames: int) -> tuple[Array, Array, Array, Array]:
        """Centre x and y, turn and radius in each frame, (frames,) each; (1,) each where nothing moves.

        x = x₀ + A sin φx, y = y₀ + A sin φy, turn = φr, radius = r exp(B sin φs), φ(t) = φ(0) + rate · t.
        """
        time: Array = np.arange(1 if self.motion == "still" else frames, dtype=np.float64)
        moves = {
            "up-down": (0.0, 1.0, 0.0, 0.0),
            "left-right": (1.0, 0.0, 0.0, 0.0),
            "rotating": (0.0, 0.0, _TURNS, 0.0),
            "growing-shrinking": (0.0, 0.0, 0.0, 1.0),
            "circling": (1.0, 1.0, 0.0, 0.0),
            "still": (0.0, 0.0, 0.0, 0.0),
        }[self.motion]
        x, y, turn, size = (
            phase + self.rate * share * time for phase, share in zip(self.phases, moves, strict=True)
        )
        if self.motion == "circling":
            y = x + 0.5 * np.pi
        swing, swell = (_SWING, _SWELL) if self.look == "pebble" else (0.0, 0.0)
        return (
            np.asarray(self.x + swing * np.sin(x)),
            np.asarray(self.y + swing * np.sin(y)),
            turn,
            np.asarray(self.radius * np.exp(swell * np.sin(size))),
        )

    def distance(self, u: Array, v: Array) -> Array:
        """Distance to the outline, points in object radii, below 0 inside; of pebbles only the sign is exact."""
        if self.look != "pebble":
            return DISTANCES[self.look](u, v)
        # reach(θ) = 1 + Σ a cos(kθ + p), k = 2, 3, 4: powers of (u + iv)/ρ spare the arc tangent. Two or three
        # lobes are always there, and four or five never strong: no pebble is nearly a ring, a block or a star.
        rho = np.sqrt(u * u + v * v)
        safe = np.maximum(rho, 1e-9)
        unit = (u + 1j * v) / safe
        power = unit
        reach = np.ones_like(rho)
        for least, (strength, phase) in zip((0.14, 0.08, 0.0), np.reshape(self.outline, (3, 2)), strict=True):
            power = power * unit
            cos, sin = np.cos(2.0 * np.pi * phase), np.sin(2.0 * np.pi * phase)
            reach += (least + 0.08 * strength) * (power.real * cos - power.imag * sin)
        return np.asarray(rho - reach)


def generator(seed: int, split: int, index: int, stream: int) -> Generator:
    """Random numbers of one clip; the streams of `scenes` are others."""
    return Generator(np.random.PCG64(SeedSequence([seed, split, index, 16 + stream])))


def drawn_label(seed: int, split: int, index: int) -> int:
    """Label of a clip: the first random number of its first stream."""
    return int(generator(seed, split, index, 0).random() * (len(MOTIONS) + len(APPEARANCES)))


def cast(seed: int, split: int, index: int, label: int | None = None) -> tuple[int, tuple[Actor, ...]]:
    """Draw the label and the three objects of a clip, from back to front.

    They are the object that decides, a companion and a still pebble. The companion circles; in a motion class
    it does so in half of the clips and stays still in the others. No random number depends on the label: with
    `label` the same numbers give another class.
    """
    rng = generator(seed, split, index, 0)
    _, company = rng.random(2).tolist()
    label = drawn_label(seed, split, index) if label is None else label
    order = np.argsort(rng.random(3), kind="stable")
    while True:
        bases = _MARGIN + (1.0 - 2.0 * _MARGIN) * rng.random((3, 2))
        gaps = bases - np.roll(bases, 1, axis=0)
        if (np.sqrt((gaps * gaps).sum(axis=1)) >= _APART).all():
            break
    actors: list[Actor] = []
    if label < len(MOTIONS):
        parts = [("pebble", MOTIONS[label]), ("pebble", "circling" if company < 0.5 else "still")]
    else:
        parts = [(APPEARANCES[label - len(MOTIONS)], "still"), ("pebble", "circling")]
    for (look, motion), (x, y) in zip([*parts, ("pebble", "still")], bases.tolist(), strict=True):
        draw = rng.random(19).tolist()
        low, span = (0.13, 0.03) if look == "pebble" else (0.17, 0.05)
        pace = 2.0 * np.pi * (1.0 + 0.8 * draw[1]) / _BEAT
        actors.append(
            Actor(
                look=look,
                motion=motion,
                decides=not actors,
                x=x,
                y=y,
                radius=low + span * draw[0],
                phases=(
                    2.0 * np.pi * draw[3],
                    2.0 * np.pi * draw[4],
                    2.0 * np.pi * draw[5],
                    2.0 * np.pi * draw[6],
                ),
                rate=pace if draw[2] < 0.5 else -pace,
                outline=tuple(draw[7:13]),
                texture=TEXTURES[int(draw[13] * len(TEXTURES))],
                surface=tuple(draw[14:]),
            )
        )
    return label, tuple(actors[k] for k in order)


def tremor(rng: Generator, frames: int) -> Array:
    """Camera offsets (frames, 2), x and y, in image sides: a slow and a fast sine on each axis."""
    draw = rng.random((2, 2, 2))
    time = np.arange(frames)[:, None] / _BEAT
    slow = np.sin(2.0 * np.pi * ((0.8 + 0.8 * draw[0, 0]) * time + draw[0, 1]))
    fast = np.sin(2.0 * np.pi * ((2.0 + 1.5 * draw[1, 0]) * time + draw[1, 1]))
    return np.asarray(SHAKE * (0.6 * slow + 0.4 * fast))


def views(rng: Generator, frames: int, camera: str) -> Array:
    """Where a point of the resting camera's picture lies in each frame of one that turns or zooms.

    Returns:
        (frames, 2, 3), lengths in image sides: (x', y') = M (x, y, 1). Angle and logarithm of the scale go as the
        offsets of `tremor` along one axis.
    """
    sway = tremor(rng, frames)[:, 0] / SHAKE
    angle, scale = (_TURN * sway, np.ones(frames)) if camera == "turn" else (0.0 * sway, np.exp(_ZOOM * sway))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack(
        [
            np.stack([cos, -sin, 0.5 * (1.0 - cos + sin)], axis=1),
            np.stack([sin, cos, 0.5 * (1.0 - sin - cos)], axis=1),
        ],
        axis=1,
    )
