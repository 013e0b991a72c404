"""Drawn items: what sequences have in common whose items are drawn from a seed, a split and an index alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relprop.errors import InputError, unknown_name

__all__ = ["SPLITS", "DrawnItems", "class_index", "integer"]

SPLITS = {"train": 0, "val": 1, "test": 2}


class DrawnItems:
    """A seed, a split and the indices of the items.

    Args:
        n: number of items.
        seed: at least 0.
        split: "train", "val" or "test".

    Raises:
        InputError: an argument is out of range.
        UnknownNameError: the split has no such name.
    """

    def __init__(self, n: int, seed: int, split: str) -> None:
        self.seed = integer("seed", seed, 0)
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.split = split
        self.indices: Sequence[int] = range(integer("n", n, 0))

    def __len__(self) -> int:
        """Count the items."""
        return len(self.indices)

    def _index(self, item: int) -> int:
        try:
            return self.indices[item]
        except IndexError:
            raise IndexError(
                f"Expected an index below {len(self)} but got {item}; give a larger n."
            ) from None


def integer(name: str, value: object, least: int) -> int:
    """The value as an int.

    Raises:
        InputError: no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"Expected {name} to be an integer of at least {least} but got {value!r}; give one.")
    return int(value)


def class_index(label: int | str, classes: Sequence[str]) -> int:
    """The index of a class that is given by name or by index.

    Raises:
        InputError: no such index.
        UnknownNameError: no such name.
    """
    if isinstance(label, str):
        if label not in classes:
            raise unknown_name("class", label, classes)
        return list(classes).index(label)
    if not 0 <= label < len(classes):
        raise InputError(
            f"Expected a class index from 0 to {len(classes) - 1} but got {label!r}; see CLASSES."
        )
    return int(label)
