from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, Closing, Pointing, Randomising, records
from tests.refusals import assert_refused

from relprop.benchmark.formats import to_json
from relprop.benchmark.record import Record
from relprop.benchmark.table import paired_difference, tabulate
from relprop.errors import InputError, UnknownNameError
from relprop.metrics.metric import Metric, Outcome


def _table(**changes):
    return tabulate(records(), METRICS, METHODS, **({"published": PUBLISHED} | changes))


def test_columns_stand_in_order():
    assert [(c.id, c.title) for c in _table().columns] == [
        ("pointing.hit", "Pointing, ALL"),
        ("pointing.hit[dif]", "Pointing, DIF"),
        ("pointing.hit[all-p]", "Pointing, ALL, P"),
        ("pointing.hit[dif-p]", "Pointing, DIF, P"),
        ("pointing.hit-pair", "Pointing (pairs)"),
        ("closing.error", "Error"),
    ]


def test_values_by_hand():
    table = _table()
    value = {c.id: [table.cell(m, c).value for m in METHODS] for c in table.columns}
    assert value["pointing.hit"] == [2 / 3, 5 / 6, 0.0]
    assert value["pointing.hit[dif]"] == [0.5, 1.0, 0.0]
    assert value["pointing.hit[all-p]"] == [0.75, 0.75, 0.0]
    assert value["pointing.hit[dif-p]"] == [1.0, 1.0, 0.0]
    assert value["pointing.hit-pair"] == [0.5, 0.75, 0.0]
    assert value["closing.error"][:2] == [1e-8, 3e-8]


def test_values_are_those_of_the_accumulators():
    table = _table()
    for method in METHODS:
        for name, kind in (("pointing", Pointing), ("closing", Closing), ("randomising", Randomising)):
            metric: Metric = kind()
            for r in records():
                if (r.method, r.metric) == (method, name):
                    metric.count(r.values, r.label, r.subsets)
            for key, mean in metric.compute().items():
                own, _, where = key.partition("@")
                if where:
                    series = next(s for s in table.series if s.key == own)
                    assert series.cells[method][series.wheres.index(where)].value == mean
                else:
                    assert table.cell(method, f"{name}.{key}").value == mean


def test_counts_of_pairs_and_pictures():
    table = _table()
    counted = {
        c.id: (table.counts(c, "pairs"), table.counts(c, "images"))
        for c in table.columns
        if c.metric == "pointing"
    }
    assert counted == {
        "pointing.hit": ((4, 4), (3, 3)),
        "pointing.hit[dif]": ((2, 2), (1, 1)),
        "pointing.hit[all-p]": ((3, 3), (3, 3)),
        "pointing.hit[dif-p]": ((1, 1), (1, 1)),
        "pointing.hit-pair": ((4, 4), (3, 3)),
    }
    fewer = tabulate([r for r in records() if (r.image, r.method) != ("c", "beta")], METRICS, METHODS)
    assert fewer.counts(fewer.column("pointing.hit"), "pairs") == (3, 4)


def test_not_applicable_is_not_zero():
    table = _table()
    none, zero = table.cell("random", "closing.error"), table.cell("random", "pointing.hit")
    assert math.isnan(none.value)
    assert (none.pairs, none.images) == (0, 0)
    assert (zero.value, zero.low, zero.high, zero.pairs) == (0.0, 0.0, 0.0, 4)


def test_one_picture_has_no_interval():
    cell = _table().cell("alpha", "pointing.hit[dif]")
    assert (cell.value, cell.images) == (0.5, 1)
    assert math.isnan(cell.low)


def test_published_numbers_come_in_the_outcomes_unit():
    table = _table()
    assert table.cell("alpha", "pointing.hit").published == 0.576
    assert table.cell("beta", "pointing.hit[dif]").published == 0.4
    assert table.cell("beta", "pointing.hit").published is None
    raw = tabulate(records(), METRICS, METHODS, published={"closing.error": {"random": 2e-8}})
    cell = raw.cell("random", "closing.error")
    assert cell.published == 2e-8
    assert cell.pairs == 0


def test_columns_without_numbers_are_named_in_a_note():
    own = [r for r in records() if r.metric == "pointing" and "dif" not in r.subsets]
    table = tabulate(own, METRICS, METHODS)
    assert [c.id for c in table.columns] == ["pointing.hit", "pointing.hit[all-p]", "pointing.hit-pair"]
    assert table.notes[-1] == (
        "Without any number, so not shown: Pointing, DIF; Pointing, DIF, P; Error; SSIM; Share."
    )
    kept = tabulate(own, METRICS, METHODS, published={"pointing.hit[dif]": {"alpha": 40.0}})
    assert "pointing.hit[dif]" in [c.id for c in kept.columns]


