from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.refusals import assert_refused
from tests.viz.make import check_legible, drawn, names, words

from relprop.errors import InputError
from relprop.viz import colourise
from relprop.viz.bias import (
    BiasBar,
    LayerMaps,
    affine_layers_figure,
    bias_maps_figure,
    bias_owners_figure,
)
from relprop.viz.bias_depth import DepthLine, bias_by_depth_figure

FLAT = np.full((48, 64, 3), 0.5)  # no outlines in it


def _axes(figure: Figure, name: str) -> Axes:
    return next(a for a in figure.axes if a.get_gid() == name)


def _line(name: str, layers: int = 4, pictures: int = 30, seed: int = 0) -> DepthLine:
    g = np.random.default_rng(seed)
    names = ["input", *(f"features.{k}" for k in range(1, layers))]
    return DepthLine(name, names, g.normal(0.5, 0.4, (layers, pictures)), g.random((layers, pictures)))


def _curves(figure: Figure, panel: str) -> list[np.ndarray[Any, Any]]:
    return [
        np.asarray(line.get_ydata(), dtype=float)
        for line in _axes(figure, panel).lines
        if len(line.get_ydata()) > 2
    ]


def test_lines_are_medians_and_means_and_bands_quartiles() -> None:
    line = _line("net")
    figure = bias_by_depth_figure([line])
    for panel, values in (("depth ratio", line.ratio), ("depth share", line.share)):
        mean, median = _curves(figure, panel)
        np.testing.assert_allclose(mean, np.mean(values, axis=1))
        np.testing.assert_allclose(median, np.sort(values, axis=1)[:, 14:16].mean(axis=1))
        (band,) = _axes(figure, panel).collections
        corners = band.get_paths()[0].vertices
        inner = corners[np.isclose(corners[:, 0], 1 / 3)][:, 1]
        assert {round(v, 9) for v in inner} == {round(v, 9) for v in np.quantile(values[1], (0.25, 0.75))}
    assert _axes(figure, "depth share").get_ylim() == (0, 1)
    assert "medians over 30 pictures" in words(figure).replace("\n", " ")
    assert {"input", "features.3", "net"} <= set(words(figure).split("\n"))


def test_networks_of_other_layers_stand_over_relative_depth() -> None:
    figure = bias_by_depth_figure([_line("a", 4), _line("b", 7, 50, 1)])
    text = words(figure)
    assert "relative depth" in text
    assert "features.1" not in text
    assert "30–50 pictures" in text
    places = [line.get_xdata() for line in _axes(figure, "depth ratio").lines if line.get_linewidth() == 1.8]
    assert [len(p) for p in places] == [4, 7]
    assert all((p[0], p[-1]) == (0, 1) for p in places)


def test_exploding_ratios_leave_the_axis_and_the_caption_says_so() -> None:
    line = _line("net")
    ratio = np.array(line.ratio)
    ratio[1, 0], ratio[2, 0] = 1e6, np.nan
    figure = bias_by_depth_figure([DepthLine("net", line.layers, ratio, line.share)])
    text = words(figure).replace("\n", " ")
    assert "Means beyond the left axis: 1" in text
    assert "Ratios left out, since F = 0: 1." in text
    assert _axes(figure, "depth ratio").get_ylim()[1] < 3
    mean, median = _curves(figure, "depth ratio")
    assert mean[2] == pytest.approx(np.mean(ratio[2, 1:]))
    assert median[2] == pytest.approx(np.median(ratio[2, 1:]))


def test_depth_words_are_legible() -> None:
    check_legible(bias_by_depth_figure([_line(f"network-{k}", 4 + k, seed=k) for k in range(4)]))
    check_legible(bias_by_depth_figure([_line("net", 60)], title="Bias " * 60))
    check_legible(bias_by_depth_figure([_line("net", 1)]))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (DepthLine("net", ["a", "b"], [[1.0]], [[1.0]]), r"ratio of 'net' with shape \(2 layers, pictures\)"),
        (DepthLine("net", ["a"], [[1.0]], [1.0]), r"share of 'net' with shape \(1 layers, pictures\)"),
        (DepthLine("net", ["a"], [[np.nan]], [[1.0]]), "'net' has no ratio at 'a'"),
        (DepthLine("net", [], [], []), "ratio of 'net' with shape"),
    ],
)
def test_depth_refuses(line: DepthLine, match: str) -> None:
    with pytest.raises(InputError, match=match):
        bias_by_depth_figure([line])
    with pytest.raises(InputError, match="at least one network"):
        bias_by_depth_figure([])


def _owners(count: int, seed: int = 0) -> list[BiasBar]:
    g = np.random.default_rng(seed)
    kinds = ("bias", "batch norm")
    return [BiasBar(f"layer{k}.conv", kinds[k % 2], float(g.normal())) for k in range(count)]


@pytest.mark.parametrize(("count", "columns"), [(3, 1), (58, 1), (59, 2), (125, 3)])
def test_bars_start_where_the_last_one_ended(count: int, columns: int) -> None:
    owners = _owners(count)
    score = 2.5 + sum(o.amount for o in owners)
    figure = bias_owners_figure(owners, score, 2.5)
    assert names(figure) == [f"owners {c}" for c in range(columns)]
    bars = [bar for a in figure.axes for bar in a.patches]
    assert [b.get_width() for b in bars] == pytest.approx([2.5, *(o.amount for o in owners), score])
    ends = [b.get_x() + b.get_width() for b in bars]
    assert [b.get_x() for b in bars] == pytest.approx([0, *ends[:-2], 0])
    assert ends[-2] == pytest.approx(score)
    assert len({a.get_xlim() for a in figure.axes}) == 1
    assert {o.name for o in owners} <= set(words(figure).split("\n"))
    if columns > 1:
        check_legible(figure)


