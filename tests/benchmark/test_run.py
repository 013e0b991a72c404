"""A whole run: what it computes, what it finds there, and that a killed one ends like one that wasn't."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark.make import PICTURES, by_key, pictures, recipe, scenes

from relprop.benchmark.formats import to_csv
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.run import Finished, run
from relprop.benchmark.tabled import table_of
from relprop.errors import InputError, RelpropError

# A run that stops to wait after so many pictures: to be killed there, with its workers at work.
CHILD = """
import json, sys, time
from multiprocessing import active_children
from pathlib import Path
from relprop.benchmark.recipe import recipe_from
from relprop.benchmark.run import run

def told(done, pictures):
    print(done, *(p.pid for p in active_children()), flush=True)
    if done >= int(sys.argv[4]):
        time.sleep(60)

if __name__ == "__main__":
    table = json.loads(Path(sys.argv[1]).read_text())
    run(recipe_from(table), sys.argv[2], workers=int(sys.argv[3]), progress=told)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended but wasn't asked about yet doesn't."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def csv(done: Finished) -> str:
    return to_csv(table_of(done))


@pytest.fixture
def given(tmp_path: Path) -> Recipe:
    return scenes(tmp_path, 8)


def test_progress_and_what_is_finished(tmp_path: Path) -> None:
    given = recipe(pictures(tmp_path), chunk=3)
    told: list[tuple[int, int]] = []
    done = run(given, tmp_path / "new" / "a.sqlite", workers=1, progress=lambda *p: told.append(p))
    assert told == [(0, 7), (3, 7), (6, 7), (7, 7)]
    assert (done.pictures, done.computed) == (7, 7)
    assert 0 < done.work <= done.seconds
    assert done.recipe == given
    assert done.problems == ()
    assert list(by_key(done.records)) == sorted(by_key(done.records))
    expected = [r for k in range(done.worker.chunks) for r in done.worker.process(k).records]
    assert by_key(done.records) == by_key(expected)


def test_the_second_time_nothing_is_computed(tmp_path: Path, given: Recipe) -> None:
    first = run(given, tmp_path / "a.sqlite", workers=1)
    told: list[tuple[int, int]] = []
    second = run(given, tmp_path / "a.sqlite", workers=4, progress=lambda *p: told.append(p))
    assert told == [(8, 8)]
    assert (second.computed, second.pictures) == (0, 8)
    assert second.work == first.work
    assert (second.records, second.problems) == (first.records, first.problems)
    assert csv(second) == csv(first)


def test_other_names_and_more_draws_find_the_same_results(tmp_path: Path, given: Recipe) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    again = run(replace(given, name="other", replicates=50), tmp_path / "a.sqlite")
    assert again.computed == 0


def test_other_models_data_targets_and_weights_are_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    given = recipe(folder, methods=["center"])
    kept = run(given, tmp_path / "a.sqlite", workers=1)
    for other in (replace(given, targets="top-1"), replace(given, model=replace(given.model, size=(8, 8)))):
        with pytest.raises(InputError, match=r"same (targets|model)"):
            run(other, tmp_path / "a.sqlite")
    nets = (folder / "nets.py").read_text()
    (folder / "nets.py").write_text(
        nets.replace("nn.Linear(8, classes)", "nn.Linear(8, classes, bias=False)")
    )
    with pytest.raises(InputError, match="same weights"):
        run(given, tmp_path / "a.sqlite")
    (folder / "nets.py").write_text(nets)
    labels = (folder / "labels.csv").read_bytes()
    (folder / "labels.csv").write_bytes(labels + b"a.png,dog,1,1,4,4\n")
    with pytest.raises(InputError, match="same data"):
        run(given, tmp_path / "a.sqlite")
    (folder / "labels.csv").write_bytes(labels)
    again = run(given, tmp_path / "a.sqlite")
    assert (again.computed, again.records) == (0, kept.records)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"engine": "spark"}, "Expected engine to be 'local' or 'ray' but got 'spark'."),
        ({"workers": 0}, "Expected workers to be a whole number from 1 to 1024 but got 0."),
        ({"address": "auto"}, "Expected --engine ray with --address. Add it, or leave the address out."),
        ({"device": "abacus"}, "Expected a device of this machine but got 'abacus'"),
    ],
)
def test_options_that_can_not_be(tmp_path: Path, given: Recipe, options: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        run(given, tmp_path / "a.sqlite", **options)
    assert error in str(caught.value)
    assert not (tmp_path / "a.sqlite").exists()


def test_problems_are_kept_and_not_tried_again(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    (folder / "c.png").write_bytes(b"")
    given = recipe(folder, methods=["center", "gradient"])
    first = run(given, tmp_path / "a.sqlite", workers=1)
    assert [(p.image, p.where) for p in first.problems] == [("c.png", "data")]
    assert first.computed == first.pictures == 7
    notes = table_of(first).notes
    assert "Left out: 1 of 7 pictures that could not be used." in notes
    assert "Left out, for the model has no such class: yak." in notes
    second = run(given, tmp_path / "a.sqlite")
    assert (second.computed, second.problems) == (0, first.problems)
    # The picture is mended: that is other data.
    pictures(folder, {"c.png": PICTURES["c.png"]})
    pictures(folder)
    with pytest.raises(InputError, match="same data"):
        run(given, tmp_path / "a.sqlite")


def test_a_full_disk_and_on(tmp_path: Path, given: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    from relprop.benchmark.job import ChunkResult
    from relprop.benchmark.store import Store

    write = Store.write

    def full_after_three(self: Store, result: ChunkResult) -> None:
        if result.chunk == 3:
            (pages,) = self._base.execute("pragma page_count").fetchone()
            self._base.execute(f"pragma max_page_count = {pages}")
            records = tuple(replace(r, label=k) for k in range(500) for r in result.records)
            result = replace(result, records=records)
        write(self, result)

    monkeypatch.setattr(Store, "write", full_after_three)
    with pytest.raises(RelpropError, match=r"a\.sqlite' is full .*goes on where it stopped"):
        run(given, tmp_path / "a.sqlite", workers=1)
    monkeypatch.setattr(Store, "write", write)
    done = run(given, tmp_path / "a.sqlite", workers=1)
    assert done.computed == 5
    assert csv(done) == csv(run(given, tmp_path / "b.sqlite", workers=1))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_taken_up_again(tmp_path: Path, given: Recipe, workers: int) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(given.plain()))
    store = tmp_path / "a.sqlite"
    words = [sys.executable, "-c", CHILD, str(tmp_path / "recipe.json"), str(store), str(workers), "2"]
    if workers > 1:  # spawned processes read the main file again
        (tmp_path / "child.py").write_text(CHILD)
        words[1:3] = [str(tmp_path / "child.py")]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as lines:
        for line in lines:
            count, *others = map(int, line.split())
            if count >= 2:
                break
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert len(others) == (workers if workers > 1 else 0)
    deadline = time.monotonic() + 10
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, others))
    told: list[tuple[int, int]] = []
    done = run(given, store, workers=1, progress=lambda *p: told.append(p))
    assert told[0] == (2, 8)
    assert done.computed == 6
    whole = run(given, tmp_path / "b.sqlite", workers=1)
    assert done.records == whole.records
    assert csv(done).encode() == csv(whole).encode()
