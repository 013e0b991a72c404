"""A call in an exported program: its name, its arguments, and where in the model and the code it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from relprop.errors import CaptureError
from relprop.graph.alias import in_place
from relprop.graph.kinds import KINDS, kind_of

__all__ = [
    "FIRST_ONLY",
    "Call",
    "arguments_of",
    "by_schema",
    "functional",
    "module_of",
    "op_name",
    "place_of",
    "source_of",
    "tensors_of",
]

Call = Callable[..., fx.Node]
"""(operator, arguments) -> the call, put into a program with its value's shape and the place in the code."""

# Return (result, statistics, ...): only the result is ever used in evaluation mode.
FIRST_ONLY = frozenset({"_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_layer_norm"})


_SYNONYMS = {
    "clip": "clamp", "multiply": "mul", "divide": "div", "true_divide": "div", "subtract": "sub",
    "negative": "neg", "absolute": "abs", "moveaxis": "movedim", "swapdims": "swapaxes",
    "concatenate": "concat", "special_erf": "erf", "special_expm1": "expm1", "special_log1p": "log1p",
    "special_expit": "sigmoid", "arctan": "atan", "arcsin": "asin", "fmax": "maximum", "fmin": "minimum",
    "unsafe_split": "split", "unsafe_split_with_sizes": "split_with_sizes", "unsafe_chunk": "chunk",
    "_safe_softmax": "softmax", "linalg_matmul": "matmul",
}  # fmt: skip


def _plain(name: str) -> str:
    """The one name of an operator that has several, or that copies where another one gives a view."""
    viewed = name.removesuffix("_copy")
    return viewed if name not in KINDS and kind_of(viewed) == "shape" else _SYNONYMS.get(name, name)


def op_name(fx_node: fx.Node) -> str:
    """The plain operator name, without overload and without the in-place underscore."""
    target = fx_node.target
    if isinstance(target, torch._ops.OpOverload):
        name = target._opname
        name = name.removesuffix("_") if target._schema.is_mutable else name
        return _plain(name)
    return str(getattr(target, "__name__", target))


def arguments_of(fx_node: fx.Node) -> dict[str, Any]:
    """A call's arguments by the names of the operator's (functional) schema, with the schema's defaults."""
    return by_schema(fx_node, fx_node.target if op_name(fx_node) in FIRST_ONLY else functional(fx_node))


def by_schema(fx_node: fx.Node, target: Any) -> dict[str, Any]:
    """A call's arguments by the names of `target`'s schema, with the schema's defaults."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        return {}
    given = dict(zip((a.name for a in schema.arguments), fx_node.args, strict=False)) | fx_node.kwargs
    # What is left out has a default.
    return {a.name: given.get(a.name, a.default_value) for a in schema.arguments}


def functional(fx_node: fx.Node) -> Any:
    """What computes the value of a call and writes nowhere."""
    target = fx_node.target
    if op_name(fx_node) in FIRST_ONLY:
        return lambda *args, **kwargs: target(*args, **kwargs)[0]  # type: ignore[operator]
    if target is torch.ops.aten.view.default:
        # Values that are computed again may lie otherwise in memory: torch's attention returns its own layout.
        return torch.ops.aten.reshape.default
    if not in_place(fx_node):
        return target
    assert isinstance(target, torch._ops.OpOverload)
    packet = getattr(torch.ops.aten, target._opname.removesuffix("_"), None)
    # The one that takes the same arguments: the names of overloads don't always agree (pow_.Scalar is
    # pow.Tensor_Scalar).
    wanted = [str(a.type) for a in target._schema.arguments]
    names = [target._overloadname, *packet.overloads()] if packet is not None else []
    found = [getattr(packet, name or "default", None) for name in names]
    overload = next((o for o in found if o and [str(a.type) for a in o._schema.arguments] == wanted), None)
    if overload is None:
        raise CaptureError(
            f"Can't capture the model: no functional form of in-place operator '{target}' is known."
        )
    return overload


def module_of(fx_node: fx.Node) -> tuple[str, tuple[str, ...], int]:
    """The path of the innermost module around a call, those of all modules, and which call of it this is."""
    stack = fx_node.meta.get("nn_module_stack") or {}
    paths = tuple(path for path, _ in stack.values())
    key = next(reversed(stack)) if stack else ""
    call = int(key.rpartition("@")[2]) if "@" in key else 0
    return (paths[-1] if paths else ""), paths, call


def place_of(fx_node: fx.Node) -> str:
    """Where a person finds a call, for messages: operator, module, and line of code where it is known."""
    source = source_of(fx_node)
    return f"operator '{op_name(fx_node)}' in {module_of(fx_node)[0] or 'the model itself'}" + (
        f" ({source})" if source else ""
    )


def tensors_of(fx_node: fx.Node) -> list[Tensor]:
    """What is known of the value of a call: its tensor, or those of its list, without numbers."""
    value = fx_node.meta.get("val")
    leaves = value if isinstance(value, (list, tuple)) else [value]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def source_of(fx_node: fx.Node) -> str:
    """File, line and text of the statement in the user's code."""
    trace = fx_node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)', trace)
    for path, line, text in reversed(frames):
        if "/torch/nn/" not in path and "/torch/_" not in path:
            return f"{path.rsplit('/', 1)[-1]}:{line}: {text.strip()}"
    return ""
