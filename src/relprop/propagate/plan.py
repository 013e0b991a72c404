"""Plan: which rule applies where, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from relprop.errors import InputError, UnsupportedOperatorError
from relprop.graph import Graph, Node
from relprop.graph.fusion import Unit, outside, unit_of
from relprop.graph.place import Place, Places
from relprop.propagate.composite import Composite
from relprop.propagate.table import PlanRow, PlanTable

if TYPE_CHECKING:
    from relprop.rules.rule import Rule

__all__ = ["Plan", "Step", "make_plan", "operator_name", "places_of"]


@dataclass(frozen=True, eq=False)
class Step:
    """One operator that relevance crosses.

    Attributes:
        node: the operator (the batch norm of a conv + BN unit).
        unit: for linear operators the convolution or product with its batch norms, else None.
        rule: what happens there.
        signals: operands that relevance goes to.
    """

    node: Node
    unit: Unit | None
    rule: Rule
    signals: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps of a propagation, from the start backward. Prints as a table."""

    composite: str
    start: Node
    stops: tuple[Node, ...]
    steps: dict[Node, Step]

    @cached_property
    def table(self) -> PlanTable:
        """The plan as plain strings."""
        rows = tuple(
            PlanRow(
                step.node.name,
                step.unit.linear.module if step.unit else step.node.module,
                operator_name(step.node, step.unit),
                repr(step.rule),
                tuple(signal.name for signal in step.signals),
            )
            for step in self.steps.values()
        )
        return PlanTable(rows, self.composite, self.start.name, self.stops[0].name)

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """The rows of the table."""
        return self.table.rows

    def __str__(self) -> str:
        return str(self.table)


def operator_name(node: Node, unit: Unit | None) -> str:
    """How tables call an operator: "conv2d + batch_norm" for units."""
    if unit is None:
        return node.op
    return " + ".join(n.op for n in (unit.before, unit.linear, unit.after) if n is not None)


def make_plan(
    graph: Graph,
    composite: Composite,
    start: str | Node | None,
    stops: Sequence[str | Node],
) -> Plan:
    """Find the rule of every operator that relevance will cross.

    Raises:
        UnknownNameError: no such node or module.
        UnsupportedOperatorError: relevance would reach an operator that has no rule.
        InputError: a stop can't be reached from the start.
    """
    begin = graph.output if start is None else graph.find(start)
    upstream = graph.ancestors([begin])
    asked = [graph.find(s) for s in stops]
    for end in asked:
        if end not in upstream:
            raise InputError(
                f"Expected a place before {begin.name!r} but {end.name!r} is not computed on the way to it."
            )
    ends = tuple(outside(end, upstream) if composite.fuse and end is not begin else end for end in asked)
    composite.check(graph)
    steps = {}
    for place, node, unit, rule in places_of(graph, composite, [begin], ends):
        if rule is None:
            raise UnsupportedOperatorError(_refusal(node, composite))
        steps[node] = Step(node, unit, rule, tuple(rule.routes(place, unit.head if unit else node)))
    return Plan(composite.name, begin, ends, steps)


def places_of(
    graph: Graph, composite: Composite, starts: Sequence[Node], ends: tuple[Node, ...] = ()
) -> Iterator[tuple[Place, Node, Unit | None, Rule | None]]:
    """Every operator that relevance reaches, from the starts backward, with its unit and its rule.

    The node is a unit's last (the batch norm of conv + BN), the place's node the linear operator.
    Only operators behind which one of the ends lies are visited.
    """
    ends = ends or (graph.input,)
    between = graph.ancestors(list(starts)) & graph.descendants(list(ends))
    # Nothing needs to cross an end behind which no other end lies.
    final = {e for e in ends if not (graph.ancestors([e]) - {e}) & set(ends)}
    if "places" not in graph.memo:
        graph.memo["places"] = Places(graph)
    places: Places = graph.memo["places"]
    reached = set(starts)
    swallowed: set[Node] = set()
    for node in sorted(between - final, key=lambda n: -n.index):
        if node not in reached or node in swallowed or node.target is None:
            continue
        unit = unit_of(node) if composite.fuse else None
        place = places(node, unit)
        rule = composite.rule_for(place)
        if unit is not None:
            swallowed |= unit.inner
        head = unit.head if unit else node
        reached.update(head.signals() if rule is None else rule.routes(place, head))
        yield place, node, unit, rule


def _refusal(node: Node, composite: Composite) -> str:
    hint = "Stop before it, give it a rule in the composite, or use a gradient method"
    if node.op in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        hint = "Explain the scores before it: pass the model without its softmax, or start there"
    elif node.kind == "multiply":
        hint = (
            "Neither or both operands look like a gate (sigmoid, softmax), so the signal is unknown. " + hint
        )
    elif node.kind == "linear":
        hint = (
            "Only a product of the signal (first operand) with a weight that doesn't depend on it has one. "
            + hint
        )
    return f"No rule for {node.where()} under {composite.name}. {hint}."
