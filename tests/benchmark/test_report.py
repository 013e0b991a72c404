"""What is written of a finished benchmark: rows, figures, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmark.make import PICTURES, pictures, recipe
from tests.viz.make import names, words

from relprop.benchmark.figures import figures
from relprop.benchmark.report import write_report
from relprop.benchmark.run import Finished, run
from relprop.benchmark.tabled import table_of
from relprop.errors import UnknownNameError


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("report")
    methods = [
        "center",
        "gradient-x-input",
        "lrp-epsilon",
        {"method": "gradient-x-input", "power": 2.0, "label": "steeper"},
    ]
    published = {"energy.inside": {"gradient-x-input": 40.0, "lrp-epsilon": 50.0, "center": 10.0}}
    given = recipe(
        pictures(folder / "set"),
        methods=methods,
        controls=True,
        metrics=[{"name": "pointing-game", "tolerance": 3}, {"name": "energy"}],
        published=published,
        network="a net of theirs",
        source="a paper",
    )
    return run(given, folder / "results.sqlite", workers=1)


def test_rows_of_every_kind_and_what_is_published(done: Finished) -> None:
    table = table_of(done)
    assert table.judged == ("gradient-x-input", "lrp-epsilon")
    assert table.oracle == "oracle"
    assert {"center", "random", "edges", "oracle", "steeper"} < set(table.controls)
    assert (table.network, table.source) == ("a net of theirs", "a paper")
    assert [c.id for c in table.published] == ["energy.inside"]
    (note,) = [n for n in table.notes if "published order" in n]
    assert "That order was found on a net of theirs." in note


def test_a_power_of_a_method_judges_no_order_of_pixels(done: Finished) -> None:
    # Squared maps point where their methods do: no † comes from them there. In energy they differ.
    table = table_of(done)
    for method in table.judged:
        unbeaten = table.cell(method, "pointing-game.hit").unbeaten
        assert not [c for c in unbeaten if c == "steeper" or c.endswith("squared")]
    steeper, plain = (table.cell(m, "energy.inside").value for m in ("steeper", "gradient-x-input"))
    assert steeper != plain


def test_methods_are_compared_with_each_other_alone(done: Finished) -> None:
    table = table_of(done)
    assert {(c.one, c.two) for c in table.comparisons} == {table.judged}
    assert any(n.startswith("Energy inside: ") for n in table.notes)


def test_pictures_of_the_maps_are_drawn_with_the_seed(done: Finished) -> None:
    table = table_of(done)
    drawn = dict(figures(done, table))
    assert {"bars", "maps", "cases-pointing-game", "cases-energy"} == set(drawn)
    figure = drawn["maps"]()
    shown = words(figure).split("shown: ")[1].replace("\n", " ").rstrip(".").split(", ")
    assert len(shown) == len(set(shown)) == 4
    assert set(shown) <= set(PICTURES)
    assert [n.split("-")[0] for n in names(figure)] == 4 * ["picture", "map", "map"]
    titles = words(figure).splitlines()
    assert {"cat", "dog", "owl"} <= set(titles)  # every class, as there are pictures enough
    again = words(dict(figures(done, table))["maps"]())
    assert again == words(figure)


def test_pictures_of_the_maps_can_be_named(done: Finished) -> None:
    table = table_of(done)
    figure = dict(figures(done, table, ["e.png", "b.png"]))["maps"]()
    assert words(figure).replace("\n", " ").rstrip().endswith("shown: e.png, b.png.")
    assert len(names(figure)) == 2 * 3
    with pytest.raises(UnknownNameError, match=r"picture that every method explained but got 'z\.png'"):
        dict(figures(done, table, ["z.png"]))


def test_sheets_say_that_the_line_is_a_box(done: Finished) -> None:
    sheet = dict(figures(done, table_of(done)))["cases-energy"]()
    assert "dashes: its box" in words(sheet)


def test_files_and_their_kinds(done: Finished, tmp_path: Path) -> None:
    warned: list[str] = []
    table, files = write_report(done, tmp_path, warned.append, kinds=("svg",))
    assert warned == []
    assert {f.name for f in files} == {
        *(f"table.{e}" for e in ("txt", "csv", "md", "json", "tex")), "pairs.csv", "pairs.md", "provenance.json",
        *(f"{n}.svg" for n in ("bars", "maps", "cases-pointing-game", "cases-energy")),
    }  # fmt: skip
    assert "a net of theirs" in (tmp_path / "table.tex").read_text()
    with pytest.raises(UnknownNameError, match="kind of figure but got 'gif'"):
        write_report(done, tmp_path, warned.append, kinds=("gif",))
    assert table.published
