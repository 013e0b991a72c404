"""Keys: they change with all that a map or a measurement depends on, and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relprop.benchmark.keys import data_key, map_key, method_key, metric_key, model_key
from relprop.benchmark.recipe import Recipe, recipe_from
from relprop.datasets.scene_samples import SceneSamples


def given(**changes: Any) -> Recipe:
    table = {
        "name": "mine",
        "data": {"name": "scenes", "n": 5},
        "model": {"spec": "scenes-vgg", "size": [56, 64]},
        "methods": [{"method": "lrp-epsilon", "reduce": "max-abs", "smooth": 0.02}],
        "metrics": [{"name": "pointing-game", "tolerance": 3}],
    }
    return recipe_from({**table, **changes})


def method(**changes: Any) -> Recipe:
    return given(methods=[{"method": "lrp-epsilon", "reduce": "max-abs", "smooth": 0.02, **changes}])


def keys(recipe: Recipe, seeded: bool = False) -> dict[str, str]:
    data = SceneSamples(**{k: v for k, v in recipe.data.items() if k != "name"})
    return {
        "data": data_key(recipe, data),
        "model": model_key(recipe),
        "map": map_key(recipe, recipe.methods[0]),
        "row": method_key(recipe, recipe.methods[0], seeded),
        "metric": metric_key(recipe, recipe.metrics[0]),
    }


def changed(other: Recipe) -> set[str]:
    before, after = keys(given()), keys(other)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"data": {"name": "scenes", "n": 6}}, {"data"}),
        ({"data": {"name": "scenes", "n": 5, "seed": 1}}, {"data"}),
        ({"model": {"spec": "scenes-resnet", "size": [56, 64]}}, {"model"}),
        ({"model": {"spec": "scenes-vgg", "size": [56, 64], "geometry": "squash"}}, {"model"}),
        ({"model": {"spec": "scenes-vgg", "size": [64, 64]}}, {"model"}),
        ({"model": {"spec": "scenes-vgg", "size": [56, 64], "predicted": "top-5"}}, {"model"}),
        ({"metrics": [{"name": "pointing-game", "tolerance": 4}]}, {"metric"}),
        ({"metrics": [{"name": "energy"}]}, {"metric"}),
        # How it is shown, how it is split, what else there is.
        ({"metrics": [{"name": "pointing-game", "tolerance": 3, "label": "x"}, "energy"]}, set()),
        ({"name": "other", "about": "x", "source": "y", "replicates": 7}, set()),
        ({"published": {"pointing-game.hit": {"lrp-epsilon": 1}}}, set()),
        ({"limit": 1, "chunk": 3, "batch": 3, "threads": 3, "seed": 1, "controls": False}, set()),
    ],
    ids=str,
)
def test_of_recipes(changes: dict[str, Any], found: set[str]) -> None:
    assert changed(given(**changes)) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"label": "x"}, ""),
        ({"power": 1}, ""),  # as it is by default
        ({"smooth": 0.03}, "row"),
        ({"power": 2.0}, "row"),
        ({"reduce": "positive"}, "map row"),
        ({"at": "a"}, "map row"),
        ({"method": "lrp-epsilon:epsilon=0.1"}, "map row"),
    ],
    ids=str,
)
def test_of_methods(changes: dict[str, Any], found: str) -> None:
    assert changed(method(**changes)) == set(found.split())


def test_the_seed_is_of_baselines() -> None:
    one, other = keys(given(seed=1), seeded=True), keys(given(), seeded=True)
    assert {name for name in one if one[name] != other[name]} == {"row"}


def test_not_where_files_lie_but_what_is_in_them(tmp_path: Path) -> None:
    def lying_in(place: str, code: str) -> dict[str, str]:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        for name in ("net", "way", "judge"):
            (folder / f"{name}.py").write_text(code)
        recipe = given(
            model={"spec": f"{folder}/net.py:make", "weights": f"{place}/w.pth", "labels": f"{place}/l.txt"},
            methods=[f"{folder}/way.py:Way:steps=3"],
            metrics=[f"{folder}/judge.py:Judge"],
        )
        return keys(recipe)

    before = lying_in("here", "a = 1")
    assert lying_in("there", "a = 1") == before
    after = lying_in("there", "a = 2")
    assert {name for name in before if before[name] != after[name]} == {"map", "row", "metric"}


def test_not_the_order_of_settings() -> None:
    one = given(metrics=[{"name": "pointing-game", "tolerance": 3, "region": "masks"}])
    other = given(metrics=[{"region": "masks", "tolerance": 3, "name": "pointing-game"}])
    assert keys(one) == keys(other)
