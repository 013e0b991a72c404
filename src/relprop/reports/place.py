"""Place: which classes a place of the picture speaks for and against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.errors import InputError

__all__ = ["PLACE_METHOD", "Amount", "PlaceAnswer", "amounts_in", "window_at"]

#: Whose relevance is an amount of a class's output, so that classes can be set side by side.
PLACE_METHOD = "lrp-composite"
_SIDE = 1 / 8  # of the picture's shorter side


@dataclass(frozen=True)
class Amount:
    """What a place says about one class.

    Attributes:
        index, name: the class.
        amount: above 0 for it, below 0 against it; in units of the network's outputs.
    """

    index: int
    name: str
    amount: float


@dataclass(frozen=True)
class PlaceAnswer:
    """What a place of the picture says.

    Attributes:
        window: (x0, y0, x1, y1) in pixels of the input.
        amounts: of several classes, the largest first.
        compared: whether the mean over these classes is taken off.
        name: the class that was asked about.
        before, hidden: its score, and its score with the window hidden, 0 to 1.
    """

    window: tuple[int, int, int, int]
    amounts: tuple[Amount, ...]
    compared: bool
    name: str
    before: float
    hidden: float

    @property
    def words(self) -> str:
        """What the numbers are, and what hiding the place does, in sentences."""
        x0, y0, x1, y1 = self.window
        less = (
            ", less the mean over these classes: a softmax only depends on differences"
            if self.compared
            else ""
        )
        return (
            f"The numbers are sums of {PLACE_METHOD} over this window of {x1 - x0} × {y1 - y0} pixels, in units "
            f"of the network's outputs{less}. With the window hidden, the score of {self.name} goes from "
            f"{100 * self.before:.1f} % to {100 * self.hidden:.1f} %."
        )


def window_at(x: float, y: float, height: int, width: int) -> tuple[int, int, int, int]:
    """The window around a place, moved inside where it would stand over the picture's edge.

    Args:
        x, y: 0 to 1, of the width and height.
        height, width: of the input, in pixels.

    Raises:
        InputError: a place outside the picture.

    >>> window_at(0.5, 0.0, 112, 112)
    (49, 0, 63, 14)
    """
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(f"Expected a place in the picture, x and y from 0 to 1, but got {x!r}, {y!r}.")
    side = max(1, round(_SIDE * min(height, width)))
    x0, y0 = (min(max(round(v * n - side / 2), 0), n - side) for v, n in ((x, width), (y, height)))
    return x0, y0, x0 + side, y0 + side


def amounts_in(
    window: tuple[int, int, int, int], maps: Mapping[int, Tensor], names: Mapping[int, str], *, compared: bool
) -> tuple[Amount, ...]:
    """What the window holds of each class's map (h, w), largest first."""
    x0, y0, x1, y1 = window
    sums = torch.stack([heat[y0:y1, x0:x1].double().sum() for heat in maps.values()])
    if compared:
        sums = sums - sums.mean()
    rows = [Amount(index, names[index], float(v)) for index, v in zip(maps, sums, strict=True)]
    return tuple(sorted(rows, key=lambda row: -row.amount))
