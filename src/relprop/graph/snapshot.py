"""Snapshot: the plain attributes of a module at one look, to tell at the next one that none has changed.

Most modules of a network have numbers, words and empty tables of hooks besides what is registered with them.
Looking at those one by one before every explanation took longer than all else that is watched.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter
from typing import Any

__all__ = ["EMPTIES", "OWN", "PLAIN", "Snapshot"]

PLAIN = frozenset({bool, int, float, str, type(None)})
"""Types whose values can be compared and say all."""

EMPTIES = frozenset({dict, list, tuple, set, OrderedDict})
"""Types of containers that say all as long as nothing is in them."""

OWN = ("_parameters", "_buffers", "_modules")
"""The tables of what is registered with a module."""


class Snapshot:
    """The plain attributes of a module, by name and type, without a reference to anything else of it.

    Attributes:
        number: equal for equal attributes.
    """

    __slots__ = ("_count", "_empties", "_plain", "_types", "_values", "number")

    def __init__(self, plain: list[str], empties: list[str], state: dict[str, Any]) -> None:
        self._count = len(state)
        self._plain, self._empties = itemgetter(*plain), itemgetter(*empties)
        self._values = self._plain(state)
        self._types = tuple(map(type, self._values))
        self.number = hash((tuple(plain), self._types, self._values, tuple(empties)))

    @classmethod
    def of(cls, state: dict[str, Any]) -> Snapshot | None:
        """That of a module's attributes; None where there are others than plain ones."""
        plain, empties = [], []
        for name, value in state.items():
            sort = type(value)
            if sort in PLAIN or (sort is tuple and value and all(type(v) in PLAIN for v in value)):
                plain.append(name)
            elif name in OWN:
                continue
            elif sort in EMPTIES and not value:
                empties.append(name)
            else:
                return None
        # Fewer, and `itemgetter` gives a value in place of a tuple; every module has more.
        return cls(plain, empties, state) if len(plain) > 1 and len(empties) > 1 else None

    def holds(self, state: dict[str, Any]) -> bool:
        """Whether these are the attributes still."""
        if len(state) != self._count:
            return False
        try:
            values, empties = self._plain(state), self._empties(state)
        except KeyError:
            return False
        return values == self._values and tuple(map(type, values)) == self._types and not any(empties)
