"""Run: compute what is missing of a benchmark, keep it, and report it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from relprop.bar import draws_bar
from relprop.benchmark.database import is_blank
from relprop.benchmark.job import ChunkResult, Job
from relprop.benchmark.local import run_here, run_processes
from relprop.benchmark.maps import Maps, beside_results
from relprop.benchmark.plan import jobs, missing
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.record import Problem, Record
from relprop.benchmark.seen import ModelSeen, identity
from relprop.benchmark.store import Store, Wanted
from relprop.benchmark.table import Table
from relprop.benchmark.tabled import table_of
from relprop.benchmark.worker import Worker
from relprop.checks import Progress, check_count
from relprop.errors import InputError
from relprop.files import regular_file
from relprop.storage import check_room

__all__ = ["ENGINES", "Finished", "run"]

_MOST_WORKERS = 1024  # each is a process with a model of its own
Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = ("local", "ray")


@dataclass(frozen=True, eq=False, repr=False)
class Finished:
    """A finished benchmark, or one as far as it went.

    Attributes:
        recipe: what was computed.
        worker: of this process, to draw cases again.
        records: all measurements, in a fixed order.
        problems: what could not be done.
        pictures: how many pictures the recipe takes.
        computed: on how many of them this call did something; the others were there.
        explained: on how many of those it explained something; the others were judged by maps that were kept.
        seconds: that this call took for them.
        work: seconds of computing over all workers and calls.
        open: on how many pictures something is still missing.
    """

    recipe: Recipe
    worker: Worker
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    pictures: int
    computed: int
    explained: int
    seconds: float
    work: float
    open: int = 0

    @property
    def table(self) -> Table:
        """Methods down, metrics across, with intervals and notes; made anew at every call."""
        return table_of(self)

    def __repr__(self) -> str:
        left = f", {self.open} open" if self.open else ""
        return f"Finished({self.recipe.name}, {self.pictures} pictures, {len(self.records)} records{left})"

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        from relprop.benchmark.html import to_html

        return to_html(self.table)


@draws_bar("pictures")
def run(
    recipe: Recipe,
    store: str | Path,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    progress: Progress | bool | None = None,
    drawn: Sequence[str] = (),
) -> Finished:
    """Compute what a recipe wants and `store` doesn't hold yet.

    What is measured is kept by what it depends on, so that another method, metric, setting or limit computes no
    more than itself. Maps are kept beside the store (`recipe.maps`): a metric that is new is measured on them.

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
        progress: True for a bar in a notebook or on a terminal; or a function of (pictures done, pictures).
        drawn: pictures that will be asked for when it is done, which have to be among those that are judged.

    Raises:
        InputError: the recipe names something that isn't there, or the store is of other data, another model or
            other targets.
        OutputError: the store's folder can't be written; this is seen before the model is loaded.
        RelpropError: the disk is full, a worker died, the cluster can't be reached.
    """
    if engine not in ENGINES:
        raise InputError(f"Expected engine to be 'local' or 'ray' but got {engine!r}.")
    if workers is not None:
        check_count("workers", workers, most=_MOST_WORKERS)
    if address is not None and engine != "ray":
        raise InputError("Expected --engine ray with --address. Add it, or leave the address out.")
    tell = progress if callable(progress) else lambda done, total: None
    path = Path(store)
    check_room(path.parent)
    worker = Worker(recipe, "cpu" if engine == "ray" else device, _seen(recipe, path))
    _check_drawn(drawn, [worker.data.names[i] for i in worker.indices])
    facts, begin = worker.facts(), time.perf_counter()
    wanted = Wanted(
        worker.rows.row_keys, worker.rows.metric_keys, [worker.data.names[i] for i in worker.indices]
    )
    told = {
        "recipe": json.dumps(recipe.plain()),
        "model": worker.seen.text(),
        "classes": json.dumps(list(worker.data.classes)),
    }
    with ExitStack() as files:
        kept = files.enter_context(Store(path, facts, wanted, told))
        file = beside_results(path)
        if recipe.maps or file.exists():
            maps = files.enter_context(Maps(file, facts, worker.rows.map_keys))
            worker.kept = file
        else:
            maps = None
        todo = missing(worker, kept)
        before = worker.pictures - sum(len(parts) for _, parts in todo)
        counted, explained = before, 0
        tell(counted, worker.pictures)
        if todo:
            given = jobs(worker, todo, kept, maps)
            results = _engine(worker, given, len(todo), engine, workers, address, device)
            with closing(results):  # type: ignore[type-var]  # generators all of them
                for result in results:
                    # Maps first: those without measurements are found by the next run.
                    if maps is not None and recipe.maps:
                        maps.write(result.maps)
                    kept.write(result)
                    counted += result.pictures
                    explained += result.explained
                    tell(counted, worker.pictures)
        worker.pairs = kept.pairs()
        return Finished(
            recipe,
            worker,
            tuple(kept.records()),
            tuple(kept.problems()),
            worker.pictures,
            counted - before,
            explained,
            time.perf_counter() - begin,
            kept.work(),
        )


def _check_drawn(drawn: Sequence[str], judged: Sequence[str]) -> None:
    """Refuse pictures that aren't there, before hours of computing."""
    known = set(judged)
    for name in drawn:
        if name not in known:
            close = get_close_matches(name, judged, n=1)
            hint = (
                f"Did you mean {close[0]!r}?" if close else f"The first is {judged[0]!r}." if judged else ""
            )
            raise InputError(
                f"Expected --picture to name one of the {len(judged)} pictures that are judged but got {name!r}. "
                + hint
            )


def _seen(recipe: Recipe, path: Path) -> ModelSeen | None:
    """What an earlier run saw of the model, where it can be told, without loading it, that it is the same."""
    if not path.exists():
        return None
    regular_file(path, Store.what)
    if is_blank(path):
        return None
    with Store(path, None, Wanted({}, {}, ())) as kept:
        seen = ModelSeen.read(kept.told().get("model", ""))
    return seen if seen is not None and seen.identity and seen.identity == identity(recipe) else None


def _engine(
    worker: Worker,
    given: Iterable[Job],
    count: int,
    engine: Engine,
    workers: int | None,
    address: str | None,
    device: str,
) -> Iterator[ChunkResult]:
    if engine == "ray":
        from relprop.benchmark.cluster import run_ray

        return run_ray(worker.recipe, list(given), address, workers, device, worker.seen)
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = max(1, cores // worker.recipe.threads) if device == "cpu" else 1
    many = min(workers, count)
    if many == 1:
        return run_here(worker, given)
    return run_processes(worker.recipe, given, device, many, worker.seen)
