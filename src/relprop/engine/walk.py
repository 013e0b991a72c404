"""Walk: carry relevance from the start back to the stop, operator by operator, with accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relprop.engine.composite import Composite
from relprop.engine.flow import Flow
from relprop.engine.ledger import Ledger, Row, dot_sums, plain_sums
from relprop.engine.plan import Plan, Step, make_plan
from relprop.engine.site import Account, Site
from relprop.errors import InputError
from relprop.graph import Node

if TYPE_CHECKING:
    from relprop.engine.trace import Trace

__all__ = ["Propagation", "walk"]

_PART = 5  # targets carried in one tensor


@dataclass(frozen=True, eq=False)
class Propagation:
    """What a walk returns.

    Attributes:
        relevance: at the stop, (N, ...) or (K, N, ...); multipliers if those were asked for.
        layers: the same at the recorded places.
        ledger: the accounts, or None.
        plan: the rules that were used.
        bias: relevance absorbed by the bias of each operator, node name -> (K, N) float64.
    """

    relevance: Tensor
    layers: dict[str, Tensor]
    ledger: Ledger | None
    plan: Plan
    bias: dict[str, Tensor] = field(default_factory=dict)


def walk(
    trace: Trace,
    seed: Tensor,
    composite: Composite,
    *,
    start: str | Node | None,
    stop: str | Node | None,
    record: Sequence[str | Node],
    multiplier: bool,
    ledger: bool,
    release: bool,
) -> Propagation:
    """See `Trace.run`."""
    graph = trace.graph
    stop = graph.input if stop is None else graph.find(stop)
    places = {str(r if isinstance(r, str) else r.name): graph.find(r) for r in record}
    plan = make_plan(graph, composite, start, [stop, *places.values()])
    with torch.no_grad(), torch.inference_mode(False):
        parts, single = _seed_parts(trace, plan.start, seed)
        state = _Walk(trace, plan, stop, set(places.values()), ledger, release, multiplier)
        state.go(Flow(parts, multiplier, owned=False))

    def joined(node: Node) -> Tensor:
        found = state.results.get(node)
        if found is None:
            shape = trace.stored(node).shape
            found = [p.new_zeros(p.shape[0], *shape) for p in parts]
        whole = torch.cat(found) if len(found) > 1 else found[0]
        return whole[0] if single else whole

    return Propagation(
        joined(stop),
        {name: joined(node) for name, node in places.items()},
        state.close() if ledger else None,
        plan,
        state.biases(),
    )


def _seed_parts(trace: Trace, start: Node, seed: Tensor) -> tuple[list[Tensor], bool]:
    value = trace.stored(start)
    if not isinstance(seed, Tensor) or seed.shape[-value.ndim :] != value.shape or seed.ndim not in (
        value.ndim,
        value.ndim + 1,
    ):
        got = tuple(seed.shape) if isinstance(seed, Tensor) else type(seed).__name__
        raise InputError(
            f"Expected a seed shaped like {start.name!r}, {tuple(value.shape)}, or with a target axis K in front, "
            f"but got {got}."
        )
    single = seed.ndim == value.ndim
    whole = seed.detach().to(value)
    return list((whole[None] if single else whole).split(_PART)), single


class _Walk:
    def __init__(
        self, trace: Trace, plan: Plan, stop: Node, record: set[Node], ledger: bool, release: bool, multiplier: bool
    ) -> None:
        self.trace, self.plan, self.stop, self.record = trace, plan, stop, record
        self.ledger, self.release, self.multiplier = ledger, release, multiplier
        self.results: dict[Node, list[Tensor]] = {}
        self.pending: dict[Node, Any] = {}
        self.accounts: dict[Node, Account] = {}
        # Sums of relevance at a value, and who handed it there: what one operator passes is what the
        # next one finds, unless a value has several readers; then each share is summed by itself.
        self.arrivals: dict[Node, tuple[list[Tensor], list[Tensor]]] = {}
        self.handed: dict[Node, list[Node]] = {}
        readers: dict[Node, int] = {}
        for step in plan.steps.values():
            for signal in step.signals:
                readers[signal] = readers.get(signal, 0) + 1
        self.readers = readers

    def go(self, flow: Flow) -> None:
        self.parts = len(flow.parts)
        begin = self.plan.start
        self.pending[begin] = flow
        order = sorted({begin, self.stop, *self.record, *self.plan.steps}, key=lambda n: -n.index)
        for node in order:
            if node not in self.pending:
                continue
            arrived = self.pending.pop(node)
            if node in self.record or node is self.stop:
                self._keep(node, arrived)
            step = self.plan.steps.get(node)
            if step is None:
                if self.ledger and not isinstance(arrived, list):
                    self._arrive(node, arrived)
                continue
            self._cross(step, arrived)
            if self.release:
                self._free(node)

    def _free(self, done: Node) -> None:
        # A ReLU's output also stands for the value before it, which may still be to come.
        stands_for = {relu: z for z, relu in self.trace.rectified.items()}
        values = self.trace.values
        for held in [n for n in values if n.index >= done.index and stands_for.get(n, n).index >= done.index]:
            del values[held]

    def _keep(self, node: Node, flow: Flow) -> None:
        value = self.trace.stored(node)
        kept = flow
        if flow.multiplier and not self.multiplier:
            kept = Flow([p * value for p in flow.parts], False)
        elif self.multiplier and not flow.multiplier:
            kept = Flow([p / value.masked_fill(value == 0, torch.inf) for p in flow.parts], True)
        last = node not in self.plan.steps
        self.results[node] = kept.parts if last or kept is not flow else [p.clone() for p in kept.parts]

    def _arrive(self, node: Node, flow: Flow) -> None:
        value = self.trace.stored(node)
        sums = [dot_sums(p, value) if flow.multiplier else plain_sums(p) for p in flow.parts]
        self.arrivals[node] = ([s[0] for s in sums], [s[1] for s in sums])

    def _cross(self, step: Step, flow: Any) -> None:
        node = step.node
        account = self.accounts[node] = Account(self.ledger)
        exact = not isinstance(flow, list) and not flow.multiplier
        site = Site(self.trace, node, step.signals, account, step.linear, exact=exact)
        books_arrival = step.rule.books_arrival
        if self._relu_is_free(step):
            # The value behind the ReLU stands in for the one before it: nothing to do, nothing to sum.
            self.handed[node] = list(step.signals)
            self._hand(step.signals[0], flow)
            return
        if self.ledger and not books_arrival and not isinstance(flow, list):
            self._arrive(node, flow)
        outs = step.rule.cross(site, flow)
        if self.ledger:
            if books_arrival:
                self.arrivals[node] = (account.arrived, account.absolute)
            elif isinstance(flow, list):
                self.arrivals[node] = _list_arrivals(self.trace.value(node), flow)
        self.handed[node] = list(step.signals)
        for signal, out in zip(step.signals, outs, strict=True):
            if out is None:
                continue
            if self.ledger and self.readers.get(signal, 0) > 1:
                self._book_share(node, signal, out)
            self._hand(signal, out, node)

    def _relu_is_free(self, step: Step) -> bool:
        """Whether the rule in front of a ReLU multiplies by the rectified value anyway."""
        if not step.rule.passes_relu or step.node not in self.trace.rectified.values():
            return False
        (z,) = step.signals
        ahead = self.plan.steps.get(z)
        return ahead is not None and ahead.rule.masks and not (self.multiplier and z in self.record)

    def _book_share(self, node: Node, signal: Node, out: Flow) -> None:
        value = self.trace.stored(node if node.op == "getitem" else signal)
        totals = [(dot_sums(p, value) if out.multiplier else plain_sums(p))[0] for p in out.parts]
        column = self.accounts[node].columns.setdefault("passed", [])
        self.accounts[node].columns["passed"] = (
            [_plus(a, b) for a, b in zip(column, totals, strict=True)] if column else totals
        )

    def _hand(self, signal: Node, flow: Any, via: Node | None = None) -> None:
        if via is not None and via.op == "getitem":
            # A value of a list: keep its place in the list, holes are filled when the list is crossed.
            width = len(self.trace.value(signal))
            slots = self.pending.setdefault(signal, [None] * width)
            slots[int(via.args[1])] = flow
            return
        held = self.pending.get(signal)
        self.pending[signal] = flow if held is None else held.add(flow, self.trace.stored(signal))

    def biases(self) -> dict[str, Tensor]:
        booked = {n.name: a.column("bias", self.parts) for n, a in self.accounts.items()}
        return {name: sums for name, sums in booked.items() if sums is not None}

    def close(self) -> Ledger:
        rows = []
        names = {row.node: row for row in self.plan.rows}
        for node, account in self.accounts.items():
            arrived, size = self._arrived(node)
            if arrived is None or size is None:
                continue
            passed: Any = account.column("passed", self.parts)
            passed = torch.zeros(()) if passed is None else passed
            for signal in self.handed.get(node, []):
                if self.readers.get(signal, 0) <= 1:
                    there, _ = self._arrived(signal)
                    if there is not None:
                        passed = _plus(passed, there)
            columns = {}
            for name in ("bias", "stabiliser", "lost"):
                booked = account.column(name, self.parts)
                columns[name] = torch.zeros(()) if booked is None else booked
            residual = arrived
            for part in (passed, *columns.values()):
                residual = _plus(residual, -part)
            if residual.shape != size.shape:
                size = size.sum(-1, keepdim=True)
            error = torch.where(residual == 0, 0.0, residual.abs() / size)
            row = names[node.name]
            rows.append(
                Row(
                    node.name, row.module, row.operator, row.rule, float(arrived.sum()), float(passed.sum()),
                    float(columns["bias"].sum()), float(columns["stabiliser"].sum()), float(columns["lost"].sum()),
                    float(size.sum()), float(error.max()),
                )
            )  # fmt: skip
        start, start_size = self._arrived(self.plan.start)
        end, _ = self._arrived(self.stop)
        dtype = self.trace.input.dtype
        return Ledger(
            tuple(rows),
            float(start.sum()) if start is not None else 0.0,
            float(end.sum()) if end is not None else 0.0,
            1e-13 if dtype == torch.float64 else 1e-6,
            float(start_size.sum()) if start_size is not None else 0.0,
        )

    def _arrived(self, node: Node) -> tuple[Tensor | None, Tensor | None]:
        if node in self.arrivals:
            total, size = self.arrivals[node]
            return torch.cat(total), torch.cat(size)
        handed = self.handed.get(node)
        if handed and len(handed) == 1:
            return self._arrived(handed[0])  # passed through unchanged
        return None, None


def _plus(a: Tensor, b: Tensor) -> Tensor:
    """Add (K, N) sums; where one of them could not be told apart by sample, add over samples."""
    if a.ndim and b.ndim and a.shape != b.shape:
        a, b = a.sum(-1, keepdim=True), b.sum(-1, keepdim=True)
    return a + b


def _list_arrivals(values: Any, flows: list[Flow | None]) -> tuple[list[Tensor], list[Tensor]]:
    totals: list[Tensor] = []
    sizes: list[Tensor] = []
    for value, flow in zip(values, flows, strict=True):
        if flow is None:
            continue
        sums = [dot_sums(p, value) if flow.multiplier else plain_sums(p) for p in flow.parts]
        if not totals:
            totals, sizes = [s[0] for s in sums], [s[1] for s in sums]
        else:
            totals = [_plus(t, s[0]) for t, s in zip(totals, sums, strict=True)]
            sizes = [_plus(t, s[1]) for t, s in zip(sizes, sums, strict=True)]
    return totals, sizes
