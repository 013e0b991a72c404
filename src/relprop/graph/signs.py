"""Signs: which values the graph proves to be non-negative, whatever the input is."""

from __future__ import annotations

from relprop.graph.node import Node

__all__ = ["is_nonnegative"]

_ALWAYS = frozenset(
    "relu relu6 sigmoid hardsigmoid softmax _softmax abs exp square softplus linalg_vector_norm "
    "sqrt norm".split()
)
_KEEPS = frozenset({"max_pool", "avg_pool", "shape", "pass"})
_KEEPS_UPSAMPLE = frozenset(
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
    "upsample_bilinear2d upsample_trilinear3d".split()
)


def is_nonnegative(node: Node) -> bool:
    """Whether `node`'s value is >= 0 everywhere, given the proofs of its operands.

    Only what the operators themselves guarantee counts: a parameter's sign is not looked at, since
    it may change after the proof.
    """
    signals = node.signals()
    if node.op in _ALWAYS:
        return True
    if node.op in ("hardtanh", "clamp", "clamp_min"):
        low = node.args[1] if len(node.args) > 1 else node.kwargs.get("min", node.kwargs.get("min_val"))
        if low is None and node.op == "hardtanh":
            low = -1.0
        return isinstance(low, (int, float)) and low >= 0
    if not signals or any(not n.dependent for n in _tensors(node)):
        # Something that is not the signal takes part (a parameter, a constant tensor).
        return node.op in ("expand", "view") and bool(signals) and all(n.nonneg for n in signals)
    if not all(n.nonneg for n in signals):
        return False
    if node.op == "pad" or node.op == "constant_pad_nd":
        value = node.args[3] if node.op == "pad" and len(node.args) > 3 else 0
        if node.op == "constant_pad_nd" and len(node.args) > 2:
            value = node.args[2]
        return value is None or (isinstance(value, (int, float)) and value >= 0)
    if node.kind in _KEEPS or node.op in _KEEPS_UPSAMPLE:
        # A negative divisor_override turns the sign of an average.
        divisor = node.args[6] if len(node.args) > 6 else node.kwargs.get("divisor_override")
        return node.kind != "avg_pool" or divisor is None or divisor > 0
    if node.op == "add":
        numbers = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, (int, float))]
        return all(a >= 0 for a in numbers)
    if node.op in ("mul", "div"):
        numbers = [a for a in node.args if isinstance(a, (int, float))]
        return all(a >= 0 for a in numbers)
    return False


def _tensors(node: Node) -> list[Node]:
    return [n for n in node.operands() if n.kind != "symbol"]
