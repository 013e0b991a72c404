from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.viz.clips import check_words, flat, limit_of, motion_figure, panels, separation
from tests.viz.make import explanation, names, words

from relprop.errors import InputError
from relprop.viz import colourise, limits
from relprop.viz.labels import number
from relprop.viz.motion import strongest_row

FILMS = ("original", "spatial", "temporal")
LONG = [f"a very long class name that nobody wants to read (number {i}), and more of it" for i in range(3)]


def _text(figure: Any) -> str:
    return words(figure).replace("\n", " ")


def test_pixels_are_the_colours_of_the_numbers_on_one_stated_scale() -> None:
    s = separation()
    figure = motion_figure(s, flat(6, 32, 40))
    films = [getattr(s, name)[0].double().numpy() for name in FILMS]
    (limit,) = {found.value for found in limits(films, "shared")}
    assert limit_of(s, 6, 32, 40) == limit
    on_page = panels(figure)
    for r, film in enumerate(films, start=1):
        for t in range(6):
            pixels = on_page[f"map-{r}-{t}"]
            factor = pixels.shape[0] // 32
            np.testing.assert_array_equal(pixels[::factor, ::factor], colourise(film[t], limit))
    text = _text(figure)
    assert f"Scale fixed at {number(limit)}" in text
    assert "99.5th percentile of all 3 films'" in text
    for name, film in zip(FILMS, films, strict=True):
        total = number(float(film.sum())).replace("-", "−")
        assert f"{name} · sum {total} · ±{number(limit)} (max {number(np.abs(film).max())})" in text
    assert f"+{number(limit)}" in text  # on the colour bar
    fixed = motion_figure(s, flat(6, 32, 40), scale=7.0)
    np.testing.assert_array_equal(panels(fixed)["map-3-2"][::3, ::3], colourise(films[2][2], 7.0))
    assert "percentile" not in words(fixed)


def test_frames_are_shown_as_they_are_and_evenly_spread() -> None:
    s, frames = separation((1, 10, 32, 32)), flat(10, 32, 32)
    figure = motion_figure(s, frames)
    shown = [0, 1, 3, 4, 5, 6, 8, 9]
    text = words(figure).splitlines()
    assert [f"frame {t}" for t in shown] == [line for line in text if line.startswith("frame ")]
    on_page = panels(figure)
    for c, t in enumerate(shown):
        assert (on_page[f"picture-0-{c}"][0] == frames[t, 0, 0]).all()
    assert "map-3-9" in names(motion_figure(s, frames, columns=10))
    assert "map-3-1" not in names(motion_figure(s, frames, columns=1))


def test_the_strongest_row_is_marked_and_cut_out() -> None:
    temporal = torch.full((1, 5, 32, 48), 0.1)
    temporal[0, 2, 21] = -4.0  # by size, and although another row has the largest single value
    temporal[0, 1, 3, 3] = 50.0
    s = separation((1, 5, 32, 48), temporal=temporal)
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
    assert strongest_row(temporal[0].numpy()) == 21
    figure = motion_figure(s, frames)
    limit = limit_of(s, 5, 32, 48)
    on_page = panels(figure)
    factor = on_page["picture-0-0"].shape[0] / 32
    for c in range(5):
        (axes,) = [a for a in figure.axes if a.get_gid() == f"picture-0-{c}"]
        (line,) = [line for line in axes.lines if line.get_gid() == "row"]
        assert np.asarray(line.get_ydata()).tolist() == [21.5 * factor - 0.5] * 2
    assert "Row 21 of 32" in _text(figure)
    assert "where the temporal film is strongest" in _text(figure)
    slices = {"picture-4-0": frames[:, 21]}
    for c, name in enumerate(FILMS, start=1):
        slices[f"map-4-{c}"] = colourise(getattr(s, name)[0, :, 21], limit)
    for name, expected in slices.items():
        pixels = on_page[name]
        rows, columns = pixels.shape[0] // 5, pixels.shape[1] // 48
        assert pixels.shape == (5 * rows, 48 * columns, 3)
        np.testing.assert_array_equal(pixels, expected.repeat(rows, 0).repeat(columns, 1))


