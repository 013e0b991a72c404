"""Store: a benchmark's results in one SQLite file, written a chunk at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relprop.benchmark.record import Problem, Record
from relprop.errors import InputError, RelpropError
from relprop.files import regular_file

__all__ = ["ChunkResult", "Store"]

_TABLES = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists chunks (chunk integer primary key, pictures integer not null, seconds real not null);
create table if not exists records (
    chunk integer not null, image text not null, label integer not null, method text not null,
    metric text not null, subsets text not null, "values" text not null,
    primary key (image, label, method, metric)
) without rowid;
create table if not exists problems (
    chunk integer not null, image text not null, place text not null, text text not null
);
"""


@dataclass(frozen=True)
class ChunkResult:
    """What came of one chunk.

    Attributes:
        chunk: its number.
        pictures: how many pictures it has, damaged ones included.
        seconds: that computing it took.
        records: measurements.
        problems: what could not be done.
    """

    chunk: int
    pictures: int
    seconds: float
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]


class Store:
    """Results on disk. A chunk is written in one transaction: all of it is there, or nothing.

    A process that dies in the middle leaves a file that SQLite repairs when it is opened next. One run at a
    time may write.

    Args:
        path: of the SQLite file; its folder is made.
        facts: what the results depend on (recipe, data, weights, version). A file that was written under
            other facts is refused.

    Raises:
        InputError: the file is no benchmark's, or another benchmark's.
        RelpropError: it is damaged or can't be written, or another run is writing to it.
    """

    def __init__(self, path: str | Path, facts: Mapping[str, str]) -> None:
        self.path = Path(path)
        if self.path.exists():
            regular_file(self.path, "results of a benchmark")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RelpropError(
                f"Expected to make the folder '{self.path.parent}' but it failed: {error.strerror}."
            ) from error
        with self._explained("opening it"):
            # isolation_level None: transactions begin and end where this file says so.
            self._base = sqlite3.connect(self.path, isolation_level=None, timeout=0.0)
        try:
            self._open(facts)
        except BaseException:
            self._base.close()
            raise

    def _open(self, facts: Mapping[str, str]) -> None:
        with self._explained("opening it"):
            # An exclusive lock goes with the process, also when it is killed.
            self._base.execute("pragma locking_mode = exclusive")
            self._base.execute("pragma synchronous = full")
            self._base.execute("begin exclusive")
            self._base.execute("commit")
            there = {name for (name,) in self._base.execute("select name from sqlite_master")}
            if there and "facts" not in there:
                raise InputError(
                    f"Expected results of a benchmark in '{self.path}' but it is a database of something else. "
                    "Use another --out."
                )
            if there:  # before hours of computing, and before anything is written
                (told,) = self._base.execute("pragma quick_check(1)").fetchone()
                if told != "ok":
                    raise self._damaged(" ".join(str(told).split())[:160])
            self._base.executescript(_TABLES)
            known = dict(self._base.execute("select name, value from facts"))
        for name, value in known.items():
            if name in facts and facts[name] != value:
                raise InputError(
                    f"Expected results of the same {name} in '{self.path}' but they were made with another "
                    f"({_short(value)}, now {_short(facts[name])}). Use another --out, or remove the file."
                )
        with self._writing():
            self._base.executemany("insert or replace into facts values (?, ?)", facts.items())

    def write(self, result: ChunkResult) -> None:
        """Keep a chunk. Writing it twice keeps the last.

        Raises:
            RelpropError: the disk is full, or the file can't be written; what was there before stays.
        """
        n = result.chunk
        with self._writing():
            for table in ("chunks", "records", "problems"):
                self._base.execute(f"delete from {table} where chunk = ?", (n,))
            self._base.execute("insert into chunks values (?, ?, ?)", (n, result.pictures, result.seconds))
            self._base.executemany(
                "insert into records values (?, ?, ?, ?, ?, ?, ?)",
                [
                    (n, r.image, r.label, r.method, r.metric, ",".join(r.subsets), json.dumps(dict(r.values)))
                    for r in result.records
                ],
            )
            self._base.executemany(
                "insert into problems values (?, ?, ?, ?)",
                [(n, p.image, p.where, p.text) for p in result.problems],
            )

    def chunks(self) -> dict[int, tuple[int, float]]:
        """Chunk -> (pictures, seconds), of those that are done."""
        rows = self._read("select chunk, pictures, seconds from chunks order by chunk")
        return {chunk: (pictures, seconds) for chunk, pictures, seconds in rows}

    def records(self) -> list[Record]:
        """All measurements, in the order of their keys: the same whoever computed them in which order."""
        rows = self._read(
            'select image, label, method, metric, "values", subsets from records '
            "order by image, label, method, metric"
        )
        try:
            return [
                Record(image, label, method, metric, json.loads(values), tuple(subsets.split(",")))
                for image, label, method, metric, values, subsets in rows
            ]
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged("a measurement in it can't be read") from error

    def problems(self) -> list[Problem]:
        """All that could not be done, in order."""
        rows = self._read("select image, place, text from problems order by chunk, image, place, text")
        return [Problem(*row) for row in rows]

    def _read(self, query: str) -> list[Any]:
        with self._explained("reading it"):
            return self._base.execute(query).fetchall()

    def _damaged(self, text: str) -> RelpropError:
        return RelpropError(
            f"Expected results of a benchmark but '{self.path}' is damaged: {text}. Move it away and run the "
            "same command again to compute them anew; sqlite3's .recover may save a part of it for reading."
        )

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._explained("writing to it"):
            self._base.execute("begin immediate")
            try:
                yield
                self._base.execute("commit")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._base.in_transaction:
                    self._base.execute("rollback")
                raise

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text:
                raise RelpropError(
                    f"Expected to be the only one to write to '{self.path}' but another run holds it. "
                    "Wait for it, or use another --out."
                ) from error
            if "full" in text or "disk I/O" in text:
                raise RelpropError(
                    f"The disk of '{self.path}' is full ({text}): this chunk was not kept, all before it are. "
                    "Make room and run the same command again; it goes on where it stopped."
                ) from error
            if "not a database" in text:
                raise InputError(
                    f"Expected results of a benchmark in '{self.path}' but it is another kind of file. "
                    "Use another --out."
                ) from error
            if any(word in text for word in ("malformed", "corrupt", "no such column", "no such table")):
                raise self._damaged(text) from error
            raise RelpropError(f"'{self.path}' failed while {doing}: {text}.") from error


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:12]}…"
