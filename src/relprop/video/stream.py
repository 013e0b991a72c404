"""Stream: the rules of a plan, through a part of what is there."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from relprop.graph import Node
from relprop.graph.place import Place
from relprop.propagate.composite import Composite
from relprop.propagate.plan import Plan, Step
from relprop.rules import Identity, Rule, ZBox, ZPlus
from relprop.rules.motion_streams import Joins, NearbyBox, ZPlusPart

__all__ = ["Stream", "reads_pixels"]


class Stream(Composite):
    """The rules of a plan, through a part of what is there.

    Args:
        plan: how relevance was carried.
        joining: relevance by activation, which starts there (`Joins`).
        shares: the part of what inner linear operators read (`ZPlusPart`).
        nearby: whether pixels count by how they change (`NearbyBox`); False: by the plan's rule.
        neighbours: of what the first linear operators read, a frame before and after, where the camera moves.
        name: how the composite is called.
    """

    adds = True

    def __init__(
        self,
        plan: Plan,
        joining: Mapping[Node, Tensor],
        shares: Mapping[Node, Tensor],
        *,
        nearby: bool,
        neighbours: Mapping[Node, tuple[Tensor, Tensor]] | None = None,
        name: str,
    ) -> None:
        super().__init__((), "positive", f"{plan.composite}, {name}")
        self._rules: dict[Node, Rule] = {}
        for step in plan.steps.values():
            rule, fused = step.rule, step.fused
            if fused.relu is not None:
                self._rules[fused.relu] = _joined(Identity(), fused.relu, joining)
            else:
                rule = _joined(rule, step.node, joining)
            if fused.main.kind == "linear" and step.signals[0] in shares:
                rule = ZPlusPart(shares[step.signals[0]])
            elif nearby and isinstance(rule, (ZBox, ZPlus)) and reads_pixels(step):
                rule = NearbyBox(rule, None if neighbours is None else neighbours[step.signals[0]])
            self._rules[fused.main] = rule

    def rule_for(self, place: Place) -> Rule | None:
        return self._rules[place.node]


def _joined(rule: Rule, node: Node, joining: Mapping[Node, Tensor]) -> Rule:
    return Joins(rule, joining) if node in joining else rule


def reads_pixels(step: Step) -> bool:
    """Whether no linear operator lies between a linear step and the model's input."""
    stack, seen = list(step.signals), set(step.signals)
    while stack:
        node = stack.pop()
        if node.kind == "linear":
            return False
        fresh = [n for n in node.signals() if n not in seen]
        seen.update(fresh)
        stack += fresh
    return True
