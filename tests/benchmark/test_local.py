"""Several processes on this machine: the same digits, and nobody left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest
from tests.benchmark.make import scenes

from relprop.benchmark import local
from relprop.benchmark.formats import to_csv
from relprop.benchmark.job import Job
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of
from relprop.benchmark.worker import Worker
from relprop.errors import RelpropError


@pytest.fixture
def given(tmp_path: Path) -> Recipe:
    return scenes(tmp_path, 8)


@pytest.fixture(autouse=True)
def _nobody_left() -> Iterator[None]:
    before = set(active_children())
    yield
    assert set(active_children()) == before


def test_here_is_lazy(given: Recipe) -> None:
    worker = Worker(given)
    results = local.run_here(worker, [Job(2, ()), Job(0, ())])
    assert next(results).chunk == 2
    assert [r.chunk for r in results] == [0]


def test_interrupted_and_taken_up_by_several(tmp_path: Path, given: Recipe) -> None:
    seen = []

    def interrupt(done: int, pictures: int) -> None:
        seen.append(done)
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(given, tmp_path / "a.sqlite", workers=1, progress=interrupt)
    assert seen == [0, 1, 2]
    done = run(given, tmp_path / "a.sqlite", workers=2)
    assert done.computed == 6
    alone = run(given, tmp_path / "b.sqlite", workers=1)
    assert done.records == alone.records
    assert to_csv(table_of(done)) == to_csv(table_of(alone))


def test_a_worker_that_dies_is_reported_and_the_run_goes_on_later(tmp_path: Path, given: Recipe) -> None:
    path = tmp_path / "nets.py"
    path.write_text(path.read_text().replace("return Net(8)", "return Mortal(8)"))
    text = r"^A worker process died \(killed, out of memory, or .*\)\. What was written is kept: run the same"
    with pytest.raises(RelpropError, match=text):
        run(given, tmp_path / "a.sqlite", workers=2)
    assert (tmp_path / "died").exists()
    done = run(given, tmp_path / "a.sqlite", workers=1)
    assert done.problems == ()
    path.write_text(path.read_text().replace("return Mortal(8)", "return Net(8)"))
    assert done.records == run(given, tmp_path / "b.sqlite", workers=1).records


def test_a_parent_that_is_gone_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    parents = iter([7, 7, 1])
    monkeypatch.setattr(local.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(local.time, "sleep", lambda _: None)
    monkeypatch.setattr(local.os, "_exit", left.append)
    local._leave_with(7)
    assert left == [1]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs POSIX signals")
def test_workers_that_start_do_not_hear_ctrl_c() -> None:
    ask = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"

    def deaf() -> str:
        done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    with local._children_deaf():
        inside = deaf()
    assert (inside, deaf()) == ("True", "False")
