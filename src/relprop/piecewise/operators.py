"""Which operators are piece-wise affine: one table, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Container, Sequence

from relprop.errors import UnsupportedOperatorError
from relprop.graph import Graph, Node
from relprop.graph.fusion import is_affine

__all__ = ["CUTS", "between", "refusal", "unfit"]

_AFFINE_KINDS = frozenset({"batch_norm", "avg_pool", "upsample", "add", "shape", "pass", "negate"})

CUTS = frozenset(
    "relu relu6 hardtanh leaky_relu prelu clamp clamp_min clamp_max threshold abs maximum minimum".split()
)
"""Element-wise operators made of affine pieces. Max pools are the others whose pieces meet."""

_PICKERS = frozenset("aminmax topk sort kthvalue median nanmedian mode cummax cummin".split())
"""Of the kind of max pools, but where their pieces end isn't known here."""


def between(graph: Graph, at: Node) -> list[Node]:
    """The operators between a place and the output, in order of execution."""
    inside = graph.ancestors([graph.output]) & graph.descendants([at])
    return [n for n in graph.nodes if n in inside and n is not at and n.target is not None]


def unfit(graph: Graph, at: Node) -> list[tuple[Node, str]]:
    """The operators between a place and the output that are not piece-wise affine, each with the reason."""
    moving = {n for n in graph.descendants([at]) if n.dependent}
    found = []
    for node in between(graph, at):
        reason = _reason(node, moving) if node in moving else ""
        if reason:
            found.append((node, reason))
    return found


def refusal(found: Sequence[tuple[Node, str]]) -> UnsupportedOperatorError:
    """The error for a network with unfit operators: names the first, its module and the reason."""
    node, reason = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return UnsupportedOperatorError(
        f"Expected a piece-wise affine network but {node.where()} is not: {reason}{more}. "
        "Pass linearise=True for the local linearisation, whose error is measured."
    )


def _reason(node: Node, moving: Container[Node]) -> str:
    """Why an operator is not piece-wise affine in the operands that move; "" where it is."""
    operands = [n for n in node.reads() if n in moving]
    if any(_reads_values(n) for n in node.reads()):
        return "which values it takes is chosen by other values"
    if node.rounds is not None:
        return f"it rounds to {node.rounds}"
    if node.kind == "linear":
        return "" if is_affine(node) else "it multiplies two values that depend on the input"
    if node.kind == "multiply":
        if node.argument("rounding_mode", None) is not None:
            return "it rounds"
        if len(operands) == 1 and (node.op != "div" or node.argument("self") is operands[0]):
            return ""
        return "it multiplies or divides values that depend on the input"
    if node.op == "grid_sampler":
        return "" if operands == [node.argument("input")] else "where it samples depends on the input"
    if node.op.startswith("clamp") and len(node.signals()) > 1:
        return "its bounds depend on the input"
    if node.op in _PICKERS:
        return "which values it takes is chosen by their order"
    if node.kind in _AFFINE_KINDS or node.kind == "max_pool" or node.op in CUTS:
        return ""
    if node.op in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        return "its slope changes with its input; explain the scores before it"
    if node.kind in ("activation", "norm"):
        return "its slope changes with its input"
    return "it is not among the operators known to be"


def _reads_values(node: Node) -> bool:
    """Whether a value without derivative (a mask, an index) was computed from the input's values."""
    if node.dependent or node.kind in ("symbol", "parameter", "constant"):
        return False
    return any(n.dependent or _reads_values(n) for n in node.reads())
