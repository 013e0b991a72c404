from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from relprop.benchmark.outline import border, draw_outline, outline_note
from relprop.errors import InputError


def _length(line):
    return np.abs(np.diff(line, axis=0)).sum()


def _area(line):
    """Shoelace, positive for clockwise in a picture, whose y runs down."""
    x, y = line[:-1].T
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_border_goes_round_exactly_the_region(seed):
    region = np.random.default_rng(seed).random((7, 9)) < 0.6
    lines = border(region)
    assert all((line[0] == line[-1]).all() for line in lines)
    # What is walked round clockwise less the holes is the region's area (Green's theorem).
    assert sum(map(_area, lines)) == region.sum()
    wide = np.pad(region, 1).astype(int)
    assert (
        sum(map(_length, lines)) == np.abs(np.diff(wide, axis=0)).sum() + np.abs(np.diff(wide, axis=1)).sum()
    )


def test_straight_edges_are_single_lines():
    region = np.zeros((6, 8), bool)
    region[1:4, 2:7] = True
    (line,) = border(region)
    assert sorted(map(tuple, line[:-1].astype(int).tolist())) == [(2, 1), (2, 4), (7, 1), (7, 4)]
    region[2, 4] = False
    assert sorted(len(line) for line in border(region)) == [5, 5]
    assert border(np.zeros((3, 3), bool)) == []
    assert len(border(np.ones((3, 3), bool))[0]) == 5


def _axes(shape=(40, 60)):
    axes = Figure().add_axes((0, 0, 1, 1))
    axes.imshow(np.zeros((*shape, 3)))
    return axes


def test_the_line_lies_on_the_pixels_edges_at_any_scale():
    region = np.zeros((20, 30), bool)
    region[5:10, 10:20] = True
    axes = _axes((40, 60))
    limits = axes.get_xlim(), axes.get_ylim()
    draw_outline(axes, region)
    white, dashed = axes.lines
    assert (axes.get_xlim(), axes.get_ylim()) == limits
    assert sorted(set(dashed.get_xdata().tolist())) == [19.5, 39.5]
    assert sorted(set(dashed.get_ydata().tolist())) == [9.5, 19.5]
    assert white.get_linestyle() == "-"
    assert dashed.get_linestyle() == "--"
    assert dashed.get_zorder() > white.get_zorder()


def test_refusals():
    with pytest.raises(InputError, match="show a picture"):
        draw_outline(Figure().add_axes((0, 0, 1, 1)), np.ones((3, 3), bool))
    with pytest.raises(InputError, match=r"proportions \(40, 60\) but got \(20, 20\)"):
        draw_outline(_axes(), np.ones((20, 20), bool))


def test_the_note_names_the_kind():
    assert "the box that was annotated" in outline_note("box")
