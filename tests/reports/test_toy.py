from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.viz.make import check_legible, drawn, names, words

from relprop.errors import InputError
from relprop.piecewise.toy import Toy, pieces, toy
from relprop.reports.toy import plane_figure
from relprop.viz import colourise
from relprop.viz.scale import limits

POINT = (0.7, -0.55)


@pytest.fixture(scope="module")
def made() -> Toy:
    return toy(0)


@pytest.fixture(scope="module")
def figure(made: Toy) -> Figure:
    return plane_figure(made)


def _axes(figure: Figure, name: str) -> Axes:
    return next(a for a in figure.axes if a.get_gid() == name)


def _by_autograd(made: Toy, point: tuple[float, float], target: int | None) -> tuple[list[float], float]:
    """W * x and b of the score by the gradient, and nothing else of the package."""
    x = torch.tensor([point], dtype=torch.float64, requires_grad=True)
    scores = made.network(x)[0]
    score = scores[1] - scores[0] if target is None else scores[target]
    (gradient,) = torch.autograd.grad(score, x)
    terms = (gradient * x).detach()[0].tolist()
    return terms, score.item() - sum(terms)


def test_two_points_are_taken_apart(made: Toy, figure: Figure) -> None:
    assert names(figure) == [
        "plane", "colour-bar", "walk A", "zoom A", "ledger A", "walk B", "zoom B", "ledger B",
    ]  # fmt: skip
    text = words(figure)
    assert f"{len(pieces(made.network, made.window))} pieces of a network with 15 ReLUs" in text
    shares = [
        int(line.split(" is ")[1].split(" %")[0]) for line in text.split("\n") if "bias's share" in line
    ]
    assert shares[0] > 80 > 20 > shares[1]


@pytest.mark.parametrize("target", [None, 0, 1])
def test_the_ledger_is_the_gradients(made: Toy, target: int | None) -> None:
    figure = plane_figure(made, POINT, target)
    terms, bias = _by_autograd(made, POINT, target)
    bars = _axes(figure, "ledger A").patches
    widths = [bar.get_width() for bar in bars]
    starts = [bar.get_x() for bar in bars]
    assert widths[:4] == pytest.approx([*terms, bias, sum(terms) + bias], rel=1e-9)
    assert sum(widths[4:]) == pytest.approx(bias, rel=1e-9)
    assert len(widths) == 8
    # Each bar starts where the one before ended; the score and the first owner start at 0.
    ends = [s + w for s, w in zip(starts, widths, strict=True)]
    assert starts == pytest.approx([0, *ends[:2], 0, 0, *ends[4:7]])
    head = next(t for t in words(figure).split("\n") if t.startswith("A: F"))
    assert head.endswith(f"= {sum(terms) + bias:.2f}".replace("-", "−"))


def test_the_walk_is_the_network_and_the_plane_meets_the_origin_at_b(made: Toy) -> None:
    axes = _axes(plane_figure(made, POINT), "walk A")
    zero, carried, walk, diamond, end = axes.lines
    _, bias = _by_autograd(made, POINT, None)
    assert zero.get_ydata() == [0, 0]
    assert diamond.get_ydata()[0] == pytest.approx(bias, rel=1e-9)
    shares, values = walk.get_data()
    scores = made.network(torch.tensor(np.outer(shares, POINT)))
    np.testing.assert_allclose(values, (scores[:, 1] - scores[:, 0]).numpy(), atol=1e-9)
    # The polyline has a corner wherever the network has one: half-way between two it is straight.
    middle = 0.5 * (np.asarray(shares)[1:] + np.asarray(shares)[:-1])
    scores = made.network(torch.tensor(np.outer(middle, POINT)))
    found = 0.5 * (np.asarray(values)[1:] + np.asarray(values)[:-1])
    np.testing.assert_allclose(found, (scores[:, 1] - scores[:, 0]).numpy(), atol=1e-9)
    line = carried.get_ydata()
    at = carried.get_xdata()
    assert line[0] == pytest.approx(bias, rel=1e-9)
    assert np.interp(1.0, at, line) == pytest.approx(end.get_ydata()[0], rel=1e-9)


