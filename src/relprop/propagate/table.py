"""Table: a plan as plain rows, which outlive the graph."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PlanRow", "PlanTable"]


@dataclass(frozen=True)
class PlanRow:
    """Which rule crosses which operator.

    Attributes:
        node: name of the value that it makes; of a convolution with its batch norm and ReLU, the ReLU's.
        module: path of the module it belongs to.
        operator: what it is, such as "conv2d + batch_norm".
        rule: how relevance crosses it.
        reads: names of the values that relevance goes on to; empty in what older versions saved.
        main: name of the operator itself; of a convolution with its batch norm and ReLU, the convolution's.
    """

    node: str
    module: str
    operator: str
    rule: str
    reads: tuple[str, ...] = ()
    main: str = ""


@dataclass(frozen=True)
class PlanTable:
    """The plan of an explanation. Prints as a table.

    Attributes:
        rows: one per operator that relevance crosses, from the start backward.
        composite: name of the composite.
        start, stop: names of the values where relevance starts and stops; "" in what older versions saved.
    """

    rows: tuple[PlanRow, ...]
    composite: str = ""
    start: str = ""
    stop: str = ""

    def __str__(self) -> str:
        lines = [f"{'node':<26}{'module':<30}{'operator':<28}rule"]
        lines += [f"{r.node:<26.25}{r.module:<30.29}{r.operator:<28.27}{r.rule}" for r in self.rows]
        return "\n".join(lines)
