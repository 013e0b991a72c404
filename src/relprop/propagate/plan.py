"""Plan: which rule applies where, found before anything runs."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from relprop.errors import InputError, UnsupportedOperatorError
from relprop.graph import Graph, Node
from relprop.graph.fusion import Fused, fuse, outside, rectifiers
from relprop.graph.place import Place, Places
from relprop.propagate.composite import Composite
from relprop.propagate.refusal import refusal
from relprop.propagate.table import PlanRow, PlanTable
from relprop.rules.activation import Identity
from relprop.rules.rule import Rule
from relprop.rules.unruled import Unruled

__all__ = ["Plan", "Step", "make_plan", "places_of"]


@dataclass(frozen=True, eq=False)
class Step:
    """One crossing of relevance, from the output of a step to what it reads.

    Attributes:
        fused: the operators that are one here (convolution, batch norm and ReLU), or a single one.
        rule: what happens there.
        signals: operands that relevance goes to.
    """

    fused: Fused
    rule: Rule
    signals: tuple[Node, ...]

    @property
    def node(self) -> Node:
        """The node whose value is the step's output."""
        return self.fused.end


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
                step.fused.main.module,
                step.fused.name,
                repr(step.rule),
                tuple(signal.name for signal in step.signals),
                step.fused.main.name,
            )
            for step in self.steps.values()
        )
        return PlanTable(rows, self.composite, self.start.name, self.stops[0].name)

    @cached_property
    def key(self) -> Hashable:
        """Equal for plans of one graph by which the same happens everywhere, whatever they are called."""
        steps = tuple((step.fused.nodes, step.rule.key, step.signals) for step in self.steps.values())
        return self.start, self.stops, steps

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """The rows of the table."""
        return self.table.rows

    def __str__(self) -> str:
        return str(self.table)


def make_plan(
    graph: Graph,
    composite: Composite,
    start: str | Node | None,
    stops: Sequence[str | Node],
    *,
    anywhere: bool = True,
) -> Plan:
    """Find the rule of every operator that relevance will cross.

    Args:
        graph, composite: what is crossed, and by which rules.
        start, stops: where relevance begins, and where it is wanted.
        anywhere: it may begin at every unit of the start. False: it may be 0 on whole branches, and an operator
            without a rule is refused when relevance has come to it (`Unruled`).

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
    ends = tuple(end if end is begin else _read_at(graph, composite, end, upstream) for end in asked)
    composite.check(graph)
    met = list(places_of(graph, composite, [begin], ends))
    unruled = [fused.main for _, fused, rule in met if rule is None]
    if unruled and anywhere:
        raise UnsupportedOperatorError(refusal(graph, unruled, composite.name))
    steps = {}
    for place, fused, found in met:
        rule = found or Unruled(refusal(graph, unruled[unruled.index(fused.main) :], composite.name))
        steps[fused.end] = Step(fused, rule, tuple(rule.routes(place, fused.head)))
    return Plan(composite.name, begin, ends, steps)


def places_of(
    graph: Graph, composite: Composite, starts: Sequence[Node], ends: tuple[Node, ...] = ()
) -> Iterator[tuple[Place, Fused, Rule | None]]:
    """Every step that relevance takes, from the starts backward, with its place and its rule.

    Only operators behind which one of the ends lies are visited.
    """
    ends = ends or (graph.input,)
    between = graph.ancestors(list(starts)) & graph.descendants(list(ends))
    # Nothing needs to cross an end behind which no other end lies.
    final = {e for e in ends if not (graph.ancestors([e]) - {e}) & set(ends)}
    places = graph.derived(Places)
    reached = set(starts)
    swallowed: set[Node] = set()
    for node in sorted(between - final, key=lambda n: -n.index):
        if node not in reached or node in swallowed or node.target is None:
            continue
        fused = _fused(graph, composite, node)
        place = places(fused)
        rule = composite.rule_for(place)
        swallowed |= fused.inner
        reached.update(fused.head.signals() if rule is None else rule.routes(place, fused.head))
        yield place, fused, rule


def _fused(graph: Graph, composite: Composite, node: Node) -> Fused:
    """The step that ends in `node`, under the rules of a composite."""
    joins = _joins(graph, composite, node)
    last = rectifiers(graph)[node] if joins else node
    fused = fuse(last) if composite.fuse else Fused(last)
    return replace(fused, relu=node) if joins else fused


def _joins(graph: Graph, composite: Composite, node: Node) -> bool:
    """Whether `node` is a ReLU that belongs to the operator in front: relevance crosses it unchanged."""
    if node not in rectifiers(graph):
        return False
    # A rule derived from Identity may do something else, and is called for itself.
    return type(composite.rule_for(graph.derived(Places)(Fused(node)))) is Identity


def _read_at(graph: Graph, composite: Composite, end: Node, upstream: Container[Node]) -> Node:
    """Where relevance at `end` is read: at the end of the step that it is inside of."""
    last = outside(end, upstream) if composite.fuse else end
    for relu in last.users:
        if relu in upstream and rectifiers(graph).get(relu) is last and _joins(graph, composite, relu):
            return relu
    return last