def test_notes_state_the_bootstrap():
    table = _table(notes=["First."], seed=7, replicates=50, level=0.9)
    assert table.notes[:2] == (
        "First.",
        "Intervals: 90 %, percentile bootstrap over 3 pictures, 50 draws, seed 7.",
    )
    assert (table.seed, table.replicates, table.level) == (7, 50, 0.9)


def test_best():
    table = _table()
    best = {c.id: table.best(c) for c in table.columns}
    assert best["pointing.hit"] == ("beta",)
    assert best["pointing.hit[all-p]"] == ("alpha", "beta")
    assert best["closing.error"] == ("alpha",)
    assert table.best(replace(table.column("closing.error"), better="")) == ()
    alone = tabulate([r for r in records() if r.method == "alpha"], METRICS, ["alpha"])
    assert alone.best(alone.column("pointing.hit")) == ()


def test_series_hold_what_was_measured_at_places():
    (series,) = _table().series
    assert (series.metric, series.key, series.title) == ("randomising", "ssim", "SSIM")
    assert series.wheres == ("01 conv1", "02 conv2", "03 conv3")
    assert [c.value for c in series.cells["alpha"]] == [1.0, 0.5, 1 / 3]
    assert [(c.pairs, c.images) for c in series.cells["alpha"]] == [(4, 3)] * 3
    assert all(math.isnan(c.value) for c in series.cells["random"])


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([["10", "9", "0.5"]], ("0.5", "9", "10")),
        ([["10 b", "9 a"]], ("9 a", "10 b")),
        ([["late", "early"]], ("late", "early")),
        ([["c", "a"], ["c", "b", "a"]], ("c", "b", "a")),
        ([["a", "c"], ["b", "c"], ["a", "b"]], ("a", "b", "c")),
        ([["b", "a"], ["a", "b"]], ("a", "b")),
        ([["02", "01"], ["1e1"]], ("01", "02", "1e1")),
    ],
)
def test_places_are_ordered_by_number_or_as_measured(lists, expected):
    made = [
        Record(f"{k}", 0, "alpha", "randomising", {f"ssim@{w}": 0.5 for w in places})
        for k, places in enumerate(lists)
    ]
    for order in (made, made[::-1]):
        assert tabulate(order, METRICS, METHODS).series[0].wheres == expected


def test_order_of_records_changes_no_digit():
    g = random.Random(3)
    made = [
        replace(r, image=f"{r.image}{k}", values={key: v * g.random() for key, v in r.values.items()})
        for k in range(5)
        for r in records()
    ]
    expected = to_json(tabulate(made, METRICS, METHODS, published=PUBLISHED))
    for _ in range(3):
        g.shuffle(made)
        assert to_json(tabulate(made, METRICS, METHODS, published=PUBLISHED)) == expected
    assert to_json(tabulate(made, METRICS, METHODS, published=PUBLISHED, seed=1)) != expected


def test_a_further_method_changes_no_other():
    # The draws depend on the pictures alone.
    two = tabulate([r for r in records() if r.method != "random"], METRICS, METHODS[:2])
    three = _table(published=None)
    for column in two.columns:
        assert repr(two.cell("alpha", column)) == repr(three.cell("alpha", column))


def test_two_settings_of_one_metric_keep_apart():
    both = {"near": Pointing(), "far": Pointing()}
    made = [replace(r, metric=m) for r in records() if r.metric == "pointing" for m in both]
    titles = [c.title for c in tabulate(made, both, METHODS).columns]
    assert titles[0] == "Pointing (near), ALL"
    assert titles[5] == "Pointing (far), ALL"
    assert len(set(titles)) == 10


def test_paired_difference_by_hand():
    # beta hits one pair more than alpha: b/0, a third of class 0.
    found = paired_difference(records(), METRICS, "pointing.hit", "beta", "alpha")
    assert found.value == pytest.approx(1 / 6, rel=1e-12)
    assert (found.pairs, found.images) == (4, 3)
    assert 0.0 == found.low <= found.value <= found.high <= 1.0
    none = paired_difference(records(), METRICS, "pointing.hit", "beta", "beta")
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)


def test_nothing_measured():
    table = tabulate([], METRICS, METHODS, title="Empty")
    assert table.columns == ()
    assert table.series == ()