def test_curves_are_the_sums_of_each_frame_below_their_panels() -> None:
    s = separation((1, 9, 32, 32))
    figure = motion_figure(s, flat(9, 32, 32), columns=9)
    (axes,) = [a for a in figure.axes if a.get_gid() == "curve"]
    lines = {line.get_gid(): line for line in axes.lines}
    for name, curve in s.frames.items():
        for sign, expected in (("+", curve.positive[0]), ("−", curve.negative[0])):
            np.testing.assert_allclose(lines[f"{name} {sign}"].get_ydata(), expected.double(), rtol=1e-5)
    assert "dashed: negative values" in words(figure)
    for t in range(9):
        (panel,) = [a for a in figure.axes if a.get_gid() == f"map-3-{t}"]
        box = panel.get_window_extent()
        assert float(axes.transData.transform((t, 0.0))[0]) == pytest.approx((box.x0 + box.x1) / 2, abs=0.5)
    above = min(a.get_position().y0 for a in figure.axes if str(a.get_gid()).startswith("map-3"))
    below = max(a.get_position().y1 for a in figure.axes if str(a.get_gid()).startswith("map-4"))
    assert below < axes.get_position().y0 < axes.get_position().y1 < above


def test_films_without_negative_values_have_no_blue_and_no_dashes() -> None:
    film = torch.rand(1, 4, 32, 32)
    s = separation(original=film, spatial=film * 0.25, temporal=film * 0.75, mode="conserving")
    figure = motion_figure(s, flat(4, 32, 32))
    text = _text(figure)
    assert "dashed" not in text
    assert "spatial + temporal = original in total" in text
    assert "(25 %) · 0 to" in text
    assert "(75 %) · 0 to" in text
    assert "%" not in words(motion_figure(separation((1, 4, 32, 32)), flat(4, 32, 32))).replace("99.5", "")


def test_a_temporal_film_of_zeros_is_white_and_says_so() -> None:
    film = torch.zeros(1, 4, 32, 32)
    film[0, :, 7] = 1.0
    s = separation(original=film, spatial=film, temporal=torch.zeros_like(film), mode="conserving")
    figure = motion_figure(s, flat(4, 32, 32))
    on_page = panels(figure)
    assert all((on_page[f"map-3-{t}"] == 255).all() for t in range(4))
    assert all((on_page[f"map-1-{t}"] != 255).any() for t in range(4))
    text = _text(figure)
    assert "temporal · sum 0 (0 %) · all zero" in text
    assert "Row 7 of 32 (line in the frames) is where the original film is strongest" in text
    nothing = separation(**dict.fromkeys(FILMS, torch.zeros_like(film)))
    check_words(figure := motion_figure(nothing, flat(4, 32, 32)))
    assert _text(figure).count("all zero") == 3


def test_the_class_of_each_frozen_clip_is_named_and_marked_where_it_is_the_explained_one() -> None:
    frozen = torch.eye(3)[torch.tensor([0, 1, 0, 2])][None]
    s = separation((1, 4, 32, 32), frozen_outputs=frozen)
    text = words(motion_figure(s, flat(4, 32, 32), names=["ring", "box", "knot"]))
    lines = text.splitlines()
    assert [line for line in lines if line in ("✓ ring", "ring", "✓ box", "box", "✓ knot", "knot")] == [
        "✓ ring", "box", "✓ ring", "knot",
    ]  # fmt: skip
    assert "the explained class (ring), 2 of 4 frames" in text.replace("\n", " ")
    assert lines[-1].startswith("ring, output 2.5 · naive split of lrp-epsilon") or lines[0].startswith(
        "ring,"
    )
    assert "class 1" in words(motion_figure(s, flat(4, 32, 32)))
    assert "stands still" not in words(motion_figure(separation((1, 4, 32, 32)), flat(4, 32, 32)))


@pytest.mark.parametrize(
    ("changes", "said", "sums"),
    [
        ({"settings": {"normalise": "maxabs"}}, "no common unit", False),
        ({"settings": {"clamp": True}}, "at every pixel, negative values set to 0", True),
        ({"mode": "selective", "settings": {"absolute": True}}, "the original where it changes over time", True),
        ({"mode": "selective", "relevance": {"original": torch.rand(1, 3, 4, 8, 8)}}, "where it falls", True),
        ({"mode": "selective", "relevance": {"original": torch.randn(1, 3, 4, 8, 8)}}, "brought to [0, 1]", False),
    ],
)  # fmt: skip
def test_what_the_mode_did_is_said(changes: dict[str, Any], said: str, sums: bool) -> None:
    text = _text(motion_figure(separation((1, 4, 32, 32), **changes), flat(4, 32, 32)))
    assert said in text
    assert ("temporal · sum" in text) == sums


