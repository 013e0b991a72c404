"""explain: what most people call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import layer_names
from relprop.errors import InputError
from relprop.explanation.axes import axis_hint, checked_axis
from relprop.explanation.explanation import Explanation
from relprop.explanation.remarks import remarks_on
from relprop.explanation.warned import tell
from relprop.methods.facts import Facts, facts_of
from relprop.methods.method import Request
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.propagate.targets import class_indices
from relprop.propagate.trace import trace
from relprop.tracing.values import checked_output

__all__ = ["explain", "explanation_of"]


def explain(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | NDArray[Any] | Sequence[int | Tensor | NDArray[Any]] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanation:
    """What in `x` made `model` say `target`?

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode. It is left as it came.
        x: the input, normalised as the model expects it.
        target: a class index; an int64 tensor or array (N,) with one per sample; a list or range of K indices
            (or of such tensors), which puts a K axis in front of the relevance; None for each sample's top class.
        method: a name (`relprop.methods()`), with settings behind it or without ("lrp:rule=z-plus"); a method of
            your own as "file.py:Name"; a configured method (`relprop.DeepTaylor(...)`); or a function
            `(model, x, targets) -> relevance`.
        layers: modules or nodes at whose output relevance is wanted too (`Explanation.layers`).
        channel_axis: which axis of `x` holds the colours, for maps and pictures: 2 for clips and bags
            (N, T, C, H, W).
        facts: what else is known of the model, for settings that are left at "auto". None: what relprop
            remembers of models that it loaded, where an input lies in the box that pixels can fill; nothing of
            others. `Facts()`: nothing.

    Raises:
        InputError: bad input, target, method or layer, or numbers that outgrow their precision on the way; the
            text says which.
        CaptureError: the model can't be captured as a graph of tensor operators.
        UnsupportedOperatorError: relevance would reach an operator that has no rule.

    Warns:
        RelpropWarning: what is in the result's `warnings`, once a call.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 1.0]]), target=[0, 1], method="lrp-0")
    >>> e.relevance.tolist()
    [[[3.0, 0.0]], [[6.0, -1.0]]]
    """
    found = explanation_of(model, x, target, method, layers, channel_axis=channel_axis, facts=facts)
    tell(found.warnings, stacklevel=2)
    return found


@full_precision
def explanation_of(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | NDArray[Any] | Sequence[int | Tensor | NDArray[Any]] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanation:
    """`explain` for callers that tell the warnings their own way: they stand in the result alone."""
    recipe = resolve(method)
    layers = layer_names(layers)
    run = trace(model, x)
    channel_axis = checked_axis(channel_axis, x)
    for layer in layers:  # a typing error shall not wait for the method
        run.graph.find(layer)
    checked_output(model, run.output)
    targets, single = class_indices(target, run.output, x.shape[0])
    seen = run.input
    known = facts_of(model).of_outputs(run.output.shape[1]).fitting(x) if facts is None else facts
    recipe = recipe.informed(known)
    request = Request(model, run, targets, single, layers, facts=known)
    result = recipe.explain(request)
    _check_finite(recipe.name, result.relevance)

    remarks = remarks_on(recipe, request, result)
    extras = result.extras | remarks.extras
    hint = axis_hint(seen, channel_axis)

    def unstacked(t: Tensor) -> Tensor:
        return t[0] if single else t

    return Explanation(
        relevance=unstacked(result.relevance),
        input=seen,
        outputs=run.output,
        targets=unstacked(targets),
        method=recipe.name,
        settings=recipe.settings(),
        plan=None if result.plan is None else result.plan.table,
        ledger=result.ledger,
        layers={name: unstacked(t) for name, t in result.layers.items()},
        at=result.at,
        extras=extras,
        signed=recipe.signed,
        warnings=remarks.warnings,
        notes=remarks.notes if hint is None else (*remarks.notes, hint),
        channel_axis=channel_axis,
    )


def _check_finite(name: str, relevance: Tensor) -> None:
    bad = int((~torch.isfinite(relevance)).sum())
    if bad:
        raise InputError(
            f"Expected {name} to give finite relevance but {bad} of {relevance.numel()} values are NaN or "
            f"infinite. Numbers on the way may have outgrown {relevance.dtype}: check the input's scale, or "
            "convert model and input to float64."
        )
