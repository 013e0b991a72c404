from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from tests.benchmark.reports import METRICS, Closing, Pointing

from relprop.benchmark.pairs import compare, pairs_csv, pairs_markdown, statements
from relprop.benchmark.record import Record
from relprop.benchmark.significance import holm, least_draws
from relprop.benchmark.table import paired_difference, tabulate

LEVELS = {"alpha": 0.7, "beta": 0.69, "gamma": 0.4, "center": 0.3, "world": 0.9}


def _records(levels=LEVELS, count=40, spread=0.1):
    g = np.random.default_rng(0)
    shared = g.normal(0, 0.1, count)  # pictures that are hard for all
    return [
        Record(f"{k:02}", k % 2, m, "pointing", {"hit": float(level + shared[k] + g.normal(0, spread))})
        for k in range(count)
        for m, level in levels.items()
    ]


def _table(records, levels=LEVELS, metrics=None, **changes):
    metrics = metrics or {"pointing": Pointing()}
    settings = {
        "controls": [m for m in levels if m == "center"],
        "ceiling": "world" if "world" in levels else "",
    }
    table = tabulate(records, metrics, list(levels), **(settings | changes))
    return replace(table, comparisons=compare(records, metrics, table))


def test_every_two_methods_are_compared_and_nothing_else():
    table = _table(_records())
    assert [(c.column, c.one, c.two) for c in table.comparisons] == [
        ("pointing.hit", *pair) for pair in combinations(["alpha", "beta", "gamma"], 2)
    ]
    assert {c.comparisons for c in table.comparisons} == {3}
    assert [c.corrected for c in table.comparisons] == holm([c.p for c in table.comparisons])


def test_a_comparison_is_the_paired_difference():
    records = _records()
    table = _table(records)
    for c in table.comparisons:
        alone = paired_difference(
            records, {"pointing": Pointing()} | METRICS, c.column, c.one, c.two, replicates=c.draws
        )
        assert c.difference.value == alone.value
        assert (c.difference.low, c.difference.high) == pytest.approx((alone.low, alone.high), rel=1e-9)
        assert (c.difference.pairs, c.differing) == (40, 40)


def test_what_is_far_apart_is_told_apart_and_what_is_close_is_not():
    found = {(c.one, c.two): c for c in _table(_records()).comparisons}
    assert found["alpha", "gamma"].corrected < 0.01
    assert found["beta", "gamma"].corrected < 0.01
    assert found["alpha", "beta"].corrected > 0.05


def test_enough_draws_are_made_whatever_the_recipe_asks_for():
    levels = {f"m{k}": 0.1 * k for k in range(8)}
    table = _table(_records(levels), levels, replicates=20)
    assert {c.draws for c in table.comparisons} == {least_draws(28)}
    assert min(c.corrected for c in table.comparisons) <= 0.05
    many = _table(_records(), replicates=5000)
    assert {c.draws for c in many.comparisons} == {5000}


def test_lower_is_better_and_columns_without_a_side():
    metrics = {"closing": Closing(), "randomising": METRICS["randomising"]}
    made = [
        Record(f"{k}", 0, m, metric, {key: v + 0.001 * k})
        for k in range(30)
        for m, v in (("alpha", 0.1), ("beta", 0.2))
        for metric, key in (("closing", "error"), ("randomising", "share"))
    ]
    table = _table(made, {"alpha": 0, "beta": 0}, metrics)
    assert [c.column for c in table.comparisons] == ["closing.error"]
    assert "Error: alpha is ahead of the other." in list(statements(table))
    assert table.comparisons[0].difference.value == pytest.approx(-0.1, rel=1e-9)


def test_sentences_say_what_the_best_is_ahead_of():
    first, about = statements(_table(_records()))
    assert "for the 3 comparisons of its column" in first
    assert "1000 draws: no p below 0.002 before the correction" in first
    assert about == "Pointing: alpha is ahead of 1 of 2 others, not told apart from beta."
    two = statements(_table(_records({"alpha": 0.9, "beta": 0.1}), {"alpha": 0.9, "beta": 0.1}))
    assert "for the 1 comparison of its column" in next(two)
    same = dict.fromkeys(("alpha", "beta", "gamma"), 0.5)
    made = [replace(r, values={"hit": 0.5}) for r in _records(same)]
    assert list(statements(_table(made, same)))[1] == (
        "Pointing: no two methods can be told apart: too few pictures differ (0 at most) for 3 comparisons."
    )
    close = {"alpha": 0.5, "beta": 0.501}
    assert (
        list(statements(_table(_records(close), close)))[1] == "Pointing: no two methods can be told apart."
    )
    tied = [*made, *(Record(f"{k:02}", k % 2, "low", "pointing", {"hit": 0.1}) for k in range(40))]
    sentence = list(statements(_table(tied, [*same, "low"])))[1]
    assert sentence == "Pointing: alpha; beta; gamma are as good as each other and ahead of the other."
    assert list(statements(tabulate(_records(), {"pointing": Pointing()}, list(LEVELS)))) == []


def test_csv_has_every_digit():
    table = _table(_records())
    rows = list(csv.DictReader(io.StringIO(pairs_csv(table))))
    assert len(rows) == 3
    for row, c in zip(rows, table.comparisons, strict=True):
        assert (row["one"], row["two"], row["better"]) == (c.one, c.two, "higher")
        assert [float(row[n]) for n in ("difference", "low", "high", "p", "p_holm")] == [
            c.difference.value, c.difference.low, c.difference.high, c.p, c.corrected,
        ]  # fmt: skip
        assert (int(row["comparisons"]), int(row["draws"]), int(row["differing"])) == (3, 1000, 40)


def test_the_matrix_reads_row_less_column():
    table = _table(_records())
    lines = pairs_markdown(table).splitlines()
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines if line.startswith("| ")}
    assert list(rows)[2:] == ["alpha", "beta", "gamma"]
    gap = next(c for c in table.comparisons if (c.one, c.two) == ("alpha", "gamma")).difference
    shown = f"{100 * gap.value:.1f}"
    low, high = f"{100 * gap.low:.1f}", f"{100 * gap.high:.1f}"
    assert rows["alpha"][2].strip() == f"+{shown}\\* [{low}, {high}]"
    assert rows["gamma"][0].strip() == f"−{shown}\\* [−{high}, −{low}]"
    assert rows["alpha"][0].strip() == ""
    assert "\\*" not in rows["alpha"][1]
    assert "none below 2/1001" in pairs_markdown(table)


def test_a_wide_matrix_has_no_intervals():
    levels = {f"m{k}": 0.1 * k for k in range(9)}
    text = pairs_markdown(_table(_records(levels), levels))
    assert "[" not in text.split("36 comparisons")[1]


def test_nothing_to_compare_is_said():
    levels = {"alpha": 0.5, "center": 0.1}
    table = _table(_records(levels), levels)
    assert table.comparisons == ()
    assert "There are no two methods to compare." in pairs_markdown(table)
    assert pairs_csv(table).count("\n") == 1


def test_two_methods_without_a_pair_in_common():
    made = [
        Record(f"{k}", 0, "alpha" if k < 10 else "beta", "pointing", {"hit": 0.1 * (k % 7)})
        for k in range(20)
    ]
    table = _table(made, {"alpha": 0, "beta": 0})
    (found,) = table.comparisons
    assert found.difference.pairs == 0
    assert math.isnan(found.difference.value)
    assert found.corrected == 1.0
    assert "| –" in pairs_markdown(table)