@pytest.mark.parametrize(
    ("shape", "columns"),
    [((2, 32, 32), 8), ((16, 60, 100), 16), ((16, 100, 60), 8), ((64, 32, 32), 20), ((5, 224, 224), 8)],
)
def test_no_words_overlap_or_leave_the_page(shape: tuple[int, int, int], columns: int) -> None:
    t = shape[0]
    frozen = torch.eye(3)[torch.arange(t) % 3][None]
    s = separation((1, *shape), frozen_outputs=frozen, settings={"normalise": "maxabs"})
    figure = motion_figure(
        s, flat(*shape), names=LONG, columns=columns, title="A long title. " * 40, notes=["Ω."]
    )
    check_words(figure)
    assert "Ω." in words(figure)  # nothing of the caption is cut
    tiny = separation((1, *shape), **{name: getattr(s, name) * 1.23e-9 for name in FILMS})
    tiny.temporal.clamp_(min=-1e-13)
    check_words(motion_figure(tiny, flat(*shape), columns=3, notes=["A note of many words. " * 9]))
    e = explanation((1, 3, *shape), outputs=torch.zeros(1, 3))
    check_words(motion_figure(e, flat(*shape), names=LONG, columns=columns))


def test_one_of_many_clips_and_targets_is_drawn() -> None:
    s = separation((2, 4, 32, 32), k=3)
    figure = motion_figure(s, flat(4, 32, 32), sample=1, target=2, scale=2.0)
    np.testing.assert_array_equal(
        panels(figure)["map-3-0"][::4, ::4], colourise(s.temporal[2, 1, 0].double(), 2.0)
    )
    text = _text(figure)
    assert "Clip 1 of 0 to 1. Target 2 of 0 to 2." in text
    assert "class 2" in text


def test_a_plain_explanation_has_one_film() -> None:
    e = explanation((1, 3, 5, 32, 32))
    figure = motion_figure(e, flat(5, 32, 32), notes=["A note."])
    assert [name for name in names(figure) if name.startswith("map")] == [
        *(f"map-1-{t}" for t in range(5)), "map-2-1",
    ]  # fmt: skip
    heat = e.heatmap()[0].double().numpy()
    limit = limits([heat])[0].value
    np.testing.assert_array_equal(panels(figure)["map-1-3"][::4, ::4], colourise(heat[3], limit))
    text = _text(figure)
    assert "percentile of the film's non-zero |relevance|" in text
    assert "A note." in text
    one = explanation((1, 3, 1, 32, 32))
    check_words(motion_figure(one, flat(1, 32, 32)))
    layer = explanation((1, 3, 4, 32, 32), relevance=torch.randn(1, 8, 2, 16, 16), at="features.3")
    assert "Relevance at features.3, resized" in _text(motion_figure(layer, flat(4, 32, 32)))


def test_drawing_never_touches_the_numbers() -> None:
    s, frames = separation(), flat(6, 32, 40)
    before = [getattr(s, name).clone() for name in FILMS], frames.copy()
    motion_figure(s, frames)
    assert all(torch.equal(getattr(s, name), film) for name, film in zip(FILMS, before[0], strict=True))
    np.testing.assert_array_equal(frames, before[1])


@pytest.mark.parametrize(
    ("frames", "arguments", "text"),
    [
        (flat(5, 32, 40), {}, r"films' size \(6, 32, 40, 3\) but got uint8 \(5, 32, 40, 3\)"),
        (flat(6, 64, 80), {}, r"but got uint8 \(6, 64, 80, 3\)"),
        (flat(6, 32, 40) / 255, {}, "but got float64"),
        (torch.zeros(6, 32, 40, 3), {}, "but got Tensor"),
        (flat(6, 32, 40), {"sample": 1}, "Expected sample to be an index from 0 to 0 but got 1"),
        (flat(6, 32, 40), {"target": -1}, "Expected target to be an index from 0 to 0 but got -1"),
        (flat(6, 32, 40), {"columns": 0}, "Expected columns to be a whole number of at least 1 but got 0"),
        (flat(6, 32, 40), {"scale": "symmetric"}, "Expected scale 'shared' .* but got 'symmetric'"),
        (flat(6, 32, 40), {"scale": -1.0}, "a number > 0 but got -1"),
        (flat(6, 32, 40), {"names": []}, "name class 0 but got 0 names"),
    ],
)
def test_bad_input_is_refused(frames: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        motion_figure(separation(), frames, **arguments)


def test_other_things_are_refused() -> None:
    frames = flat(6, 32, 40)
    with pytest.raises(InputError, match=r"clips .*\(1, 3, 32, 40\)"):
        motion_figure(explanation(), frames)
    broken = separation()
    broken.spatial[0, 2, 3, 4] = float("nan")
    with pytest.raises(InputError, match="got 1 NaN"):
        motion_figure(broken, frames)
