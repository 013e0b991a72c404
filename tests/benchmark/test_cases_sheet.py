from __future__ import annotations

import numpy as np
from tests.refusals import assert_refused
from tests.viz.make import drawn, names

from relprop.benchmark.cases_sheet import ShownCase, ShownSteps, case_sheet, randomisation_sheet
from relprop.errors import InputError

MAGENTA = [255, 0, 200]


def _region():
    region = np.zeros((40, 60), bool)
    region[10:30, 20:50] = True
    return region


def _case(title="cat", **changes):
    heat = np.random.default_rng(0).normal(size=(40, 60))
    return ShownCase(
        title, np.full((40, 60, 3), 0.5), heat, **({"region": _region(), "lines": ("hit 1",)} | changes)
    )


def _steps(title="alpha", count=16, size=(32, 32)):
    g = np.random.default_rng(1)
    maps = {f"{k:02} conv{k}": g.normal(size=size) for k in range(1, count + 1)}
    lines = {name: (f"SSIM {k}",) for k, name in enumerate(maps)}
    return ShownSteps(title, g.random((*size, 3)), g.normal(size=size), maps, lines)


def _texts(figure):
    return [t.get_text() for t in figure.texts]


def test_each_case_is_a_picture_and_a_map():
    figure = case_sheet(
        {"best": [_case(f"b{k}") for k in range(3)], "worst": [_case("w")]}, across=2, title="T"
    )
    assert [n for n in names(figure) if n != "colour-bar"] == [
        f"{kind}-{r}-{c}"
        for r, c in [(0, 0), (0, 2), (1, 0), (2, 0)]
        for kind, c in (("picture", c), ("map", c + 1))
    ]
    texts = _texts(figure)
    assert [t for t in texts if t in ("T", "best", "worst", "b0", "b1", "b2", "w")] == [
        "T", "best", "b0", "b1", "b2", "worst", "w",
    ]  # fmt: skip
    assert texts.count("hit 1") == 4
    assert "Magenta dashes on white: the region" in " ".join(texts)


def test_a_plain_list_is_a_sheet_without_headers():
    figure = case_sheet([_case("one"), _case("two")])
    assert [n for n in names(figure) if n != "colour-bar"] == [
        "picture-0-0",
        "map-0-1",
        "picture-0-2",
        "map-0-3",
    ]


def test_the_region_is_outlined_in_dashes_over_the_picture():
    figure = case_sheet([_case()])
    found = (drawn(figure, "picture-0-0") == MAGENTA).all(axis=2)
    factor = found.shape[1] // 60
    rows, columns = np.nonzero(found)
    near = 3  # pixels of the page: half the line's thickness, and its antialiasing
    assert abs(rows.min() - 10 * factor) <= near
    assert abs(rows.max() - 30 * factor) <= near
    assert abs(columns.min() - 20 * factor) <= near
    assert abs(columns.max() - 50 * factor) <= near
    length = 2 * (30 + 20) * factor
    assert 0.3 * length < found.sum() < 3 * length
    # The dashes leave white between them.
    upper = drawn(figure, "picture-0-0")[10 * factor, 22 * factor : 48 * factor]
    assert (upper == MAGENTA).all(axis=1).any()
    assert (upper > 230).all(axis=1).any()
    none = case_sheet([_case(region=None)])
    assert not (drawn(none, "picture-0-0") == MAGENTA).all(axis=2).any()
    assert "dashes" not in " ".join(_texts(none))


def test_the_outline_is_no_part_of_what_is_drawn_under_the_map():
    # A flat picture has no outlines: none may come from the region.
    with_region, without = case_sheet([_case()]), case_sheet([_case(region=None)])
    assert np.array_equal(drawn(with_region, "map-0-1"), drawn(without, "map-0-1"))


def test_the_legend_says_what_the_line_is():
    boxed, masked = _case("a", kind="box"), _case("b", kind="mask")
    texts = _texts(case_sheet([boxed, masked]))
    assert {"dashes: its box", "dashes: its mask"} <= set(texts)
    said = " ".join(texts)
    assert "Magenta dashes on white: the box or mask that was annotated for the class" in said
    assert "no part of it and not seen by the network" in said


def test_outline_of_a_large_picture_survives_drawing_it_smaller():
    large = np.zeros((900, 1200), bool)
    large[200:700, 300:900] = True
    figure = case_sheet([ShownCase("large", np.full((900, 1200, 3), 0.5), np.ones((900, 1200)), large)])
    found = (drawn(figure, "picture-0-0") == MAGENTA).all(axis=2)
    assert found.sum() > 0.4 * 2 * (500 + 600) / 3  # a border of a third of the size, 5 of 8 of it dashes


def test_randomisation_shows_first_last_and_steps_between():
    figure = randomisation_sheet([_steps("alpha"), _steps("beta")], title="Cascade")
    texts = _texts(figure)
    steps = [t for t in texts if "conv" in t]
    assert steps == 2 * [f"{k:02} conv{k}" for k in (1, 3, 6, 9, 11, 13, 16)]
    assert texts.count("trained") == texts.count("input") == 2
    assert {"Cascade", "alpha", "beta", "SSIM 0", "SSIM 15"} <= set(texts)
    assert "7 of 16 steps are drawn." in " ".join(texts)
    assert len(names(figure)) == 2 * 9 + 1


def test_few_steps_are_all_drawn():
    texts = _texts(randomisation_sheet([_steps(count=3)]))
    assert [t for t in texts if "conv" in t] == ["01 conv1", "02 conv2", "03 conv3"]
    assert "steps are drawn" not in " ".join(texts)


def test_refusals():
    assert_refused(
        InputError,
        (lambda: case_sheet({"best": []}), "one case to draw"),
        (lambda: case_sheet([_case()], across=0), "across but got 0"),
        (lambda: case_sheet([_case(region=np.ones((3, 3), bool))]), r"region .*got \(3, 3\)"),
        (
            lambda: case_sheet([ShownCase("x", np.ones((4, 4, 3)), np.ones((4, 5)))]),
            r"map .*'x' but got \(4, 5\)",
        ),
        (
            lambda: case_sheet([ShownCase("x", np.ones((4, 4)), np.ones((4, 4)))]),
            r"picture .*'x' but got shape \(4, 4\)",
        ),
        (
            lambda: case_sheet([ShownCase("x", np.ones((4, 4, 3)), np.full((4, 4), np.nan))]),
            "finite relevance",
        ),
        (lambda: randomisation_sheet([]), "row of maps"),
        (lambda: randomisation_sheet([_steps()], most=0), "step to draw but got 0"),
        (lambda: randomisation_sheet([_steps(), _steps("beta", 3)]), "'alpha' has 16 and 'beta' has 3"),
    )
