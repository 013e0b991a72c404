"""Stages: the layers of a ledger as a few columns, and what ended in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["KINDS", "AccountRow", "Accounts", "FlowStage", "stages_of"]

#: Where relevance ends before the input.
KINDS = ("bias", "lost", "stabiliser")
_Group = tuple[str, list[str]]


class AccountRow(Protocol):
    """One operator's accounts."""

    @property
    def module(self) -> str:
        """The layer's path."""

    @property
    def bias(self) -> float:
        """What its bias took."""

    @property
    def stabiliser(self) -> float:
        """What its stabiliser took."""

    @property
    def lost(self) -> float:
        """What had nowhere to go."""


class Accounts(Protocol):
    """A ledger: `relprop.Explanation.ledger`."""

    @property
    def rows(self) -> Sequence[AccountRow]:
        """One an operator, in the order of the walk."""

    @property
    def start(self) -> float:
        """The relevance that started."""

    @property
    def end(self) -> float:
        """What arrived at the stop."""

    @property
    def aside(self) -> float:
        """What passed the stop by."""

    @property
    def closes(self) -> bool:
        """Whether every row balances."""


@dataclass(frozen=True)
class FlowStage:
    """Some layers, and what ended in them as shares of the start."""

    name: str
    ended: dict[str, float]


def stages_of(ledger: Accounts, most: int) -> list[FlowStage]:
    """Layers in the order of the walk, at most `most` of them, joined where there are more."""
    paths: list[str] = []
    for row in ledger.rows:  # an operator without a module of its own belongs to the layer just passed
        paths.append(row.module or (paths[-1] if paths else "output"))
    found = []
    for name, group in _groups(list(dict.fromkeys(paths)), most):
        rows = [row for row, path in zip(ledger.rows, paths, strict=True) if path in group]
        ended = {kind: math.fsum(getattr(r, kind) for r in rows) / ledger.start for kind in KINDS}
        found.append(FlowStage(name, ended))
    return found


def _groups(order: list[str], most: int) -> list[_Group]:
    """Modules by their outermost name; the largest of these groups are taken apart as long as there is room."""
    groups = _by_name(order, 1)
    while len(groups) < most:
        parts = [_by_name(group, name.count(".") + 2) for name, group in groups]
        k = max(range(len(parts)), key=lambda k: len(parts[k]))
        if len(parts[k]) < 2:
            break
        groups[k : k + 1] = _joined(parts[k], most - len(groups) + 1)
    return _joined(groups, most)


def _by_name(order: list[str], depth: int) -> list[_Group]:
    groups: dict[str, list[str]] = {}
    for path in order:
        groups.setdefault(".".join(path.split(".")[:depth]), []).append(path)
    return list(groups.items())


def _joined(groups: list[_Group], most: int) -> list[_Group]:
    size = -(-len(groups) // most)
    found = []
    for start in range(0, len(groups), size):
        several = groups[start : start + size]
        first, last = several[0][0], several[-1][0].rsplit(".", 1)[-1]
        found.append(
            (first if size == 1 else f"{first} … {last}", [path for _, group in several for path in group])
        )
    return found
