"""Controls: added to every recipe, drawn as the input shows the picture; the best method's map, squared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmark.make import by_key, pictures, recipe, scenes

from relprop.benchmark.controls import best_squared, raised
from relprop.benchmark.recipe import MethodEntry, recipe_from
from relprop.benchmark.record import Record
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of
from relprop.benchmark.worker import Worker
from relprop.catalogue import BASELINES
from relprop.errors import InputError
from relprop.metrics import Energy, PointingGame


def test_raised_keeps_signs_and_ranks() -> None:
    heat = np.random.default_rng(0).normal(size=(5, 7)) * 1e-200  # squares of it would be 0
    found = raised(heat, 2.0)
    assert np.array_equal(np.argsort(found, axis=None), np.argsort(heat, axis=None))
    assert np.array_equal(np.sign(found), np.sign(heat))
    assert np.allclose(np.abs(found), (heat / np.abs(heat).max()) ** 2)
    assert raised(heat, 1.0) is heat
    assert np.array_equal(raised(np.zeros((2, 2)), 2.0), np.zeros((2, 2)))


def test_rows_of_a_recipe(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")

    def labels(**changes: Any) -> list[str]:
        return recipe(folder, **{"methods": ["gradient"], **changes}).method_labels

    assert labels(controls=True) == ["gradient", *BASELINES]
    assert labels(controls=False) == ["gradient"]
    assert labels(controls=["squared", "edges:sigma=2"]) == ["gradient", "edges:sigma=2"]
    assert labels(controls=True, methods=["random", "gradient"])[:3] == ["random", "gradient", "center"]
    # Nor is one added whose label is taken.
    assert labels(controls=True, methods=[{"method": "gradient", "label": "edges"}]).count("edges") == 1
    whole = recipe(folder, controls=["edges", "squared"])
    assert whole.squares
    assert recipe_from(whole.plain()) == whole
    with pytest.raises(InputError, match=r"Expected controls of .* to be true, false or a list of texts"):
        recipe(folder, controls="edges")
    for power in (0, 9, float("nan")):
        with pytest.raises(InputError, match="Expected power of gradient"):
            recipe(folder, methods=[{"method": "gradient", "power": power}])
    with pytest.raises(InputError, match="Expected a known method"):
        Worker(recipe(folder, controls=["edgy"]))


def test_the_table_has_the_controls_and_the_best_squared(tmp_path: Path) -> None:
    methods = ["gradient", "lrp-epsilon"]
    given = scenes(tmp_path, 4, methods=methods, controls=True)
    done = run(given, tmp_path / "results.sqlite", workers=1)
    assert done.problems == ()
    table = table_of(done)
    energy = next(c for c in table.columns if c.metric == "energy")
    best = max(methods, key=lambda m: table.cell(m, energy).value)
    assert table.judged == tuple(methods)
    assert table.controls == (*BASELINES, f"{best}, squared")
    assert table.oracle == "oracle"
    # The truth at the input's 32 pixels, laid on the picture's 112 (the oracle's energy is by masks in boxes).
    assert table.cell("oracle", energy).value > 0.95
    assert table.cell("center", energy).value < 0.6

    # The squared row is what the method's map gives with that power, whatever the metric.
    plain = scenes(tmp_path, 4, methods=[{"method": best, "power": 2.0, "label": "p"}], controls=False)
    powered = by_key([r for k in range(4) for r in Worker(plain).process(k).records])
    squared = {k: r for k, r in by_key(done.records).items() if k[2] == f"{best}, squared"}
    assert {(i, label, metric) for i, label, _, metric in squared} == {(i, c, m) for i, c, _, m in powered}
    for (image, label, _, metric), record in squared.items():
        assert record.values == pytest.approx(powered[image, label, "p", metric].values, rel=1e-12)
        plainly = by_key(done.records)[image, label, best, metric]
        if metric == "pointing-game":
            assert record.values == plainly.values  # the maximum stays
    assert Worker(plain).rows.controls == ("p",)


def test_an_oracle_without_regions_is_no_row(tmp_path: Path) -> None:
    import csv

    folder = pictures(tmp_path / "set", {"a.png": ((40, 30), ("cat",)), "b.png": ((40, 30), ("dog",))})
    with (folder / "labels.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["file", "label"], ["a.png", "cat"], ["b.png", "dog"]])
    metrics = [{"name": "perturbation", "steps": 2}]
    given = recipe(folder, methods=["gradient"], metrics=metrics, controls=["edges", "oracle"])
    done = run(given, tmp_path / "results.sqlite", workers=1)
    assert done.problems == ()
    assert {r.method for r in done.records} == {"gradient", "edges"}
    table = table_of(done)
    assert (table.methods, table.controls, table.oracle) == (("gradient", "edges"), ("edges",), "")


@pytest.mark.parametrize("geometry", ["shorter", "squash", "crop"])
def test_baselines_see_what_the_input_shows(tmp_path: Path, geometry: str) -> None:
    folder = pictures(tmp_path / "set", {"a.png": ((40, 30), ("dog",))})
    (folder / "spy.py").write_text(
        "from relprop.benchmark.baselines import Baseline\n\nSEEN = []\n\n\n"
        "class Spy(Baseline):\n    def draw(self, view):\n        SEEN.append(view)\n"
        "        return view.picture[..., 1]\n"
    )
    given = recipe(
        folder, methods=["gradient"], controls=[f"{folder / 'spy.py'}:Spy"], model={"geometry": geometry}
    )
    worker = Worker(given)
    _, method = worker.rows.methods[f"{folder / 'spy.py'}:Spy"]
    worker.process(0)
    (view,) = type(method).draw.__globals__["SEEN"]
    sample = worker.data[0]
    x = worker.geometry.input(sample.image)
    assert view.picture.shape == (*view.size, 3) == (*x.shape[-2:], 3)
    shown = x[0].permute(1, 2, 0).double().numpy() * 0.2 + 0.4  # the recipe's std and mean
    assert np.allclose(view.picture, shown, atol=1e-6)
    # The dog's box is its first class's: bright red from 2 to 10 in x.
    if geometry != "crop":
        red = view.picture[..., 0] - view.picture[..., 1:].mean(2)
        assert red[view.region].mean() > 0.25 > 0.05 > abs(red[~view.region].mean())
    assert 0 < view.region.mean() < 0.2


def test_which_method_is_best() -> None:
    def record(image: str, label: int, method: str, metric: str, value: float) -> Record:
        key = {"energy": "inside", "pointing-game": "hit"}[metric]
        return Record(image, label, method, metric, {key: value}, ("all",))

    metrics = {"pointing-game": PointingGame(), "energy": Energy()}
    # Class 0 has three pairs and class 1 one: energy is averaged per class first, so "b" is best.
    records = [
        *(record(i, 0, "a", "energy", 0.6) for i in "xyz"), record("x", 1, "a", "energy", 0.1),
        *(record(i, 0, "b", "energy", 0.4) for i in "xyz"), record("x", 1, "b", "energy", 0.5),
        record("x", 0, "a", "pointing-game", 1.0), record("x", 0, "b", "pointing-game", 0.0),
        record("x", 0, "a, squared", "energy", 1.0),
    ]  # fmt: skip
    assert best_squared(records, metrics, ["a", "b"]) == "b"
    assert best_squared(records, {"pointing-game": PointingGame()}, ["a", "b"]) == "a"
    assert best_squared(records, {}, ["a", "b"]) is None
    assert best_squared([], metrics, ["a", "b"]) is None
    assert best_squared(records, metrics, ["c"]) is None


def test_rows_are_entries() -> None:
    table = {"name": "t", "data": {"name": "scenes"}, "model": {"spec": "m"}, "metrics": ["energy"]}
    found = recipe_from({**table, "methods": ["rsp"], "controls": ["center"]})
    assert found.rows == (MethodEntry("rsp"), MethodEntry("center"))
