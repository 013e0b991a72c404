"""Books: the sums of a walk while it runs, and the ledger they close to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relprop.graph import Node
from relprop.propagate.ledger import Ledger, Row, Totals
from relprop.propagate.plan import Plan
from relprop.tracing.account import Account
from relprop.tracing.flow import Flow
from relprop.tracing.ledger_sums import dot_sums, plain_sums

__all__ = ["Books"]

Sums = np.ndarray[Any, np.dtype[np.float64]]
"""(K, N), or (K, 1) where samples could not be told apart; 0-d for nothing."""

_NOTHING: Sums = np.zeros(())


@dataclass(eq=False)
class Books:
    """What arrived where, and who handed it there.

    What one operator passes on is what the next one finds, so most sums are taken once; only where a
    value has several readers (or lies past the stop) is each share summed by itself.

    Attributes:
        plan: the walk's plan.
        visited: nodes at which relevance is picked up again.
        readers: how many operands each value is, among the plan's steps.
        accounts: what each operator booked.
        arrivals: sums of relevance and of |relevance| at a value, one pair of (k, N) tensors a part.
        handed: the operands each operator handed relevance to.
        aside: sums of relevance on ways that pass the stop by.
        started: sums of the seed, and of its absolute value.
        given: sums of the shares that several operators handed to one value, one pair a part.
    """

    plan: Plan
    visited: set[Node]
    stop: Node
    tolerance: float
    accounts: dict[Node, Account] = field(default_factory=dict)
    arrivals: dict[Node, tuple[list[Tensor], list[Tensor]]] = field(default_factory=dict)
    handed: dict[Node, tuple[Node, ...]] = field(default_factory=dict)
    aside: list[Tensor] = field(default_factory=list)
    parts: int = 1
    started: tuple[Sums, Sums] = (_NOTHING, _NOTHING)
    given: dict[Node, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readers: dict[Node, int] = {}
        for step in self.plan.steps.values():
            for signal in step.signals:
                self.readers[signal] = self.readers.get(signal, 0) + 1

    def start(self, flow: Flow, value: Tensor | None) -> None:
        """Sum the seed: what the walk has to account for, whoever crosses the first operator.

        Relevance itself needs no value.
        """
        sums = _sums(flow, value, self.plan.start)
        self.started = _joined([s[0] for s in sums]), _joined([s[1] for s in sums])

    def arrive(self, node: Node, flow: Any, value: Any) -> None:
        """Sum what arrived at a value (a list of flows at a list of values); relevance itself needs no value."""
        flows, values = (flow, value) if isinstance(flow, list) else ([flow], [value])
        totals: list[Tensor] = []
        sizes: list[Tensor] = []
        for one, its_value in zip(flows, values, strict=True):
            if one is None:
                continue
            sums = _sums(one, its_value, node)
            totals = (
                [s[0] for s in sums] if not totals else [a + s[0] for a, s in zip(totals, sums, strict=True)]
            )
            sizes = (
                [s[1] for s in sums] if not sizes else [a + s[1] for a, s in zip(sizes, sums, strict=True)]
            )
        self.arrivals[node] = totals, sizes

    def splits(self, signal: Node) -> bool:
        """Whether the sum of what arrives at a value won't tell one operator's share."""
        return self.readers[signal] > 1 or signal not in self.visited

    def share(self, node: Node, signal: Node, flow: Flow, value: Tensor) -> None:
        """Sum one operator's share of the relevance at a value that `splits`."""
        sums = _sums(flow, value, signal)
        if signal not in self.visited:
            self.aside += [s[0] for s in sums]
        else:
            held_here = self.given.get(signal)
            self.given[signal] = sums if held_here is None else _added(held_here, sums)
        account = self.accounts[node]
        for column, i in (("passed", 0), ("passed_size", 1)):
            account.columns.setdefault(column, [])
            held = account.columns[column]
            booked = [s[i] for s in sums]
            # One entry a part, so that shares of the same operator add up.
            account.columns[column] = [a + b for a, b in zip(held, booked, strict=True)] if held else booked

    def biases(self) -> dict[str, Tensor]:
        """What each operator's bias absorbed: node name -> (K, N)."""
        booked = {n.name: a.column("bias", self.parts) for n, a in self.accounts.items()}
        return {name: sums for name, sums in booked.items() if sums is not None}

    def ledger(self) -> Ledger:
        """The ledger; its rows are worked out when first looked at."""
        return Ledger(self._totals, self.tolerance)

    def _totals(self) -> Totals:
        arrived = {node: self._found(node) for node in [*self.accounts, self.stop]}
        rows = []
        for plan_row, node in zip(self.plan.rows, self.plan.steps, strict=True):
            if node not in self.accounts:
                continue
            nobody = arrived[node] is None
            came, size = arrived[node] or (_NOTHING, _NOTHING)
            passed, passed_size = self._passed(node)
            columns = {c: self._column(node, c) for c in ("bias", "stabiliser", "lost")}
            residual = came
            for sums in (passed, *columns.values()):
                residual = _plus(residual, -sums)
            error = max(_relative(residual, size, passed_size), self._claim(node, came, size))
            # Relevance went through, and nobody said how much: that balances with nothing.
            error = math.inf if nobody else error
            rows.append(
                Row(
                    node=plan_row.node,
                    module=plan_row.module,
                    operator=plan_row.operator,
                    rule=plan_row.rule,
                    arrived=float(came.sum()),
                    passed=float(passed.sum()),
                    bias=float(columns["bias"].sum()),
                    stabiliser=float(columns["stabiliser"].sum()),
                    lost=float(columns["lost"].sum()),
                    absolute=float(size.sum()),
                    error=error,
                )
            )
        start = self.started
        end = arrived[self.stop] or (_NOTHING, _NOTHING)
        return Totals(
            rows=tuple(rows),
            start=float(start[0].sum()),
            end=float(end[0].sum()),
            absolute_start=float(start[1].sum()),
            aside=float(sum(float(s.sum()) for s in self.aside)),
        )

    def _claim(self, node: Node, came: Sums, size: Sums) -> float:
        """How far what a rule says has arrived is from what was handed to it: a seed, or several shares.

        A single share needs no look: it is the step's before, whose row would not balance.
        """
        if node is self.plan.start:
            total, handed = self.started
        elif node in self.given:
            total, handed = (_joined([s[i] for s in self.given[node]]) for i in (0, 1))
        else:
            return 0.0
        return _relative(_plus(total, -came), size, handed)

    def _found(self, node: Node) -> tuple[Sums, Sums] | None:
        total, size = self.arrivals.get(node, ([], []))
        return (_joined(total), _joined(size)) if total else None

    def _column(self, node: Node, name: str) -> Sums:
        booked = self.accounts[node].column(name, self.parts)
        return _NOTHING if booked is None else _joined([booked])

    def _passed(self, node: Node) -> tuple[Sums, Sums]:
        total, size = self._column(node, "passed"), self._column(node, "passed_size")
        for signal in self.handed.get(node, ()):
            if not self.splits(signal):
                there = self._found(signal)
                if there is not None:
                    total, size = _plus(total, there[0]), _plus(size, there[1])
        return total, size


