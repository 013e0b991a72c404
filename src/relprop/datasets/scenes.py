"""A world with known truth: textured, shaded objects over clutter, drawn on the fly from a seed.

Eight classes are pairs of a texture and a shape. Each shape occurs with two textures and each texture with
two shapes, and colours come from one distribution for all, so a network has to use shape and texture both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from relprop.datasets._drawn import SPLITS, DrawnItems, class_index, integer
from relprop.datasets._render import CLASS_PARTS, layout, paint
from relprop.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["CLASSES", "Scene", "Scenes"]

CLASSES: list[str] = [f"{texture} {shape}" for texture, shape in CLASS_PARTS]

_DIFFICULT_SEEN = 0.6
_DIFFICULT_AREA = 0.015


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered scene with its truth; objects are listed from back to front.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        boxes: (n, 4) float64, `x0, y0, x1, y1` in pixels, tight around the whole silhouette, hidden parts
            included. Columns `x0 … x1 - 1` and rows `y0 … y1 - 1` hold silhouette pixels, so the width is
            `x1 - x0`. No object leaves the picture.
        labels: (n,) int64, index into `CLASSES`.
        masks: (n, size, size) bool, visible pixels: the pixel's centre lies inside the outline and in no later
            object's. Masks of one scene never overlap.
        silhouettes: (n, size, size) bool, all pixels of the object, hidden ones included.
        difficult: (n,) bool, less than 60 % of the silhouette is visible, or the visible part covers less
            than 1.5 % of the picture.
        split: name of the split, and with `seed` and `index` the scene's identity.
        seed: seed of the data set.
        index: index within the split.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]
    silhouettes: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    split: str
    seed: int
    index: int

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """Class name of each object, (n,)."""
        return [CLASSES[label] for label in self.labels]

    @property
    def labels_multi_hot(self) -> NDArray[np.float32]:
        """(8,) float32: 1 where the class has at least one object."""
        hot = np.zeros(len(CLASSES), dtype=np.float32)
        hot[self.labels] = 1.0
        return hot

    @property
    def visible_boxes(self) -> NDArray[np.float64]:
        """(n, 4) like `boxes`, but tight around the visible pixels."""
        return np.array([_box(mask) for mask in self.masks]).reshape(-1, 4)

    def class_mask(self, label: int | str) -> NDArray[np.bool_]:
        """Union of the visible pixels of one class, (size, size) bool; all False where it is absent."""
        wanted = class_index(label, CLASSES)
        return np.asarray(self.masks[self.labels == wanted].any(axis=0))


class Scenes(DrawnItems, Sequence[Scene]):
    """Scenes of one split, drawn when asked for; nothing is stored and no order matters.

    Scene `i` depends on `(seed, split, i)` alone, also its layout on nothing else: another `size` shows the
    same scene at another resolution. Arithmetic is float64 with one rounding to uint8 at the end, and random
    numbers come from PCG64's doubles alone; the tests compare uint8 hashes with no tolerance. 400 scenes were
    bit-equal on NumPy 1.26 and 2.4 and with AVX2 and AVX-512 switched off; a mathematics library that rounds
    a cosine otherwise could, rarely, turn one grey level.

    Args:
        size: side of the picture in pixels, at least 32.
        n: number of scenes.
        seed: seed of the data set, at least 0.
        split: "train", "val" or "test": disjoint streams of random numbers.

    Raises:
        InputError: an argument is out of range.
        UnknownNameError: the split has no such name.

    >>> scenes = Scenes(n=3)
    >>> scenes[2].image.shape, scenes[2].names, scenes[2].boxes[0].tolist()
    ((112, 112, 3), ['checked star', 'striped block', 'mottled block'], [57.0, 43.0, 104.0, 89.0])
    """

    def __init__(self, *, size: int = 112, n: int = 1000, seed: int = 0, split: str = "train") -> None:
        """Check the arguments; nothing is rendered yet."""
        self.size = integer("size", size, 32)
        super().__init__(n, seed, split)

    def __repr__(self) -> str:
        """Show what makes these scenes what they are."""
        return f"Scenes(size={self.size}, n={len(self)}, seed={self.seed}, split={self.split!r})"

    @overload
    def __getitem__(self, item: int) -> Scene: ...
    @overload
    def __getitem__(self, item: slice) -> Scenes: ...
    def __getitem__(self, item: int | slice) -> Scene | Scenes:
        """Render one scene, or narrow to a slice without rendering."""
        if isinstance(item, slice):
            return self._narrow(self.indices[item])
        index = self._index(item)
        split = SPLITS[self.split]
        items = layout(self.seed, split, index)
        image, whole, visible = paint(items, self.seed, split, index, self.size)
        for array in (image, whole, visible):
            array.flags.writeable = False
        seen = visible.sum(axis=(1, 2))
        difficult = (seen < _DIFFICULT_SEEN * whole.sum(axis=(1, 2))) | (
            seen < _DIFFICULT_AREA * self.size**2
        )
        return Scene(
            image=image,
            boxes=np.array([_box(mask) for mask in whole]).reshape(-1, 4),
            labels=np.array([item.label for item in items], dtype=np.int64),
            masks=visible,
            silhouettes=whole,
            difficult=difficult,
            split=self.split,
            seed=self.seed,
            index=index,
        )

    def __iter__(self) -> Iterator[Scene]:
        """Render the scenes one after another."""
        return (self[i] for i in range(len(self)))

    def labels(self, item: int) -> NDArray[np.int64]:
        """Labels of one scene's objects, (n,), without rendering it."""
        items = layout(self.seed, SPLITS[self.split], self._index(item))
        return np.array([instance.label for instance in items], dtype=np.int64)

    def tensor(self, item: int) -> torch.Tensor:
        """One picture as a float32 tensor (3, size, size) in [0, 1]; not normalised."""
        import torch

        return torch.from_numpy(self[item].image.copy()).permute(2, 0, 1).float().div_(255.0)

    def with_classes(self, *classes: int | str, only: bool = False) -> Scenes:
        """Keep the scenes that hold every given class.

        Args:
            classes: names or indices; one class alone with `only=True` gives scenes of that class alone.
            only: refuse scenes that hold any further class.

        >>> both = Scenes(n=200).with_classes("striped ball", "checked ring", only=True)
        >>> sorted(set(both[0].names))
        ['checked ring', 'striped ball']
        """
        wanted = {class_index(label, CLASSES) for label in classes}
        if not wanted:
            raise InputError("Expected at least one class but got none; give names or indices of CLASSES.")
        kept = []
        for position, index in enumerate(self.indices):
            present = set(self.labels(position).tolist())
            if wanted == present if only else wanted <= present:
                kept.append(index)
        return self._narrow(kept)

    def with_distinct(self, low: int, high: int | None = None) -> Scenes:
        """Keep the scenes with `low` to `high` (default: exactly `low`) different classes."""
        top = low if high is None else high
        counts = [len(set(self.labels(i).tolist())) for i in range(len(self))]
        return self._narrow(
            [index for index, count in zip(self.indices, counts, strict=True) if low <= count <= top]
        )

    def _narrow(self, indices: Sequence[int]) -> Scenes:
        part = Scenes(size=self.size, n=0, seed=self.seed, split=self.split)
        part.indices = indices
        return part


def _box(mask: NDArray[np.bool_]) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0.0, 0.0, 0.0, 0.0]
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
