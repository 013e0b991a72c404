"""Composite: which rule where, as an ordered list of (match, rule)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Protocol, TypeAlias

from relprop import catalogue
from relprop.checks import check_number, refuses_old_spellings
from relprop.errors import InputError, UnknownNameError
from relprop.graph import Graph
from relprop.graph.kinds import KINDS, operator_names
from relprop.graph.place import Place
from relprop.propagate.fallback import Otherwise, fallback_rule
from relprop.registry import split_settings
from relprop.rules.rule import Rule

__all__ = ["DERIVATIVES", "Composite", "CompositeLike", "Depth", "HasComposite", "Match", "composite_of"]

_KIND_NAMES = (frozenset(KINDS.values()) | {"gate", "scale", "product", "other"}) - {"multiply"}


@dataclass(frozen=True)
class Depth:
    """Match linear operators by relative depth: low <= depth < high (high = 1 includes the last)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            check_number(name, getattr(self, name))

    def __call__(self, place: Place) -> bool:
        """Whether the place lies in the range."""
        inside = self.low <= place.depth < self.high or (self.high >= 1 and place.depth >= 1)
        return place.kind == "linear" and inside


Match = str | Callable[[Place], bool]
"""A kind ("linear", "add", ...), "first" or "last", "op:NAME" (any operator of torch), a module path pattern
("features.*"; its linear operators), or any function of a `Place`."""


class Composite:
    """An ordered list of (match, rule); the first match wins.

    Args:
        rules: pairs of match and rule.
        otherwise: what happens where nothing matches. "value": everything in proportion to value (LRP-0,
            epsilon; batch norm is an affine map). "positive": for rules that look at positive parts
            only (adds by |x|, a lone batch norm passes relevance on). "gradient": derivatives. None:
            nothing; what the rules leave out is refused by name.
        fuse: whether a convolution and the batch norms around it are one step. None: yes, but for
            "gradient", whose derivatives are taken operator by operator. (A ReLU that relevance crosses
            unchanged is one step with the operator in front of it either way.)
        name: how the composite is called in plans and errors.

    Attributes:
        adds: some of its rules add relevance of their own, so that zeros have to be carried to them.

    Raises:
        InputError: unknown match word or fallback, a rule that can't be used where it is put, or derivatives
            of fused steps.
    """

    adds: ClassVar[bool] = False

    @refuses_old_spellings
    def __init__(
        self,
        rules: Iterable[tuple[Match, Rule]] = (),
        otherwise: Otherwise = "value",
        name: str = "composite",
        *,
        fuse: bool | None = None,
    ) -> None:
        if otherwise not in ("value", "positive", "gradient", None):
            raise InputError(
                f"Expected otherwise to be 'value', 'positive', 'gradient' or None but got {otherwise!r}."
            )
        if fuse and otherwise == "gradient":
            raise InputError(
                "Expected fuse=False with otherwise='gradient': it takes derivatives one by one."
            )
        self.rules = tuple(_pairs(rules))
        for match, rule in self.rules:
            _check_pair(match, rule)
        self.otherwise = otherwise
        self.fuse = otherwise != "gradient" if fuse is None else fuse
        self.name = name

    def rule_for(self, place: Place) -> Rule | None:
        """The rule of the first match, else the fallback's, else None."""
        for match, rule in self.rules:
            if _matches(match, place) and rule.accepts(place):
                return rule
        return fallback_rule(self.otherwise, place)

    def check(self, graph: Graph) -> None:
        """Refuse module patterns that match nothing in the graph.

        Raises:
            InputError: names the pattern and what it could have matched.
        """
        for match, _ in self.rules:
            if (
                not isinstance(match, str)
                or match in _KIND_NAMES | {"first", "last"}
                or match.startswith("op:")
            ):
                continue
            linear = [n for n in graph.nodes if n.kind == "linear" and n.dependent]
            if not any(fnmatchcase(path, match) for n in linear for path in n.modules if path):
                paths = ", ".join(dict.fromkeys(n.module for n in linear if n.module)) or "none with a module"
                raise InputError(
                    f"Expected {match!r} in {self.name} to be a kind of operator "
                    f"({', '.join(sorted(_KIND_NAMES))}), 'first', 'last', 'op:NAME' or a pattern of module "
                    f"paths with linear operators, but it matches none of: {paths}."
                )

    def __repr__(self) -> str:
        inner = ", ".join(f"({m!r}, {r!r})" for m, r in self.rules)
        usual = self.fuse == (self.otherwise != "gradient")
        return f"Composite([{inner}], otherwise={self.otherwise!r}{'' if usual else f', fuse={self.fuse}'})"


