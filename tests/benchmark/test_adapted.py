"""Adapted recipes: metrics and methods by their names, instead of the recipe's or beside them."""

from __future__ import annotations

import pytest

from relprop.benchmark.adapted import adapted
from relprop.benchmark.recipe import MetricEntry, read_recipe
from relprop.benchmark.rows import load_metrics
from relprop.errors import InputError


def test_metrics_instead_of_the_recipes() -> None:
    own = read_recipe("scenes")
    found = adapted(
        "scenes", metrics=["energy", "rank-accuracy", "pointing-game:tolerance=7,region=masks", "energy"]
    )
    assert found.metrics == (
        own.metrics[2],  # with the recipe's settings
        MetricEntry("rank-accuracy"),
        MetricEntry(
            "pointing-game", "pointing-game:tolerance=7,region=masks", {"tolerance": 7, "region": "masks"}
        ),
    )
    assert load_metrics(found)["pointing-game:tolerance=7,region=masks"].settings()["tolerance"] == 7
    assert found.methods == own.methods


def test_metrics_beside_the_recipes() -> None:
    own = read_recipe("scenes")
    found = adapted("scenes", add_metrics=["pointing-game", "pointing-game:tolerance=7"])
    assert found.metric_labels == [*own.metric_labels, "pointing-game:tolerance=7"]
    assert found.metrics[: len(own.metrics)] == own.metrics
    both = adapted("scenes", metrics=["energy"], add_metrics=["odi", "energy"])
    assert both.metric_labels == ["energy", "odi"]


def test_methods_beside_the_recipes() -> None:
    own = read_recipe("rsp-table1-voc07")
    smooth = next(m for m in own.methods if m.smooth or m.reduce != "sum" or m.at)
    label = smooth.label or smooth.method
    found = adapted(own.name, add_methods=["rsp", label, "crp"], complete=False)
    assert found.method_labels.count(label) == 1
    assert found.method_labels.index("crp") == len(found.methods) - 1
    assert found.methods[: len(own.methods)] == own.methods
    alone = adapted(own.name, methods=[label], add_methods=["crp"], complete=False)
    assert [m.label or m.method for m in alone.methods] == [label, "crp"]
    assert alone.methods[0] == smooth


def test_labels_before_names(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "a.toml"
    file.write_text(
        'methods = ["rsp"]\n[data]\nname = "scenes"\n[model]\nspec = "scenes-vgg"\n'
        '[[metrics]]\nname = "energy"\nregion = "masks"\nlabel = "odi"\n'
        '[[metrics]]\nname = "pointing-game"\ntolerance = 3\nlabel = "near"\n'
        '[[metrics]]\nname = "rank-accuracy"\nlabel = "one"\n[[metrics]]\nname = "rank-accuracy"\nlabel = "two"\n'
    )

    def named(text: str) -> MetricEntry:
        return adapted(file, metrics=[text]).metrics[0]

    assert named("odi").name == "energy"
    assert named("pointing-game").settings == {"tolerance": 3}
    assert named("rank-accuracy") == MetricEntry("rank-accuracy")  # two of that name: neither
    assert named("two").label == "two"


def test_published_numbers_of_metrics_that_are_gone() -> None:
    own = read_recipe("rsp-table1-voc07")
    kept = adapted(own.name, metrics=["pointing-game"], complete=False)
    assert kept.published == {k: v for k, v in own.published.items() if k.startswith("pointing-game.")} != {}
    assert adapted(own.name, metrics=["rank-accuracy"], complete=False).published == {}
    assert adapted(own.name, add_metrics=["rank-accuracy"], complete=False).published == own.published


def test_what_is_refused() -> None:
    with pytest.raises(
        InputError, match="Expected a metric as name:key=value,key=value but got 'energy:masks'"
    ):
        adapted("scenes", metrics=["energy:masks"])
    with pytest.raises(InputError, match="Expected --data PATH"):
        adapted("rsp-table1-voc07")
