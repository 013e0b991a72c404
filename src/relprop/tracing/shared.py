"""Shared: what several walks through one trace have in common, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

__all__ = ["SHARED_BYTES", "Shared"]

SHARED_BYTES = 1 << 30
"""What a trace keeps for further walks at most; beyond it everything is computed anew, as without sharing."""


class Shared:
    """Results that don't depend on relevance, or that a walk of the same kind will ask for again.

    What comes first is kept: walks go through a network in the same order, so that throwing out what was used
    longest ago would throw out what the next walk asks for first.

    Args:
        most: bytes that are kept at most.

    Attributes:
        size: bytes that are kept.
    """

    def __init__(self, most: int = SHARED_BYTES) -> None:
        self.most = most
        self.size = 0
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Any:
        """What was kept under a key, or None."""
        return self._kept.get(key)

    def room(self, size: int) -> bool:
        """Whether so many bytes more may be kept."""
        return self.size + size <= self.most

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes in place of what was under the key, if there is room."""
        if self.room(size):
            self._kept[key] = value
            self.size += size

    def sum(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor that may be overwritten: computed, or copied from what was kept."""
        found = self._kept.get(key)
        if found is not None:
            copy: Tensor = found.clone()
            return copy
        fresh = compute()
        size = fresh.numel() * fresh.element_size()
        if self.room(size):
            self.keep(key, fresh.clone(), size)
        return fresh

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self.size = 0
