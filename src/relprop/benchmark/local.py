"""Local engine: chunks in this process, or in several on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from relprop.benchmark.job import ChunkResult, Job
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.seen import ModelSeen
from relprop.benchmark.worker import Worker
from relprop.errors import RelpropError

__all__ = ["run_here", "run_processes"]


def run_here(worker: Worker, jobs: Iterable[Job]) -> Iterator[ChunkResult]:
    """One after another, in this process."""
    return (worker.process(job) for job in jobs)


def run_processes(
    recipe: Recipe, jobs: Iterable[Job], device: str, workers: int, seen: ModelSeen | None = None
) -> Iterator[ChunkResult]:
    """In `workers` processes of this machine, as they come; every process loads data, and the model, itself.

    Args:
        recipe: what to compute.
        jobs: taken as they are needed: one at work and one ready for each process.
        device: where the model runs.
        workers: processes.
        seen: of the model, see `Worker`.

    Raises:
        RelpropError: a process died (killed, or out of memory); chunks that were yielded are done.
    """
    # spawn: a forked child would inherit locks of torch's thread pools in whatever state they are.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (recipe, device, seen, os.getpid()))
    waiting = iter(jobs)
    following = next(waiting, None)
    running: set[Future[ChunkResult]] = set()
    others = set(active_children())
    try:
        while following is not None or running:
            with _children_deaf():
                while following is not None and len(running) < 2 * workers:
                    running.add(pool.submit(_process, following))
                    following = next(waiting, None)
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise RelpropError(
            "A worker process died (killed, out of memory, or started by a script without "
            '`if __name__ == "__main__":`). What was written is kept: run the same command again to go on, with '
            "fewer --workers if memory was short."
        ) from error
    except BaseException:
        # Interrupted, or the caller wants no more: nobody will read what is being computed.
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _children_deaf() -> Iterator[None]:
    """Children that start here don't hear Ctrl-C; this process does, at the end at the latest.

    They set that up themselves (`_start`), but an interrupt that meets one while it still imports would make it
    print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: Worker


def _start(recipe: Recipe, device: str, seen: ModelSeen | None, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends the pool
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which is how the parent does it
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    _worker = Worker(recipe, device, seen)


def _process(job: Job) -> ChunkResult:
    return _worker.process(job)


def _leave_with(parent: int) -> None:
    """End this process when its parent was killed: nobody would ever read its results."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