def test_refusals():
    with pytest.raises(InputError, match="two of 'a', class 0, 'alpha', 'pointing'"):
        tabulate([*records(), records()[0]], METRICS, METHODS)
    with pytest.raises(UnknownNameError, match="method in the records but got 'random'"):
        tabulate(records(), METRICS, METHODS[:2])
    with pytest.raises(UnknownNameError, match="metric in the records but got 'closing'"):
        tabulate(records(), {"pointing": Pointing()}, METHODS)
    odd = Record("a", 0, "alpha", "pointing", {"hits": 1.0})
    assert_refused(
        UnknownNameError,
        (lambda: tabulate([odd], METRICS, METHODS), "outcome of 'pointing' but got 'hits'"),
        (lambda: _table(published={"pointing.hits": {}}), r"published .*'pointing.hits'"),
        (lambda: _table().column("miou"), "column but got 'miou'"),
        (lambda: paired_difference([], METRICS, "miou", "alpha", "beta"), "column but got 'miou'"),
    )
    with pytest.raises(InputError, match="finite values"):
        tabulate([Record("a", 0, "alpha", "pointing", {"hit": math.inf})], METRICS, METHODS)
    assert issubclass(UnknownNameError, InputError)


def test_outcome_titles_may_hold_commas():
    class Comma(Metric):
        name, summary = "comma", ""
        outcomes = (Outcome("x", "Share, ALL of it", average="pair"),)

    table = tabulate([Record("a", 0, "alpha", "comma", {"x": 0.5})], {"comma": Comma()}, ["alpha"])
    assert table.columns[0].title == "Share, ALL of it"


def test_rows_are_methods_then_controls_then_the_ceiling():
    names = ["center", "world", "alpha", "mask", "beta"]
    made = [
        Record(f"{k}", 0, m, "pointing", {"hit": v})
        for k in range(3)
        for m, v in zip(names, (0.9, 1.0, 0.5, 1.0, 0.4), strict=True)
    ]
    table = tabulate(made, METRICS, names, controls=["center", "mask"], ceiling="world", oracle="mask")
    assert table.judged == ("alpha", "beta")
    assert table.groups == (("alpha", "beta"), ("center", "mask"), ("world",))
    assert table.rows == ("alpha", "beta", "center", "mask", "world")
    assert table.best(table.column("pointing.hit")) == ("alpha",)
    assert table.cell("world", "pointing.hit").value == 1.0
    plain = tabulate(made, METRICS, names)
    assert plain.groups == (tuple(names),)
    assert plain.best(plain.column("pointing.hit")) == ("world", "mask")


def test_controls_and_ceilings_are_rows_of_the_table():
    assert_refused(
        UnknownNameError,
        (lambda: _table(controls=["center"]), "row for controls but got 'center'"),
        (lambda: _table(ceiling="world"), "row for ceiling but got 'world'"),
        (lambda: _table(controls=["random"], oracle="alpha"), "row for oracle but got 'alpha'"),
    )
    with pytest.raises(InputError, match="no control but got 'random' as both"):
        _table(controls=["random"], ceiling="random")


def _against(values, **changes):
    """Rows of 20 pictures by name: a function of the picture's number."""
    made = [
        Record(f"{k}", k % 2, m, "pointing", {"hit": at(k)}) for k in range(20) for m, at in values.items()
    ]
    return tabulate(made, {"pointing": Pointing()}, list(values), **changes)


def test_a_method_beats_a_control_by_the_paired_difference():
    # Both lie between 0.1 and 0.9; their own intervals overlap widely, their difference is always 0.01.
    hard = {"alpha": lambda k: 0.1 + 0.04 * k, "center": lambda k: 0.09 + 0.04 * k, "beta": lambda k: 0.5}
    table = _against(hard, controls=["center"])
    a, c = table.cell("alpha", "pointing.hit"), table.cell("center", "pointing.hit")
    assert a.low < c.high
    assert a.unbeaten == ()
    assert table.cell("beta", "pointing.hit").unbeaten == ("center",)
    assert c.unbeaten == ()


def test_lower_is_better_turns_what_it_means_to_beat():
    made = [
        Record(f"{k}", 0, m, "closing", {"error": v + 0.001 * k})
        for k in range(20)
        for m, v in (("alpha", 0.1), ("beta", 0.3), ("random", 0.2))
    ]
    table = tabulate(made, METRICS, METHODS, controls=["random"])
    assert table.cell("alpha", "closing.error").unbeaten == ()
    assert table.cell("beta", "closing.error").unbeaten == ("random",)


