"""A world of clips with known truth: what moves, what is still, and which of the two decides the class.

Seven classes. Four depend only on how one object moves (up-down, left-right, rotating, growing-shrinking),
three only on how one still object looks (star, ring, block). Every clip holds three objects on a textured
backdrop: the one that decides, a companion, and a still pebble. The rule that makes the label well defined:

- Motion classes: the object that decides is a pebble like the others. Pebbles are irregular patches whose
  outline, texture, colours, size, place and phases come from one distribution, whatever they do. No star, ring
  or block is in the clip, so the label lies in the movement alone. The companion circles in half of the clips
  and stays still in the others; circling is no class.
- Appearance classes: the object that decides is the clip's only star, ring or block and stays still. The
  companion circles, so something moves here too.

A single frame can't give a motion away: with the same random numbers, frame 0 of the four motion classes is
the same picture, bit for bit, and at any later frame each phase is a uniform phase plus a constant, hence
uniform. (What a frame can tell is the kind: a star, ring or block is there or not.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_known
from relprop.datasets._choreography import APPEARANCES, CAMERAS, MOTIONS, cast, drawn_label, generator, views
from relprop.datasets._drawn import SPLITS, DrawnItems, class_index, integer
from relprop.datasets._film import film
from relprop.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["APPEARANCE_CLASSES", "CLASSES", "MOTION_CLASSES", "MotionClip", "MotionClips"]

MOTION_CLASSES: list[str] = list(MOTIONS)
APPEARANCE_CLASSES: list[str] = list(APPEARANCES)
CLASSES: list[str] = MOTION_CLASSES + APPEARANCE_CLASSES


@dataclass(frozen=True, eq=False)
class MotionClip:
    """One rendered clip with its truth; its three objects are listed from back to front.

    Attributes:
        frames: (T, size, size, 3) uint8, RGB.
        label: index into `CLASSES`.
        masks: (3, T, size, size) bool, visible pixels of each object: the pixel's centre lies inside the outline
            and in no later object's. Masks of one frame never overlap. Objects may leave the picture in part.
        silhouettes: (3, T, size, size) bool, pixels of each object in the picture, hidden ones included.
        looks: "pebble", "star", "ring" or "block" for each object.
        motions: "still", "circling" or one of `MOTION_CLASSES` for each object; the camera's is apart.
        decider: position of the object that decides the class.
        offsets: (T, 2) int64, camera offset in each frame: pixels by which all content is shifted to the right
            and down; zero unless it shakes.
        split: name of the split, and with `seed`, `index` and `camera` the clip's identity.
        seed: seed of the data set.
        index: index within the split.
        shake: whether the camera shakes.
        camera: "still", "shake", "turn" or "zoom".
        path: (T, 2, 3) float64, the camera's path: a point (x, y) of the resting camera's picture lies in frame t
            at ``path[t] @ (x, y, 1)``; in pixels, the first one's centre at (0, 0).
    """

    frames: NDArray[np.uint8]
    label: int
    masks: NDArray[np.bool_]
    silhouettes: NDArray[np.bool_]
    looks: tuple[str, ...]
    motions: tuple[str, ...]
    decider: int
    offsets: NDArray[np.int64]
    split: str
    seed: int
    index: int
    shake: bool
    camera: str
    path: NDArray[np.float64]

    @property
    def name(self) -> str:
        """Class name."""
        return CLASSES[self.label]

    @property
    def kind(self) -> str:
        """`"motion"` where movement decides the class, `"appearance"` where looks do."""
        return "motion" if self.label < len(MOTION_CLASSES) else "appearance"

    @property
    def moving(self) -> NDArray[np.bool_]:
        """Visible pixels of what moves by itself, (T, size, size) bool; a shaken still object is not in it."""
        return np.asarray(self.masks[[motion != "still" for motion in self.motions]].any(axis=0))

    @property
    def still(self) -> NDArray[np.bool_]:
        """Visible pixels of still objects, (T, size, size) bool; the backdrop is neither moving nor still."""
        return np.asarray(self.masks[[motion == "still" for motion in self.motions]].any(axis=0))

    @property
    def deciding(self) -> NDArray[np.bool_]:
        """Visible pixels of the object that decides the class, (T, size, size) bool."""
        return self.masks[self.decider]


class MotionClips(DrawnItems, Sequence[MotionClip]):
    """Clips of one split, drawn when asked for; nothing is stored and no order matters.

    Clip `i` depends on `(seed, split, i)` alone. Another `size` shows the same clip at another resolution,
    another `frames` shows more or less of it, and another `camera` the same objects through one that moves (the
    same backdrop, too, where it shakes; where it turns or zooms, one drawn a little larger). Arithmetic is float64
    with one rounding to uint8 at the end; random numbers come from PCG64's doubles alone.

    Args:
        size: side of the frames in pixels, at least 32.
        frames: number of frames T; a motion goes through one to two periods in 16.
        n: number of clips.
        seed: seed of the data set, at least 0.
        split: "train", "val" or "test": disjoint streams of random numbers.
        shake: short for ``camera="shake"``.
        camera: "still"; or a harder setting, a camera that moves to and fro about the centre. "shake": by whole
            pixels, up to 6 % of the picture's side on each axis; "turn": by up to 6.9 degrees; "zoom": by up to
            12.7 %.

    Raises:
        InputError: an argument is out of range; `shake` and another camera.
        UnknownNameError: no such split or camera.

    >>> clip = MotionClips(n=3)[2]
    >>> clip.frames.shape, clip.name, clip.kind, clip.motions
    ((16, 48, 48, 3), 'growing-shrinking', 'motion', ('growing-shrinking', 'circling', 'still'))
    """

    def __init__(
        self,
        *,
        size: int = 48,
        frames: int = 16,
        n: int = 1000,
        seed: int = 0,
        split: str = "train",
        shake: bool = False,
        camera: str | None = None,
    ) -> None:
        """Check the arguments; nothing is rendered yet."""
        self.size = integer("size", size, 32)
        self.frames = integer("frames", frames, 1)
        if camera is None:
            camera = "shake" if shake else "still"
        check_known("camera", camera, CAMERAS)
        if shake and camera != "shake":
            raise InputError(
                f"Expected shake=True without camera={camera!r}: they are two ways. Leave one out."
            )
        self.camera = camera
        super().__init__(n, seed, split)

    @property
    def shake(self) -> bool:
        """Whether the camera shakes."""
        return self.camera == "shake"

    def __repr__(self) -> str:
        """Show what makes these clips what they are."""
        return (
            f"MotionClips(size={self.size}, frames={self.frames}, n={len(self)}, seed={self.seed}, "
            f"split={self.split!r}, camera={self.camera!r})"
        )

    @overload
    def __getitem__(self, item: int) -> MotionClip: ...
    @overload
    def __getitem__(self, item: slice) -> MotionClips: ...
    def __getitem__(self, item: int | slice) -> MotionClip | MotionClips:
        """Render one clip, or narrow to a slice without rendering."""
        if isinstance(item, slice):
            return self._narrow(self.indices[item])
        index = self._index(item)
        split = SPLITS[self.split]
        label, actors = cast(self.seed, split, index)
        moves = None
        if self.camera in ("turn", "zoom"):
            moves = views(generator(self.seed, split, index, 2), self.frames, self.camera)
        frames, whole, visible, offsets = film(
            actors, self.seed, split, index, self.size, self.frames, self.shake, moves
        )
        path = _path(offsets, moves, self.size)
        for array in (frames, whole, visible, offsets, path):
            array.flags.writeable = False
        return MotionClip(
            frames=frames,
            label=label,
            masks=visible,
            silhouettes=whole,
            looks=tuple(actor.look for actor in actors),
            motions=tuple(actor.motion for actor in actors),
            decider=[actor.decides for actor in actors].index(True),
            offsets=offsets,
            split=self.split,
            seed=self.seed,
            index=index,
            shake=self.shake,
            camera=self.camera,
            path=path,
        )

    def __iter__(self) -> Iterator[MotionClip]:
        """Render the clips one after another."""
        return (self[i] for i in range(len(self)))

    def label(self, item: int) -> int:
        """Label of one clip without rendering it."""
        return drawn_label(self.seed, SPLITS[self.split], self._index(item))

    def tensor(self, item: int) -> torch.Tensor:
        """One clip as a float32 tensor (3, T, size, size) in [0, 1]; not normalised."""
        import torch

        return torch.from_numpy(self[item].frames.copy()).permute(3, 0, 1, 2).float().div_(255.0)

    def with_classes(self, *classes: int | str) -> MotionClips:
        """Keep the clips of the given classes, by name or index.

        >>> moving = MotionClips(n=100).with_classes(*MOTION_CLASSES)
        >>> sorted({clip.kind for clip in moving[:5]})
        ['motion']
        """
        if not classes:
            raise InputError("Expected at least one class but got none; give names or indices of CLASSES.")
        wanted = {class_index(label, CLASSES) for label in classes}
        return self._narrow([i for at, i in enumerate(self.indices) if self.label(at) in wanted])

    def _narrow(self, indices: Sequence[int]) -> MotionClips:
        part = MotionClips(
            size=self.size, frames=self.frames, n=0, seed=self.seed, split=self.split, camera=self.camera
        )
        part.indices = indices
        return part


def _path(offsets: NDArray[np.int64], moves: NDArray[np.float64] | None, size: int) -> NDArray[np.float64]:
    """The camera's path in pixels; the first one's centre is at (0, 0), half a pixel from the picture's edge."""
    path = np.zeros((len(offsets), 2, 3))
    path[:, 0, 0] = path[:, 1, 1] = 1.0
    path[:, :, 2] = offsets
    if moves is not None:
        path[:, :, :2] = moves[:, :, :2]
        path[:, :, 2] = size * moves[:, :, 2] + 0.5 * moves[:, :, :2].sum(axis=2) - 0.5
    return path
