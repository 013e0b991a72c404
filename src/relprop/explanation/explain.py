"""explain: what most people call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.bar import draws_bar
from relprop.checks import layer_names
from relprop.errors import InputError, RelpropError
from relprop.explanation.explanation import Explanation
from relprop.explanation.inquiry import Found, Inquiry, Target
from relprop.explanation.warned import telling, untold
from relprop.methods.facts import Facts
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve
from relprop.shortage import tells_shortage
from relprop.tracing.view import Key

__all__ = ["Target", "Told", "explain", "explanation_of"]

#: Called with how much is done, parts of a step too, and of how much.
Told = Callable[[float, int], None]


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
    progress: Told | bool | None = None,
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
    progress: Told | bool | None = None,
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
    progress: Told | bool | None = None,
) -> dict[str, Explanation]: ...


@overload
def explain(
    model: nn.Module,
    x: Tensor,
    target: Target | Sequence[Target] | None = None,
    *,
    method: list[Any] | tuple[Any, ...],
    layers: Sequence[str] = (),
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
    progress: Told | bool | None = None,
) -> list[Explanation]: ...


@overload
def explain(
    model: nn.Module,
    x: Sequence[Tensor] | Mapping[str, Tensor],
    target: Target | Sequence[Target] | None = None,
    *,
    method: list[Any] | tuple[Any, ...],
    layers: Sequence[str] = (),
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
    progress: Told | bool | None = None,
) -> list[Any]: ...


@telling
@draws_bar()
@tells_shortage
def explain(
    model: nn.Module,
    x: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    target: Target | Sequence[Target] | None = None,
    method: MethodLike | list[Any] | tuple[Any, ...] = "lrp-composite",
    layers: Sequence[str] = (),
    *,
    versus: int | str | Tensor | NDArray[Any] | None = None,
    region: Tensor | NDArray[Any] | Literal["all"] | None = None,
    start: str | None = None,
    output: Key = None,
    channel_axis: int = 1,
    facts: Facts | None = None,
    progress: Told | bool | None = None,
) -> Found | list[Any]:
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
        method: a name (`relprop.methods()`; "recommended" chooses by what is asked), with settings behind it or
            without ("lrp:rule=z-plus"); a method of your own as "file.py:Name"; a configured method
            (`relprop.DeepTaylor(...)`); or a function `(model, x, targets) -> relevance`. Or a list of these: then
            the result is a list, in the same order, from one forward run, where methods share what they have in
            common; each has its own ledger. A method that refuses stops the whole call, with its name.
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
        progress: True for a bar in a notebook or on a terminal; or a function of (done, total). Methods of
            many runs count these; of a list of methods those that are done are counted, and parts of one.

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
    >>> both = relprop.explain(net, torch.tensor([[3.0, 1.0]]), target=1, method=["lrp-0", "gradient"])
    >>> [(e.method, e.relevance.tolist()) for e in both]
    [('lrp-0', [[6.0, -1.0]]), ('gradient', [[2.0, -1.0]])]
    """
    several = isinstance(method, (list, tuple))
    listed = [resolve(one) for one in _listed(method)]
    tell = progress if callable(progress) else None
    steps = _Steps(tell, len(listed)) if tell and several else None
    settings: dict[str, Any] = {
        "layers": layer_names(layers), "versus": versus, "region": region, "start": start, "output": output,
        "channel_axis": channel_axis, "facts": facts, "progress": steps.part if steps else tell,
    }  # fmt: skip
    with Inquiry(model, x, target, **settings, several=several) as inquiry:
        for recipe in listed if several else ():
            with _naming(recipe, several):
                inquiry.check(recipe)
        found = []
        for i, recipe in enumerate(listed):
            with _naming(recipe, several):
                found.append(inquiry.answer(recipe, last=i + 1 == len(listed)))
            if steps:
                steps.done()
    return found if several else found[0]


class _Steps:
    """Counts methods, and parts of one, towards all that were asked."""

    def __init__(self, tell: Told, count: int) -> None:
        self._tell, self._count, self._done = tell, count, 0

    def part(self, done: int, total: int) -> None:
        self._tell(self._done + done / max(total, 1), self._count)

    def done(self) -> None:
        self._done += 1
        self._tell(self._done, self._count)


def _listed(method: MethodLike | list[Any] | tuple[Any, ...]) -> Sequence[MethodLike]:
    if not isinstance(method, (list, tuple)):
        return [method]
    if not method:
        raise InputError("Expected at least one method but the list is empty.")
    return method


@contextmanager
def _naming(recipe: Method, several: bool) -> Iterator[None]:
    """Say which of several methods a refusal is about."""
    try:
        yield
    except RelpropError as error:
        if several and recipe.name not in str(error):
            error.args = (f"{error} This was asked of {recipe.name}.", *error.args[1:])
        raise


explanation_of = untold(explain)
"""`explain` without its `RelpropWarning`: warnings stand in the result alone."""
