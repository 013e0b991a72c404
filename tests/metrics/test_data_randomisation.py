"""Data randomisation: the twin's map is the one compared with, and whose twin it is."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from tests.metrics import make
from tests.refusals import assert_refused

import relprop
from relprop.benchmark.keys import metric_key
from relprop.benchmark.recipe import recipe_from
from relprop.benchmark.table import tabulate
from relprop.benchmark.worker import Worker
from relprop.errors import InputError, UnknownNameError
from relprop.metrics import DataRandomisation, hog_correlation, spearman, ssim
from relprop.models import load, load_twin
from relprop.models.twins import twinned

OWN = f"{make.__file__}:twin"


def test_measure_compares_with_the_twins_map() -> None:
    case = make.model_case(1)
    assert case.x is not None
    there = relprop.explain(make.twin(), case.x, 1, "lrp-epsilon").heatmap()[0]
    expected = {
        "ssim": ssim(case.map, there),
        "spearman": spearman(case.map, there),
        "hog": hog_correlation(case.map, there),
    }
    assert DataRandomisation(twin=OWN).measure(case) == pytest.approx(expected, abs=1e-12)
    assert abs(expected["spearman"]) < 0.9
    absolute = DataRandomisation(twin=OWN, similarities=("spearman",), absolute=True)
    assert absolute.measure(case) == pytest.approx({"spearman": spearman(case.map, there, True)}, abs=1e-12)
    assert [o.key for o in absolute.reported()] == ["spearman"]


def test_a_method_that_ignores_the_network_stays_the_same() -> None:
    case = make.model_case()
    heat = case.map
    assert heat is not None
    blind = make.Case(case.sample, 0, case.heat, map=heat, x=case.x, model=case.model, explain=lambda _: heat)
    assert DataRandomisation(twin=OWN).measure(blind) == pytest.approx({"ssim": 1, "spearman": 1, "hog": 1})


def test_the_twin_is_made_once_and_goes_with_the_model() -> None:
    model = make.net().float()
    metric = DataRandomisation(twin=OWN)
    one = metric.network(model)
    assert metric.network(model) is one
    assert next(one.parameters()).dtype == torch.float32
    kept = weakref.ref(one)
    del one, model
    gc.collect()
    assert kept() is None


def test_bundled_twin_learned_by_heart_and_nothing_else() -> None:
    twin = load_twin("scenes-resnet")
    card = twin.card
    assert card["fit"]["answers right"] > 0.99
    assert card["fit"]["scenes all right"] > 0.95
    # Average precision by chance is how often a class is there, over any order of the scenes about that.
    assert card["test"]["mAP"] < card["test"]["chance"] + 0.05
    trained = load("scenes-resnet")
    assert twin.classes == trained.classes
    assert type(twin.module) is type(trained.module)
    assert DataRandomisation().network(trained.module).fc.weight.equal(twin.module.fc.weight)


def test_whose_twin_it_is() -> None:
    trained = load("scenes-resnet").module
    assert twinned(trained) == "scenes-resnet"
    assert twinned(load("scenes-vgg").module) == ""
    with torch.no_grad():
        trained.fc.bias[0] += 1
    assert twinned(trained) == ""


def test_refusals() -> None:
    case = make.model_case()
    bare = make.Case(case.sample, 0, case.heat, x=case.x, model=case.model)
    assert_refused(
        InputError,
        (lambda: DataRandomisation().measure(case), r"Expected twin='file.py:Name'.* for Sequential"),
        (lambda: DataRandomisation(twin=OWN).measure(bare), "'data-randomisation' but got explain=None"),
        (lambda: DataRandomisation(twin=3), "twin to be the specification of a model but got 3"),  # type: ignore[arg-type]
        (lambda: DataRandomisation(similarities=("mse",)), r"similarities .*got 'mse'"),
        (lambda: DataRandomisation(similarities="ssim"), "a list of names but got 'ssim'"),
    )
    assert_refused(UnknownNameError, (lambda: load_twin("scenes-vgg"), "with a twin but got 'scenes-vgg'"))


def test_a_relative_file_of_a_recipe_lies_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("from relprop.models.networks import SceneResNet as Twin\n")
    table = {
        "name": "r",
        "folder": str(tmp_path),
        "data": {"name": "scenes", "n": 1},
        "model": {"spec": "scenes-resnet", "geometry": "squash"},
        "methods": ["gradient"],
        "metrics": [{"name": "data-randomisation", "twin": "mine.py:Twin", "similarities": ["spearman"]}],
    }
    worker = Worker(recipe_from(table))
    (metric,) = worker.rows.metrics.values()
    assert metric.settings()["twin"] == f"{own}:Twin"
    (record, *_), problems = worker.process(0).records, worker.process(0).problems
    assert (set(record.values), problems) == ({"spearman"}, ())
    (entry,) = worker.recipe.metrics
    before = metric_key(worker.recipe, entry)
    own.write_text(own.read_text() + "# another version\n")
    assert metric_key(worker.recipe, entry) != before


def test_the_three_tests_of_adebayo_stand_in_one_table() -> None:
    only = {"similarities": ["spearman"]}
    table = {
        "name": "r",
        "data": {"name": "scenes", "n": 1},
        "model": {"spec": "scenes-resnet", "geometry": "squash"},
        "methods": ["gradient", "center"],
        "metrics": [
            {"name": "randomisation", "label": "cascading", "layers": ["fc", "conv1"], **only},
            {
                "name": "randomisation",
                "label": "independent",
                "mode": "independent",
                "layers": ["conv1"],
                **only,
            },
            {"name": "data-randomisation", **only},
        ],
    }
    worker = Worker(recipe_from(table))
    found = worker.process(0)
    assert found.problems == ()
    tabled = tabulate(found.records, worker.rows.metrics, list(worker.rows.methods))
    titles = [c.title for c in tabled.main]
    assert titles == [
        "Spearman randomised (cascading)",
        "Spearman randomised (independent)",
        "Spearman shuffled",
    ]
    values = {(m, c.metric): tabled.cell(m, c).value for m in tabled.methods for c in tabled.main}
    assert all(values["center", metric] == pytest.approx(1) for metric in worker.rows.metrics)
    assert all(values["gradient", metric] < 0.9 for metric in worker.rows.metrics)
