"""Walk: carry relevance from the start back to the stop, operator by operator, with accounts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from relprop.checks import layer_names
from relprop.errors import InputError
from relprop.graph import Node
from relprop.precision import full_precision
from relprop.propagate.bookkeeping import Books
from relprop.propagate.composite import Composite
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan, Step, make_plan
from relprop.tracing.account import Account
from relprop.tracing.flow import Flow, behind_relu
from relprop.tracing.inputs import unusable
from relprop.tracing.memory import laid_like
from relprop.tracing.shared import Shared
from relprop.tracing.site import Site
from relprop.tracing.values import Values
from relprop.tracing.window import support
from relprop.watch import passing

__all__ = ["Propagation", "walk"]

_PART = 5  # targets carried in one tensor,
_PART_BYTES = 64 << 20  # and fewer where one value for all of them takes more bytes than this
_CACHED = 1 << 19  # bytes of a value in the mean, above which a CPU's cache holds one target at a time
_MOST = 0.75  # part of a map beyond which it is not worth cutting out a window
_BYTES = 1 << 30  # relevance of all targets at one value, beyond which they are walked in groups


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


@full_precision
def walk(
    trace: Values,
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
    """Plan the way from start to stop and carry the seed along it; the arguments are those of `Trace.run`."""
    graph = trace.graph
    names = [r.name if isinstance(r, Node) else r for r in layer_names(record)]
    asked = [graph.find(place) for place in (graph.input if stop is None else stop, *record)]
    plan = make_plan(graph, composite, start, asked, anywhere=False)
    trace.check_rows(plan.start)
    key: Hashable = None
    if trace.shared is not None:
        key = ("walk", plan.key, *asked, *names, multiplier, ledger, composite.adds)
        known = _known(trace.shared, key, seed)
        if known is not None:
            return replace(known, plan=plan)
    stop, *recorded = plan.stops
    places = dict(zip(names, zip(asked[1:], recorded, strict=True), strict=True))
    # Asked in front of a ReLU that is one step with it: relevance is the same on its two sides, multipliers
    # are 0 where it is off. Looked up before values are freed.
    rectified = {
        there: trace.value(node)
        for there, node in zip(asked, plan.stops, strict=True)
        if multiplier and node is not there and node.op == "relu"
    }
    with torch.no_grad(), torch.inference_mode(False):
        width, size = _sizes(trace)
        parts, single = _seed_parts(trace, plan.start, seed, width)
        groups = [parts[i : i + size] for i in range(0, len(parts), size)]
        runs = []
        for i, group in enumerate(groups):
            free = release and i + 1 == len(groups)
            run = _Walk(
                trace, plan, stop, set(recorded), ledger=ledger, release=free, multiplier=multiplier,
                prune=not composite.adds,
            )  # fmt: skip
            run.go(Flow(list(group), multiplier, owned=False))
            runs.append(run)

    def joined(wanted: Node, node: Node) -> Tensor:
        found = [p for run in runs for p in run.results[node]]
        whole = torch.cat(found) if len(found) > 1 else found[0]
        if wanted in rectified:
            whole = behind_relu(whole, rectified[wanted], owned=False)
        return (whole[0] if single else whole).contiguous()

    found = Propagation(
        joined(asked[0], stop),
        {name: joined(*place) for name, place in places.items()},
        Ledger.merged([run.books.ledger() for run in runs]) if ledger else None,
        plan,
        _joined_biases([run.books.biases() for run in runs], [sum(map(len, group)) for group in groups]),
    )
    if trace.shared is not None:
        _keep(trace.shared, key, seed, found)
    return found


def _known(shared: Shared, key: Hashable, seed: Any) -> Propagation | None:
    """The same walk from an equal seed, if it was made before: two methods may ask for one."""
    if not isinstance(seed, Tensor) or unusable(seed) is not None:
        return None  # refused later
    for before, found in shared.get(key) or ():
        if before.dtype == seed.dtype and before.device == seed.device and torch.equal(before, seed):
            return _copied(found)
    return None


def _keep(shared: Shared, key: Hashable, seed: Tensor, found: Propagation) -> None:
    size = sum(t.numel() * t.element_size() for t in (seed, found.relevance, *found.layers.values()))
    if not shared.room(size):
        return
    entry = (seed.detach().clone(), _copied(found))
    held = shared.get(key)
    shared.keep(key, [entry] if held is None else [*held, entry], size)


def _copied(found: Propagation) -> Propagation:
    """With relevance of its own, which a method may overwrite."""
    layers = {name: r.clone() for name, r in found.layers.items()}
    return replace(found, relevance=found.relevance.clone(), layers=layers)


def _joined_biases(found: list[dict[str, Tensor]], targets: list[int]) -> dict[str, Tensor]:
    """What biases absorbed, over groups of targets; 0 for a group that has no relevance at an operator."""
    if len(found) == 1:
        return found[0]
    like = {name: sums for group in found for name, sums in group.items()}
    return {
        name: torch.cat(
            [b.get(name, sums.new_zeros(k, *sums.shape[1:])) for b, k in zip(found, targets, strict=True)]
        )
        for name, sums in like.items()
    }


def _sizes(trace: Values) -> tuple[int, int]:
    """Targets in a part, and how many parts go through an operator together: up to a gigabyte a value.

    Many small calls are saved by carrying several targets in one tensor, many reads of memory by not doing so.
    """
    largest = max(1, trace.largest)
    width = max(1, min(_PART, _PART_BYTES // largest))
    if trace.input.device.type == "cpu" and trace.usual > _CACHED:
        width = 1
    return width, max(1, _BYTES // (largest * width))


def _seed_parts(trace: Values, start: Node, seed: Tensor, width: int) -> tuple[list[Tensor], bool]:
    value = trace.stored(start)
    why = unusable(seed) if isinstance(seed, Tensor) else None
    if why is not None:
        raise InputError(f"Expected a dense seed with values but it is {why}.")
    fits = isinstance(seed, Tensor) and seed.ndim in (value.ndim, value.ndim + 1)
    if not fits or seed.shape[-value.ndim :] != value.shape:
        got = tuple(seed.shape) if isinstance(seed, Tensor) else type(seed).__name__
        raise InputError(
            f"Expected a seed shaped like {start.name!r}, {tuple(value.shape)}, or with a target axis K in front, "
            f"but got {got}."
        )
    if not seed.numel():
        raise InputError("Expected a seed with at least one target but its axis K is empty.")
    if seed.is_complex():
        raise InputError(f"Expected a seed of real numbers but got {seed.dtype}.")
    if not bool(torch.isfinite(seed).all()):
        raise InputError("Expected a finite seed but it holds NaN or infinity.")
    single = seed.ndim == value.ndim
    whole = seed.detach().to(value)
    return list((whole[None] if single else whole).split(width)), single


class _Walk:
    def __init__(
        self,
        trace: Values,
        plan: Plan,
        stop: Node,
        record: set[Node],
        *,
        ledger: bool,
        release: bool,
        multiplier: bool,
        prune: bool,
    ) -> None:
        self.trace, self.plan, self.stop, self.record = trace, plan, stop, record
        self.ledger, self.release, self.multiplier, self.prune = ledger, release, multiplier, prune
        self.results: dict[Node, list[Tensor]] = {}
        self.pending: dict[Node, Any] = {}
        self.spread: set[Node] = set()  # where relevance fills the whole map, so that nobody looks again
        visited = {plan.start, stop, *record, *plan.steps}
        double = trace.graph.double
        least = torch.finfo(torch.float64 if double else torch.float32).tiny
        self.books = Books(plan, visited, stop, 1e-13 if double else 1e-6, least)

    def go(self, flow: Flow) -> None:
        self.books.parts = len(flow.parts)
        if self.ledger:
            self.books.start(flow, self._value(self.plan.start) if flow.multiplier else None)
        widths = [p.shape[0] for p in flow.parts]
        # Looked up first: values freed on the way would have to be computed from the input again.
        shapes = {
            node: self.trace.known_shape(node) or self.trace.stored(node).shape
            for node in {self.stop, *self.record}
        }
        self.pending[self.plan.start] = flow
        for i, node in enumerate(sorted(self.books.visited, key=lambda n: -n.index)):
            passing("going back through the network", i, len(self.books.visited))
            if node not in self.pending:
                continue
            arrived = self.pending.pop(node)
            if node in self.record or node is self.stop:
                self._keep(node, arrived)
            step = self.plan.steps.get(node)
            if step is not None:
                arrived = self._confined(step, arrived)
                if arrived is not None:
                    self._cross(step, arrived)
                    if node in self.spread:
                        self.spread.update(step.signals)
                if self.release:
                    self.trace.spend(node)
            elif self.ledger:
                self.books.arrive(node, arrived, self._value(node))
        for node, shape in shapes.items():
            if node not in self.results:
                # No relevance came here: every way was cut off, by a gate, a constant or zeros.
                self.results[node] = [flow.parts[0].new_zeros(k, *shape) for k in widths]

    def _value(self, node: Node) -> Any:
        """What multipliers at a node multiply: those that came through a ReLU are 0 where it is off, seeds not."""
        return self.trace.value(node) if node is self.plan.start else self.trace.stored(node)

    def _keep(self, node: Node, flow: Flow) -> None:
        kept = flow
        if flow.multiplier and not self.multiplier:
            value = flow.crop(self._value(node))
            kept = Flow([p * value for p in flow.parts], False, window=flow.window)
        elif self.multiplier and not flow.multiplier:
            kept = flow.multipliers(self.trace.value(node))
        kept = kept.whole()
        last = node not in self.plan.steps
        self.results[node] = kept.parts if last or kept is not flow else [p.clone() for p in kept.parts]

    def _confined(self, step: Step, flow: Any) -> Any:
        """A flow in the window that it fills, where the rule can make use of that; None where it is all 0."""
        if isinstance(flow, list):
            return flow
        product = step.fused.is_product
        confines = step.rule.narrows if product else step.rule.confines
        if flow.window is not None:
            return flow if confines and flow.window.share <= _MOST else flow.whole()
        if "linear" not in step.rule.kinds or step.node in self.spread:
            return flow
        spatial = 1 if product else flow.parts[0].ndim - 3
        window = support(flow.parts, spatial)
        if window is None:
            return None if self.prune else flow
        if not (confines and spatial and window.share <= _MOST):
            if spatial and not product and window.share == 1:
                self.spread.add(step.node)
            return flow
        return Flow([window.crop(p) for p in flow.parts], flow.multiplier, flow.owned, window)

    def _cross(self, step: Step, flow: Any) -> None:
        node, fused, rule, books = step.node, step.fused, step.rule, self.books
        account = books.accounts[node] = Account(self.ledger, node.per_sample)
        books.handed[node] = step.signals
        output = node
        if fused.relu is not None and not flow.multiplier:
            # Relevance itself may sit on a unit that the ReLU switched off: it goes by the value before it.
            output = fused.last
        elif fused.relu is not None and not rule.weighs_by_output:
            flow = Flow(
                [behind_relu(p, flow.crop(self.trace.value(node)), owned=flow.owned) for p in flow.parts],
                True,
                window=flow.window,
            )
        site = Site(self.trace, fused, step.signals, account, output)
        if self.ledger and not rule.sums_arrival:
            # Relevance is summed as it is: a value that was not kept need not be computed for it.
            books.arrive(node, flow, site.y if isinstance(flow, list) or flow.multiplier else None)
        outs = self._checked(step, rule.cross(site, flow))
        if self.ledger and rule.sums_arrival:
            books.arrivals[node] = list(zip(account.arrived, account.absolute, strict=True))
        for signal, out in zip(step.signals, outs, strict=True):
            if out is None:
                continue
            if self.ledger and books.splits(signal):
                books.share(node, signal, out, self.trace.stored(node if node.op == "getitem" else signal))
            if signal in books.visited:
                self._hand(node, signal, out)

    def _checked(self, step: Step, outs: Any) -> list[Any]:
        """What a rule returned, if it is a flow or None for each operand, shaped like the operand."""
        if not isinstance(outs, (list, tuple)) or len(outs) != len(step.signals):
            got = str(len(outs)) if isinstance(outs, (list, tuple)) else type(outs).__name__
            raise InputError(
                f"Expected {step.rule!r} to return a list of {len(step.signals)} flows for {step.node.where()} "
                f"but got {got}."
            )
        for signal, out in zip(step.signals, outs, strict=True):
            shape = None if step.node.op == "getitem" else self.trace.known_shape(signal)
            if shape is None or not isinstance(out, Flow) or out.window is not None:
                continue
            for part in out.parts:
                if part.shape[1:] != shape:
                    raise InputError(
                        f"Expected {step.rule!r} to return relevance (k, {', '.join(map(str, shape))}) at "
                        f"{signal.name!r} for {step.node.where()} but got {tuple(part.shape)}."
                    )
        if self.trace.graph.mixed and step.node.op != "getitem":
            # A cast, or an operator that takes several dtypes: each operand gets its relevance in its own.
            return [
                out.to(self.trace.stored(signal).dtype) if isinstance(out, Flow) else out
                for signal, out in zip(step.signals, outs, strict=True)
            ]
        return list(outs)

    def _hand(self, node: Node, signal: Node, flow: Any) -> None:
        if node.op == "getitem":
            # A value of a list: keep its place in the list, holes are filled when the list is crossed.
            slots = self.pending.setdefault(signal, [None] * len(self.trace.value(signal)))
            slots[node.item] = flow
            return
        if self.trace.last_channels:
            flow.parts = [laid_like(p, self.trace.values.get(signal)) for p in flow.parts]
        held = self.pending.get(signal)
        self.pending[signal] = flow if held is None else held.add(flow, self.trace.stored(signal))
