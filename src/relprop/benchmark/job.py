"""Job: what is to be done on the pictures of one chunk, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relprop.benchmark.record import KeptMap, Pair, Problem, Record

__all__ = ["Asked", "ChunkResult", "Job", "PictureJob"]

#: Row of the table -> the metrics that are wanted of it.
Asked = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class PictureJob:
    """What is to be done on one picture.

    Attributes:
        index: the picture's place in the data set.
        asked: what is wanted.
        pairs: its classes with their targets, where they are known; None: the model has to be asked.
        maps: (method, class) -> packed map, of those that are kept.
    """

    index: int
    asked: Asked
    pairs: tuple[Pair, ...] | None = None
    maps: Mapping[tuple[str, int], bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What is to be done on one chunk.

    Attributes:
        chunk: its number.
        parts: picture by picture.
    """

    chunk: int
    parts: tuple[PictureJob, ...]


@dataclass(frozen=True)
class ChunkResult:
    """What came of one chunk.

    Attributes:
        chunk: its number.
        pictures: how many pictures something was done on, damaged ones included.
        seconds: that computing it took.
        records: measurements.
        problems: what could not be done.
        done: picture -> what was asked of it, whatever came of that.
        pairs: picture -> what the model said, where it was asked.
        maps: new ones, to be kept.
        explained: on how many of the pictures something was explained.
    """

    chunk: int
    pictures: int
    seconds: float
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    done: Mapping[str, Asked] = field(default_factory=dict)
    pairs: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    maps: tuple[KeptMap, ...] = ()
    explained: int = 0
