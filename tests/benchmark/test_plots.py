from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, records
from tests.viz.make import check_legible

from relprop.benchmark.plots import bars, bars_page, curves
from relprop.benchmark.record import Record
from relprop.benchmark.table import Table, tabulate
from relprop.errors import InputError, UnknownNameError
from relprop.metrics.metric import Metric, Outcome
from relprop.viz import render, save_figure


def _table() -> Table:
    return tabulate(records(), METRICS, METHODS, title="Small", published=PUBLISHED)


class Wide(Metric):
    name, summary = "wide", ""
    outcomes = (
        Outcome("hit", "A rather long title of an outcome, such as metrics may have", subsets=True),
        Outcome("error", "Error", better="lower", average="pair", percent=False),
        Outcome("ratio", "Ratio", better="", average="pair", percent=False),
    )


def _wide() -> Table:
    """Twelve methods with long names, sixteen layers, values of both signs."""
    g = np.random.default_rng(0)
    methods = [f"a-method-of-long-name-{k}" for k in range(12)]
    made = []
    for image in range(6):
        for k, m in enumerate(methods):
            values = {"hit": float(g.random() < k / 12), "error": float(10 ** g.uniform(-9, -6))}
            values |= {f"ratio@{n:02} features.{n}.conv": float(g.normal()) for n in range(16)}
            made.append(Record(f"{image}", image % 3, m, "wide", values, ("all", "dif", "all-p", "dif-p")))
    return tabulate(made, {"wide": Wide()}, methods, title="Wide " * 60)


def _axes(figure: Figure, name: str):
    return next(a for a in figure.axes if a.get_gid() == name)


def _texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.texts]


def test_bars_have_the_values_and_stand_in_order():
    figure = bars(_table(), "pointing.hit")
    axes = _axes(figure, "bars pointing.hit")
    assert [p.get_width() for p in axes.patches] == pytest.approx([100 * 5 / 6, 100 * 2 / 3, 0.0])
    assert [p.get_y() + p.get_height() / 2 for p in axes.patches] == pytest.approx([0, 1, 2])
    texts = _texts(figure)
    names = [t for t in texts if t in METHODS]
    assert names == ["beta", "alpha", "random"]
    assert [t for t in texts if t[0].isdigit() and "pairs" not in t] == ["83.3", "66.7 (57.6)", "0.0"]
    assert "Small" in texts
    assert "Pointing, ALL (%) · higher is better" in texts
    assert "4 pairs in 3 pictures" in texts


def test_lower_is_better_turns_the_order_and_missing_stands_last():
    figure = bars(_table(), "closing.error")
    assert [t for t in _texts(figure) if t in METHODS] == ["alpha", "beta", "random"]
    assert len(_axes(figure, "bars closing.error").patches) == 2
    assert "n/a" in _texts(figure)
    assert "Error · lower is better" in _texts(figure)


def test_shares_run_from_0_to_100_at_most():
    axes = _axes(bars(_table(), "pointing.hit"), "bars pointing.hit")
    assert axes.get_xlim() == (0.0, 100.0)
    error = _axes(bars(_table(), "closing.error"), "bars closing.error")
    assert error.get_xlim()[0] == 0.0
    assert error.get_xlim()[1] >= 3e-8


def test_values_below_zero_have_room():
    made = [
        Record(f"{k}", 0, m, "wide", {"ratio": v}) for k in range(2) for m, v in (("a", -0.7), ("b", 0.4))
    ]
    table = tabulate(made, {"wide": Wide()}, ["a", "b"])
    low, high = _axes(bars(table, "wide.ratio"), "bars wide.ratio").get_xlim()
    assert low <= -0.7
    assert high >= 0.4


def test_published_numbers_are_diamonds_at_their_value():
    axes = _axes(bars(_table(), "pointing.hit"), "bars pointing.hit")
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in diamonds] == [pytest.approx(57.6, rel=1e-12)]
    assert [line.get_ydata()[0] for line in diamonds] == [1]  # alpha stands second
    said = " ".join(_texts(bars(_table(), "pointing.hit")))
    assert "Diamonds and numbers in brackets: as published." in said
    assert "Diamonds" not in " ".join(_texts(bars(_table(), "closing.error")))


def test_intervals_are_lines_where_there_are_any():
    table = _table()
    axes = _axes(bars(table, "pointing.hit"), "bars pointing.hit")
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    cells = [table.cell(m, "pointing.hit") for m in ("beta", "alpha", "random")]
    assert spans == [(100 * c.low, 100 * c.high) for c in cells]
    one = _axes(bars(table, "pointing.hit[dif]"), "bars pointing.hit[dif]")
    assert [line for line in one.lines if len(line.get_xdata()) == 2] == []


