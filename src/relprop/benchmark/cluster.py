"""Ray engine: the same chunks over the machines of a Ray cluster, or over the cores of this one."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from relprop.benchmark.job import ChunkResult, Job
from relprop.benchmark.recipe import Recipe, recipe_from
from relprop.benchmark.seen import ModelSeen
from relprop.errors import InputError, RelpropError

__all__ = ["run_ray"]


def run_ray(
    recipe: Recipe,
    jobs: Sequence[Job],
    address: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    seen: ModelSeen | None = None,
) -> Iterator[ChunkResult]:
    """Jobs by Ray Data: actors hold model and data, results come here as they are made.

    A chunk whose actor or machine dies is computed again elsewhere. Nothing is written by the actors. Folders
    and files that the recipe names must be found under the same path on every machine.

    Args:
        recipe: what to compute.
        jobs: what to do; maps that are kept travel with them.
        address: of the cluster, as for `ray.init`; None starts Ray on this machine.
        workers: actors; default: one a GPU where `device` is "cuda", else as many as CPUs allow.
        device: "cpu", or "cuda" for one GPU an actor.
        seen: of the model, see `Worker`.

    Raises:
        InputError: Ray isn't installed.
        RelpropError: no cluster there, or the run failed on it.
    """
    ray = _ray()
    # Neither telemetry nor a dashboard is needed to compute a table.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    started = not ray.is_initialized()
    try:
        if started:
            local: dict[str, Any] = {} if address else {"include_dashboard": False}
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except Exception as error:
        where = f"the Ray cluster at {address!r}" if address else "Ray on this machine"
        hint = " A cluster that asks for a token wants RAY_AUTH_MODE=token here." if address else ""
        raise RelpropError(
            f"Expected to reach {where} but it failed: {_line(error).rstrip('.')}.{hint}"
        ) from error
    try:
        with _quiet(ray):
            yield from _results(ray, recipe, jobs, workers, device, seen)
    except ray.exceptions.RayError as error:
        raise RelpropError(
            f"The run failed on the cluster: {_line(error)}. What was written is kept: run the same command again "
            "to go on."
        ) from error
    finally:
        if started:
            ray.shutdown()


def _results(
    ray: Any, recipe: Recipe, jobs: Sequence[Job], workers: int | None, device: str, seen: ModelSeen | None
) -> Iterator[ChunkResult]:
    resources = ray.cluster_resources()
    gpu = device.startswith("cuda")
    room = int(resources.get("GPU", 0)) if gpu else int(resources.get("CPU", 1)) // recipe.threads
    if room < 1:
        raise RelpropError(
            f"Expected a {'GPU' if gpu else 'CPU'} in the Ray cluster for every worker but there is none free "
            f"({resources})."
        )
    many = max(1, min(workers or room, len(jobs)))
    items = [{"job": pickle.dumps(job)} for job in jobs]
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    rows = rows.map_batches(
        _Actor,
        fn_constructor_args=(recipe.plain(), device, seen),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=many, max_tasks_in_flight_per_actor=2),
        num_cpus=recipe.threads if not gpu else None,
        num_gpus=1 if gpu else None,
    )
    for row in rows.iter_rows():
        yield pickle.loads(row["result"])  # made by our own actors


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data without its own bars and reports, which go between the lines of ours."""
    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    names = ("enable_progress_bars", "print_on_execution_start")
    before, level = {name: getattr(context, name, None) for name in names}, log.level
    log.setLevel(logging.ERROR)
    for name in names:
        setattr(context, name, False)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


class _Actor:
    """Holds a worker on one machine of the cluster."""

    def __init__(self, recipe: dict[str, Any], device: str, seen: ModelSeen | None) -> None:
        from relprop.benchmark.worker import Worker

        self._worker = Worker(recipe_from(recipe), device, seen)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        results = [self._worker.process(pickle.loads(job)) for job in batch["job"]]
        return {"result": [pickle.dumps(result) for result in results]}


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError(
            "Expected Ray for --engine ray but it is not installed. Install it with: pip install 'relprop[ray]'."
        ) from None
    return ray


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("File ") for line in lines):  # a traceback from an actor ends with the reason
        return lines[-1][:400]
    return " ".join(str(error).split())[:400] or type(error).__name__
