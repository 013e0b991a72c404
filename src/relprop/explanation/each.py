"""Each: the samples of a batch explained together, and every one told apart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from relprop.explanation.answer import Answer, Asking, answered
from relprop.explanation.axes import checked_axis
from relprop.explanation.explanation import Explanation
from relprop.explanation.inquiry import may_do_anything
from relprop.explanation.running import Run, run_of
from relprop.methods.function import FunctionMethod
from relprop.precision import full_precision
from relprop.shortage import tells_shortage
from relprop.tracing.view import Key

__all__ = ["each_of", "kind_of"]


@tells_shortage
@full_precision
def each_of(
    model: nn.Module,
    x: Tensor,
    targets: Sequence[Any],
    askings: Sequence[Asking],
    output: Key = None,
    channel_axis: int = 1,
) -> list[list[Explanation]] | None:
    """The explanations of each sample, as `relprop.explain` gives them of that sample alone (up to rounding).

    All are answered from one forward run; what doesn't depend on relevance is computed once for all methods.

    Args:
        model: the user's.
        x: the samples (N, C, *spatial).
        targets: one a sample, all of one `kind_of`.
        askings: what else is asked, by one method or several.
        output, channel_axis: as for `relprop.explain`.

    Returns:
        For each asking one a sample; None where samples can't be told apart (they meet in the network, its graph
        is bound to one batch size, its ledger runs over several), or where what is known of the model doesn't fit
        all of them (`Asking.fits`): explain them one at a time.

    Raises:
        InputError: as for `relprop.explain`; of which sample it isn't said.
    """
    # Nobody knows what a function does across a batch.
    if len(x) > 1 and any(isinstance(asking.method, FunctionMethod) for asking in askings):
        return None
    found = []
    with ExitStack() as sharing:
        run: Run | None = None
        for i, asking in enumerate(askings):
            if run is None:
                run = run_of(model, x, output)
                if len(askings) > 1:
                    sharing.enter_context(run.trace.sharing())
            answers = _answers(model, x, targets, asking, run, channel_axis, last=i + 1 == len(askings))
            if answers is None:
                return None
            found.append(answers)
            if may_do_anything(asking.method):
                sharing.close()
                run = None
    return found


def _answers(
    model: nn.Module,
    x: Tensor,
    targets: Sequence[Any],
    asking: Asking,
    run: Run,
    channel_axis: int,
    *,
    last: bool,
) -> list[Explanation] | None:
    axis = checked_axis(channel_axis, x)
    if len(x) == 1:
        return [answered(model, x, run, asking, targets[0], axis, release=last).whole()]
    if run.trace.graph.static_batch is not None or run.trace.meeting() is not None:
        return None
    place = None if asking.start is None else run.trace.graph.find(asking.start)
    if place is not None and not place.per_sample:
        return None
    if not all(asking.fits(model, x[n : n + 1]) for n in range(len(x))):
        return None
    # Read before the answer, which may use the run up.
    value = run.trace.output if place is None else run.trace.value(place)
    answer = answered(model, x, run, asking, _together(targets), axis, release=last)
    if not answer.tells_apart:
        return None
    return [_one(model, answer, run, asking, x, value, targets[n], n) for n in range(len(x))]


def _one(
    model: nn.Module, answer: Answer, run: Run, asking: Asking, x: Tensor, value: Any, target: Any, n: int
) -> Explanation:
    rows = slice(n, n + 1)
    known = asking.known(model, run.trace.output, x[rows])
    place = answer.request.start
    asked = asking.question(target, value[rows], 1, known, place)
    return answer.sample(n, asked)


def kind_of(target: Any) -> Any:
    """What samples have to agree in to be explained together: how many classes of their own, or the target itself.

    >>> kind_of(3) == kind_of(7), kind_of([3, 7]) == kind_of([1, 2]), kind_of([3]) == kind_of(3)
    (True, True, False)
    """
    if target is None:
        return "top"
    if _is_class(target):
        return "class"
    if isinstance(target, (list, tuple, range)) and all(_is_class(t) for t in target):
        return "classes", len(target)
    return id(target)


def _is_class(target: Any) -> bool:
    return hasattr(type(target), "__index__") and not isinstance(target, (bool, Tensor))


def _together(targets: Sequence[Any]) -> Any:
    """The targets of several samples as one target of their batch."""
    first = targets[0]
    if all(target is first for target in targets):
        return first
    if _is_class(first):
        return torch.tensor([int(target) for target in targets])
    return [torch.tensor([int(target) for target in row]) for row in zip(*targets, strict=True)]
