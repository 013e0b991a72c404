"""Run: compute what is missing of a benchmark, keep it, and report it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from relprop.benchmark.local import run_here, run_processes
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.record import Problem, Record
from relprop.benchmark.store import ChunkResult, Store
from relprop.benchmark.worker import Worker
from relprop.checks import check_count
from relprop.errors import InputError
from relprop.files import regular_file
from relprop.storage import check_room

__all__ = ["ENGINES", "Finished", "run"]

_MOST_WORKERS = 1024  # each is a process with a model of its own
Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = ("local", "ray")


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished benchmark.

    Attributes:
        recipe: what was computed.
        worker: of this process, to draw cases again.
        records: all measurements, in a fixed order.
        problems: what could not be done.
        pictures: how many pictures the recipe takes.
        computed: how many of them this call computed; the others were there.
        seconds: that this call took for them.
        work: seconds of computing over all workers and calls.
    """

    recipe: Recipe
    worker: Worker
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    pictures: int
    computed: int
    seconds: float
    work: float


def run(
    recipe: Recipe,
    store: str | Path,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Finished:
    """Compute the chunks of a recipe that `store` doesn't hold yet.

    Every chunk is written when it is done: a run that is killed loses the chunks in flight and no more, and
    the same call goes on. The measurements don't depend on the engine, the number of workers, or where a run
    was cut.

    Args:
        recipe: what to compute.
        store: the SQLite file.
        engine: "local" or "ray".
        workers: processes (local: default one a CPU core, one on a GPU) or actors (Ray).
        address: of a Ray cluster.
        device: where the model runs.
        progress: called with (pictures done, pictures).

    Raises:
        InputError: the recipe names something that isn't there, or the store is another recipe's.
        OutputError: the store's folder can't be written; this is seen before the model is loaded.
        RelpropError: the disk is full, a worker died, the cluster can't be reached.
    """
    if engine not in ENGINES:
        raise InputError(f"Expected engine to be 'local' or 'ray' but got {engine!r}.")
    if workers is not None:
        check_count("workers", workers, most=_MOST_WORKERS)
    if address is not None and engine != "ray":
        raise InputError("Expected --engine ray with --address. Add it, or leave the address out.")
    check_room(Path(store).parent)
    if Path(store).exists():
        regular_file(store, "results of a benchmark")
    worker = Worker(recipe, "cpu" if engine == "ray" else device)
    pictures, begin = worker.pictures, time.perf_counter()
    with Store(store, worker.facts()) as kept:
        done = kept.chunks()
        missing = [chunk for chunk in range(worker.chunks) if chunk not in done]
        counted = before = sum(count for count, _ in done.values())
        if progress is not None:
            progress(counted, pictures)
        if missing:
            results = _engine(worker, missing, engine, workers, address, device)
            with closing(results):  # type: ignore[type-var]  # generators all of them
                for result in results:
                    kept.write(result)
                    counted += result.pictures
                    if progress is not None:
                        progress(counted, pictures)
        return Finished(
            recipe,
            worker,
            tuple(kept.records()),
            tuple(kept.problems()),
            pictures,
            counted - before,
            time.perf_counter() - begin,
            sum(seconds for _, seconds in kept.chunks().values()),
        )


def _engine(
    worker: Worker,
    chunks: Sequence[int],
    engine: Engine,
    workers: int | None,
    address: str | None,
    device: str,
) -> Iterator[ChunkResult]:
    if engine == "ray":
        from relprop.benchmark.cluster import run_ray

        return run_ray(worker.recipe, chunks, address, workers, device)
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = max(1, cores // worker.recipe.threads) if device == "cpu" else 1
    many = min(workers, len(chunks))
    if many == 1:
        return run_here(worker, chunks)
    return run_processes(worker.recipe, chunks, device, many)
