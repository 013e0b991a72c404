"""Books: the sums of a walk while it runs, and the ledger they close to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relprop.graph import Node
from relprop.propagate.ledger import Balance, Ledger, Row, Totals
from relprop.propagate.plan import Plan
from relprop.tracing.account import Account
from relprop.tracing.flow import Flow
from relprop.tracing.ledger_sums import finite_dot_sums, plain_sums

__all__ = ["Books"]

Sums = np.ndarray[Any, np.dtype[np.float64]]
"""(K, N), or (K, 1) where samples could not be told apart; 0-d for nothing."""

Pairs = list[tuple[Tensor, Tensor]]
"""Sums of relevance and of its absolute value, (k, N) each, one pair a part of the targets."""

_NOTHING: Sums = np.zeros(())


@dataclass(eq=False)
class Books:
    """What arrived where, and who handed it there.

    What one operator passes on is what the next one finds, so most sums are taken once; only where a
    value has several readers (or lies past the stop) is each share summed by itself.

    Attributes:
        plan: the walk's plan.
        tolerance: see `Ledger`.
        least: the smallest normal number of the precision: an imbalance below it is none.
        visited: nodes at which relevance is picked up again.
        readers: how many operands each value is, among the plan's steps.
        accounts: what each operator booked.
        arrivals: what arrived at a value.
        handed: the operands each operator handed relevance to.
        started: the seed.
        given: what several operators handed to one value, or past the stop, together.
        shares: what an operator handed to values that others hand to as well, or past the stop.
        rows: of which samples the books are worked out.
    """

    plan: Plan
    visited: set[Node]
    stop: Node
    tolerance: float
    least: float
    accounts: dict[Node, Account] = field(default_factory=dict)
    arrivals: dict[Node, Pairs] = field(default_factory=dict)
    handed: dict[Node, tuple[Node, ...]] = field(default_factory=dict)
    parts: int = 1
    started: Pairs = field(default_factory=list)
    given: dict[Node, Pairs] = field(default_factory=dict)
    shares: dict[Node, Pairs] = field(default_factory=dict)
    rows: slice = field(default_factory=lambda: slice(None))
    _here: dict[int, Sums] = field(default_factory=dict, init=False)  # by the sums' ids

    def __post_init__(self) -> None:
        self.readers: dict[Node, int] = {}
        for step in self.plan.steps.values():
            for signal in step.signals:
                self.readers[signal] = self.readers.get(signal, 0) + 1

    def start(self, flow: Flow, value: Tensor | None) -> None:
        """Sum the seed: what the walk has to account for, whoever crosses the first operator.

        Relevance itself needs no value.
        """
        self.started = _sums(flow, value, self.plan.start)

    def arrive(self, node: Node, flow: Any, value: Any) -> None:
        """Sum what arrived at a value (a list of flows at a list of values); relevance itself needs no value."""
        flows, values = (flow, value) if isinstance(flow, list) else ([flow], [value])
        for one, its_value in zip(flows, values, strict=True):
            if one is not None:
                _add(self.arrivals, node, _sums(one, its_value, node))

    def splits(self, signal: Node) -> bool:
        """Whether the sum of what arrives at a value won't tell one operator's share."""
        return self.readers[signal] > 1 or signal not in self.visited

    def share(self, node: Node, signal: Node, flow: Flow, value: Tensor) -> None:
        """Sum one operator's share of the relevance at a value that `splits`."""
        sums = _sums(flow, value, signal)
        _add(self.given, signal, sums)
        _add(self.shares, node, sums)

    def biases(self) -> dict[str, Tensor]:
        """What each operator's bias absorbed: node name -> (K, N)."""
        booked = {n.name: a.column("bias", self.parts) for n, a in self.accounts.items()}
        return {name: sums for name, sums in booked.items() if sums is not None}

    def ledger(self) -> Ledger:
        """The ledger; its rows are worked out when first looked at."""
        return Ledger(self._totals, self.tolerance, self._totals_of if self._tells_apart() else None)

    def _tells_apart(self) -> bool:
        """Whether every sum is that of a sample."""
        return all(n.per_sample for n in (self.plan.start, self.stop, *self.accounts, *self.readers))

    def _totals_of(self, sample: int) -> Totals:
        """The books of one sample, as they would be without the others."""
        found = replace(self, rows=slice(sample, sample + 1))._totals()
        # Where nothing starts, nothing is walked: alone it would have no rows.
        moved = found.absolute_start or any(row.absolute for row in found.rows)
        return found if moved else replace(found, rows=())

    def _totals(self) -> Totals:
        self._fetch()
        start, end = self._whole(self.started), self._whole(self.arrivals.get(self.stop))
        kept = {"bias": _NOTHING, "stabiliser": _NOTHING, "lost": _NOTHING}
        errors, largest = _NOTHING, _most(start[1], end[1])
        steps = zip(self.plan.rows, self.plan.steps, strict=True)
        walked = [(row, node) for row, node in steps if node in self.accounts]
        sums = [self._sums_of(node, start[0].shape) for _, node in walked]
        found: list[Any] = [None] * len(walked)
        # All operators whose sums have one shape at once: one by one, that took longer than small networks do.
        for members in _alike(sums):
            names, shape = list(sums[members[0]]), sums[members[0]]["came"].shape
            block = np.concatenate([sums[i][name] for i in members for name in names])
            table = dict(zip(names, block.reshape(-1, len(names), *shape).swapaxes(0, 1), strict=True))
            residual = table["came"] - sum(table[c] for c in ("passed", "bias", "stabiliser", "lost"))
            off = _relative(self.least, residual, table["size"], table["passed size"])
            claimed = _relative(self.least, table["claimed"], table["size"], table["claimed size"])
            off = np.maximum(off, claimed)
            errors, largest = _most(errors, off.max(0)), _most(largest, table["size"].max(0))
            kept = {name: _plus(kept[name], table[name].sum(0)) for name in kept}
            whole = {name: values.sum((1, 2)).tolist() for name, values in table.items()}
            for at, (i, error) in enumerate(zip(members, off.max((1, 2)).tolist(), strict=True)):
                row, node = walked[i]
                found[i] = Row(
                    node=row.node,
                    module=row.module,
                    operator=row.operator,
                    rule=row.rule,
                    arrived=whole["came"][at],
                    passed=whole["passed"][at],
                    bias=whole["bias"][at],
                    stabiliser=whole["stabiliser"][at],
                    lost=whole["lost"][at],
                    absolute=whole["size"][at],
                    # Relevance went through, and nobody said how much: that balances with nothing.
                    error=error if self.arrivals.get(node) else math.inf,
                )
        aside = [self._whole(pairs)[0] for signal, pairs in self.given.items() if signal not in self.visited]
        return Totals(
            rows=tuple(found),
            start=float(start[0].sum()),
            end=float(end[0].sum()),
            absolute_start=float(start[1].sum()),
            aside=float(sum(float(s.sum()) for s in aside)),
            balances=_balances(
                start=start[0], size=start[1], end=end[0], largest=largest, error=errors, **kept
            ),
        )

    def _sums_of(self, node: Node, usual: tuple[int, ...]) -> dict[str, Sums]:
        """What one operator took, passed on and kept, all of one shape: (K, N), or (K, 1); `usual` for nothing."""
        came, size = self._whole(self.arrivals.get(node))
        passed, passed_size = self._passed(node)
        claimed, claimed_size = self._claim(node, came)
        sums = {
            "came": came, "size": size, "passed": passed, "passed size": passed_size, "claimed": claimed,
            "claimed size": claimed_size, **{c: self._column(node, c) for c in ("bias", "stabiliser", "lost")},
        }  # fmt: skip
        shapes = {s.shape for s in sums.values() if s.ndim}
        if len(shapes) > 1:  # somewhere here samples could not be told apart
            sums = {name: s.sum(-1, keepdims=True) if s.ndim else s for name, s in sums.items()}
            shapes = {s.shape for s in sums.values() if s.ndim}
        nothing = np.zeros(next(iter(shapes), usual))
        return {name: s if s.ndim else nothing for name, s in sums.items()}

    def _fetch(self) -> None:
        """Bring all sums to NumPy in one go: asked for one by one, each would wait for the device."""
        lists: list[list[Any]] = [
            *self.arrivals.values(),
            *self.given.values(),
            *self.shares.values(),
            self.started,
        ]
        lists += [column for account in self.accounts.values() for column in account.columns.values()]
        flat = [t for held in lists for one in held for t in (one if isinstance(one, tuple) else (one,))]
        for shape in {t.shape for t in flat}:
            alike = [t for t in flat if t.shape == shape]
            self._here.update(zip(map(id, alike), torch.stack(alike).cpu().numpy(), strict=True))

    def _claim(self, node: Node, came: Sums) -> tuple[Sums, Sums]:
        """How far what a rule says has arrived is from what was handed to it, a seed or several shares; and that.

        A single share needs no look: it is the step's before, whose row would not balance.
        """
        claimed = self.started if node is self.plan.start else self.given.get(node)
        if claimed is None:
            return _NOTHING, _NOTHING
        total, handed = self._whole(claimed)
        return _plus(total, -came), handed

    def _column(self, node: Node, name: str) -> Sums:
        account = self.accounts[node]
        booked = account.columns.get(name) or []
        if len(booked) != self.parts:  # several bookings a part, or none
            added = account.column(name, self.parts)
            booked = [] if added is None else [added]
        return self._joined(booked)[:, self.rows] if booked else _NOTHING

    def _whole(self, pairs: Pairs | None) -> tuple[Sums, Sums]:
        """Over all targets; nothing where nothing was summed."""
        if not pairs:
            return _NOTHING, _NOTHING
        totals, sizes = zip(*pairs, strict=True)
        return self._joined(totals)[:, self.rows], self._joined(sizes)[:, self.rows]

    def _joined(self, parts: Sequence[Tensor]) -> Sums:
        """Sums of all parts of the targets."""
        found = [self._here[id(p)] if id(p) in self._here else p.cpu().numpy() for p in parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _passed(self, node: Node) -> tuple[Sums, Sums]:
        total, size = self._whole(self.shares.get(node))
        for signal in self.handed.get(node, ()):
            if not self.splits(signal):
                there = self._whole(self.arrivals.get(signal))
                total, size = _plus(total, there[0]), _plus(size, there[1])
        return total, size


def _sums(flow: Flow, value: Any, node: Node) -> Pairs:
    if flow.multiplier:
        value = flow.crop(value)
        sums = [finite_dot_sums(p, value) for p in flow.parts]
    else:
        sums = [plain_sums(p) for p in flow.parts]
    return sums if node.per_sample else [(t.sum(-1, keepdim=True), s.sum(-1, keepdim=True)) for t, s in sums]


def _add(held: dict[Node, Pairs], node: Node, sums: Pairs) -> None:
    before = held.get(node)
    if before is not None:
        sums = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(before, sums, strict=True)]
    held[node] = sums