def test_baselines_are_grey():
    axes = _axes(bars(_table(), "pointing.hit"), "bars pointing.hit")
    colours = [p.get_facecolor()[:3] for p in axes.patches]
    assert colours[0] == colours[1] != colours[2]
    assert len(set(colours[2])) == 1
    none = _axes(bars(_table(), "pointing.hit", baselines=()), "bars pointing.hit")
    assert len({p.get_facecolor() for p in none.patches}) == 1


def test_page_has_a_panel_per_column():
    table = _table()
    assert [a.get_gid() for a in bars_page(table).axes] == [f"bars {c.id}" for c in table.columns]
    chosen = bars_page(table, ["closing.error", table.columns[0]], across=1)
    assert [a.get_gid() for a in chosen.axes] == ["bars closing.error", "bars pointing.hit"]


def test_words_are_legible():
    for figure in (bars_page(_table()), curves(_table(), "randomising")):
        check_legible(figure)
    wide = _wide()
    for figure in (bars_page(wide), bars(wide, "wide.error"), curves(wide, "wide", along="layers")):
        check_legible(figure)


def test_curves_have_a_line_per_method_and_the_places_below():
    figure = curves(_table(), "randomising", along="layers, from the output on")
    axes = _axes(figure, "curves randomising.ssim")
    lines = {line.get_label(): line for line in axes.lines if line.get_label() in METHODS}
    assert list(lines) == ["alpha", "beta"]  # nothing was measured for the third
    assert list(lines["alpha"].get_ydata()) == [1.0, 0.5, 1 / 3]
    assert list(lines["alpha"].get_xdata()) == [0.0, 1.0, 2.0]
    texts = _texts(figure)
    assert [t for t in texts if t.startswith("conv")] == ["conv1", "conv2", "conv3"]
    assert {"alpha", "beta", "layers, from the output on", "SSIM, step by step · lower is better"} <= set(
        texts
    )
    assert "Lines: means over up to 4 pairs in 3 pictures." in " ".join(texts)
    assert axes.get_ylim() == (0.0, 1.0)


def test_bands_are_the_intervals_of_few_lines():
    axes = _axes(curves(_table(), "randomising"), "curves randomising.ssim")
    assert len(axes.collections) == 2
    wide = _wide()
    many = curves(wide, "wide", "ratio")
    assert len(_axes(many, "curves wide.ratio").collections) == 0
    assert "Bands" not in " ".join(_texts(many))


def test_steps_that_are_numbers_stand_at_their_value():
    made = [
        Record(f"{k}", 0, "alpha", "wide", {"ratio@0": 0.5, "ratio@10": 0.2, "ratio@2": 0.1})
        for k in range(2)
    ]
    table = tabulate(made, {"wide": Wide()}, ["alpha"])
    axes = _axes(curves(table, "wide"), "curves wide.ratio")
    (line,) = [line for line in axes.lines if line.get_label() == "alpha"]
    assert list(line.get_xdata()) == [0.0, 2.0, 10.0]
    assert list(line.get_ydata()) == [0.5, 0.1, 0.2]


def test_a_gap_in_a_series_is_no_zero():
    made = [
        Record("a", 0, "alpha", "wide", {"ratio@1": 0.5, "ratio@2": 0.4, "ratio@3": 0.3}),
        Record("a", 0, "beta", "wide", {"ratio@1": 0.5, "ratio@3": 0.3}),
    ]
    table = tabulate(made, {"wide": Wide()}, ["alpha", "beta"])
    assert math.isnan(table.series[0].cells["beta"][1].value)
    axes = _axes(curves(table, "wide"), "curves wide.ratio")
    (line,) = [line for line in axes.lines if line.get_label() == "beta"]
    assert list(line.get_ydata()) == [0.5, 0.3]


def test_files_are_pictures_and_the_same_each_time(tmp_path):
    one, two = (
        save_figure(bars_page(_table()), tmp_path / "a.png"),
        save_figure(bars_page(_table()), tmp_path / "b.png"),
    )
    assert one.read_bytes() == two.read_bytes()
    assert len(np.unique(render(bars_page(_table())).reshape(-1, 3), axis=0)) > 10


def test_refusals():
    with pytest.raises(UnknownNameError, match=r"column but got 'pointing\.hits'"):
        bars(_table(), "pointing.hits")
    with pytest.raises(InputError, match="one column to draw"):
        bars_page(tabulate([], METRICS, METHODS))
    with pytest.raises(UnknownNameError, match="steps but got 'pointing'"):
        curves(_table(), "pointing")
    with pytest.raises(UnknownNameError, match="series of 'randomising' but got 'hog'"):
        curves(_table(), "randomising", "hog")
