from __future__ import annotations

import numpy as np
import pytest
from tests.refusals import assert_refused
from tests.viz.make import check_legible, drawn, names

from relprop.benchmark.maps_sheet import COLUMN, PAGE, ShownMaps, maps_sheet
from relprop.errors import InputError
from relprop.viz.canvas import SMALL
from relprop.viz.page import DPI

MANY = [f"a-method-of-long-name:number={k}" for k in range(19)]


def _row(title="cat", methods=("alpha", "beta"), size=(40, 60), **changes):
    g = np.random.default_rng(0)
    region = np.zeros(size, bool)
    region[10:30, 20:50] = True
    return ShownMaps(
        title,
        np.full((*size, 3), 0.5),
        {m: g.normal(size=size) for m in methods},
        **({"region": region} | changes),
    )


def _texts(figure):
    return [t.get_text() for t in figure.texts]


def test_rows_are_pictures_and_columns_methods():
    figure = maps_sheet([_row("cat"), _row("dog")])
    assert names(figure) == ["picture-0", "map-1", "map-2", "picture-3", "map-4", "map-5"]
    places = {a.get_gid(): a.get_position() for a in figure.axes}
    assert places["picture-0"].y0 == places["map-1"].y0 > places["picture-3"].y0
    assert places["map-1"].x0 == places["map-4"].x0 > places["picture-0"].x0
    texts = _texts(figure)
    assert [t for t in texts if t in ("input", "alpha", "beta", "cat", "dog")] == [
        "input", "alpha", "beta", "cat", "dog",
    ]  # fmt: skip
    check_legible(figure)


@pytest.mark.parametrize("inches", [COLUMN, PAGE])
def test_the_page_has_the_width_it_is_printed_with_and_words_one_can_read(inches):
    figure = maps_sheet([_row(methods=MANY), _row("dog", MANY, (60, 40))], inches=inches)
    assert figure.get_figwidth() == pytest.approx(inches, abs=1 / DPI)
    assert min(t.get_fontsize() for t in figure.texts) >= 0.85 * SMALL
    assert len([n for n in names(figure) if n.startswith("map")]) == 2 * 19
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert max(box.width, box.height) >= 0.7 * DPI
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
    check_legible(figure)


def test_methods_that_do_not_fit_follow_below_the_same_pictures():
    figure = maps_sheet([_row(methods=MANY)])
    assert _texts(figure).count("input") == 3
    pictures = [n for n in names(figure) if n.startswith("picture")]
    assert len(pictures) == 3
    per_block = np.diff([names(figure).index(n) for n in [*pictures]]) - 1
    assert set(per_block.tolist()) == {7}


def test_methods_can_be_chosen():
    figure = maps_sheet([_row()], ["beta"])
    assert names(figure) == ["picture-0", "map-1"]
    assert "alpha" not in _texts(figure)


def test_the_region_is_outlined_in_the_picture_alone():
    figure = maps_sheet([_row(kind="box")])
    line = np.array([255, 0, 200])
    magenta = {n: (np.abs(drawn(figure, n).astype(int) - line).max(axis=2) < 60).sum() for n in names(figure)}
    assert magenta["picture-0"] > 50
    assert magenta["map-1"] == 0
    assert "Magenta dashes on white: the box" in " ".join(_texts(figure))
    assert "Magenta" not in " ".join(_texts(maps_sheet([_row(region=None)])))


def test_refusals():
    assert_refused(
        InputError,
        (lambda: maps_sheet([]), "at least one picture"),
        (lambda: maps_sheet([_row()], []), "at least one method"),
        (lambda: maps_sheet([_row(), _row("dog", ["alpha"])]), "a map of 'beta' for 'dog' but got alpha"),
        (lambda: maps_sheet([_row()], inches=1.0), "room for a picture and a map, 1.7 inches, but got 1"),
        (
            lambda: maps_sheet([ShownMaps("x", np.ones((4, 4, 3)), {"a": np.ones((4, 5))})]),
            r"size \(4, 4\) for 'x' but 'a' has \(4, 5\)",
        ),
        (
            lambda: maps_sheet([ShownMaps("x", np.ones((4, 4)), {"a": np.ones((4, 4))})]),
            r"picture .*shape \(4, 4\)",
        ),
        (lambda: maps_sheet([ShownMaps("x", np.ones((4, 4, 3)), {"a": np.full((4, 4), np.nan)})]), "finite"),
    )
