"""Method: a published recipe that turns a request into relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from relprop.checks import refuses_old_spellings
from relprop.errors import InputError
from relprop.graph import Node
from relprop.methods.facts import Facts
from relprop.methods.head import Behind, Headed, LogitHead, head_of
from relprop.propagate.composite import Composite
from relprop.propagate.layout import Layout
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan
from relprop.propagate.question import Question
from relprop.propagate.trace import Trace
from relprop.propagate.walk import Propagation
from relprop.registry import parameters

__all__ = ["ANYTHING", "SCORES", "Method", "Request", "Result"]

#: What a method may be asked that takes derivatives of the outputs, and one that carries relevance from them.
SCORES = frozenset({"region", "versus", "score", "start"})
ANYTHING = SCORES | {"seed"}


_ASKED = {
    "region": "a region",
    "versus": "versus=, a difference of two",
    "score": "a callable",
    "seed": "a seed",
    "start": "start=, a hidden place",
}


@dataclass(eq=False)
class Request:
    """What is to be explained: handed to a method.

    Where the network ends in a sigmoid or the like (`relprop.methods.head`), relevance is that of the logit in
    front of it: `seed` and `scores` are the logit's, `run` and `propagate` know the way. Derivatives are those of
    the output itself, from `ones`.

    Attributes:
        model: the user's model.
        trace: the forward run on the user's input.
        asked: what is asked of the outputs (or of the value at `start`).
        start: the hidden place that relevance starts at; None for the output.
        layers: places whose relevance is wanted besides.
        release: the method may use up the trace (free its values on the way back).
        facts: what else is known of the model.
        notes: sentences for the reader that came up on the way.
    """

    model: nn.Module
    trace: Trace
    asked: Question
    start: Node | None = None
    layers: Sequence[str] = ()
    release: bool = True
    facts: Facts = field(default_factory=Facts)
    notes: list[str] = field(default_factory=list)

    @property
    def targets(self) -> Tensor:
        """Class indices, int64 (K, N); -1 where no class was asked for, of methods that take such questions."""
        return self.asked.targets

    @property
    def single(self) -> bool:
        """One target was asked, so results lose their K axis at the end."""
        return self.asked.single

    @cached_property
    def output(self) -> Tensor:
        """The class scores, (N, classes, ...); or the value at `start`."""
        return self.output_of(self.trace)

    def output_of(self, trace: Trace) -> Tensor:
        """The class scores, or the value at `start`, of another run of the same model: (N, classes, ...)."""
        output: Tensor = trace.output if self.start is None else trace.value(self.start.name)
        return output

    @property
    def layout(self) -> Layout:
        """What the output's units stand for: the model's own `layout` where it has one, else classes."""
        own = getattr(self.model, "layout", None)
        return own if isinstance(own, Layout) else Layout(classes=self.output.shape[1], offsets=())

    @cached_property
    def head(self) -> LogitHead | None:
        """What the network does to its logits at the end; None where the output itself is explained."""
        return head_of(self.trace.graph) if self.start is None else None

    @cached_property
    def _behind(self) -> Behind | None:
        return None if self.head is None else Behind.of(self.head, self.trace)

    @property
    def logits(self) -> Tensor:
        """The value behind each output that is explained in its place, (N, classes, ...); else the output."""
        return self.output if self._behind is None else self._behind.values

    @property
    def scores(self) -> Tensor:
        """What is explained, rising with the output: the logits, with a minus where the output falls with them."""
        return self.output if self._behind is None else self._behind.values * self._behind.signs

    def seed(self, what: Literal["score", "one"] = "score") -> Tensor:
        """Relevance to start from: the target's logit, or 1, and 0 for all other classes; (K, N, classes).

        Of other questions, the slope of what is asked times the logits, or the slope; a seed as it came.
        `run` and `propagate` put a minus before it where the output falls with its logit.

        Raises:
            InputError: a callable behind a sigmoid or the like.
        """
        if self.asked.kind == "score" and self.head is not None:
            raise InputError(
                "Expected a callable target on logits but the network's outputs are behind "
                f"{self.head.activations[0].op}, where relevance starts in front of it (at "
                f"{self.head.where(self.trace.graph)}). Pass the network without it, or take a gradient."
            )
        return self.asked.start(self.logits) if what == "score" else self.ones()

    def ones(self) -> Tensor:
        """The slope of what is asked: 1 at each target's output and 0 elsewhere; (K, N, classes)."""
        return self.asked.slopes(self.output)

    def turned(self, seed: Tensor) -> Tensor:
        """A seed at the output as it goes to the logits: with a minus where the output falls with its logit."""
        return seed if self._behind is None else seed * self._behind.signs

    def run(
        self, seed: Tensor, composite: Composite, *, through_head: bool = False, **settings: Any
    ) -> Propagation:
        """`Trace.run`; a seed at the output goes to the logits behind it, with their signs.

        Args:
            seed, composite: as for `Trace.run`.
            through_head: multipliers go to the logits too; else they are derivatives of the output itself.
            settings: as for `Trace.run`.
        """
        if self.start is not None:
            settings.setdefault("start", self.start)
        ahead = settings.get("start") is None and (through_head or not settings.get("multiplier", False))
        if not ahead or self.head is None or self._behind is None:
            return self.trace.run(seed, composite, **settings)
        note = self.head.said(self.trace.graph)
        if note not in self.notes:
            self.notes.append(note)
        return self.trace.run(self.turned(seed), Headed(composite, self.head), **settings)

    def propagate(self, seed: Tensor, composite: Composite, **settings: Any) -> Propagation:
        """`run` with the request's layers and its leave to free memory."""
        return self.run(seed, composite, record=self.layers, release=self.release, **settings)


