"""Maps: explanations of a benchmark, kept so that another metric needs no explaining."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from relprop.benchmark.database import Database
from relprop.benchmark.record import KeptMap

__all__ = ["Maps", "beside_results"]


def beside_results(path: Path) -> Path:
    """The file with the maps that results were measured on.

    >>> beside_results(Path("scenes/results.sqlite")).name
    'results-maps.sqlite'
    """
    return path.with_name(f"{path.stem}-maps{path.suffix}")


class Maps(Database):
    """Packed maps on disk, by picture, class and what the map depends on.

    They lie in a file of their own: it is large, can be removed at any time (what is needed of it is computed
    again), and when it is damaged the measurements aren't.

    Args:
        path: of the SQLite file.
        facts: see `Database`.
        methods: a method's label -> the text of what its maps depend on.
    """

    kind = "maps"
    what = "maps of a benchmark"
    lost = (
        "Move it away and run the same command again: what was measured stays, and maps are made anew where "
        "they are needed."
    )
    layout = "maps 1"
    tables = """
    create table if not exists methods (id integer primary key, key text not null unique);
    create table if not exists maps (
        method integer not null, image text not null, label integer not null, packed blob not null,
        primary key (method, image, label)
    );
    """

    def __init__(self, path: str | Path, facts: Mapping[str, str] | None, methods: Mapping[str, str]) -> None:
        super().__init__(path, facts)
        self._methods = (
            self._known_ids("methods", methods) if facts is None else self._ids("methods", methods)
        )

    def of(self, image: str, methods: Iterable[str]) -> dict[tuple[str, int], bytes]:
        """(method, class) -> packed map, of those that are there for a picture."""
        found = {}
        for method in methods:
            if method in self._methods:
                rows = self._read(
                    "select label, packed from maps where method = ? and image = ?",
                    (self._methods[method], image),
                )
                found.update({(method, label): packed for label, packed in rows})
        return found

    def write(self, maps: Sequence[KeptMap]) -> None:
        """Keep maps; one that is there already is replaced.

        Raises:
            RelpropError: the disk is full, or the file can't be written; what was there before stays.
        """
        if not maps:
            return
        with self._writing():
            self._base.executemany(
                "insert or replace into maps values (?, ?, ?, ?)",
                [(self._methods[m.method], m.image, m.label, m.packed) for m in maps],
            )
