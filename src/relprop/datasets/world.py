"""World: a drawn picture or clip taken apart, and drawn again with some of its parts.

Nothing is inpainted. Whatever is taken away, the renderer draws what is seen then: what stands behind an object,
the ground without its shadow, an object before another backdrop. All else, light and camera among it, stays as it
was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._drawn import SPLITS
from relprop.datasets._render import Layer, composed, layers, layout, stage
from relprop.datasets.scenes import Scene
from relprop.errors import InputError

__all__ = ["NO_CLASS", "SceneWorld", "World", "WorldPart"]

#: The label of a part that belongs to no class.
NO_CLASS = -1

# Added to a picture's index: its other backdrops come from pictures that nobody else looks at.
_ELSEWHERE = 1_000_000


@dataclass(frozen=True, eq=False)
class WorldPart:
    """One part of a world.

    Attributes:
        name: unique in its world: "object 0", "shadow 0", "backdrop".
        label: the class that an object belongs to; -1: none.
        pixels: where it is seen, bool, (H, W) in a picture and (T, H, W) in a clip. Parts don't overlap.
    """

    name: str
    label: int
    pixels: NDArray[np.bool_]


class World:
    """A picture or clip in parts. Subclasses write `parts` and `draw`.

    Some parts can't just be missing: where there is no backdrop, another one is, and which one is by chance. Such
    a world has several `draws`.
    """

    @property
    def parts(self) -> tuple[WorldPart, ...]:
        """What it is made of."""
        raise NotImplementedError

    def draw(self, kept: Collection[int], draw: int = 0) -> NDArray[np.uint8]:
        """What is seen with these parts alone, (H, W, 3) or (T, H, W, 3).

        Args:
            kept: indices into `parts`.
            draw: which of the things that stand in for what is missing.
        """
        raise NotImplementedError

    def seen(self, kept: Collection[int]) -> frozenset[int]:
        """Those of the parts that are seen when these are there: equal sets give equal pictures."""
        return frozenset(kept)

    def by_chance(self, kept: Collection[int]) -> bool:
        """Whether what is seen with these parts alone depends on `draw`."""
        return False

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.parts)

    def without(self, *gone: int, draw: int = 0) -> NDArray[np.uint8]:
        """What is seen when parts are taken away.

        Raises:
            InputError: no such part.
        """
        count = len(self)
        for k in gone:
            if not 0 <= k < count:
                raise InputError(f"Expected parts from 0 to {count - 1} but got {k}; see `parts`.")
        return self.draw([k for k in range(count) if k not in gone], draw)


class SceneWorld(World):
    """A scene in parts: each object, each object's shadow, and the backdrop.

    - An object that is taken away takes its shadow along, and what stands behind it is seen.
    - Without its shadow an object stands there and throws none.
    - Without the backdrop the same objects stand, in the same light, before the backdrop of another scene, which
      no index below a million reaches; `draw` says which.

    Args:
        scene: what to take apart.

    >>> from relprop.datasets import Scenes
    >>> world = SceneWorld(Scenes(n=8)[7])
    >>> [part.name for part in world.parts]
    ['object 0', 'shadow 0', 'backdrop']
    >>> bool((world.draw(range(3)) == world.scene.image).all())
    True
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._split = SPLITS[scene.split]
        self._items = layout(scene.seed, self._split, scene.index)
        self._size = scene.image.shape[0]
        self._grounds: dict[int, NDArray[np.float64]] = {}

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.float64], tuple[Layer, ...]]:
        """The ground, and every object ready to be put on one."""
        scene = self.scene
        found = stage(len(self._items), scene.seed, self._split, scene.index, self._size)
        return found.ground, layers(self._items, found)

    @cached_property
    def parts(self) -> tuple[WorldPart, ...]:
        """Objects from back to front, their shadows, the backdrop.

        A shadow is seen where the picture changes with it and no object is; of several the last object's.
        """
        count = len(self._items)
        free = np.logical_not(self.scene.masks.any(axis=0))
        shadows: list[NDArray[np.bool_]] = []
        for k in reversed(range(count)):
            changed = np.any(self.without(count + k) != self.scene.image, axis=2)
            shadows.insert(0, changed & free)
            free = free & ~changed
        labels, masks = self.scene.labels.tolist(), self.scene.masks
        return (
            *(WorldPart(f"object {k}", labels[k], masks[k]) for k in range(count)),
            *(WorldPart(f"shadow {k}", NO_CLASS, shadow) for k, shadow in enumerate(shadows)),
            WorldPart("backdrop", NO_CLASS, free),
        )

    def __len__(self) -> int:
        return 2 * len(self._items) + 1

    def seen(self, kept: Collection[int]) -> frozenset[int]:
        """Without the shadows of objects that aren't there."""
        count = len(self._items)
        return frozenset(k for k in kept if not count <= k < 2 * count or k - count in kept)

    def by_chance(self, kept: Collection[int]) -> bool:
        """Without a backdrop another one is seen."""
        return 2 * len(self._items) not in kept

    def draw(self, kept: Collection[int], draw: int = 0) -> NDArray[np.uint8]:
        """The picture with these parts alone, (size, size, 3)."""
        count = len(self._items)
        own, objects = self._drawn
        ground = self._ground(draw) if self.by_chance(kept) else own
        shown, shadowed = ([first + k in kept for k in range(count)] for first in (0, count))
        return composed(ground, objects, shown, shadowed)

    def _ground(self, draw: int) -> NDArray[np.float64]:
        if draw not in self._grounds:
            index = _ELSEWHERE * (draw + 1) + self.scene.index
            self._grounds[draw] = stage(0, self.scene.seed, self._split, index, self._size).ground
        return self._grounds[draw]
