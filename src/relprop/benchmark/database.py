"""Database: one SQLite file of a benchmark, written by one process at a time, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from relprop.errors import InputError, RelpropError
from relprop.files import regular_file

__all__ = ["Database", "is_blank"]

_FACTS = "create table if not exists facts (name text primary key, value text not null);"


class Database:
    """A file that holds what depends on `facts`. Subclasses say what is in it and write the methods.

    A process that dies in the middle leaves a file that SQLite repairs when it is opened next.

    Args:
        path: of the SQLite file; its folder is made.
        facts: what everything in it depends on. A file that was written under other facts is refused. None: it
            is there and will only be read, whatever its facts.

    Attributes:
        kind: what is in it, in a word.
        what: the same in words.
        lost: what is to be done when it is damaged, in a sentence.
        layout: of its tables; files of another one are refused.
        tables: SQL that makes them.

    Raises:
        InputError: the file is no such one, or belongs to other facts.
        RelpropError: it is damaged or can't be written, or another run is writing to it.
    """

    kind: ClassVar[str]
    what: ClassVar[str]
    lost: ClassVar[str]
    layout: ClassVar[str]
    tables: ClassVar[str]

    def __init__(self, path: str | Path, facts: Mapping[str, str] | None) -> None:
        self.path = Path(path)
        if facts is None or self.path.exists():
            regular_file(self.path, self.what)
        if facts is None and is_blank(self.path):
            raise InputError(
                f"Expected {self.what} in '{self.path}' but it is empty. Run the benchmark first."
            )
        # What a killed run left half-written SQLite takes back when it is opened, for which it has to write.
        whole = facts is None and not self.path.with_name(f"{self.path.name}-journal").exists()
        if facts is not None:
            self._make_folder()
        with self._explained("opening it"):
            # isolation_level None: transactions begin and end where this file says so.
            place = f"{self.path.absolute().as_uri()}?mode={'ro' if whole else 'rwc'}"
            self._base = sqlite3.connect(place, isolation_level=None, timeout=0.0, uri=True)
        try:
            self._open(facts, whole)
        except BaseException:
            self._base.close()
            raise

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RelpropError(
                f"Expected to make the folder '{self.path.parent}' but it failed: {error.strerror}."
            ) from error

    def _open(self, facts: Mapping[str, str] | None, only_read: bool) -> None:
        with self._explained("opening it"):
            # A lock goes with the process, also when it is killed.
            self._base.execute("pragma locking_mode = exclusive")
            if not only_read:
                self._base.execute("pragma synchronous = full")
                self._base.execute("begin exclusive")
                self._base.execute("commit")
            there = {name for (name,) in self._base.execute("select name from sqlite_master")}
            if there and "facts" not in there:
                raise InputError(
                    f"Expected {self.what} in '{self.path}' but it is a database of something else. "
                    "Use another --out."
                )
            if there:
                self._look_over()  # before hours of computing, and before anything is written
                known = dict(self._base.execute("select name, value from facts"))
            else:
                known = {}
            if there and known.get("layout") != self.layout:
                raise InputError(
                    f"Expected {self.what} as this version of relprop keeps them in '{self.path}' but it is "
                    "another version's. Use another --out, or remove the file."
                )
            if facts is None:
                return
        for name, value in known.items():
            if name in facts and facts[name] != value:
                raise InputError(
                    f"Expected {self.kind} of the same {name} in '{self.path}' but they were made with another "
                    f"({_short(value)}, now {_short(facts[name])}). Use another --out, or remove the file."
                )
        with self._explained("opening it"):
            self._base.executescript(_FACTS + self.tables)
        with self._writing():
            written = {**facts, "layout": self.layout}
            self._base.executemany("insert or replace into facts values (?, ?)", written.items())

    def _look_over(self) -> None:
        """Refuse a file whose pages are damaged, as far as that is quick to see."""

    def _ids(self, table: str, keys: Mapping[str, str]) -> dict[str, int]:
        """Label -> number of its key in a table of keys; new keys are added."""
        with self._writing():
            self._base.executemany(
                f"insert or ignore into {table} (key) values (?)", [(key,) for key in keys.values()]
            )
        return self._known_ids(table, keys)

    def _known_ids(self, table: str, keys: Mapping[str, str]) -> dict[str, int]:
        """Label -> number of its key, of those that are there."""
        known = {key: number for number, key in self._read(f"select id, key from {table}")}
        return {label: known[key] for label, key in keys.items() if key in known}

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._explained("reading it"):
            return self._base.execute(query, values).fetchall()

    def damaged(self, text: str) -> RelpropError:
        """The error for a file that can't be read."""
        return RelpropError(f"Expected {self.what} but '{self.path}' is damaged: {text}. {self.lost}")

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
                    f"Expected {self.what} in '{self.path}' but it is another kind of file. Use another --out. "
                    f"Or its beginning is damaged: {self.lost[0].lower()}{self.lost[1:]}"
                ) from error
            if any(word in text for word in ("malformed", "corrupt", "no such column", "no such table")):
                raise self.damaged(text) from error
            raise RelpropError(f"'{self.path}' failed while {doing}: {text}.") from error


def is_blank(path: Path) -> bool:
    """Whether a file is empty, or an SQLite file without any table: a run was killed before it wrote."""
    if not path.stat().st_size:
        return True
    try:
        with closing(sqlite3.connect(path, timeout=0.0)) as base:
            return not base.execute("select name from sqlite_master").fetchall()
    except sqlite3.DatabaseError:  # whoever opens it next tells why
        return False


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:12]}…"
