"""Record: what one metric measured on one (picture, class, method), and what else a benchmark keeps of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["KeptMap", "Pair", "Problem", "Record"]


@dataclass(frozen=True)
class Record:
    """One line of a benchmark.

    Attributes:
        image: the picture's name.
        label: the class, an index into the data set's classes; -1: all objects are meant.
        method: the method as the recipe labels it.
        metric: the metric as the recipe labels it.
        values: what `Metric.measure` returned; empty where nothing applied.
        subsets: which of `metrics.SUBSETS` the pair is in.
    """

    image: str
    label: int
    method: str
    metric: str
    values: Mapping[str, float] = field(default_factory=dict)
    subsets: tuple[str, ...] = ("all",)


@dataclass(frozen=True)
class Problem:
    """What could not be done, in words.

    Attributes:
        image: the picture's name.
        where: what was being done: "data", "model" or a method's name, or "method / metric".
        text: the error's own text.
    """

    image: str
    where: str
    text: str


@dataclass(frozen=True)
class Pair:
    """What the model said about one class of a picture.

    Attributes:
        label: the class; see `Record`.
        target: the model's output that is explained.
        predicted: whether the model predicts the class.
    """

    label: int
    target: int
    predicted: bool


@dataclass(frozen=True)
class KeptMap:
    """A map as it is kept.

    Attributes:
        image: the picture's name.
        label: the class; see `Record`.
        method: the method as the recipe labels it.
        packed: see `relprop.benchmark.packed`.
    """

    image: str
    label: int
    method: str
    packed: bytes
