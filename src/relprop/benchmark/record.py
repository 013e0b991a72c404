"""Record: what one metric measured on one (picture, class, method)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Problem", "Record"]


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
