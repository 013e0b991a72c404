from __future__ import annotations

import csv
import io
import json
import math

import pytest
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, ranked, records

from relprop.benchmark.formats import (
    FORMATS,
    format_named,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_text,
)
from relprop.benchmark.legend import shown
from relprop.benchmark.record import Record
from relprop.benchmark.table import tabulate
from relprop.catalogue import TABLE_FORMATS
from relprop.errors import UnknownNameError


def _table(**changes):
    given = {"title": "Small", "published": PUBLISHED, "network": "a VGG", "source": "a paper"}
    return tabulate(records(), METRICS, METHODS, **(given | changes))


TEXT = """\
Small

          Pointing            Pointing    Pointing
          ALL (%)             DIF (%)     ALL, P (%)
------------------------------------------------------------
alpha     66.7  [0.0, 100.0]   50.0  [–]  75.0* [0.0, 100.0]
beta      83.3* [0.0, 100.0]  100.0* [–]  75.0* [0.0, 100.0]
random     0.0  [0.0, 0.0]      0.0  [–]   0.0  [0.0, 0.0]
------------------------------------------------------------
pairs     4                   2           3
pictures  3                   1           3

          Pointing    Pointing (pairs)
          DIF, P (%)  (%)                 Error
---------------------------------------------------------------------
alpha     100.0* [–]  50.0  [0.0, 100.0]  1.0e-08* [1.0e-08, 1.0e-08]
beta      100.0* [–]  75.0* [0.0, 100.0]  3.0e-08  [3.0e-08, 3.0e-08]
random      0.0  [–]   0.0  [0.0, 0.0]        n/a
---------------------------------------------------------------------
pairs     1           4                   4
pictures  1           3                   3

Intervals: 95 %, percentile bootstrap over 3 pictures, 1000 draws,
  seed 0.
Without any number, so not shown: Share.
n/a: none of its pairs has this number.
*: best of the column.

Published numbers, measured by others on a VGG. Source: a paper. Not
  comparable with the numbers of this table unless network, weights
  and pictures are the same.

       Pointing  Pointing
       ALL (%)   DIF (%)
-------------------------
alpha   57.6
beta              40.0
"""


def test_text_is_this():
    assert to_text(_table(), 70) == TEXT


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_text_keeps_the_width_and_loses_no_column(width):
    text = to_text(_table(), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("57.6") == text.count("40.0") == 1
    ours, paper = text.split("Published numbers")
    heads = [line for line in ours.splitlines() if line.startswith("   ")]
    assert sum(line.count("Pointing") for line in heads) == 5
    assert paper.count("Pointing") == 2
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
    rows, paper = rows[:7], rows[7:]
    assert {row.count(" | ") for row in rows} == {6}
    assert rows[2].startswith("| alpha | 66.7 [0.0, 100.0] | 50.0 [–] | **75.0** [0.0, 100.0] |")
    assert rows[4].endswith("| n/a |")
    assert rows[5] == "| *pairs* | 4 | 2 | 3 | 1 | 4 | 4 |"
    assert rows[6] == "| *pictures* | 3 | 1 | 3 | 1 | 3 | 3 |"
    assert paper == [
        "| Method | Pointing, ALL (%) | Pointing, DIF (%) |",
        "| :--- | ---: | ---: |",
        "| alpha | 57.6 |  |",
        "| beta |  | 40.0 |",
    ]
    notes = [line for line in lines if "over 3 pictures, 1000 draws, seed 0." in line]
    assert len(notes) == 1
    heading = lines[lines.index(paper[0]) - 2]
    assert heading.startswith("Published numbers, measured by others on a VGG. Source: a paper.")


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
        "row": "method",
        "unbeaten": "",
        "share": "",
        "share_low": "",
        "share_high": "",
        "missing": "",
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
        "missing": "",
        "unbeaten": [],
        "share": None,
    }
    assert found["notes"] == list(table.notes)
    assert found["published"] == {"network": "a VGG", "source": "a paper"}


def test_methods_controls_and_the_ceiling_stand_apart():
    text, table = to_text(ranked()).splitlines(), ranked()
    names = ["-" if line.startswith("-") else line.split("  ")[0] for line in text[2:13]]
    assert names == ["-", "alpha", "beta", "-", "center", "mask", "-", "world", "-", "pairs", "pictures"]
    rows = [line.split(" | ")[0] for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| *methods*", "| alpha", "| beta", "| *controls*", "| center", "| mask", "| *ceiling*", "| world",
        "| *pairs*", "| *pictures*",
    ]  # fmt: skip
    kinds = [row["row"] for row in csv.DictReader(io.StringIO(to_csv(table)))][:5]
    assert kinds == ["method", "method", "control", "oracle", "ceiling"]
    found = json.loads(to_json(table))
    assert (found["controls"], found["oracle"], found["ceiling"]) == (["center", "mask"], "mask", "world")


def test_what_does_not_beat_the_controls_is_marked_and_said():
    table = ranked()
    said = "†: doesn't beat every control (center) in this column"
    text = to_text(table)
    assert "beta       30.9† [30.7, 31.2]" in text
    assert "alpha      71.0* [70.7, 71.2]" in text
    assert said in text
    assert "mask is told the answer; no method has to beat it." in text
    assert "| beta | 30.9† [30.7, 31.2]" in to_markdown(table)
    assert "beta & 30.9 & \\makebox[0.6em][l]{$^{\\dagger}$}" in to_latex(table)
    assert said.removeprefix("†") in to_latex(table)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["unbeaten"] for row in rows][:5] == ["", "center", "", "", ""]
    none = ranked(controls=[], oracle="")
    assert "†" not in to_text(none) + to_markdown(none)


def test_shares_of_the_ceiling_stand_in_round_brackets():
    table = ranked()
    assert "71.0* [70.7, 71.2]   (88 %)" in to_text(table)
    assert "101.0  [100.7, 101.2] (125 %)" in to_text(table)
    assert "which is the number of world on the same pairs" in to_text(table)
    assert "(88 \\%)" in to_latex(table)
    assert "\\%)}" not in to_latex(table, intervals=False).split("world")[1].split("pairs")[0]
    first = next(csv.DictReader(io.StringIO(to_csv(table))))
    assert float(first["share"]) == pytest.approx(0.7095 / 0.8095, rel=1e-3)
    assert float(first["share_low"]) <= float(first["share"]) <= float(first["share_high"])
    assert "%)" not in "".join(line for line in to_text(ranked(ceiling="")).splitlines() if "71.0" in line)


def test_missing_numbers_are_told_apart_by_their_reason():
    made = [Record(f"{k}", 0, m, "pointing", {"hit": 0.5}) for k in range(3) for m in ("alpha", "beta")]
    made += [Record(f"{k}", 0, "random", "closing", {"error": 0.1}) for k in range(3)]
    made += [Record(f"{k}", 0, "alpha", "closing", {}) for k in range(3)]
    text = to_text(tabulate(made, METRICS, METHODS))
    assert "n/a¹: not measured." in text
    assert "n/a²: none of its pairs has this number." in text
    lines = {
        line.split()[0]: line for line in text.splitlines() if line.startswith(("alpha", "beta", "random"))
    }
    assert lines["alpha"].endswith("n/a²")
    assert lines["beta"].endswith("n/a¹")
    assert "n/a¹" in lines["random"]


def test_formats_have_names():
    assert set(TABLE_FORMATS.values()) == set(FORMATS)
    assert format_named("latex") is FORMATS["tex"]
    assert format_named("md") is to_markdown
    with pytest.raises(UnknownNameError, match="format but got 'word'"):
        format_named("word")


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
