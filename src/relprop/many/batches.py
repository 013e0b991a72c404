"""Batches: how many pictures run together, and what is done where a batch fails."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from relprop.checks import check_count
from relprop.errors import (
    CaptureError,
    InputError,
    OutOfMemoryError,
    OutputError,
    RelpropError,
    UnknownNameError,
    UnsupportedOperatorError,
)
from relprop.explanation import Explanation
from relprop.explanation.answer import Asking
from relprop.explanation.each import each_of, kind_of
from relprop.many.pictures import Failure, Given, Ready
from relprop.shortage import give_back_memory, is_shortage
from relprop.tracing.view import Key

__all__ = ["Answered", "Batch", "Batches"]

Batch = int | Literal["auto"]

_MOST_BATCH = 4096
_PIXELS = 8 * 224 * 224  # that run together on a CPU (docs/speed.md)
_MOST = 32
_SHARE = 0.4  # of an accelerator's free memory that a batch may take
_TIDY = 64  # pictures of several sizes, before memory is handed back
_SAME = 3  # equal errors in a row, and nothing explained yet: it isn't the pictures


@dataclass(frozen=True, eq=False)
class Answered:
    """A picture with its explanations.

    Attributes:
        given: the picture.
        explanations: by the method's name.
    """

    given: Given
    explanations: Mapping[str, Explanation]

    @property
    def held(self) -> int:
        """Bytes of its tensors."""
        each = self.explanations.values()
        return sum(t.nbytes for e in each for t in (e.relevance, e.input, *e.layers.values()))


@dataclass(eq=False)
class Batches:
    """Explains pictures together where that gives what they get alone.

    Attributes:
        model: the user's.
        askings: what is asked, by the method's name.
        output, channel_axis: as for `relprop.explain`.
        batch: how many pictures of a size run together; "auto": by their size and the memory.
    """

    model: nn.Module
    askings: Mapping[str, Asking]
    output: Key = None
    channel_axis: int = 1
    batch: Batch = "auto"
    explained: int = 0
    _least: dict[Hashable, int] = field(default_factory=dict)  # what memory was enough for
    _alone: set[Hashable] = field(default_factory=set)
    _errors: list[Exception] = field(default_factory=list)
    _sizes: set[Hashable] = field(default_factory=set)  # since memory was handed back
    _since: int = 0  # pictures

    def __post_init__(self) -> None:
        if self.batch != "auto":
            if isinstance(self.batch, str):
                raise InputError(f"Expected batch to be 'auto' or a whole number but got {self.batch!r}.")
            check_count("batch", self.batch, most=_MOST_BATCH)

    def kind(self, one: Ready | Failure) -> Hashable:
        """What pictures have to agree in to run together."""
        if isinstance(one, Failure):
            return "failure"
        asking = next(iter(self.askings.values()))
        alone = None if asking.fits(self.model, one.x) else one.given.index
        return (_like(one.x), kind_of(one.target), alone)

    def size(self, one: Ready | Failure) -> int:
        """How many pictures like this one run together."""
        if isinstance(one, Failure) or _like(one.x) in self._alone:
            return 1
        most = self._least.get(_like(one.x), _MOST_BATCH)
        if self.batch != "auto":
            return min(self.batch, most)
        pixels = max(1, math.prod(one.x.shape[2:]))
        if one.x.device.type == "cpu":
            return min(most, _MOST, max(1, round(_PIXELS / pixels)))
        return min(most, _fitting(one.x, self.model))

    def held(self, one: Ready | Failure | Answered) -> int:
        """Bytes that a picture or its explanation holds."""
        if isinstance(one, Failure):
            return 0
        return one.held if isinstance(one, Answered) else one.x.nbytes

    def work(self, many: Sequence[Ready | Failure]) -> list[Answered | Failure]:
        """The explanations of pictures of one kind; a picture's own error takes no other along.

        Raises:
            RelpropError: what isn't a picture's fault: no such layer, no rule, a model that can't be captured; the
                same error again and again before anything was explained.
        """
        ready = [one for one in many if isinstance(one, Ready)]
        if len(ready) < len(many):
            return [one if isinstance(one, Failure) else self._single(one) for one in many]
        if len(ready) == 1:
            return [self._single(ready[0])]
        like = _like(ready[0].x)
        try:
            found = self._together(ready)
        except Exception as error:
            if _out_of_memory(error):
                self._least[like] = len(ready) // 2
                _free(ready[0].x)
                half = len(ready) // 2
                return [*self.work(ready[:half]), *self.work(ready[half:])]
            found = None
        else:
            if found is None:
                self._alone.add(like)
        return [self._single(one) for one in ready] if found is None else list(found)

    def _together(self, ready: Sequence[Ready]) -> list[Answered] | None:
        x = torch.cat([one.x for one in ready]) if len(ready) > 1 else ready[0].x
        targets = [one.target for one in ready]
        found = each_of(self.model, x, targets, list(self.askings.values()), self.output, self.channel_axis)
        if found is None:
            return None
        columns = dict(zip(self.askings, found, strict=True))
        self.explained += len(ready)
        self._tidy(_like(x), len(ready))
        return [
            Answered(one.given, {name: _named(column[n], one.given) for name, column in columns.items()})
            for n, one in enumerate(ready)
        ]

    def _tidy(self, like: Hashable, count: int) -> None:
        """Hand back what pictures of other sizes have left, now and then: it takes a while."""
        self._sizes.add(like)
        self._since += count
        if len(self._sizes) > 1 and self._since >= _TIDY:
            give_back_memory()
            self._sizes, self._since = {like}, 0

    def _single(self, one: Ready) -> Answered | Failure:
        try:
            found = self._together([one])
        except Exception as error:
            self._check(error)
            return self.failed(one.given, error)
        assert found is not None  # one alone is always told apart
        return found[0]

    def _check(self, error: Exception) -> None:
        """Raise an error that isn't about one picture."""
        if self.explained or _out_of_memory(error):
            return
        if isinstance(error, (UnknownNameError, UnsupportedOperatorError, CaptureError, OutputError)):
            raise error
        self._errors.append(error)
        if len(self._errors) >= _SAME and len({(type(e), str(e)) for e in self._errors[-_SAME:]}) == 1:
            raise error

    def failed(self, given: Given, error: Exception) -> Failure:
        """The record of a picture that an error met."""
        text = " ".join(str(error).split()) or "no reason given"
        if not isinstance(error, RelpropError):
            text = f"{type(error).__name__}: {text}"
        return Failure(given.index, given.source, text if text.endswith(".") else f"{text}.")


def _like(x: Tensor) -> Hashable:
    return tuple(x.shape[1:]), x.dtype, x.device


def _named(found: Explanation, given: Given) -> Explanation:
    return replace(found, name=given.name, index=given.index)


def _fitting(x: Tensor, model: nn.Module) -> int:
    """How many inputs like this one fit an accelerator's memory, by a guess: 1,500 values a pixel of a picture."""
    if x.device.type != "cuda":
        return 8
    free, _ = torch.cuda.mem_get_info(x.device)
    return max(1, min(64, int(free * _SHARE / (x.numel() * x.element_size() * 500))))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, OutOfMemoryError) or is_shortage(error)


def _free(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.empty_cache()
