from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.benchmark.reports import METHODS, METRICS, Wide, axes_named, ranked, small, texts_of, wide
from tests.viz.make import check_legible

from relprop.benchmark.bars import bars, bars_page
from relprop.benchmark.record import Record
from relprop.benchmark.table import tabulate
from relprop.catalogue import FIGURE_KINDS
from relprop.errors import InputError, UnknownNameError
from relprop.viz import render, save_figure
from relprop.viz.file import figure_bytes


def test_bars_have_the_values_and_stand_in_order():
    figure = bars(small(), "pointing.hit")
    axes = axes_named(figure, "bars pointing.hit")
    assert [p.get_width() for p in axes.patches] == pytest.approx([100 * 5 / 6, 100 * 2 / 3, 0.0])
    assert [p.get_y() + p.get_height() / 2 for p in axes.patches] == pytest.approx([0, 1, 2])
    texts = texts_of(figure)
    names = [t for t in texts if t in METHODS]
    assert names == ["beta", "alpha", "random", "alpha"]  # the last is the published one
    assert [t for t in texts if t[0].isdigit() and "pairs" not in t] == ["83.3", "66.7", "0.0", "57.6"]
    assert "Small" in texts
    assert "Pointing, ALL (%) · higher is better" in texts
    assert "4 pairs in 3 pictures" in texts


def test_lower_is_better_turns_the_order_and_missing_stands_last():
    figure = bars(small(), "closing.error")
    assert [t for t in texts_of(figure) if t in METHODS] == ["alpha", "beta", "random"]
    assert len(axes_named(figure, "bars closing.error").patches) == 2
    assert "n/a" in texts_of(figure)
    assert "Error · lower is better" in texts_of(figure)


def test_shares_run_from_0_to_100_at_most():
    axes = axes_named(bars(small(), "pointing.hit"), "bars pointing.hit")
    assert axes.get_xlim() == (0.0, 100.0)
    error = axes_named(bars(small(), "closing.error"), "bars closing.error")
    assert error.get_xlim()[0] == 0.0
    assert error.get_xlim()[1] >= 3e-8


def test_values_below_zero_have_room():
    made = [
        Record(f"{k}", 0, m, "wide", {"ratio": v}) for k in range(2) for m, v in (("a", -0.7), ("b", 0.4))
    ]
    table = tabulate(made, {"wide": Wide()}, ["a", "b"])
    low, high = axes_named(bars(table, "wide.ratio"), "bars wide.ratio").get_xlim()
    assert low <= -0.7
    assert high >= 0.4


def test_published_numbers_have_panels_of_their_own():
    figure = bars(small(), "pointing.hit")
    ours, paper = axes_named(figure, "bars pointing.hit"), axes_named(figure, "published pointing.hit")
    assert [p.get_width() for p in paper.patches] == [pytest.approx(57.6, rel=1e-12)]
    assert 57.6 not in [p.get_width() for p in ours.patches]
    assert ours.get_position().y0 > paper.get_position().y1
    said = " ".join(texts_of(figure))
    assert "Published numbers, measured by others on a VGG." in said
    assert "published by others, not measured here" in said
    assert "Published" not in " ".join(texts_of(bars(small(), "closing.error")))


def test_intervals_are_lines_where_there_are_any():
    table = small()
    axes = axes_named(bars(table, "pointing.hit"), "bars pointing.hit")
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    cells = [table.cell(m, "pointing.hit") for m in ("beta", "alpha", "random")]
    assert spans == [(100 * c.low, 100 * c.high) for c in cells]
    one = axes_named(bars(table, "pointing.hit[dif]"), "bars pointing.hit[dif]")
    assert [line for line in one.lines if len(line.get_xdata()) == 2] == []


def test_controls_and_the_ceiling_stand_apart_below_the_methods():
    figure = bars(ranked(), "pointing.hit")
    axes = axes_named(figure, "bars pointing.hit")
    places = [p.get_y() + p.get_height() / 2 for p in axes.patches]
    assert places == pytest.approx([0, 1, 2.5, 3.5, 5])
    names = [t for t in texts_of(figure) if t in ranked().methods]
    assert names == ["alpha", "beta", "mask", "center", "world"]
    colours = [p.get_facecolor()[:3] for p in axes.patches]
    assert len(set(colours)) == 4
    assert colours[0] == colours[1]
    assert len(set(colours[3])) == 1  # grey
    texts = texts_of(figure)
    assert {"71.0 (88 %)", "30.9† (38 %)", "81.0"} <= set(texts)
    said = " ".join(texts)
    assert "Grey: controls" in said
    assert "†: doesn't beat every control (center)" in said
    assert "Grey" not in " ".join(texts_of(bars(ranked(controls=[], oracle=""), "pointing.hit")))


def test_page_has_a_panel_per_column():
    table = small()
    assert [a.get_gid() for a in bars_page(table).axes] == [
        *(f"bars {c.id}" for c in table.columns),
        *(f"published {c.id}" for c in table.published),
    ]
    chosen = bars_page(table, ["closing.error", table.columns[0]], across=1)
    assert [a.get_gid() for a in chosen.axes] == [
        "bars closing.error",
        "bars pointing.hit",
        "published pointing.hit",
    ]


def test_words_are_legible():
    for figure in (bars_page(small()), bars_page(ranked()), bars_page(wide()), bars(wide(), "wide.error")):
        check_legible(figure)


def test_files_are_pictures_and_the_same_each_time(tmp_path):
    one, two = (
        save_figure(bars_page(small()), tmp_path / "a.png"),
        save_figure(bars_page(small()), tmp_path / "b.png"),
    )
    assert one.read_bytes() == two.read_bytes()
    assert len(np.unique(render(bars_page(small())).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_every_kind_of_file_is_the_same_each_time(kind):
    one, two = (figure_bytes(bars(small(), "pointing.hit"), kind) for _ in range(2))
    assert one == two
    assert one.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind])


def test_words_in_a_pdf_are_words():
    data = figure_bytes(bars(small(), "pointing.hit"), "pdf")
    assert b"/Type3" not in data
    assert b"/CIDFontType2" in data
    assert b"CreationDate" not in data


def test_refusals():
    with pytest.raises(UnknownNameError, match="kind of figure but got 'gif'"):
        figure_bytes(bars(small(), "pointing.hit"), "gif")
    with pytest.raises(UnknownNameError, match=r"column but got 'pointing\.hits'"):
        bars(small(), "pointing.hits")
    with pytest.raises(InputError, match="one column to draw"):
        bars_page(tabulate([], METRICS, METHODS))


def test_long_notes_are_not_cut():
    notes = [f"Sentence {k} says something of some length that a reader has to know." for k in range(60)]
    table = replace(small(), notes=tuple(notes))
    said = " ".join(texts_of(bars(table, "closing.error")))
    assert all(f"Sentence {k} says" in said for k in range(60))
    check_legible(bars(table, "closing.error"))
