"""Inquiry: one question about one input, that any number of methods answer from one forward run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import Progress
from relprop.errors import InputError
from relprop.explanation.answer import Asking, answered, requested
from relprop.explanation.axes import checked_axis
from relprop.explanation.explanation import Explanation
from relprop.explanation.running import run_of
from relprop.methods.facts import Facts
from relprop.methods.function import FunctionMethod
from relprop.methods.method import Method
from relprop.precision import full_precision
from relprop.shortage import tells_shortage
from relprop.tracing.view import Key, Packing, packed

__all__ = ["Found", "Inquiry", "Target", "may_do_anything"]

Target = int | str | Tensor | NDArray[Any] | Callable[[Tensor], Tensor]

Found: TypeAlias = "Explanation | tuple[Explanation, ...] | dict[str, Explanation]"
"""The explanation of an input, or those of several inputs."""


class Inquiry:
    """A forward run and what is asked of it. Methods answer one after another.

    With `several` what doesn't depend on relevance is computed for the first method that needs it and kept for
    the others (`relprop.tracing.shared`), up to a gigabyte, until the inquiry is closed. A method of the user's
    own may do anything, to the model too: the one after it sees a forward run of its own.

    Args:
        model, x, target, versus, region, start, output, channel_axis, facts: see `relprop.explain`.
        progress: called with (done, total) by methods of many runs.
        layers: places whose relevance is wanted too, whichever method answers.
        several: more than one method will answer.

    Raises:
        InputError, CaptureError: as `relprop.explain`.
    """

    @full_precision
    def __init__(
        self,
        model: nn.Module,
        x: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
        target: Target | Sequence[Target] | None = None,
        *,
        layers: Sequence[str] = (),
        versus: int | str | Tensor | NDArray[Any] | None = None,
        region: Tensor | NDArray[Any] | Literal["all"] | None = None,
        start: str | None = None,
        output: Key = None,
        channel_axis: int = 1,
        facts: Facts | None = None,
        progress: Progress | None = None,
        several: bool = False,
    ) -> None:
        self._x, self._packing = packed(x)
        self._model, self._target, self._output, self._axis = model, target, output, channel_axis
        self._layers, self._several = tuple(layers), several
        self._about: dict[str, Any] = {
            "versus": versus, "region": region, "start": start, "facts": facts, "progress": progress,
        }  # fmt: skip
        self._sharing = ExitStack()
        self._run()

    def __enter__(self) -> Inquiry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def kept(self) -> int:
        """Bytes that are kept for further methods."""
        shared = self._ran.trace.shared
        return 0 if shared is None else shared.size

    def ask(self, target: Target | Sequence[Target] | None, versus: int | str | None = None) -> None:
        """Turn to another question about the same input: the forward run is kept."""
        self._target, self._about["versus"] = target, versus

    def close(self) -> None:
        """Let go of what was kept for further methods."""
        self._sharing.close()

    def _run(self) -> None:
        self._ran = run_of(self._model, self._x, self._output, self._packing)
        self._colours = checked_axis(self._axis if self._packing is None else 1, self._x)
        self._stale = False
        if self._several:
            self._sharing.enter_context(self._ran.trace.sharing())

    @full_precision
    def check(self, recipe: Method) -> None:
        """Refuse a question that the method has no answer to, and a place that isn't there.

        Raises:
            InputError: as `relprop.explain`.
        """
        requested(self._model, self._x, self._ran, self._asking(recipe, self._layers), self._target)

    @tells_shortage
    @full_precision
    def answer(self, recipe: Method, layers: Sequence[str] | None = None, *, last: bool = True) -> Found:
        """What a method says.

        Args:
            recipe: the method.
            layers: places whose relevance is wanted too; None: those of the inquiry.
            last: no other method will be asked, so that this one may use up the forward run.

        Raises:
            RelpropError: as `relprop.explain`.
        """
        if self._stale:
            self.close()
            self._run()
        self._stale = may_do_anything(recipe)
        asking = self._asking(recipe, self._layers if layers is None else tuple(layers))
        found = answered(
            self._model, self._x, self._ran, asking, self._target, self._colours, release=last
        ).whole()
        if self._packing is None:
            return found
        each = _apart(found, self._packing, self._axis)
        return dict(zip(self._packing.names, each, strict=True)) if self._packing.names else each

    def _asking(self, recipe: Method, layers: tuple[str, ...]) -> Asking:
        return Asking(recipe, layers, **self._about)


def may_do_anything(recipe: Method) -> bool:
    """Whether a method is the user's own, which may change the run, or the model, that the next one would see."""
    return isinstance(recipe, FunctionMethod) or type(recipe).__module__.partition(".")[0] != "relprop"


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