def test_few_pictures_beat_nothing():
    made = [
        Record(f"{k}", 0, m, "pointing", {"hit": v}) for k in range(5) for m, v in (("a", 0.9), ("c", 0.1))
    ]
    five = tabulate(made, METRICS, ["a", "c"], controls=["c"])
    assert five.cell("a", "pointing.hit").unbeaten == ("c",)
    six = [*made, *(replace(r, image="5") for r in made[:2])]
    assert tabulate(six, METRICS, ["a", "c"], controls=["c"]).cell("a", "pointing.hit").unbeaten == ()


def test_a_sharpened_map_judges_nothing_where_it_equals_its_method():
    rank = {"alpha": lambda k: 0.5 + 0.01 * k, "beta": lambda k: 0.4, "squared": lambda k: 0.5 + 0.01 * k}
    table = _against(rank, controls=["squared"], sharpened={"squared": "alpha"})
    assert [table.cell(m, "pointing.hit").unbeaten for m in ("alpha", "beta")] == [(), ()]
    energy = rank | {"squared": lambda k: 0.6 + 0.01 * k}
    table = _against(energy, controls=["squared"], sharpened={"squared": "alpha"})
    assert [table.cell(m, "pointing.hit").unbeaten for m in ("alpha", "beta")] == [("squared",)] * 2
    # A control that knows nothing of the method and still equals it is not beaten.
    assert _against(rank, controls=["squared"]).cell("alpha", "pointing.hit").unbeaten == ("squared",)


def test_the_oracle_and_a_control_without_numbers_need_not_be_beaten():
    given = {"alpha": lambda k: 0.5, "mask": lambda k: 1.0}
    table = _against(given, controls=["mask"], oracle="mask")
    assert table.cell("alpha", "pointing.hit").unbeaten == ()
    made = [Record(f"{k}", 0, "alpha", "pointing", {"hit": 0.5}) for k in range(9)]
    assert tabulate(made, METRICS, METHODS, controls=["random"]).cell("alpha", "pointing.hit").unbeaten == ()


def test_shares_of_the_ceiling_are_over_the_pairs_that_both_have():
    made = [Record(f"{k}", 0, "alpha", "pointing", {"hit": 0.4 if k < 10 else 0.9}) for k in range(20)]
    made += [Record(f"{k}", 0, "world", "pointing", {"hit": 0.8}) for k in range(10)]
    table = tabulate(made, METRICS, ["alpha", "world"], ceiling="world")
    share = table.cell("alpha", "pointing.hit").share
    assert share is not None
    assert (share.value, share.low, share.high, share.pairs) == (0.5, 0.5, 0.5, 10)
    assert table.cell("world", "pointing.hit").share is None
    assert table.counts(table.column("pointing.hit"), "pairs") == (20, 20)
    made += [Record(f"{k}", 0, m, "closing", {"error": 1e-8}) for k in range(9) for m in ("alpha", "world")]
    low = tabulate(made, METRICS, ["alpha", "world"], ceiling="world")
    assert low.cell("alpha", "closing.error").share is None  # of a number that shall be low there is no share


def test_why_a_number_is_missing_is_said():
    class Signed(Metric):
        name, summary = "signed", ""
        outcomes = (Outcome("x", "X", absent="the maps have no negative values", subsets=True),)

    class OfModel(Metric):
        name, summary, of_model = "of-model", "", True
        outcomes = (Outcome("y", "Y"),)

    metrics = {"signed": Signed(), "of-model": OfModel()}
    subsets = ("all", "dif")
    made = [Record(f"{k}", 0, "a", "signed", {"x": 0.5}, subsets) for k in range(3)]
    made += [Record(f"{k}", 0, "b", "signed", {}, subsets) for k in range(3)]
    made += [Record(f"{k}", 0, "d", "signed", {"x": 0.5}) for k in range(3)]
    made += [Record(f"{k}", 0, "a", "of-model", {"y": 0.5}) for k in range(3)]
    table = tabulate(made, metrics, ["a", "b", "c", "d", "world"], ceiling="world")
    missing = {m: table.cell(m, "signed.x").missing for m in table.rows}
    assert missing == {
        "a": "",
        "b": "none of its pairs has this number: the maps have no negative values",
        "c": "not measured",
        "d": "",
        "world": "no ceiling is known for this metric",
    }
    assert table.cell("d", "signed.x[dif]").missing == "none of its pairs is in this subset"
    assert table.cell("b", "of-model.y").missing == (
        "said of the network, whatever the method: it stands in the row of a"
    )
