from __future__ import annotations

import csv
import io
import json
import math

import pytest
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, records

from relprop.benchmark.formats import FORMATS, shown, to_csv, to_json, to_markdown, to_text
from relprop.benchmark.table import tabulate


def _table(**changes):
    return tabulate(records(), METRICS, METHODS, **({"title": "Small", "published": PUBLISHED} | changes))


TEXT = """\
Small

          Pointing                         Pointing
          ALL (%)                          DIF (%)
------------------------------------------------------------------
alpha     66.7  [0.0, 100.0] (paper 57.6)   50.0  [–]
beta      83.3* [0.0, 100.0]               100.0* [–] (paper 40.0)
random     0.0  [0.0, 0.0]                   0.0  [–]
------------------------------------------------------------------
pairs     4                                2
pictures  3                                1

          Pointing            Pointing    Pointing (pairs)
          ALL, P (%)          DIF, P (%)  (%)
------------------------------------------------------------
alpha     75.0* [0.0, 100.0]  100.0* [–]  50.0  [0.0, 100.0]
beta      75.0* [0.0, 100.0]  100.0* [–]  75.0* [0.0, 100.0]
random     0.0  [0.0, 0.0]      0.0  [–]   0.0  [0.0, 0.0]
------------------------------------------------------------
pairs     3                   1           4
pictures  3                   1           3

          Error
-------------------------------------
alpha     1.0e-08* [1.0e-08, 1.0e-08]
beta      3.0e-08  [3.0e-08, 3.0e-08]
random        n/a
-------------------------------------
pairs     4
pictures  3

Intervals: 95 %, percentile bootstrap over 3 pictures, 1000 draws,
  seed 0.
Without any number, so not shown: Share.
n/a: no pair to judge.
*: best of the column.
"""


def test_text_is_this():
    assert to_text(_table(), 70) == TEXT


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_text_keeps_the_width_and_loses_no_column(width):
    text = to_text(_table(), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("(paper 57.6)") == text.count("(paper 40.0)") == 1
    heads = [line for line in text.splitlines() if line.startswith("   ")]
    assert sum(line.count("Pointing") for line in heads) == 5
    assert sum(line.count("Error") for line in heads) == 1


def test_long_titles_are_wrapped():
    from relprop.benchmark.record import Record
    from relprop.metrics.metric import Metric, Outcome

    class Long(Metric):
        name, summary = "long", ""
        outcomes = (Outcome("x", "Mean intersection over union at the mean of the positives"),)

    table = tabulate([Record("a", 0, "alpha", "long", {"x": 0.5})], {"long": Long()}, ["alpha"])
    assert to_text(table).splitlines()[:5] == [
        "          Mean",
        "          intersection",
        "          over union at",
        "          the mean of the",
        "          positives",
    ]


def test_markdown_has_a_cell_for_each_column():
    text = to_markdown(_table(title="a | b"))
    lines = text.splitlines()
    assert lines[0] == "**a \\| b**"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2
    assert {row.count(" | ") for row in rows} == {6}
    assert rows[2].startswith("| alpha | 66.7 [0.0, 100.0] (paper 57.6) | 50.0 [–] | **75.0** [0.0, 100.0] |")
    assert rows[4].endswith("| n/a |")
    assert rows[5] == "| *pairs* | 4 | 2 | 3 | 1 | 4 | 4 |"
    assert rows[6] == "| *pictures* | 3 | 1 | 3 | 1 | 3 | 3 |"
    assert "over 3 pictures, 1000 draws, seed 0." in lines[-1]


def test_csv_parses_back_to_every_digit():
    table = _table()
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(rows) == 6 * 3 + 3 * 3
    for row in rows[: 6 * 3]:
        name = f"{row['metric']}.{row['key']}" + ("" if row["subset"] == "all" else f"[{row['subset']}]")
        cell = table.cell(row["method"], name)
        for field in ("value", "low", "high"):
            expected = getattr(cell, field)
            assert row[field] == "" if math.isnan(expected) else float(row[field]) == expected
        assert (int(row["pairs"]), int(row["images"])) == (cell.pairs, cell.images)
        assert (float(row["published"]) if row["published"] else None) == cell.published
    assert rows[0]["published"] == "0.576"
    assert rows[-1] == {
        "method": "random",
        "metric": "randomising",
        "key": "ssim@03 conv3",
        "subset": "all",
        "value": "",
        "low": "",
        "high": "",
        "pairs": "0",
        "images": "0",
        "published": "",
        "percent": "false",
        "better": "lower",
    }


def test_json_parses_back_with_series_and_settings():
    table = _table(seed=3)
    found = json.loads(to_json(table))
    assert found["title"] == "Small"
    assert found["methods"] == METHODS
    assert [c["id"] for c in found["columns"]] == [c.id for c in table.columns]
    assert len(found["cells"]) == 18
    for cell in found["cells"]:
        value = table.cell(cell["method"], cell["column"]).value
        assert cell["value"] is None if math.isnan(value) else cell["value"] == value
    assert found["bootstrap"] == {"replicates": 1000, "seed": 3, "level": 0.95}
    (series,) = found["series"]
    assert series["wheres"] == ["01 conv1", "02 conv2", "03 conv3"]
    assert [c["value"] for c in series["cells"]["alpha"]] == [1.0, 0.5, 1 / 3]
    assert series["cells"]["random"][0] == {
        "value": None,
        "low": None,
        "high": None,
        "pairs": 0,
        "images": 0,
        "published": None,
    }
    assert found["notes"] == list(table.notes)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_rerun_writes_the_same_bytes(name):
    assert FORMATS[name](_table()) == FORMATS[name](_table())
    assert FORMATS[name](_table()).endswith("\n")


def test_nothing_measured_is_said():
    table = tabulate([], METRICS, METHODS, title="Empty")
    assert to_text(table).startswith("Empty\n\nNothing was measured.\n")
    assert to_csv(table).count("\n") == 1
    assert json.loads(to_json(table))["cells"] == []
    assert "| Method |" in to_markdown(table)


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (1.0, True, "100.0"),
        (-0.0004, True, "0.0"),
        (-0.012, True, "−1.2"),
        (0.0095, False, "0.009"),
        (0.0094, False, "9.4e-03"),
        (-1.5, False, "−1.500"),
        (999.4, False, "999.400"),
        (12345.0, False, "1.2e+04"),
        (-2e-9, False, "−2.0e-09"),
        (-0.0, False, "0"),
    ],
)
def test_numbers(value, percent, text):
    assert shown(value, percent) == text