def _plus(a: Sums, b: Sums) -> Sums:
    """Add sums; where one of them doesn't tell samples apart, add over samples."""
    if a.ndim and b.ndim and a.shape != b.shape:
        a, b = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    return a + b


def _most(a: Sums, b: Sums) -> Sums:
    """The larger of two, element by element; where one of them doesn't tell samples apart, over samples."""
    if a.ndim and b.ndim and a.shape != b.shape:
        a, b = a.max(-1, keepdims=True), b.max(-1, keepdims=True)
    return np.maximum(a, b)


def _balances(**sums: Sums) -> tuple[tuple[Balance, ...], ...]:
    """Sums by column as a balance a target and sample."""
    shape = sums["start"].shape
    apart = all(s.ndim == 0 or s.shape == shape for s in sums.values())
    if not apart:  # somewhere on the way samples could not be told apart
        largest = {name: s.max(-1, keepdims=True) for name, s in sums.items() if s.ndim}
        added = {name: s.sum(-1, keepdims=True) for name, s in sums.items() if s.ndim}
        sums |= {name: (largest if name in ("error", "largest") else added)[name] for name in added}
        shape = sums["start"].shape
    table = {name: np.broadcast_to(s, shape).tolist() for name, s in sums.items()}
    return tuple(
        tuple(Balance(**{name: rows[k][n] for name, rows in table.items()}) for n in range(shape[1]))
        for k in range(shape[0])
    )


def _alike(sums: list[dict[str, Sums]]) -> list[list[int]]:
    """Numbers of the operators, in groups whose sums have one shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, own in enumerate(sums):
        groups.setdefault(own["came"].shape, []).append(i)
    return list(groups.values())


def _relative(least: float, residual: Sums, *sizes: Sums) -> Sums:
    """|residual| of each target and sample over the larger of the sums of |R| on the operator's two sides.

    One below the smallest normal number (`least`) is none: what lies there has lost digits, however it is summed.

    Rounding is relative to the terms of a sum, not to what is left of them: where relevance cancels
    on one side, the other side has the terms.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.abs(residual) < least, 0.0, np.abs(residual) / np.maximum.reduce(sizes))
    # A sum that is not a number is an error of its own, never a pass.
    return np.nan_to_num(ratio, nan=np.inf)