def test_kinds_have_their_tones_and_are_named() -> None:
    owners = [
        BiasBar("conv", "bias", 1.0), BiasBar("bn", "batch norm", 2.0),
        BiasBar("relu6", "saturation", 3.0), BiasBar("fc", "bias", -4.0),
    ]  # fmt: skip
    figure = bias_owners_figure(owners, 12.0, 10.0)
    bars = _axes(figure, "owners 0").patches
    faces = [tuple(bar.get_facecolor()) for bar in bars]
    assert len(set(faces)) == 6
    assert faces[3] == (1, 1, 1, 1)
    text = words(figure).replace("\n", " ")
    assert "F = 12.0 = input 10.0 + b, with b = 2.0 (bias −3.0 and batch norm 2.0 and saturation 3.0)" in text
    assert "Outlined: saturation." in text
    assert "batch norms" in text
    alone = words(bias_owners_figure(owners[:1], 11.0, 10.0))
    assert "batch norm" not in alone
    assert "Outlined" not in alone


def test_long_names_keep_their_whole_last_parts() -> None:
    owners = [BiasBar("features.denseblock3.denselayer12.sub.module.norm1", "bias", 1e-9)]
    figure = bias_owners_figure(owners, 3e-9, 2e-9)
    assert "…denselayer12.sub.module.norm1" in words(figure)
    assert "1e−9" in words(figure)


def test_owners_refuse_what_does_not_add_up() -> None:
    owners = _owners(5)
    score = 1.0 + sum(o.amount for o in owners)
    bias_owners_figure(owners, score * (1 + 1e-6), 1.0)
    with pytest.raises(InputError, match="add up to the score"):
        bias_owners_figure(owners[1:], score, 1.0)
    with pytest.raises(InputError, match="finite parts"):
        bias_owners_figure([*owners, BiasBar("x", "bias", float("nan"))], score, 1.0)


def _maps(layer: str, size: tuple[int, int], bias: float, share: float = 0.25) -> LayerMaps:
    g = np.random.default_rng(size[0])
    return LayerMaps(layer, g.normal(size=size), g.random(size), bias, share)


def test_layers_have_their_maps_and_parts() -> None:
    rows = [_maps("relu1", (48, 64), 1.5), _maps("relu2", (6, 8), -2.0, 0.625)]
    figure = affine_layers_figure(FLAT, rows, clip=None)
    assert names(figure) == [
        "picture-0-0",
        *(f"{kind}-{r}-{c}" for r in (1, 2) for c, kind in enumerate(["picture", "map", "map", "map"])),
        "colour-bar",
    ]
    first = np.asarray(rows[0].contribution)
    factor = drawn(figure, "map-1-1").shape[0] // 48
    for panel, values in (
        ("map-1-1", first),
        ("map-1-2", first.clip(min=0)),
        ("map-1-3", np.asarray(rows[0].grad_cam)),
    ):
        pixels = drawn(figure, panel)[::factor, ::factor]
        np.testing.assert_array_equal(pixels, colourise(values, np.abs(values).max()))
    unit = None
    for r, row in enumerate(rows, start=1):
        values = np.asarray(row.contribution)
        parts = [values[values > 0].sum(), values[values < 0].sum(), row.bias]
        widths = np.array([bar.get_width() for bar in _axes(figure, f"picture-{r}-0").patches])
        unit = unit or widths[0] / parts[0]  # one scale for all layers
        np.testing.assert_allclose(widths / unit, [*parts, sum(parts)], rtol=1e-9)
    text = words(figure)
    assert "bias share 62 %" in text
    assert "relu2 (6×8)" in text
    check_legible(figure)


def test_layers_refuse() -> None:
    assert_refused(
        InputError,
        (lambda: affine_layers_figure(FLAT, []), "at least one layer"),
        (lambda: affine_layers_figure(FLAT, [_maps("relu1", (6, 8), 1.0, 1.5)]), r"1\.0 and 1\.5 at 'relu1'"),
        (
            lambda: affine_layers_figure(FLAT, [LayerMaps("fc", np.zeros(5), np.zeros((2, 2)), 1.0, 0.5)]),
            r"map \(h, w\)",
        ),
        (
            lambda: affine_layers_figure(
                FLAT, [LayerMaps("a", np.full((2, 2), np.nan), np.zeros((2, 2)), 1.0, 0.5)]
            ),
            "NaN or infinite",
        ),
    )


def test_bias_maps_are_amounts_per_pixel() -> None:
    coarse, fine = np.full((6, 8), 1.0), np.full((48, 64), 1.0 / 64)
    maps = [(BiasBar("a", "bias", 48.0), coarse), (BiasBar("b", "batch norm", 48.0), fine)]
    figure = bias_maps_figure(FLAT, maps)
    assert names(figure) == ["map-0-0", "map-0-1", "colour-bar"]
    np.testing.assert_array_equal(drawn(figure, "map-0-0"), drawn(figure, "map-0-1"))
    assert "batch norm 48.0" in words(figure)
    many = bias_maps_figure(FLAT, maps * 3)
    assert names(many)[-3:-1] == ["map-1-0", "map-1-1"]
    check_legible(many)
    with pytest.raises(InputError, match="at least one bias map"):
        bias_maps_figure(FLAT, [])
