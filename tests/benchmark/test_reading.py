"""Reading results: the table of what is there, without data, model or computing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.benchmark.make import pictures, recipe

from relprop.benchmark import worker as worker_file
from relprop.benchmark.formats import to_csv
from relprop.benchmark.reading import read_finished, recipe_of, results_in
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.run import Finished, run
from relprop.benchmark.store import Store
from relprop.benchmark.tabled import table_of
from relprop.errors import InputError, RelpropError


@pytest.fixture
def given(tmp_path: Path) -> Recipe:
    folder = pictures(tmp_path / "set")
    return recipe(folder, methods=["center", "gradient"], controls=True, replicates=20)


def stop_after(count: int) -> object:
    def told(done: int, _: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return told


def test_without_data_and_model(given: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(given, tmp_path / "a.sqlite", workers=1)
    shutil.rmtree(tmp_path / "set")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(worker_file, "load_subject", never)
    monkeypatch.setattr(worker_file, "load_dataset", never)
    before = (tmp_path / "a.sqlite").read_bytes()
    found = read_finished(tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").read_bytes() == before
    assert (found.records, found.problems, found.recipe) == (done.records, done.problems, given)
    assert (found.pictures, found.computed, found.open, found.work) == (7, 0, 0, done.work)
    assert to_csv(table_of(found)) == to_csv(table_of(done))
    assert table_of(found) == table_of(done)  # title and notes, too
    assert recipe_of(tmp_path / "a.sqlite") == given
    with pytest.raises(
        InputError, match=r"class 1 of 'b.png' but it can't be done: Expected pictures to draw"
    ):
        found.worker.maps("b.png", 1, "gradient")


def test_what_is_partly_there(given: Recipe, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(given, tmp_path / "a.sqlite", workers=1, progress=stop_after(4))  # type: ignore[arg-type]
    found = read_finished(tmp_path / "a.sqlite")
    assert (found.pictures, found.open) == (7, 3)
    table = table_of(found)
    assert "Not finished: on 3 of 7 pictures something is missing." in table.notes
    assert {r.image for r in found.records} == {"a.png", "b.png", "c.png", "d.png"}
    # And of another metric: the first one is whole.
    run(given, tmp_path / "a.sqlite", workers=1)
    more = replace(
        given, metrics=(*given.metrics, *recipe(tmp_path / "set", metrics=["rank-accuracy"]).metrics)
    )
    with pytest.raises(KeyboardInterrupt):
        run(more, tmp_path / "a.sqlite", workers=1, progress=stop_after(2))  # type: ignore[arg-type]
    found = read_finished(tmp_path / "a.sqlite")
    assert found.open == 5
    images = {m: {r.image for r in found.records if r.metric == m} for m in more.metric_labels}
    assert len(images["energy"]) == 7
    assert images["rank-accuracy"] == {"a.png", "b.png"}


def test_files_of_ones_own_that_changed(given: Recipe, tmp_path: Path) -> None:
    own = tmp_path / "judge.py"
    code = """
from relprop.metrics import Metric, Outcome

class Judge(Metric):
    needs = "heat"
    outcomes = (Outcome("mean", "Mean"),)
    def measure(self, case):
        return {"mean": float(case.heat.mean()) + 1}
"""
    own.write_text(code)
    judged = replace(given, metrics=recipe(tmp_path / "set", metrics=[f"{own}:Judge"]).metrics)
    done = run(judged, tmp_path / "a.sqlite", workers=1)
    own.write_text(code.replace("+ 1", "+ 2"))
    assert (
        read_finished(tmp_path / "a.sqlite").records == done.records
    )  # what was measured, not what would be
    own.unlink()
    with pytest.raises(InputError, match=r"judge\.py', which does not exist"):
        read_finished(tmp_path / "a.sqlite")


def test_where_results_are(given: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("mine"), Path("relprop-benchmark/tiny")):
        run(given, folder / "results.sqlite", workers=1)
    for named, found in {
        "mine": "mine", "mine/results.sqlite": "mine", "tiny": "relprop-benchmark/tiny",
        "tiny.toml": "relprop-benchmark/tiny", tmp_path / "mine": tmp_path / "mine",
    }.items():  # fmt: skip
        assert results_in(named) == Path(found) / "results.sqlite"
    for named in ("other", "set", "no/such"):
        with pytest.raises(
            InputError, match=r"results of a benchmark in '.*' but there are none. Run it, or"
        ):
            results_in(named)


def test_in_a_folder_that_can_not_be_written(given: Recipe) -> None:
    """Somebody else's results, or those on a read-only disk."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        done = run(given, folder / "results.sqlite", workers=1)
        (folder / "results.sqlite").chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:  # who may write everywhere
                os.seteuid(65534)
            with pytest.raises(PermissionError):
                (folder / "new").touch()
            found = read_finished(results_in(folder))
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
    assert found.records == done.records


def test_what_can_not_be_read(given: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with pytest.raises(InputError, match="does not exist"):
        read_finished(path)
    path.touch()
    with pytest.raises(InputError, match=r"but it is empty. Run the benchmark"):
        read_finished(path)
    assert path.stat().st_size == 0
    base = sqlite3.connect(path)  # a run was killed after it had opened the file
    base.execute("pragma locking_mode = exclusive")
    base.execute("pragma user_version = 0")
    base.execute("create table a (b)")
    base.execute("drop table a")
    base.commit()
    base.close()
    assert path.stat().st_size > 0
    with pytest.raises(InputError, match=r"but it is empty. Run the benchmark"):
        read_finished(path)
    done = run(given, path, workers=1)
    with Store(path, {}), pytest.raises(RelpropError, match="another run holds it"):
        read_finished(path)
    base = sqlite3.connect(path)
    before = dict(base.execute("select name, value from told"))
    base.execute("delete from told")
    base.commit()
    with pytest.raises(InputError, match=r"has none yet. Run the benchmark"):
        read_finished(path)
    for name in before:
        base.execute("delete from told")
        base.executemany("insert into told values (?, ?)", {**before, name: "{"}.items())
        base.commit()
        with pytest.raises(RelpropError, match=r"a\.sqlite' is damaged"):
            read_finished(path)
    base.close()
    same: Finished = run(given, path, workers=1)  # which tells it anew
    assert same.records == done.records
    assert read_finished(path).records == done.records