def test_the_thick_line_is_where_both_classes_score_the_same(made: Toy, figure: Figure) -> None:
    lines = [line for line in _axes(figure, "plane").lines if line.get_linewidth() == 2.2]
    assert len(lines) > 5
    for line in lines:
        x, y = (np.asarray(v, dtype=float) for v in line.get_data())
        for share in (0.0, 0.3, 1.0):
            point = torch.tensor([[x[0] + share * (x[1] - x[0]), y[0] + share * (y[1] - y[0])]])
            scores = made.network(point)[0]
            assert abs(float(scores[1] - scores[0])) < 1e-9


def test_every_piece_has_its_border_and_the_ground_its_scores(made: Toy, figure: Figure) -> None:
    axes = _axes(figure, "plane")
    cut = pieces(made.network, made.window)
    outlines = [p.get_xy() for p in axes.patches]
    assert len(outlines) == len(cut) + 2  # the two chosen pieces once more
    for piece, outline in zip(cut, outlines, strict=False):
        np.testing.assert_array_equal(outline[:-1], piece.corners)
    shown = np.asarray(axes.images[0].get_array())
    rows, columns = shown.shape[:2]
    x0, x1, y0, y1 = made.window
    assert columns / rows == pytest.approx((x1 - x0) / (y1 - y0), rel=0.01)
    x, y = np.meshgrid(
        x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns, y1 - (np.arange(rows) + 0.5) * (y1 - y0) / rows
    )
    scores = made.network(torch.from_numpy(np.stack([x, y], axis=-1).reshape(-1, 2))).numpy()
    values = (scores[:, 1] - scores[:, 0]).reshape(rows, columns)
    np.testing.assert_array_equal(shown, colourise(values, limits([values])[0].value))


def test_the_circle_is_the_distance_to_the_border(made: Toy) -> None:
    figure = plane_figure(made, POINT)
    circles = [p for p in _axes(figure, "zoom A").patches if hasattr(p, "get_radius")]
    (piece,) = [p for p in pieces(made.network, made.window) if p.contains(POINT)]
    (circle,) = circles
    assert circle.get_radius() == pytest.approx(float(piece.distance(POINT)), rel=1e-12)
    assert circle.get_center() == POINT
    assert f"shorter than {circle.get_radius():.2f}" in words(figure).replace("\n", " ")
    # Equal scales: a circle is round.
    axes = _axes(figure, "zoom A")
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert drawn(figure, "zoom A").shape[0] == drawn(figure, "zoom A").shape[1]


def test_words_are_legible(made: Toy, figure: Figure) -> None:
    check_legible(figure)
    check_legible(plane_figure(made, POINT, 1))


def test_odd_points_can_be_drawn(made: Toy) -> None:
    x0, _, y0, _ = made.window
    for point in ((0.0, 0.0), (x0, y0)):
        figure = plane_figure(made, point)
        terms, bias = _by_autograd(made, point, None)
        score = f"= {sum(terms) + bias:.2f}".replace("-", "−")
        assert any(t.startswith("A: F") and t.endswith(score) for t in words(figure).split("\n"))
        assert all(
            math.isfinite(v) for bar in _axes(figure, "ledger A").patches for v in bar.get_bbox().extents
        )


def test_refuses(made: Toy) -> None:
    for point in ((9.0, 0.0), (0.0,), (0.0, 0.0, 0.0), (float("nan"), 0.0)):
        with pytest.raises(InputError, match=r"point .*window"):
            plane_figure(made, point)
    for target in (2, -1, True, "1"):
        with pytest.raises(InputError, match="target 0, 1 or None"):
            plane_figure(made, target=target)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="inside its piece"):
        plane_figure(replace(made, labels=1 - made.labels))
