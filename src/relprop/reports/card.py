"""Card: one answer on a report's page, and the section of a subject that holds its cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relprop.reports.told import Kind

__all__ = ["Bar", "Card", "Listing", "ReportSection"]


@dataclass(frozen=True)
class Listing:
    """A table of a page, which its reader can sort.

    Attributes:
        title: above it; of a folded one what is clicked.
        headers: one a column.
        rows: words, each row as long as the headers.
        right: the columns of numbers.
        values: what rows are sorted by in place of their words, by (row, column).
        folded: whether it is opened first.
        groups: words above a row, by its place.
        strong: cells that stand out, (row, column).
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    values: Mapping[tuple[int, int], float] = field(default_factory=dict)
    folded: bool = True
    groups: Mapping[int, str] = field(default_factory=dict)
    strong: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Bar:
    """What a model said of one class.

    Attributes:
        name: of the class.
        text: the number in words.
        share: length of the bar, 0 to 1; None: none is drawn.
    """

    name: str
    text: str
    share: float | None


@dataclass(frozen=True)
class Card:
    """One answer.

    Attributes:
        title: what was explained: a class, a detection, a benchmark.
        name: the class, by which cards are filtered; "" for none.
        method: how, as it was asked for; "" for none.
        about: short facts below the title.
        figures: HTML that `relprop.viz` made, in which all words are escaped.
        sentence: what it says in plain words.
        warnings: what speaks against it.
        notes: what a reader has to know besides.
        listings: its tables.
        score: of what was explained, to sort by.
        share: of the score that the map accounts for, to sort by.
        wide: whether it takes the whole width.
        below: whether its figures stand below its tables.
    """

    title: str
    name: str = ""
    method: str = ""
    about: Sequence[str] = ()
    figures: Sequence[str] = ()
    sentence: str = ""
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    listings: Sequence[Listing] = ()
    score: float | None = None
    share: float | None = None
    wide: bool = False
    below: bool = False


@dataclass(frozen=True)
class ReportSection:
    """A subject with its cards.

    Attributes:
        kind: of results.
        title: the picture's or the clip's name, the benchmark's title.
        facts: what is known of it: name and words.
        said: what the model said.
        listings: tables of the whole.
        figures: of the whole, see `Card`.
        cards: its answers.
        model: its specification, "" where nothing says it.
        dates: when its results were saved, as ISO 8601 writes it.
        versions: of relprop that wrote them.
    """

    kind: Kind
    title: str
    facts: Sequence[tuple[str, str]] = ()
    said: Sequence[Bar] = ()
    listings: Sequence[Listing] = ()
    figures: Sequence[str] = ()
    cards: Sequence[Card] = ()
    model: str = ""
    dates: Sequence[str] = ()
    versions: Sequence[str] = ()
