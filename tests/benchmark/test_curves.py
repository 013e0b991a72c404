from __future__ import annotations

import math

import pytest
from tests.benchmark.reports import METHODS, Wide, axes_named, small, texts_of, wide
from tests.viz.make import check_legible

from relprop.benchmark.curves import curves
from relprop.benchmark.record import Record
from relprop.benchmark.table import tabulate
from relprop.errors import UnknownNameError


def test_curves_have_a_line_per_method_and_the_places_below():
    figure = curves(small(), "randomising", along="layers, from the output on")
    axes = axes_named(figure, "curves randomising.ssim")
    lines = {line.get_label(): line for line in axes.lines if line.get_label() in METHODS}
    assert list(lines) == ["alpha", "beta"]  # nothing was measured for the third
    assert list(lines["alpha"].get_ydata()) == [1.0, 0.5, 1 / 3]
    assert list(lines["alpha"].get_xdata()) == [0.0, 1.0, 2.0]
    texts = texts_of(figure)
    assert [t for t in texts if t.startswith("conv")] == ["conv1", "conv2", "conv3"]
    assert {"alpha", "beta", "layers, from the output on", "SSIM, step by step · lower is better"} <= set(
        texts
    )
    assert "Lines: means over up to 4 pairs in 3 pictures." in " ".join(texts)
    assert axes.get_ylim() == (0.0, 1.0)


def test_bands_are_the_intervals_of_few_lines():
    axes = axes_named(curves(small(), "randomising"), "curves randomising.ssim")
    assert len(axes.collections) == 2
    many = curves(wide(), "wide", "ratio")
    assert len(axes_named(many, "curves wide.ratio").collections) == 0
    assert "Bands" not in " ".join(texts_of(many))


def test_steps_that_are_numbers_stand_at_their_value():
    made = [
        Record(f"{k}", 0, "alpha", "wide", {"ratio@0": 0.5, "ratio@10": 0.2, "ratio@2": 0.1})
        for k in range(2)
    ]
    table = tabulate(made, {"wide": Wide()}, ["alpha"])
    axes = axes_named(curves(table, "wide"), "curves wide.ratio")
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
    axes = axes_named(curves(table, "wide"), "curves wide.ratio")
    (line,) = [line for line in axes.lines if line.get_label() == "beta"]
    assert list(line.get_ydata()) == [0.5, 0.3]


def test_words_are_legible():
    check_legible(curves(small(), "randomising"))
    check_legible(curves(wide(), "wide", along="layers"))


def test_refusals():
    with pytest.raises(UnknownNameError, match="steps but got 'pointing'"):
        curves(small(), "pointing")
    with pytest.raises(UnknownNameError, match="series of 'randomising' but got 'hog'"):
        curves(small(), "randomising", "hog")
