"""Held: the records of a benchmark, checked and ready to be averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.benchmark.record import Record
from relprop.errors import InputError, unknown_name
from relprop.metrics.metric import Metric

__all__ = ["Held"]


@dataclass
class Held:
    """Records by (method, metric, key), checked.

    Args:
        records: at most one for each picture, class, method and metric.
        metrics: by the recipe's label.
        methods: the recipe's labels.

    Attributes:
        images: the pictures' names.
        rows: (picture, class, value, subsets) of every number.
        places: the orders in which measurements list the places of a series, by (metric, outcome).
        asked: number of records by (method, metric, subset), whether they hold a number or none.

    Raises:
        InputError: two records of the same pair.
        UnknownNameError: a record of an unknown method, metric or outcome.
    """

    records: Iterable[Record]
    metrics: Mapping[str, Metric]
    methods: Sequence[str]
    images: set[str] = field(default_factory=set)
    rows: dict[tuple[str, str, str], list[tuple[str, int, float, tuple[str, ...]]]] = field(
        default_factory=dict
    )
    places: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict)
    asked: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        seen: set[tuple[str, int, str, str]] = set()
        known = {name: {o.key for o in metric.outcomes} for name, metric in self.metrics.items()}
        for record in self.records:
            if record.method not in self.methods:
                raise unknown_name("method in the records", record.method, self.methods)
            if record.metric not in known:
                raise unknown_name("metric in the records", record.metric, known)
            pair = (record.image, record.label, record.method, record.metric)
            if pair in seen:
                raise InputError(
                    f"Expected one record for each picture, class, method and metric but got two of "
                    f"{record.image!r}, class {record.label}, {record.method!r}, {record.metric!r}. "
                    "Read each result once."
                )
            seen.add(pair)
            self.images.add(record.image)
            self.asked.update((record.method, record.metric, subset) for subset in record.subsets)
            placed: dict[str, list[str]] = {}
            for key, value in record.values.items():
                if key.split("@")[0] not in known[record.metric]:
                    raise unknown_name(f"outcome of {record.metric!r}", key, known[record.metric])
                if "@" in key:
                    own, where = key.split("@", 1)
                    placed.setdefault(own, []).append(where)
                self.rows.setdefault((record.method, record.metric, key), []).append(
                    (record.image, record.label, value, record.subsets)
                )
            for own, wheres in placed.items():
                self.places.setdefault((record.metric, own), set()).add(tuple(wheres))

    def pairs(self, method: str, metric: str, key: str, subset: str, draws: Resampling) -> Pairs:
        """The numbers of a method in a subset."""
        rows = self.rows.get((method, metric, key), [])
        return Pairs.of([(draws.index[i], label, v) for i, label, v, subsets in rows if subset in subsets])

    def missing(self, method: str, metric: str, subset: str, absent: str) -> str:
        """Why a method has no number of an outcome there, in words."""
        if self.asked[method, metric, subset]:
            return f"none of its pairs has this number{f': {absent}' if absent else ''}"
        if self.asked[method, metric, "all"]:
            return "none of its pairs is in this subset"
        if self.metrics[metric].of_model and (
            first := next((m for m in self.methods if self.asked[m, metric, "all"]), "")
        ):
            return f"said of the network, whatever the method: it stands in the row of {first}"
        return "not measured"

    def wheres(self, metric: str, key: str) -> tuple[str, ...]:
        """Places in order: `0.1` and `01 conv1` by their numbers, bare names as the measurements list them."""
        after: TopologicalSorter[str] = TopologicalSorter()
        names: set[str] = set()
        for places in sorted(self.places.get((metric, key), ())):
            names.update(places)
            for k, place in enumerate(places):
                after.add(place, *places[max(0, k - 1) : k])
        try:
            return tuple(sorted(names, key=lambda place: float(place.split(" ")[0])))
        except ValueError:
            pass
        try:
            return tuple(after.static_order())
        except CycleError:  # measurements disagree
            return tuple(sorted(names))
