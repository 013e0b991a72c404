"""Account: what one operator books while a walk runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError

__all__ = ["Account"]


_COLUMNS = ("bias", "stabiliser", "lost")


@dataclass(slots=True)
class Account:
    """The running sums of one operator: lists over parts of (k, N) float64 tensors.

    Where the output's first axis isn't the samples, sums run over all samples: (k, 1).
    """

    enabled: bool
    per_sample: bool = True
    arrived: list[Tensor] = field(default_factory=list)
    absolute: list[Tensor] = field(default_factory=list)
    columns: dict[str, list[Tensor]] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)

    def book(self, column: str, sums: Tensor) -> None:
        """Add (k, N) sums of one part to a column: "bias", "stabiliser" or "lost".

        Raises:
            InputError: another column; what arrived and what was passed on the walk measures itself.
        """
        check_choice("column", column, _COLUMNS)
        if self.enabled:
            sums = sums if self.per_sample else sums.sum(-1, keepdim=True)
            self.columns.setdefault(column, []).append(sums)

    def arrive(self, total: Tensor, size: Tensor) -> None:
        """Book (k, N) sums of relevance and of its absolute value at the output."""
        if self.enabled:
            if not self.per_sample:
                total, size = total.sum(-1, keepdim=True), size.sum(-1, keepdim=True)
            self.arrived.append(total)
            self.absolute.append(size)

    def close(self, part: int, widths: Sequence[int]) -> None:
        """End the bookings of a part: one entry of each column a part, 0 where nothing was booked.

        Args:
            part: its number; parts are closed in order.
            widths: targets in every part.
        """
        for column, booked in self.columns.items():
            nothing = [booked[0].new_zeros(k, *booked[0].shape[1:]) for k in widths]
            done = self.closed.get(column, 0)
            own = [_total(booked[done:])] if len(booked) > done else [nothing[part]]
            self.columns[column] = [*booked[:done], *nothing[done:part], *own]
            self.closed[column] = part + 1

    def merge(self, blocks: Sequence[Account]) -> None:
        """Take over the sums of an operator that was walked in blocks of outputs, each of them closed."""
        if not self.enabled:
            return
        self.arrived = [_total(ts) for ts in zip(*(b.arrived for b in blocks), strict=True)]
        self.absolute = [_total(ts) for ts in zip(*(b.absolute for b in blocks), strict=True)]
        for column in {c for b in blocks for c in b.columns}:
            booked = [b.columns[column] for b in blocks if column in b.columns]
            self.columns[column] = [_total(ts) for ts in zip(*booked, strict=True)]

    def column(self, name: str, parts: int) -> Tensor | None:
        """The (K, N) sums of a column, or None if nothing was booked."""
        booked = self.columns.get(name)
        if not booked:
            return None
        if len(booked) % parts:
            raise InputError(
                f"Expected {name!r} to be booked equally often for each of {parts} parts of the targets but got "
                f"{len(booked)} bookings. Book 0 where there is nothing."
            )
        times = len(booked) // parts
        if len(booked) == 1:
            return booked[0]
        return torch.cat([_total(booked[i * times : (i + 1) * times]) for i in range(parts)])


def _total(sums: Sequence[Tensor]) -> Tensor:
    total = sums[0]
    for more in sums[1:]:
        total = total + more
    return total
