"""Remarks: what is said of a method's result besides its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relprop.explanation.warned import biases_note, warnings_about
from relprop.methods.method import Method, Request, Result
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan
from relprop.propagate.question import Question
from relprop.rules import Identity
from relprop.rules.gradient import Gradient, Rectify

__all__ = ["Remarks", "remarks_on", "remarks_on_sample"]

_INNER = frozenset({"sigmoid", "hardsigmoid", "softplus", "log_sigmoid"})  # f(0) != 0


@dataclass(frozen=True)
class Remarks:
    """What is said of a result.

    Attributes:
        warnings, notes: see `relprop.explanation.Explanation`.
        extras: where the explained value is and what it is, where that isn't the output itself.
    """

    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    extras: dict[str, Any]


def remarks_on(method: Method, request: Request, result: Result) -> Remarks:
    """Everything that a reader of a method's result has to know."""
    return _remarks(method, request, result, request.asked, slice(None), result.ledger)


def remarks_on_sample(
    method: Method, request: Request, result: Result, n: int, asked: Question, ledger: Ledger | None
) -> Remarks:
    """What a reader of one sample's part of a result has to know: no word of the samples beside it.

    Args:
        method, request, result: of the batch.
        n: the sample's row.
        asked: the same question, of this sample.
        ledger: of this sample.
    """
    return _remarks(method, request, result, asked, slice(n, n + 1), ledger)


def _remarks(
    method: Method, request: Request, result: Result, asked: Question, rows: slice, ledger: Ledger | None
) -> Remarks:
    targets, head = asked.targets, request.head if request.notes else None
    extras: dict[str, Any] = {}
    if head is not None:
        value = asked.score(request.scores[rows])
        extras["explained_at"] = head.where(request.trace.graph)
        extras["explained_value"] = value[0] if asked.single else value
    negative = method.about_negative()
    explained = None
    if negative:
        explained = asked.score((request.output if head is None else request.logits)[rows])
    found = warnings_about(method.name, result.relevance[:, rows], targets, ledger, explained, negative)
    books = biases_note(ledger, targets)
    notes = (*asked.notes, *request.notes, *_inner(result.plan), *result.notes, *books)
    unseen = _unseen(method.name, request.trace.graph.unseen, result.plan)
    unlike = "" if request.facts.unlike is None else request.facts.unlike(request.trace.input[rows])
    return Remarks((*([unlike] if unlike else []), *result.warnings, *unseen, *found), notes, extras)


def _unseen(name: str, unseen: Sequence[str], plan: Plan | None) -> list[str]:
    """That autograd would give another gradient, where a method takes derivatives of operators."""
    steps = [] if plan is None else plan.steps.values()
    if not unseen or not any(isinstance(s.rule, (Gradient, Rectify)) for s in steps):
        return []
    said = (
        f"{name} takes the derivatives of what forward computes, and autograd's are others here: they come "
        f"through {', '.join(unseen)}, which can't be followed. Take it out to have the two agree."
    )
    return [said]


def _inner(plan: Plan | None) -> list[str]:
    """What to know of sigmoids and the like inside the network, which relevance crosses as it is."""
    steps = [] if plan is None else plan.steps.values()
    met = [s.fused.main for s in steps if s.fused.main.op in _INNER and isinstance(s.rule, Identity)]
    if not met:
        return []
    ops = " and ".join(dict.fromkeys(node.op for node in met))
    said = (
        f"Relevance crosses {ops} inside the network unchanged ({len(met)} times, the first: {met[0].where()}). "
        "They are positive where what they read is negative: there the map has the sign of the output behind them."
    )
    return [said]