def _sums(flow: Flow, value: Any, node: Node) -> list[tuple[Tensor, Tensor]]:
    if flow.multiplier:
        value = flow.crop(value)
        sums = [_finite_sums(p, value) for p in flow.parts]
    else:
        sums = [plain_sums(p) for p in flow.parts]
    return sums if node.per_sample else [(t.sum(-1, keepdim=True), s.sum(-1, keepdim=True)) for t, s in sums]


def _finite_sums(part: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """`dot_sums`; an infinite value without relevance (what a max pool is padded with) has none."""
    sums = dot_sums(part, value)
    if bool(torch.isfinite(sums[0]).all()):
        return sums
    empty = torch.isinf(value) & (part == 0).all(0)
    return dot_sums(part, value.masked_fill(empty, 0))


def _added(one: list[tuple[Tensor, Tensor]], two: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(a[0] + b[0], a[1] + b[1]) for a, b in zip(one, two, strict=True)]


def _joined(parts: list[Tensor]) -> Sums:
    sums: Sums = np.concatenate([p.numpy(force=True) for p in parts])
    return sums


def _plus(a: Sums, b: Sums) -> Sums:
    """Add sums; where one of them doesn't tell samples apart, add over samples."""
    if a.ndim and b.ndim and a.shape != b.shape:
        a, b = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    return a + b


def _relative(residual: Sums, *sizes: Sums) -> float:
    """The largest |residual| over the larger of the sums of |R| on the operator's two sides.

    Rounding is relative to the terms of a sum, not to what is left of them: where relevance cancels
    on one side, the other side has the terms.
    """
    found = [s for s in sizes if s.ndim]
    if any(s.shape != residual.shape for s in found):
        residual = residual.sum(-1, keepdims=True)
        found = [s.sum(-1, keepdims=True) for s in found]
    worst = np.maximum.reduce(found) if found else np.zeros_like(residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(residual == 0, 0.0, np.abs(residual) / worst)
    # A sum that is not a number is an error of its own, never a pass.
    return float(np.nan_to_num(ratio, nan=np.inf).max())
