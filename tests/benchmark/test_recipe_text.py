"""A recipe as TOML: what is written is read back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.benchmark.make import pictures, recipe

from relprop.benchmark.recipe import Recipe, read_recipe, recipe_from, recipes
from relprop.benchmark.recipe_text import as_toml

OWN = Path(__file__).resolve().parents[2] / "examples" / "own" / "recipe.toml"


def again(given: Recipe) -> Recipe:
    return recipe_from(tomllib.loads(as_toml(given)))


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_comes_back(name: str) -> None:
    assert again(read_recipe(name)) == read_recipe(name)


def test_settings_and_strange_texts(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    given = recipe(
        folder,
        methods=[
            {
                "method": "lrp-alpha-beta:alpha=2,beta=1",
                "label": 'a "b" \\ c\nd\x7f日本',
                "reduce": "max-abs",
            },
            {"method": "gradient", "smooth": 0.02, "at": "features.1", "power": 2.0},
        ],
        metrics=[
            {"name": "randomisation", "layers": ["head"], "absolute": True},
            {"name": "energy", "label": "e"},
        ],
        controls=["center", "squared"],
        published={"e.inside": {'a "b"': 57.6, "gradient": 1}},
        model={"multi_label": False, "random_weights": True, "weights": str(tmp_path / "w.pth")},
        limit=3,
        maps=False,
        about="100 % of 'it'",
    )
    assert again(given) == given


def test_files_of_ones_own_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = read_recipe(OWN)
    monkeypatch.chdir(tmp_path)
    found = again(given)
    assert found.folder == ""
    assert [Path(m.method.split(":")[0]).is_file() for m in found.methods if ".py" in m.method] == [
        True,
        True,
    ]
    assert Path(found.metrics[1].name.split(":")[0]) == OWN.parent / "compactness.py"
    assert Path(found.data["name"].split(":")[0]) == OWN.parent / "upside_down.py"
    assert [m.settings for m in found.metrics] == [m.settings for m in given.metrics]
