"""Store: a benchmark's measurements in one SQLite file, written a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relprop.benchmark.database import Database
from relprop.benchmark.job import ChunkResult
from relprop.benchmark.record import Pair, Problem, Record

__all__ = ["RESULTS", "Store", "Wanted"]

#: The file in a benchmark's folder.
RESULTS = "results.sqlite"


@dataclass(frozen=True)
class Wanted:
    """Which of the measurements in a file are meant, and by what names.

    Attributes:
        methods: a row's label -> the text of what its numbers depend on.
        metrics: a metric's label -> the text of what its numbers depend on.
        pictures: names.
    """

    methods: Mapping[str, str]
    metrics: Mapping[str, str]
    pictures: Sequence[str]


class Store(Database):
    """Measurements on disk, by picture, class, and what a row and a metric depend on.

    Labels are only how they are called this time: a metric with another setting is another metric, whatever its
    label, and what isn't wanted now stays where it is. A chunk is written in one transaction: all of it is
    there, or nothing. One run at a time may write.

    Args:
        path: of the SQLite file; its folder is made.
        facts: what everything in it depends on; see `Database`. None: to read what was kept last.
        wanted: what is meant; None: what the last run wanted.
        told: texts to be kept beside it for whoever reads the file, such as the recipe.

    Raises:
        InputError: the file is no benchmark's, or another benchmark's.
        RelpropError: it is damaged or can't be written, or another run is writing to it.
    """

    kind = "results"
    what = "results of a benchmark"
    lost = (
        "Move it away and run the same command again to compute them anew; sqlite3's .recover may save a part of "
        "it for reading."
    )
    layout = "results 2"
    tables = """
    create table if not exists told (name text primary key, value text not null);
    create table if not exists pictures (
        id integer primary key, key text not null unique, asked integer not null default 0
    );
    create table if not exists methods (id integer primary key, key text not null unique);
    create table if not exists metrics (id integer primary key, key text not null unique);
    create table if not exists pairs (
        picture integer not null, label integer not null, target integer not null, predicted integer not null,
        primary key (picture, label)
    ) without rowid;
    create table if not exists done (
        method integer not null, metric integer not null, picture integer not null,
        primary key (method, metric, picture)
    ) without rowid;
    create table if not exists records (
        method integer not null, metric integer not null, picture integer not null, label integer not null,
        subsets text not null, "values" text not null,
        primary key (method, metric, picture, label)
    ) without rowid;
    create table if not exists problems (
        picture integer not null, method integer, metric integer, place text not null, text text not null
    );
    create index if not exists problems_of on problems (picture, method, metric);
    create table if not exists work (pictures integer not null, seconds real not null);
    create view if not exists measured as
        select pictures.key as image, label, methods.key as method, metrics.key as metric, subsets, "values"
        from records join pictures on pictures.id = picture
        join methods on methods.id = method join metrics on metrics.id = metric;
    """

    def __init__(
        self,
        path: str | Path,
        facts: Mapping[str, str] | None,
        wanted: Wanted | None = None,
        told: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, facts)
        try:
            self._begin(facts is not None, wanted, {} if told is None else dict(told))
        except BaseException:
            self.close()
            raise

    def _begin(self, writing: bool, wanted: Wanted | None, told: dict[str, str]) -> None:
        wanted = self._last() if wanted is None else wanted
        self.wanted = wanted
        pictures = {name: name for name in wanted.pictures}
        number = self._ids if writing else self._known_ids
        self._methods = number("methods", wanted.methods)
        self._metrics = number("metrics", wanted.metrics)
        self._pictures = number("pictures", pictures)
        self._names = {number: name for name, number in self._pictures.items()}
        if writing:
            told["methods"], told["metrics"] = json.dumps(wanted.methods), json.dumps(wanted.metrics)
            told["pictures"] = json.dumps(list(wanted.pictures))
            with self._writing():
                self._base.executemany("insert or replace into told values (?, ?)", told.items())

    def _look_over(self) -> None:
        (said,) = self._base.execute("pragma quick_check(1)").fetchone()
        if said != "ok":
            raise self.damaged(" ".join(str(said).split())[:160])

    def _last(self) -> Wanted:
        told = self.told()
        if not told:  # a run was killed before it had said anything
            return Wanted({}, {}, ())
        try:
            methods, metrics, pictures = (json.loads(told[k]) for k in ("methods", "metrics", "pictures"))
            return Wanted(dict(methods), dict(metrics), list(pictures))
        except (KeyError, ValueError, TypeError) as error:
            raise self.damaged("what the last run wanted isn't in it") from error

    def told(self) -> dict[str, str]:
        """What the last run said of itself."""
        return dict(self._read("select name, value from told"))

    def facts(self) -> dict[str, str]:
        """What everything in it depends on."""
        return dict(self._read("select name, value from facts"))

    def write(self, result: ChunkResult) -> None:
        """Keep a chunk. What was measured of the same before is replaced.

        Raises:
            RelpropError: the disk is full, or the file can't be written; what was there before stays.
        """
        done = [
            (self._methods[row], self._metrics[metric], self._pictures[image])
            for image, asked in result.done.items()
            for row, metrics in asked.items()
            for metric in metrics
        ]
        places = self._places()
        with self._writing():
            self._base.executemany("insert into work values (?, ?)", [(result.pictures, result.seconds)])
            self._base.executemany(
                "delete from records where method = ? and metric = ? and picture = ?", done
            )
            self._base.executemany(
                "delete from problems where method = ? and (metric = ? or metric is null) and picture = ?",
                done,
            )
            self._base.executemany("insert or replace into done values (?, ?, ?)", done)
            self._base.executemany(
                "update pictures set asked = 1 where id = ?", [(self._pictures[i],) for i in result.pairs]
            )
            self._base.executemany(
                "insert or replace into pairs values (?, ?, ?, ?)",
                [
                    (self._pictures[image], p.label, p.target, int(p.predicted))
                    for image, pairs in result.pairs.items()
                    for p in pairs
                ],
            )
            # Two labels may stand for the same numbers.
            self._base.executemany(
                "insert or replace into records values (?, ?, ?, ?, ?, ?)",
                [
                    (
                        self._methods[r.method], self._metrics[r.metric], self._pictures[r.image], r.label,
                        ",".join(r.subsets), json.dumps(dict(r.values)),
                    )
                    for r in result.records
                ],
            )  # fmt: skip
            self._base.executemany(
                "insert into problems values (?, ?, ?, ?, ?)",
                [
                    (self._pictures[p.image], *places.get(p.where, (None, None)), p.where, p.text)
                    for p in result.problems
                ],
            )

    def _places(self) -> dict[str, tuple[int, int | None]]:
        """Where something can fail, in words -> its method and metric."""
        both = {
            f"{row} / {metric}": (m, k)
            for row, m in self._methods.items()
            for metric, k in self._metrics.items()
        }
        return {**both, **{row: (m, None) for row, m in self._methods.items()}}

    def done(self) -> dict[tuple[str, str], set[str]]:
        """(row, metric) -> pictures on which that was done, whatever came of it."""
        found = {}
        for row, method in self._methods.items():
            for metric, number in self._metrics.items():
                pictures = self._read(
                    "select picture from done where method = ? and metric = ?", (method, number)
                )
                found[row, metric] = {self._names[p] for (p,) in pictures if p in self._names}
        return found

    def failed(self) -> tuple[set[str], dict[str, set[str]]]:
        """Pictures that can't be used at all; and row -> those that can't be explained by it."""
        lost: set[str] = set()
        rows: dict[str, set[str]] = {row: set() for row in self._methods}
        by_number = {number: row for row, number in self._methods.items()}
        for picture, method, metric in self._read("select picture, method, metric from problems"):
            if picture not in self._names:
                continue
            if method is None:
                lost.add(self._names[picture])
            elif metric is None and method in by_number:
                rows[by_number[method]].add(self._names[picture])
        return lost, rows

    def pairs(self) -> dict[str, tuple[Pair, ...]]:
        """Picture -> its classes, where the model was asked; none of them: it knows none."""
        asked = self._read("select id from pictures where asked")
        found: dict[str, list[Pair]] = {self._names[p]: [] for (p,) in asked if p in self._names}
        for picture, label, target, predicted in self._read(
            "select picture, label, target, predicted from pairs order by picture, label"
        ):
            if picture in self._names:
                name = self._names[picture]
                found.setdefault(name, []).append(Pair(label, target, bool(predicted)))
        return {name: tuple(pairs) for name, pairs in found.items()}

    def work(self) -> float:
        """Seconds of computing over all workers and runs."""
        return float(sum(seconds for (seconds,) in self._read("select seconds from work")))

    def records(self) -> list[Record]:
        """The measurements that are wanted, in the order of their keys: the same whoever computed them when."""
        found = []
        try:
            for row, method in self._methods.items():
                for metric, number in self._metrics.items():
                    for picture, label, subsets, values in self._read(
                        'select picture, label, subsets, "values" from records where method = ? and metric = ?',
                        (method, number),
                    ):
                        if picture in self._names:
                            measured = json.loads(values)
                            if not isinstance(measured, dict):
                                raise ValueError(values)
                            found.append(
                                Record(
                                    self._names[picture],
                                    label,
                                    row,
                                    metric,
                                    measured,
                                    tuple(subsets.split(",")),
                                )
                            )
        except (ValueError, TypeError, AttributeError) as error:
            raise self.damaged("a measurement in it can't be read") from error
        return sorted(found, key=lambda r: (r.image, r.label, r.method, r.metric))

    def problems(self) -> list[Problem]:
        """All that could not be done of what is wanted, in the order of the pictures."""
        words: dict[Any, list[str]] = {}
        for where, numbers in self._places().items():
            words.setdefault(numbers, []).append(where)
        order = {number: k for k, number in enumerate(self._names)}
        found: list[tuple[Any, ...]] = []
        for picture, method, metric, place, text in self._read("select * from problems"):
            if picture in self._names:
                wheres = [place] if method is None else words.get((method, metric), [])
                found += [(order[picture], where, text, self._names[picture]) for where in wheres]
        return [Problem(image, where, text) for _, where, text, image in sorted(found)]