class HasComposite(Protocol):
    """A method whose rules are one composite."""

    def as_composite(self) -> Composite:
        """The composite that it walks with, under its settings."""


CompositeLike: TypeAlias = (
    "Composite | str | HasComposite | type[HasComposite] | Iterable[tuple[Match, Rule]]"
)
"""What can be given as a composite: see `composite_of`."""


def composite_of(given: CompositeLike) -> Composite:
    """The composite that was meant.

    Args:
        given: a composite; the name of a method whose rules are one, with settings behind it or without
            ("lrp-composite", "lrp:rule=z-plus", or one of your own as "file.py:Name"); such a method, or its
            class; a list of (match, rule) pairs.

    Raises:
        UnknownNameError: no method of that name.
        InputError: none of these, or a method whose rules aren't one composite; lists those whose rules are.

    >>> composite_of("lrp-epsilon").name
    'LRP (epsilon)'
    """
    if isinstance(given, Composite):
        return given
    name = given if isinstance(given, str) else type(given).__name__
    method: Any = given
    if isinstance(given, str):
        key, settings = split_settings(given)
        method = catalogue.METHODS.find(key)
        if isinstance(method, type) or settings:
            method = catalogue.METHODS.make(key, settings, method)
    elif isinstance(given, type):
        name, method = given.__name__, given() if hasattr(given, "as_composite") else given
    if hasattr(method, "as_composite"):
        found: Composite = method.as_composite()
        return found
    if isinstance(given, (list, tuple)):
        return Composite(given)
    usable = ", ".join(k for k, kind in catalogue.METHODS.items() if hasattr(kind, "as_composite"))
    raise InputError(
        "Expected a composite, a list of (match, rule) pairs or a method whose rules are one composite "
        f"({usable}) but got {name!r}. Give relprop.Composite(...), or call relprop.explain with the method."
    )


def _pairs(rules: Any) -> list[tuple[Match, Rule]]:
    try:
        found = [(match, rule) for match, rule in rules]
    except (TypeError, ValueError):
        raise InputError(
            f"Expected rules of a composite as a list of (match, rule) pairs but got {rules!r:.80}."
        ) from None
    for match, rule in found:
        if not (isinstance(match, str) or callable(match)) or not isinstance(rule, Rule):
            raise InputError(
                "Expected pairs of a match (a word or a function of a place) and a rule such as "
                f"relprop.rules.Epsilon() but got ({match!r:.40}, {rule!r:.40})."
            )
    return found


def _check_pair(match: Match, rule: Rule) -> None:
    kind = None
    if not isinstance(match, str):
        return
    if match.startswith("op:"):
        _check_operator(match[3:])
        kind = KINDS.get(match[3:])
        kind = None if kind == "multiply" else kind
    elif match in _KIND_NAMES:
        kind = match
    else:
        kind = "linear"  # "first", "last" and module patterns
    if rule.kinds and kind is not None and kind not in rule.kinds:
        raise InputError(
            f"Expected a rule for {match!r} that covers {kind!r} operators but {rule!r} is for "
            f"{', '.join(sorted(rule.kinds))}."
        )


def _check_operator(name: str) -> None:
    known = operator_names()
    if name not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise UnknownNameError(
            f"Expected op:NAME with the name of an operator of torch but got 'op:{name}'. {hint}The refusal of "
            "an operator says its name, and so do the rows of a plan (print(trace.plan(composite)))."
        )


def _matches(match: Match, place: Place) -> bool:
    if callable(match):
        return match(place)
    if match == "first":
        return place.first
    if match == "last":
        return place.last
    if match in _KIND_NAMES:
        return place.kind == match
    if match.startswith("op:"):
        return place.node.op == match[3:]
    return place.kind == "linear" and any(fnmatchcase(path, match) for path in place.node.modules if path)


DERIVATIVES = Composite([], "gradient", name="gradient")
"""Every operator by its derivative."""
