"""Recipes: what can be written, what is refused, and when two are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relprop.benchmark.recipe import MethodEntry, MetricEntry, read_recipe, recipe_from, recipes
from relprop.catalogue import BASELINES
from relprop.errors import InputError, UnknownNameError
from relprop.methods.registry import resolve
from relprop.metrics.registry import load_metric

NAMES = sorted(recipes())


def plain(**changes: Any) -> dict[str, Any]:
    given = {
        "name": "mine",
        "data": {"name": "scenes", "n": 5},
        "model": {"spec": "scenes-vgg"},
        "methods": ["gradient", {"method": "lrp-epsilon", "reduce": "max-abs", "smooth": 0.02}],
        "metrics": ["energy", {"name": "pointing-game", "tolerance": 3}],
    }
    return {**given, **changes}


def test_the_published_tables_are_there() -> None:
    assert set(NAMES) >= {
        "affine-bias",
        "affine-masking",
        "rsp-fig7-randomisation",
        "rsp-table1-coco14",
        "rsp-table1-voc07",
        "rsp-table2-imagenet-seg",
        "scenes",
        "scenes-vit",
    }
    assert all(line and line == line.strip() and "\n" not in line for line in recipes().values())


@pytest.mark.parametrize("name", NAMES)
def test_named_recipes_hold_what_exists(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    for entry in recipe.methods:
        if entry.method not in BASELINES:
            resolve(entry.method)
    for entry in recipe.metrics:
        metric = load_metric(entry.name, **entry.settings)
        keys = {f"{label}.{o.key}" for label in recipe.metric_labels for o in metric.outcomes}
        own = {column.split("[")[0] for column in recipe.published}
        assert {c for c in own if c.split(".")[0] == (entry.label or entry.name)} <= keys
    for methods in recipe.published.values():
        assert methods
    assert bool(recipe.published) <= bool(recipe.source)


@pytest.mark.parametrize("name", NAMES)
def test_plain_values_give_the_recipe_back(name: str) -> None:
    recipe = read_recipe(name)
    again = recipe_from(recipe.plain())
    assert again == recipe
    assert recipe_from(json.loads(json.dumps(recipe.plain()))) == recipe


def test_entries_of_every_form() -> None:
    recipe = recipe_from(
        plain(
            model={"spec": "a.py:b", "size": [8, 9], "mean": [0.5], "multi_label": True},
            metrics=[{"name": "energy", "label": "masks", "region": "masks"}, "energy"],
        )
    )
    assert recipe.methods == (MethodEntry("gradient"), MethodEntry("lrp-epsilon", "", "max-abs", 0.02))
    assert recipe.metrics == (MetricEntry("energy", "masks", {"region": "masks"}), MetricEntry("energy"))
    assert recipe.metric_labels == ["masks", "energy"]
    assert recipe.model.size == (8, 9)
    assert recipe_from(recipe.plain()) == recipe
    assert recipe.with_(limit=3, chunk=None).limit == 3
    assert recipe.with_(limit=3, chunk=None).chunk == recipe.chunk


def test_file(tmp_path: Path) -> None:
    file = tmp_path / "my own.toml"
    file.write_text(
        'about = "ü"\nmethods = ["gradient"]\nmetrics = ["energy"]\n'
        '[data]\nname = "scenes"\n[model]\nspec = "scenes-vgg"\n',
        encoding="utf-8",
    )
    recipe = read_recipe(file)
    assert (recipe.name, recipe.about) == ("my own", "ü")
    assert read_recipe(str(file)) == recipe


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"methods = [", r"Expected a recipe in TOML but '.*x\.toml' is not: "),
        (b"chunk = 1\nchunk = 2\n", r"Expected a recipe in TOML but '.*x\.toml' is not: "),
        (b"about = '\xff'", r"Expected a recipe file in UTF-8 but '.*x\.toml' has another encoding"),
        (b"", r"Expected .*x\.toml to have 'data' but it has none\."),
        (
            b"chunks = 3",
            r"Expected a known key in .*x\.toml but got 'chunks'\. Did you mean 'chunk'\? Valid: ",
        ),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: bytes, error: str) -> None:
    (tmp_path / "x.toml").write_bytes(text)
    with pytest.raises(InputError, match=error):
        read_recipe(tmp_path / "x.toml")


def test_dates_are_toml_but_no_values(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'methods = ["gradient"]\nmetrics = ["energy"]\n[data]\nname = "voc"\nyear = 2007-01-01\n'
        '[model]\nspec = "a"\n'
    )
    with pytest.raises(InputError, match=r"numbers.*date"):
        read_recipe(tmp_path / "x.toml")


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'no\.toml', which does not exist"):
        read_recipe("no.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="which is a folder"):
        read_recipe(tmp_path / "folder.toml")
    with pytest.raises(UnknownNameError, match=r"'scene'\. Did you mean 'scenes'\? Valid: FILE\.toml"):
        read_recipe("scene")


@pytest.mark.parametrize("missing", ["data", "model", "methods", "metrics"])
def test_missing_keys(missing: str) -> None:
    table = plain()
    del table[missing]
    with pytest.raises(InputError, match=f"'{missing}' but it has none"):
        recipe_from(table)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"extra": 1}, "Expected a known key in the recipe but got 'extra'"),
        ({"model": {"spec": "a", "sice": 3}}, r"known key in \[model\] of the recipe but got 'sice'.*'size'"),
        (
            {"methods": [{"method": "a", "lable": "b"}]},
            r"key in \[\[methods\]\] of the recipe but got 'lable'",
        ),
        ({"model": {}}, r"Expected \[model\] of the recipe to have a 'spec'\."),
        ({"model": 5}, r"Expected 'model' of the recipe to be a table but got 5\."),
        ({"model": {"spec": 5}}, r"Expected spec of \[model\] of the recipe to be a text but got 5\."),
        ({"model": {"spec": None}}, r"Expected spec of \[model\] of the recipe to be a text but got None\."),
        (
            {"model": {"spec": "a", "size": 224}},
            r"Expected size of .* to be a list of whole numbers but got 224",
        ),
        ({"model": {"spec": "a", "size": [1, "2"]}}, r"to be a list of whole numbers but got \[1, '2'\]"),
        ({"model": {"spec": "a", "std": "x"}}, r"Expected std of .* to be a list of numbers but got 'x'"),
        (
            {"model": {"spec": "a", "multi_label": "no"}},
            r"multi_label of .* to be true or false but got 'no'",
        ),
        (
            {"model": {"spec": "a", "geometry": "long"}},
            "Expected model.geometry to be one of 'shorter', 'squash'",
        ),
        (
            {"model": {"spec": "a", "classes": "x"}},
            "Expected model.classes to be one of 'auto', 'names', 'syn",
        ),
        (
            {"model": {"spec": "a", "predicted": "x"}},
            "Expected model.predicted to be one of 'auto', 'sigmoid'",
        ),
        ({"data": {}}, r"Expected \[data\] of the recipe to have a 'name' such as \"voc\"\."),
        ({"data": {"name": 5}}, r"Expected \[data\] of the recipe to have a 'name'"),
        ({"data": "voc"}, r"Expected \[data\] of the recipe to have a 'name'"),
        ({"methods": "gradient"}, "Expected 'methods' of the recipe to be a list but got 'gradient'"),
        ({"methods": [5]}, "Expected 'methods' of the recipe to be a table but got 5"),
        ({"methods": [{"label": "a"}]}, r"Expected \[\[methods\]\] of the recipe to have a 'method'\."),
        ({"methods": [{"method": "a", "smooth": "b"}]}, "Expected smooth of .* to be a number but got 'b'"),
        ({"methods": [{"method": "a", "smooth": 1}]}, "Expected smooth of a from 0 to 1 but got 1"),
        ({"methods": [{"method": "a", "smooth": -0.1}]}, "Expected smooth of a from 0 to 1 but got -0.1"),
        (
            {"methods": [{"method": "a", "smooth": float("nan")}]},
            "Expected smooth of a from 0 to 1 but got nan",
        ),
        (
            {"methods": [{"method": "a", "reduce": "mean"}]},
            "Expected reduce of a to be one of 'sum', 'max-abs'",
        ),
        ({"methods": []}, "Expected at least one method and one metric in recipe 'mine'"),
        (
            {"methods": ["a", "b", "a"]},
            "Expected methods with different labels but 'a' comes twice. Set label",
        ),
        ({"methods": ["a", {"method": "b", "label": "a"}]}, "different labels but 'a' comes twice"),
        ({"metrics": []}, "Expected at least one method and one metric in recipe 'mine'"),
        ({"metrics": "energy"}, "Expected 'metrics' of the recipe to be a list but got 'energy'"),
        ({"metrics": [{"label": "a"}]}, "Expected every metric of the recipe to have a 'name'"),
        (
            {"metrics": [{"name": 3}]},
            r"Expected name of \[\[metrics\]\] of the recipe to be a text but got 3",
        ),
        ({"metrics": [{"name": "energy", "settings": 3}]}, "Expected 'settings' of the recipe to be a table"),
        ({"metrics": ["energy", {"name": "energy"}]}, "Expected metrics with different labels but 'energy'"),
        ({"targets": "top-5"}, "Expected targets to be one of 'labels', 'top-1' but got 'top-5'"),
        ({"chunk": 0}, "Expected chunk to be a whole number from 1 to [0-9]+ but got 0"),
        ({"chunk": 2.0}, "Expected chunk to be a whole number from 1 to [0-9]+ but got 2.0"),
        ({"batch": True}, "Expected batch to be a whole number from 1 to [0-9]+ but got True"),
        ({"limit": -1}, "Expected limit to be a whole number from 0 to [0-9]+ but got -1"),
        ({"seed": "0"}, "Expected seed to be a whole number from 0 to [0-9]+ but got '0'"),
        ({"threads": 0}, "Expected threads to be a whole number from 1 to [0-9]+ but got 0"),
        ({"replicates": None}, "Expected replicates to be a whole number from 1 to [0-9]+ but got None"),
        ({"name": 5}, "Expected name of the recipe to be a text but got 5"),
        ({"published": {"energy.inside": 5}}, "Expected published of the recipe to be tables of numbers"),
        (
            {"published": {"energy.inside": {"a": "5"}}},
            "Expected published of the recipe to be tables of numbers",
        ),
    ],
)
def test_wrong_values(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError, match=error):
        recipe_from(plain(**changes))
