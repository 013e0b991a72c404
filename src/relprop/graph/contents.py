"""Contents: what a container itself holds, by the methods of Python's own class.

A subclass may have others: the tables of models in `transformers` import every one of them when they are listed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

__all__ = ["elements", "own_kind", "pairs"]

_KINDS: tuple[Any, ...] = (OrderedDict, dict, list, tuple, set, frozenset, deque)


def own_kind(container: Any) -> Any:
    """Python's own class behind a container."""
    return next(kind for kind in _KINDS if isinstance(container, kind))


def pairs(mapping: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The keys and values of a dictionary.

    >>> class Loud(dict):
    ...     def items(self):
    ...         raise KeyError
    >>> pairs(Loud(a=1))
    [('a', 1)]
    """
    return list(own_kind(mapping).items(mapping))


def elements(container: Any) -> list[Any]:
    """The elements of a list, tuple, set or queue, and the keys of a dictionary."""
    return list(own_kind(container).__iter__(container))
