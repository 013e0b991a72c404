"""Plan: what a recipe wants and a store doesn't hold, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from relprop.benchmark.job import Asked, Job, PictureJob
from relprop.benchmark.maps import Maps
from relprop.benchmark.store import Store
from relprop.benchmark.worker import Worker

__all__ = ["Todo", "jobs", "missing"]

#: Chunk, and what is missing on which of its pictures (places in the data set).
Todo: TypeAlias = tuple[int, dict[int, Asked]]


def missing(worker: Worker, kept: Store) -> list[Todo]:
    """What has never been done, whatever came of it: a picture that can't be read isn't read again."""
    done = kept.done()
    lost, failed = kept.failed()
    asked = worker.rows.asked
    todo: list[Todo] = []
    for chunk, indices in enumerate(worker.chunked):
        parts: dict[int, Asked] = {}
        for index in indices:
            name = worker.data.names[index]
            if name in lost:
                continue
            wanted = {
                row: tuple(m for m in metrics if name not in done[row, m])
                for row, metrics in asked.items()
                if name not in failed.get(worker.rows.base(row), ())
            }
            wanted = {row: metrics for row, metrics in wanted.items() if metrics}
            if wanted:
                parts[index] = wanted
        if parts:
            todo.append((chunk, parts))
    return todo


def jobs(worker: Worker, todo: Sequence[Todo], kept: Store, maps: Maps | None) -> Iterator[Job]:
    """The same with what is known of the pictures, read when it is asked for: maps of a chunk at a time."""
    pairs = kept.pairs()
    for chunk, wanted in todo:
        parts = []
        for index, asked in wanted.items():
            name = worker.data.names[index]
            methods = dict.fromkeys(map(worker.rows.base, asked))
            there = {} if maps is None else maps.of(name, methods)
            parts.append(PictureJob(index, asked, pairs.get(name), there))
        yield Job(chunk, tuple(parts))
