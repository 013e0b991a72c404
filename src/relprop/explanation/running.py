"""Running: the forward run of a model whose inputs and outputs may be several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from relprop.errors import RelpropError
from relprop.graph.failures import UnknownOutputError
from relprop.propagate.trace import Trace, trace
from relprop.tracing.view import Key, Packing, natural, parts_named, view_of

__all__ = ["Run", "run_of"]

#: Which part of its output is explained of models that return no tensor (N, classes), as it was last seen.
_CHOSEN: WeakKeyDictionary[nn.Module, tuple[Key, str]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Run:
    """A forward run.

    Attributes:
        trace: its values.
        model: takes one tensor and returns the one that is explained: the user's model, or a view of it.
        notes: sentences for the reader.
    """

    trace: Trace
    model: nn.Module
    notes: tuple[str, ...] = ()


def run_of(model: nn.Module, x: Tensor, output: Key = None, packing: Packing | None = None) -> Run:
    """Trace the model, and find the tensor that is explained.

    Args:
        model: the user's.
        x: the input, or several packed.
        output: which part of what it returns, see `relprop.explain`.
        packing: how inputs are packed, if several are.

    Raises:
        InputError: no such part, or none named among several; and as for `relprop.trace`.
    """
    if not isinstance(model, nn.Module):
        return Run(trace(model, x), model)  # refused
    if output is not None:
        view = view_of(model, output, packing)
        with parts_named():
            return Run(trace(view, x), view)
    if model in _CHOSEN:
        key, note = _CHOSEN[model]
        view = view_of(model, key, packing)
        try:
            return Run(trace(view, x), view, _said(note))
        except RelpropError:
            _CHOSEN.pop(model, None)
    plain = model if packing is None else view_of(model, None, packing)
    found: Any
    try:
        run = trace(plain, x)
        found = run.output
        if isinstance(found, Tensor) and (found.ndim > 1 or found.numel() != x.shape[0]):
            return Run(run, plain)
    except UnknownOutputError as error:
        found = error.output
    key, note = natural(found)
    view = view_of(model, key, packing)
    run = trace(view, x)
    _CHOSEN[model] = key, note
    return Run(run, view, _said(note))


def _said(note: str) -> tuple[str, ...]:
    return (note,) if note else ()
