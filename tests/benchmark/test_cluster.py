"""Ray: the same records as here, also when an actor dies in the middle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.benchmark.make import scenes

from relprop.benchmark import cluster
from relprop.benchmark.formats import to_csv
from relprop.benchmark.job import Job
from relprop.benchmark.recipe import MetricEntry, Recipe
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of
from relprop.errors import RelpropError

ray = pytest.importorskip("ray")
pytestmark = [
    # Ray's own; nothing here calls what they name.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\..*"),
]


@pytest.fixture
def given(tmp_path: Path) -> Recipe:
    return scenes(tmp_path, 8)


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """One cluster of two cores for the whole file: it takes seconds to start."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


def test_the_same_records_also_when_an_actor_dies(tmp_path: Path, given: Recipe, here: None) -> None:
    path = tmp_path / "nets.py"
    path.write_text(path.read_text().replace("return Net(8)", "return Mortal(8)"))
    told: list[tuple[int, int]] = []
    done = run(given, tmp_path / "a.sqlite", engine="ray", workers=2, progress=lambda *p: told.append(p))
    assert (tmp_path / "died").exists()
    assert told == [(k, 8) for k in range(9)]
    assert (done.computed, done.problems) == (8, ())
    alone = run(given, tmp_path / "b.sqlite", workers=1)
    assert done.records == alone.records
    assert to_csv(table_of(done)) == to_csv(table_of(alone))
    # Maps that are kept travel to the actors, another metric comes back.
    other = given.with_(metrics=(MetricEntry("rank-accuracy", settings={"region": "masks"}),))
    judged = run(other, tmp_path / "a.sqlite", engine="ray", workers=2)
    assert (judged.computed, judged.explained) == (8, 0)
    assert judged.records == run(other, tmp_path / "c.sqlite", workers=1).records


@pytest.mark.nightly
def test_an_own_session_stays(given: Recipe, here: None) -> None:
    results = cluster.run_ray(given, [Job(0, ())], workers=1)
    assert next(results).chunk == 0
    results.close()
    assert ray.is_initialized()


def test_more_threads_than_cores(given: Recipe, here: None) -> None:
    text = r"^Expected a CPU in the Ray cluster for every worker but there is none free \("
    with pytest.raises(RelpropError, match=text):
        list(cluster.run_ray(given.with_(threads=50), [Job(0, ())]))
    text = r"^Expected a GPU in the Ray cluster for every worker but there is none free \("
    with pytest.raises(RelpropError, match=text):
        list(cluster.run_ray(given, [Job(0, ())], device="cuda"))


@pytest.mark.nightly
def test_files_that_only_this_machine_has(given: Recipe, here: None) -> None:
    gone = given.with_(data={"name": "folder", "folder": "/nowhere/pictures"})
    with pytest.raises(RelpropError, match=r"on the cluster: .*'/nowhere/pictures'"):
        list(cluster.run_ray(gone, [Job(0, ())], workers=1))


def test_a_cluster_that_is_not_there(given: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ConnectionError("no answer\nafter 5 s")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refused)
    text = r"^Expected to reach the Ray cluster at '10\.0\.0\.1:6379' but it failed: no answer after 5 s\. "
    text += "A cluster that asks for a token wants RAY_AUTH_MODE=token here\\.$"
    with pytest.raises(RelpropError, match=text):
        list(cluster.run_ray(given, [Job(0, ())], "10.0.0.1:6379"))
    with pytest.raises(RelpropError, match=r"Ray .*no answer"):
        list(cluster.run_ray(given, [Job(0, ())]))
