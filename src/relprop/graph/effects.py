"""Effects: what a forward pass may not do while it is explained."""

from __future__ import annotations

from typing import Any

from torch import Tag, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from relprop.errors import CaptureError, InputError
from relprop.graph.alias import in_place
from relprop.graph.dependence import computed_from_input
from relprop.graph.fx_call import arguments_of, by_schema, module_of, op_name, tensors_of
from relprop.graph.recurrent import RECURRENT

__all__ = ["check_effects"]


def check_effects(program: ExportedProgram) -> None:
    """Refuse a forward pass that trains, draws random numbers, or writes to what the model owns."""
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.BUFFER_MUTATION:
            raise CaptureError(
                f"Can't capture the model: its forward pass writes to its own buffer {spec.target!r}. "
                "Explaining it would change it. Remove the write or pass the part of the model without it."
            )
    varying = computed_from_input(program, lambda node: bool(tensors_of(node)))
    by_name = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        where = f"operator '{op_name(node)}' in {module_of(node)[0] or 'the model itself'}"
        if node.op == "call_function" and in_place(node):
            target = node.args[0]
            spec = (
                by_name.get(target.name)
                if isinstance(target, fx.Node) and target.op == "placeholder"
                else None
            )
            if spec is not None and spec.kind in (
                InputKind.BUFFER,
                InputKind.PARAMETER,
                InputKind.CONSTANT_TENSOR,
            ):
                if op_name(node) == "add" and str(spec.target).endswith("num_batches_tracked"):
                    raise _training_error(f"the batch norm {str(spec.target).rpartition('.')[0]!r}")
                raise CaptureError(
                    f"Can't capture the model: {where} writes to {spec.target!r}, a tensor that the model owns. "
                    "Explaining it would change it. Remove the write or pass the part of the model without it."
                )
        if _trains(node, varying):
            raise _training_error(where)
        if op_name(node) == "scaled_dot_product_attention" and by_schema(node, node.target)["dropout_p"]:
            raise _training_error(where, "dropout_p=self.p if self.training else 0.0")
        if _draws(node):
            raise CaptureError(
                f"Can't capture the model: {where} draws random numbers, so no two runs agree. Pass the numbers "
                "in as a buffer, or the part of the model without them."
            )


def _training_error(where: str, instead: str = "training=self.training") -> InputError:
    return InputError(
        f"Expected a model in evaluation mode but {where} runs in training mode. Call model.eval() first; where "
        f"that changes nothing, the code asks for it by itself: write {instead} there."
    )


_DROPS = frozenset({"dropout", "alpha_dropout", "feature_dropout"})


def _trains(fx_node: fx.Node, varying: set[fx.Node]) -> bool:
    """Whether a call does what the operator does in training mode only.

    A batch norm without running statistics of a value that no input changes, such as a weight that is
    standardised, does the same in both modes.
    """
    op = op_name(fx_node) if fx_node.op == "call_function" else ""
    if op == "batch_norm":
        given = arguments_of(fx_node)
        fixed = given["input"] not in varying and given["running_mean"] is given["running_var"] is None
        return given["training"] is True and not fixed
    if op == "rrelu":
        return arguments_of(fx_node)["training"] is True
    if op in RECURRENT:
        return _drops_between(by_schema(fx_node, fx_node.target))
    return op in _DROPS and arguments_of(fx_node)["train"] is True and arguments_of(fx_node)["p"] != 0


def _drops_between(given: dict[str, Any]) -> bool:
    """Whether recurrent layers drop values on the way from one to the next: all else they do in both modes."""
    return given["train"] is True and given["dropout"] != 0 and given["num_layers"] > 1


def _draws(fx_node: fx.Node) -> bool:
    """Whether a call takes random numbers; dropout of any kind does so in training mode only."""
    if fx_node.op != "call_function" or Tag.nondeterministic_seeded not in getattr(
        fx_node.target, "tags", ()
    ):
        return False
    given = by_schema(fx_node, fx_node.target)
    if op_name(fx_node) in RECURRENT and not _drops_between(given):
        return False
    off = given.get("train", given.get("training")) is False
    return not (off or given.get("p") == 0 or given.get("dropout_p") == 0)
