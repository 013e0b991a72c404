"""Sample: one annotated picture, and the region of a class in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.errors import InputError

if TYPE_CHECKING:
    from relprop.datasets.world import World

__all__ = ["EVERYTHING", "Region", "Sample", "fill_boxes"]

Region = Literal["boxes", "masks"]

#: The label that means every object of the picture, whatever its class.
EVERYTHING = -1


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture with its truth.

    Attributes:
        name: unique in its data set.
        image: the picture, RGB, at its original size.
        boxes: (n, 4) float64, `x0, y0, x1, y1` in pixels from the upper left corner, half open: a box of one
            pixel at the origin is `0, 0, 1, 1`.
        box_labels: (n,) int64, index into the data set's classes.
        difficult: (n,) bool, objects that the annotators marked as hard to see (VOC's flag).
        labels: classes that count as present, sorted: those with at least one object that isn't difficult.
        masks: class -> (H, W) bool, the union of its objects' pixels; None where the set has no masks for this
            picture.
        ignore: (H, W) bool, pixels without truth (VOC's white borders), or None.
        hard: class -> whether a list that the user supplied puts the pair in the difficult subset; classes
            that it leaves out go by the definition (see `is_hard`).
        world: the picture in parts that can be drawn again without some of them; None where it wasn't drawn.
    """

    name: str
    image: Image.Image
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    box_labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    difficult: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    labels: tuple[int, ...] = ()
    masks: dict[int, NDArray[np.bool_]] | None = None
    ignore: NDArray[np.bool_] | None = None
    hard: dict[int, bool] = field(default_factory=dict)
    world: World | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.image.height, self.image.width

    def region(self, label: int, kind: Region = "boxes") -> NDArray[np.bool_] | None:
        """Pixels of a class, (H, W) bool: the union of its boxes (difficult ones included) or of its masks.

        `label` -1 means every class. None where the picture has no truth of this kind for the class; a mask
        of no pixels is a region, an empty one.
        """
        if kind == "boxes":
            own = np.ones(len(self.boxes), bool) if label == EVERYTHING else self.box_labels == label
            return fill_boxes(self.boxes[own], self.size) if own.any() else None
        if kind != "masks":
            raise InputError(f"Expected a region of 'boxes' or 'masks' but got {kind!r}.")
        if self.masks is None:
            return None
        if label == EVERYTHING:
            return np.any(list(self.masks.values()), axis=0) if self.masks else None
        return self.masks.get(label)

    def is_hard(self, label: int) -> bool:
        """Whether the pair (picture, class) is in the Pointing Game's difficult subset (DIF).

        The definition of Zhang et al. 2016: the class's boxes cover less than a quarter of the
        picture, and another class is present. A user's list, where it names the pair, decides instead.
        """
        if label in self.hard:
            return self.hard[label]
        own = self.boxes[self.box_labels == label]
        area = float(((own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])).sum())
        others = set(self.box_labels.tolist()) - {label}
        return len(own) > 0 and bool(others) and area < 0.25 * self.size[0] * self.size[1]


def fill_boxes(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies in any of the half-open boxes, (H, W) bool.

    >>> fill_boxes(np.array([[1.0, 0.0, 3.0, 1.0]]), (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    filled = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        # Centres lie at k + 0.5, so pixel k is inside from x0 <= k + 0.5 on.
        left, top = max(0, int(np.ceil(x0 - 0.5))), max(0, int(np.ceil(y0 - 0.5)))
        right, bottom = max(0, int(np.ceil(x1 - 0.5))), max(0, int(np.ceil(y1 - 0.5)))
        filled[top:bottom, left:right] = True
    return filled
