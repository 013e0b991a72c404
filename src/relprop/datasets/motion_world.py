"""Motion world: a clip's motions, each of which can be stopped while all else goes on."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._choreography import Actor, cast, generator, views
from relprop.datasets._drawn import SPLITS
from relprop.datasets._film import film
from relprop.datasets.motion import MotionClip
from relprop.datasets.world import NO_CLASS, World, WorldPart

__all__ = ["MotionWorld"]

Array = NDArray[np.float64]


class _Stopped(Actor):
    """An object that stays as it is in one of the frames, (1,) each."""

    frame: int

    def pose(self, frames: int) -> tuple[Array, Array, Array, Array]:
        x, y, turn, radius = (values[self.frame :][:1] for values in super().pose(frames))
        return x, y, turn, radius


class MotionWorld(World):
    """A clip in motions: each object's own, and the camera's.

    Nothing disappears. Without its motion an object stands as in one of the clip's frames, and `draw` says in
    which: the first, the middle one, then those between. Without its motion the camera rests where the resting
    camera does.

    Args:
        clip: what to take apart.

    >>> from relprop.datasets import MotionClips
    >>> world = MotionWorld(MotionClips(n=3, shake=True)[2])
    >>> [part.name for part in world.parts]
    ['motion of object 0', 'motion of object 1', 'camera']
    >>> bool((world.without() == world.clip.frames).all())
    True
    """

    def __init__(self, clip: MotionClip) -> None:
        self.clip = clip
        self._split = SPLITS[clip.split]
        self._actors = cast(clip.seed, self._split, clip.index)[1]
        self._moving = [k for k, motion in enumerate(clip.motions) if motion != "still"]

    @cached_property
    def parts(self) -> tuple[WorldPart, ...]:
        """The motions of the objects that move, from back to front, then the camera's if it moves.

        An object's motion is seen where the object is, the camera's everywhere else. Under a resting camera what
        stands still belongs to no part.
        """
        clip = self.clip
        found = [
            WorldPart(
                f"motion of object {k}",
                clip.label if k == clip.decider and clip.kind == "motion" else NO_CLASS,
                clip.masks[k],
            )
            for k in self._moving
        ]
        camera = WorldPart("camera", NO_CLASS, np.logical_not(clip.moving))
        return tuple(found) if clip.camera == "still" else (*found, camera)

    def by_chance(self, kept: Collection[int]) -> bool:
        """Where an object stands that is stopped."""
        return any(k not in kept for k in range(len(self._moving)))

    def draw(self, kept: Collection[int], draw: int = 0) -> NDArray[np.uint8]:
        """The clip with these motions alone, (T, size, size, 3)."""
        clip = self.clip
        frames, size = clip.frames.shape[:2]
        stopped = {self._moving[k] for k in range(len(self._moving)) if k not in kept}
        actors = tuple(
            _stopped(actor, int(frames * _between(draw))) if k in stopped else actor
            for k, actor in enumerate(self._actors)
        )
        goes = len(self._moving) in kept
        moves = None
        if clip.camera in ("turn", "zoom"):
            way = generator(clip.seed, self._split, clip.index, 2)
            moves = views(way, frames, clip.camera) if goes else np.tile(np.eye(2, 3), (frames, 1, 1))
        shake = clip.shake and goes
        return film(actors, clip.seed, self._split, clip.index, size, frames, shake, moves)[0]


def _stopped(actor: Actor, frame: int) -> _Stopped:
    made = _Stopped(**vars(actor))
    object.__setattr__(made, "frame", frame)  # the class is frozen
    return made


def _between(draw: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, …: the first few already lie evenly (van der Corput's sequence)."""
    found, step = 0.0, 0.5
    while draw:
        found, draw, step = found + step * (draw % 2), draw // 2, step / 2
    return found
