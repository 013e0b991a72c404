"""Method: a published recipe that turns a request into relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from relprop.checks import refuses_old_spellings
from relprop.propagate.composite import Composite
from relprop.propagate.layout import Layout
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan
from relprop.propagate.targets import one_hot
from relprop.propagate.trace import Trace
from relprop.propagate.walk import Propagation

__all__ = ["Method", "Request", "Result"]


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

    @property
    def layout(self) -> Layout:
        """What the output's units stand for: the model's own `layout` where it has one, else classes."""
        own = getattr(self.model, "layout", None)
        return own if isinstance(own, Layout) else Layout(classes=self.output.shape[1], offsets=())

    def seed(self, what: Literal["score", "one"] = "score") -> Tensor:
        """Relevance at the output: the target's score, or 1, and 0 for all other classes; (K, N, classes)."""
        return one_hot(self.targets, self.output, self.output if what == "score" else None)

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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            setattr(cls, "__init__", refuses_old_spellings(vars(cls)["__init__"]))  # noqa: B010

    def explain(self, request: Request) -> Result:
        """Compute relevance for every target of the request."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The configured settings, as plain values where they are plain."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.settings().items())
        return f"{type(self).__name__}({inner})"
