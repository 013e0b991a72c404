"""Method: a published recipe that turns a request into relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from relprop.engine.composite import Composite
from relprop.engine.ledger import Ledger
from relprop.engine.plan import Plan
from relprop.engine.trace import Trace
from relprop.engine.walk import Propagation
from relprop.errors import InputError

__all__ = ["Method", "Request", "Result", "one_hot"]


@dataclass(eq=False)
class Request:
    """What is to be explained: handed to a method.

    Attributes:
        model: the user's model.
        trace: the forward run on the user's input.
        targets: class indices, int64 (K, N).
        single: one target was asked, so results lose their K axis at the end.
        layers: places whose relevance is wanted besides.
        release: the method may use up the trace (free its values on the way back).
    """

    model: nn.Module
    trace: Trace
    targets: Tensor
    single: bool
    layers: Sequence[str] = ()
    release: bool = True

    @property
    def output(self) -> Tensor:
        """The class scores, (N, classes, ...)."""
        output: Tensor = self.trace.output
        return output

    def seed(self, start: Literal["score", "one"] = "score") -> Tensor:
        """Relevance at the output: the target's score, or 1, and 0 for all other classes; (K, N, classes)."""
        return one_hot(self.targets, self.output, self.output if start == "score" else None)

    def propagate(self, seed: Tensor, composite: Composite, **settings: Any) -> Propagation:
        """`Trace.run` with the request's layers and its leave to free memory."""
        return self.trace.run(seed, composite, record=self.layers, release=self.release, **settings)


@dataclass(eq=False)
class Result:
    """What a method gives back: tensors with their K axis, (K, N, C, *spatial)."""

    relevance: Tensor
    layers: dict[str, Tensor] = field(default_factory=dict)
    plan: Plan | None = None
    ledger: Ledger | None = None
    at: str = "input"
    extras: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Propagation, at: str = "input") -> Result:
        """The result of one propagation as it is."""
        return cls(run.relevance, run.layers, run.plan, run.ledger, at)


class Method:
    """A published recipe. Subclasses set the class facts and write `explain`.

    Settings are keyword-only constructor arguments, kept as attributes of the same name.

    Attributes:
        name: the name in the registry.
        summary: one line for lists.
        signed: whether maps can hold negative values.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    signed: ClassVar[bool] = True

    def explain(self, request: Request) -> Result:
        """Compute relevance for every target of the request."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The configured settings, as plain values where they are plain."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.settings().items())
        return f"{type(self).__name__}({inner})"


def one_hot(targets: Tensor, output: Tensor, values: Tensor | None = None) -> Tensor:
    """(K, N) class indices as a (K, N, classes, ...) tensor with 1, or `values`, at the targets.

    >>> import torch
    >>> one_hot(torch.tensor([[1]]), torch.tensor([[5.0, 7.0]]), torch.tensor([[5.0, 7.0]])).tolist()
    [[[0.0, 7.0]]]
    """
    k, n = targets.shape
    seed = output.new_zeros(k, *output.shape)
    index = targets.reshape(k, n, 1, *[1] * (output.ndim - 2)).expand(k, n, 1, *output.shape[2:])
    source = output.new_ones(1).expand(index.shape) if values is None else values.expand(k, *output.shape)
    if values is not None:
        source = source.gather(2, index)
    return seed.scatter_(2, index, source)


def check_choice(name: str, value: object, valid: Sequence[str]) -> None:
    """Refuse a word that isn't among the valid ones.

    Raises:
        InputError: with the valid words.
    """
    if value not in valid:
        raise InputError(f"Expected {name} to be one of {', '.join(map(repr, valid))} but got {value!r}.")
