"""Dependence: which values of an exported program depend on its input, as autograd sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from relprop.graph.fx_call import arguments_of, op_name, tensors_of
from relprop.graph.kinds import LENDERS

__all__ = ["carries_derivative", "computed_from_input", "outputs_of"]


def carries_derivative(fx_node: fx.Node) -> bool:
    """Whether a call's value has a derivative in the operands that have one: no mask, index or plain number."""
    return op_name(fx_node) not in ("detach", "item", "_local_scalar_dense") and _is_differentiable(fx_node)


def computed_from_input(program: ExportedProgram, hands_on: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """The input, and every call that reads one of these and hands on what it reads."""
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if specs[node.name].kind == InputKind.USER_INPUT:
                found.add(node)
        elif any(operand in found for operand in _reads(node)) and hands_on(node):
            found.add(node)
    return found


def outputs_of(program: ExportedProgram) -> list[Any]:
    """What the model returns, flat: nodes and plain values."""
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    specs = program.graph_signature.output_specs
    return [
        out for out, spec in zip(output.args[0], specs, strict=True) if spec.kind == OutputKind.USER_OUTPUT
    ]


def _reads(fx_node: fx.Node) -> list[fx.Node]:
    """The operands whose values count: all but the one that lends its shape."""
    name = op_name(fx_node)
    lender = arguments_of(fx_node)[LENDERS[name]] if name in LENDERS else None
    return [operand for operand in fx_node.all_input_nodes if operand is not lender]


def _is_differentiable(fx_node: fx.Node) -> bool:
    """Whether the value is one or several tensors of real or complex numbers."""
    tensors = tensors_of(fx_node)
    return not tensors or any(t.is_floating_point() or t.is_complex() for t in tensors)
