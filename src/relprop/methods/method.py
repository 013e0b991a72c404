"""Method: a published recipe that turns a request into relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from relprop.checks import refuses_old_spellings
from relprop.methods.facts import Facts
from relprop.propagate.composite import Composite
from relprop.propagate.layout import Layout
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan
from relprop.propagate.targets import one_hot
from relprop.propagate.trace import Trace
from relprop.propagate.walk import Propagation
from relprop.registry import parameters

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
        facts: what else is known of the model.
    """

    model: nn.Module
    trace: Trace
    targets: Tensor
    single: bool
    layers: Sequence[str] = ()
    release: bool = True
    facts: Facts = field(default_factory=Facts)

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
        name: the name in the registry; the class's own where none is set.
        summary: one line for lists.
        signed: whether maps can hold negative values.
        contrasts: each map is the target's relevance less the mean of the other outputs', so that what two maps
            have in common cancels in their difference.
        pushes: positive relevance is what pushed an output the way it went; else what speaks for a larger value.
        reading: a sentence on how to read a map, for captions; "" where there is nothing to know.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    signed: ClassVar[bool] = True
    contrasts: ClassVar[bool] = False
    pushes: ClassVar[bool] = False
    reading: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.name:
            cls.name = cls.__name__
        if "__init__" in vars(cls):
            setattr(cls, "__init__", refuses_old_spellings(vars(cls)["__init__"]))  # noqa: B010

    def explain(self, request: Request) -> Result:
        """Compute relevance for every target of the request."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The configured settings, as plain values where they are plain."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        """What "auto" means under these facts, for each setting that may be left at it."""
        return {}

    def informed(self, facts: Facts) -> Method:
        """The method with every setting that is "auto" filled in from the facts; itself where none is."""
        left = {key for key, value in self.settings().items() if isinstance(value, str) and value == "auto"}
        # A subclass may have fixed a setting, so that its constructor doesn't take it.
        left &= set(parameters(type(self)))
        known = self.from_facts(facts) if left else {}
        filled = {key: value for key, value in known.items() if key in left}
        return self.with_(**filled) if filled else self

    def with_(self, **changes: Any) -> Method:
        """A copy with other settings."""
        own = self.settings()
        return type(self)(**{key: own[key] for key in parameters(type(self)) if key in own} | changes)

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.settings().items())
        return f"{type(self).__name__}({inner})"
