"""Signs: which values the graph proves to be non-negative, whatever the input is."""

from __future__ import annotations

from relprop.graph.node import Node

__all__ = ["is_nonnegative"]

_ALWAYS = frozenset(
    "relu relu6 sigmoid hardsigmoid softmax _softmax abs exp square softplus linalg_vector_norm "
    "sqrt norm".split()
)
_KEEPS = frozenset({"max_pool", "avg_pool", "shape", "pass"})
# Constants that are no parameters, and operators that may join them to a signal as they are.
_MADE = frozenset("zeros ones zeros_like ones_like new_zeros new_ones empty empty_like new_empty".split())
_JOINS = frozenset("cat concat stack slice select slice_scatter select_scatter copy clone".split())
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
        low = node.argument("min_val" if node.op == "hardtanh" else "min")
        return isinstance(low, (int, float)) and low >= 0
    if not signals or any(not n.dependent for n in _tensors(node)):
        # Something that is not the signal takes part (a parameter, a constant tensor).
        if node.op in _JOINS:
            return all(n.nonneg for n in _tensors(node))
        if node.op in _MADE:
            return True
        return node.op in ("expand", "view") and bool(signals) and all(n.nonneg for n in signals)
    if not all(n.nonneg for n in signals):
        return False
    if node.op in ("pad", "constant_pad_nd"):
        value = node.argument("value")
        return value is None or (isinstance(value, (int, float)) and value >= 0)
    if node.kind in _KEEPS or node.op in _KEEPS_UPSAMPLE:
        # A negative divisor_override turns the sign of an average.
        divisor = node.argument("divisor_override", None)
        return node.kind != "avg_pool" or divisor is None or divisor > 0
    if node.op == "add":
        return all(_is_nonnegative_number(node.argument(name)) for name in ("self", "other", "alpha"))
    if node.op in ("mul", "div"):
        return all(_is_nonnegative_number(node.argument(name)) for name in ("self", "other"))
    return False


def _is_nonnegative_number(argument: object) -> bool:
    return not isinstance(argument, (int, float)) or argument >= 0


def _tensors(node: Node) -> list[Node]:
    return [n for n in node.reads() if n.kind != "symbol"]
