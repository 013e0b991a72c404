"""Weights: what was derived from a model's weights, kept under a byte cap for all threads."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["WeightCache"]


class WeightCache:
    """Entries by key, up to a number of bytes. What no longer fits is not kept."""

    def __init__(self) -> None:
        self._held: dict[Any, tuple[Any, int]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        """The entry, or None."""
        held = self._held.get(key)
        return None if held is None else held[0]

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def has_room(self, key: Any, size: int, limit: int) -> bool:
        """Whether an entry of `size` bytes would be kept."""
        return self._bytes - self._held.get(key, (None, 0))[1] + size <= limit

    def drop(self, key: Any) -> None:
        """Forget an entry."""
        with self._lock:
            self._bytes -= self._held.pop(key, (None, 0))[1]

    def keep(self, key: Any, entry: Any, size: int, limit: int) -> None:
        """Put an entry of `size` bytes in the place of an older one, if all then take up `limit` at most.

        >>> cache = WeightCache()
        >>> cache.keep("a", "first", 6, 10), cache.keep("b", "too large", 6, 10), cache.keep("a", "second", 9, 10)
        (None, None, None)
        >>> cache.get("a"), cache.get("b")
        ('second', None)
        """
        with self._lock:
            self._bytes -= self._held.pop(key, (None, 0))[1]
            if self._bytes + size <= limit:
                self._held[key] = entry, size
                self._bytes += size
