"""Answer: what a method said of a batch, made into the explanation of all of it or of one sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from relprop.checks import Progress
from relprop.errors import InputError
from relprop.explanation.axes import axis_hint
from relprop.explanation.explanation import Explanation
from relprop.explanation.remarks import Remarks, remarks_on, remarks_on_sample
from relprop.explanation.running import Run
from relprop.graph import Node
from relprop.methods.facts import Facts, facts_of
from relprop.methods.method import Method, Request, Result
from relprop.propagate.ledger import Ledger
from relprop.propagate.question import Question, question
from relprop.tracing.values import checked_output

__all__ = ["Answer", "Asking", "answered", "requested"]


@dataclass(frozen=True, eq=False)
class Asking:
    """What is asked, as `relprop.explain` takes it; see there.

    Attributes:
        layers: as names.
        method: resolved.
        progress: called with (done, total) by methods of many runs; None: the facts say whom to tell.
    """

    method: Method
    layers: tuple[str, ...] = ()
    versus: Any = None
    region: Any = None
    start: str | None = None
    facts: Facts | None = None
    progress: Progress | None = None

    def known(self, model: nn.Module, output: Any, x: Tensor) -> Facts:
        """The facts that were given, or those remembered, as far as they hold for these outputs and this input."""
        if self.facts is not None:
            return self.facts
        known = facts_of(model)
        if isinstance(output, Tensor) and output.ndim > 1:
            known = known.of_outputs(output.shape[1])
        return known.fitting(x)

    def fits(self, model: nn.Module, x: Tensor) -> bool:
        """Whether what is known of the model holds for a sample as it is: one outside the box has its own."""
        known = facts_of(model) if self.facts is None else self.facts
        return self.facts is not None or known.fitting(x).box is known.box

    def question(self, target: Any, value: Any, n: int, known: Facts, place: Node | None) -> Question:
        """The target as a question about a value of n samples."""
        return question(
            target, value, n, versus=self.versus, region=self.region, place=self.start,
            classes=known.classes if place is None else None,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method said of a batch.

    Attributes:
        recipe: the method, with what it knows filled in.
        request: what it was asked.
        result: what it gave.
        run: the forward run.
        colours: the axis of the input that holds them.
    """

    recipe: Method
    request: Request
    result: Result
    run: Run
    colours: int

    def whole(self) -> Explanation:
        """The explanation of all samples."""
        remarks = remarks_on(self.recipe, self.request, self.result)
        return self._explanation(
            self.request.asked, slice(None), remarks, self.result.ledger, self.result.extras
        )

    @property
    def tells_apart(self) -> bool:
        """Whether the explanation of one sample can be told from it, as it would be without the others."""
        graph, books = self.run.trace.graph, self.result.ledger
        places = [*self.result.layers, *([] if self.result.at == "input" else [self.result.at])]
        return (
            not self.result.warnings  # they may be about any of them
            and (books is None or books.sample(0) is not None)
            and all(graph.find(place).per_sample for place in places)
            and isinstance(self.run.trace.output, Tensor)
        )

    def sample(self, n: int, asked: Question) -> Explanation:
        """The explanation of one sample, as it would be without the others.

        Args:
            n: its row.
            asked: the question about this sample.
        """
        books = self.result.ledger
        ledger = None if books is None else books.sample(n)
        remarks = remarks_on_sample(self.recipe, self.request, self.result, n, asked, ledger)
        lead = self.request.targets.shape if not asked.single else self.request.targets.shape[1:]
        extras = {name: _row(value, lead, n) for name, value in self.result.extras.items()}
        return self._explanation(asked, slice(n, n + 1), remarks, ledger, extras)

    def _explanation(
        self,
        asked: Question,
        rows: slice,
        remarks: Remarks,
        ledger: Ledger | None,
        extras: dict[str, Any],
    ) -> Explanation:
        result, seen = self.result, self.run.trace.input
        hint = axis_hint(seen, self.colours)

        def own(t: Tensor) -> Tensor:
            part = t[:, rows] if rows != slice(None) else t
            # A copy, so that one sample doesn't keep its whole batch in memory.
            return _alone(part[0] if asked.single else part, t)

        return Explanation(
            relevance=own(result.relevance),
            input=_alone(seen[rows], seen),
            outputs=_rows(self.run.trace.output, rows),
            targets=asked.targets[0] if asked.single else asked.targets,
            method=self.recipe.name,
            settings=self.recipe.settings(),
            plan=None if result.plan is None else result.plan.table,
            ledger=ledger,
            layers={name: own(t) for name, t in result.layers.items()},
            at=result.at,
            extras=extras | remarks.extras,
            signed=self.recipe.signed if result.signed is None else result.signed,
            warnings=remarks.warnings,
            notes=(*self.run.notes, *remarks.notes, *([] if hint is None else [hint])),
            channel_axis=self.colours,
            asked=asked.names,
        )


def answered(
    model: nn.Module, x: Tensor, run: Run, asking: Asking, target: Any, colours: int, *, release: bool = True
) -> Answer:
    """Ask a method about a forward run.

    Args:
        model: the user's.
        x: the input, as it was given.
        run: of the model on it.
        asking: what is asked.
        target: of what.
        colours: the axis of the input that holds them.
        release: the method may use up the forward run.

    Raises:
        InputError: as for `relprop.explain`.
    """
    request = replace(requested(model, x, run, asking, target), release=release)
    recipe = asking.method.chosen(request).informed(request.facts)
    result = recipe.explain(request)
    _check_finite(recipe.name, result.relevance)
    return Answer(recipe, request, result, run, colours)


def requested(model: nn.Module, x: Tensor, run: Run, asking: Asking, target: Any) -> Request:
    """The question as a method takes it; for the arguments see `answered`.

    Raises:
        InputError: it can't be asked of the model, or not of this method.
    """
    for layer in asking.layers:  # a typing error shall not wait for the method
        run.trace.graph.find(layer)
    checked_output(model, run.trace.output)
    place = None if asking.start is None else run.trace.graph.find(asking.start)
    value = run.trace.output if place is None else run.trace.value(place)
    known = asking.known(model, run.trace.output, x)
    if asking.progress is not None:
        known = replace(known, progress=asking.progress)
    asked = asking.question(target, value, x.shape[0], known, place)
    asking.method.check_asked(asked, place)
    return Request(run.model, run.trace, asked, place, asking.layers, facts=known)


def _alone(part: Tensor, whole: Tensor) -> Tensor:
    return part.clone() if part.numel() < whole.numel() and part._is_view() else part


def _rows(outputs: Any, rows: slice) -> Any:
    """Rows of what a model returned."""
    return _alone(outputs[rows], outputs) if isinstance(outputs, Tensor) and rows != slice(None) else outputs


def _row(value: Any, lead: torch.Size, n: int) -> Any:
    """What a method reports of one sample: of tensors that have targets and samples in front."""
    if not isinstance(value, Tensor) or value.shape[: len(lead)] != lead:
        return value
    return value.narrow(len(lead) - 1, n, 1).clone()


def _check_finite(name: str, relevance: Tensor) -> None:
    bad = int((~torch.isfinite(relevance)).sum())
    if bad:
        raise InputError(
            f"Expected {name} to give finite relevance but {bad} of {relevance.numel()} values are NaN or "
            f"infinite. Numbers on the way may have outgrown {relevance.dtype}: check the input's scale, or "
            "convert model and input to float64."
        )
