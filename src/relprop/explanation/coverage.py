"""Coverage: every operator of a model with its rule, or the reason there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from relprop.graph import capture, capture_lock
from relprop.methods.head import Headed, head_of
from relprop.propagate.composite import Composite, CompositeLike, composite_of
from relprop.propagate.plan import places_of
from relprop.tracing.inputs import check_input
from relprop.tracing.view import Inputs, Key, packed, parts_named, view_of

__all__ = ["Coverage", "CoverageRow", "inspect"]


@dataclass(frozen=True)
class CoverageRow:
    """One operator of a model: its rule, or the reason there is none."""

    node: str
    module: str
    operator: str
    kind: str
    rule: str
    source: str
    covered: bool


@dataclass(frozen=True)
class Coverage:
    """Every operator of a model with its rule under a composite. Prints as a table.

    Attributes:
        rows: one per operator that relevance may reach from the output.
        composite: name of the composite that was asked.
        start: where relevance starts if not at the output itself, in words; see `relprop.methods.head`.
    """

    rows: tuple[CoverageRow, ...]
    composite: str
    start: str = ""

    @property
    def complete(self) -> bool:
        """Whether relevance can go from the output to the input."""
        return all(r.covered for r in self.rows)

    def __str__(self) -> str:
        lines = [f"{'node':<26}{'module':<30}{'operator':<28}rule"]
        lines += [f"{r.node:<26.25}{r.module:<30.29}{r.operator:<28.27}{r.rule}" for r in self.rows]
        kinds = Counter(r.operator for r in self.rows if not r.covered)
        missing = ", ".join(f"{op} ({n}x)" for op, n in kinds.items())
        lines.append(
            f"{len(self.rows)} operators under {self.composite}, "
            + (f"no rule for {missing}" if missing else "all covered")
        )
        if self.start:
            lines.append(f"relevance starts {self.start}")
        return "\n".join(lines)


def inspect(
    model: nn.Module,
    x: Inputs,
    composite: CompositeLike | None = None,
    *,
    output: Key = None,
    start: str | None = None,
) -> Coverage:
    """Coverage of a model before any explanation: every operator, its rule or why there is none.

    Args:
        model, x: as for `explain`, one input or several; x gives the shape, only the graph is looked at.
        composite: whose rules to show, as for `Trace.propagate`: a composite or a method, also by name
            ("lrp-composite"); default: LRP-0 (everything in proportion to value).
        output: which part of what the model returns is asked about, as for `explain`; None: all of it.
        start: a module or node that relevance starts at in place of the output.

    Raises:
        InputError: no model, bad input, no such output or start, or what can't be a composite.
        CaptureError: the model can't be captured.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Softmax(1))
    >>> print(relprop.inspect(net, torch.ones(1, 2)))  # doctest: +ELLIPSIS
    node                      module                        operator                    rule
    softmax                   1                             softmax                     no rule
    linear                    0                             linear                      Epsilon(epsilon=0.0, ...)
    2 operators under LRP-0, no rule for softmax (1x)
    """
    rules = Composite(name="LRP-0") if composite is None else composite_of(composite)
    whole, packing = packed(x)
    with capture_lock, parts_named():
        check_input(model, whole, values=False)
        seen = model if output is None and packing is None else view_of(model, output, packing)
        graph = capture(seen, whole)
    outputs = [n for n in graph.outputs if hasattr(n, "kind") and n.dependent]
    if start is not None:
        outputs = [graph.find(start)]
    head = None if rules.otherwise == "gradient" or start is not None else head_of(graph)
    where = "" if start is None else f"at {start}"
    if head is not None:
        rules = Headed(rules, head)
        ops = " and ".join(dict.fromkeys(node.op for node in head.activations))
        where = (
            f"in front of the last {ops}, at {head.where(graph)}: the operators behind hand it on as it is"
        )
    rows = []
    for place, fused, rule in places_of(graph, rules, outputs):
        rows.append(
            CoverageRow(
                fused.end.name,
                place.node.module,
                fused.name,
                place.kind,
                "no rule" if rule is None else repr(rule),
                fused.main.source,
                rule is not None,
            )
        )
    return Coverage(tuple(rows), rules.name, where)
