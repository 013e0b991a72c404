"""explain: what most people call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import layer_names
from relprop.errors import InputError
from relprop.explanation.answer import Asking, answered
from relprop.explanation.axes import checked_axis
from relprop.explanation.explanation import Explanation
from relprop.explanation.running import run_of
from relprop.explanation.warned import telling, untold
from relprop.methods.facts import Facts
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.shortage import tells_shortage
from relprop.tracing.view import Key, Packing, packed

__all__ = ["Target", "explain", "explanation_of"]

Target = int | str | Tensor | NDArray[Any] | Callable[[Tensor], Tensor]


@overload
def explain(
    model: nn.Module,
    x: Tensor,
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanation: ...


@overload
def explain(
    model: nn.Module,
    x: Sequence[Tensor],
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> tuple[Explanation, ...]: ...


@overload
def explain(
    model: nn.Module,
    x: Mapping[str, Tensor],
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> dict[str, Explanation]: ...


@telling
@tells_shortage
@full_precision
def explain(
    model: nn.Module,
    x: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    target: Target | Sequence[Target] | None = None,
    method: MethodLike = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
) -> Explanation | tuple[Explanation, ...] | dict[str, Explanation]:
    """What in `x` made `model` say `target`?

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode. It is left as it came.
        x: the input, normalised as the model expects it. Of models of several inputs: a tuple (positional
            arguments), a list (one argument that is a list), or a mapping (keywords) of tensors (N, ...). Then the
            result is a tuple or dict of explanations, one an input, that share one ledger.
        target: a class index, or its name where `facts` know names; an int64 tensor or array (N,) with one per
            sample; a list or range of K of them, which puts a K axis in front of the relevance; None for each
            sample's top class. Or a callable that takes the outputs and returns scores (N,) or (K, N), in torch
            and sample by sample: relevance starts as its gradient times the outputs, which is all of a score
            that is linear in them (a note says what is left out of another). Or a seed: floating-point
            relevance at the outputs, shaped like them or with K in front.
        method: a name (`relprop.methods()`), with settings behind it or without ("lrp:rule=z-plus"); a method of
            your own as "file.py:Name"; a configured method (`relprop.DeepTaylor(...)`); or a function
            `(model, x, targets) -> relevance`.
        layers: modules or nodes at whose output relevance is wanted too (`Explanation.layers`).
        versus: another class: explained is the target's score less that of this one.
        region: for outputs that are maps (N, classes, H, W), a mask (H, W) or (N, H, W) of the positions whose
            scores are summed; "all" or None for all of them (a note says so).
        start: a module or node that relevance starts at in place of the output. Its value is (N, channels, ...),
            and `target`, `versus` and `region` are about that.
        output: which part of what the model returns is explained, where that is no tensor: a name (of a mapping, a
            dataclass, a `ModelOutput`), an index, or a function of it. None: the one called logits, the only
            tensor, or the first of a tuple (a note says so). One number a sample, (N,), counts as (N, 1).
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
    tensor, packing = packed(x)
    recipe = resolve(method)
    asking = Asking(recipe, layer_names(layers), versus, region, start, facts)
    run = run_of(model, tensor, output, packing)
    colours = checked_axis(channel_axis if packing is None else 1, tensor)
    found = answered(model, tensor, run, asking, target, colours).whole()
    if packing is None:
        return found
    each = _apart(found, packing, channel_axis)
    return dict(zip(packing.names, each, strict=True)) if packing.names else each


explanation_of = untold(explain)
"""`explain` without its `RelpropWarning`: warnings stand in the result alone."""


def _apart(found: Explanation, packing: Packing, channel_axis: int) -> tuple[Explanation, ...]:
    """The explanation of each of several inputs."""
    if found.at != "input":
        raise InputError(
            f"Expected a method whose relevance is at the inputs but {found.method} stops at {found.at!r}. Take "
            "another, or at='input'."
        )
    inputs = packing.apart(found.input)
    relevance = packing.apart(found.relevance, found.targets.dim())
    note = f"The ledger is that of all {len(inputs)} inputs together."
    return tuple(
        replace(
            found, relevance=r, input=x, channel_axis=channel_axis if channel_axis < x.ndim else 1,
            notes=(*found.notes, note),
        )
        for r, x in zip(relevance, inputs, strict=True)
    )  # fmt: skip