@dataclass(eq=False)
class Result:
    """What a method gives back: tensors with their K axis, (K, N, C, *spatial).

    `warnings` and `notes` are sentences of the method's own; those that any result may deserve (an open ledger, a
    map of zeros ...) `relprop.explain` adds itself. `signed` says whether this map is one of two signs, where that
    goes by the question; None: as the method's are.
    """

    relevance: Tensor
    layers: dict[str, Tensor] = field(default_factory=dict)
    plan: Plan | None = None
    ledger: Ledger | None = None
    at: str = "input"
    extras: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    signed: bool | None = None

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
        for_classes: made for classes: a page of a detection asks another method about its box.
        reading: a sentence on how to read a map, for captions; "" where there is nothing to know.
        needs: what a network must have ("attention"); "" where the method explains any.
        takes: what else than classes may be asked: "region" (of a map), "versus" and "score" (a class less
            another, a callable), "seed" (any relevance at the outputs), "start" (a hidden place).
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    signed: ClassVar[bool] = True
    contrasts: ClassVar[bool] = False
    pushes: ClassVar[bool] = False
    for_classes: ClassVar[bool] = False
    reading: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    takes: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.name:
            cls.name = cls.__name__
        if "__init__" in vars(cls):
            setattr(cls, "__init__", refuses_old_spellings(vars(cls)["__init__"]))  # noqa: B010

    def explain(self, request: Request) -> Result:
        """Compute relevance for every target of the request."""
        raise NotImplementedError

    def chosen(self, request: Request) -> Method:
        """The method that answers: itself, unless it is one that chooses among others."""
        return self

    def check_asked(self, asked: Question, start: Node | None = None) -> None:
        """Refuse a question that the method has no answer to.

        Raises:
            InputError: with what it can't start from.
        """
        needed = [
            word for word in (asked.kind, "" if start is None else "start") if word not in ("", "class")
        ]
        wrong = next((word for word in needed if word not in self.takes), None)
        if wrong is not None:
            raise InputError(
                f"Expected classes as targets of {self.name}, which starts from one class, but got "
                f"{_ASKED[wrong]}. Take a method that starts from anything, such as lrp-composite or lrp-epsilon."
            )

    def settings(self) -> dict[str, Any]:
        """The configured settings, as plain values where they are plain."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def about_negative(self) -> str:
        """What the method makes of an explained output that isn't positive; "" where it is as good as another.

        For methods that explain positive evidence only: the sentence becomes a warning.
        """
        return ""

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
