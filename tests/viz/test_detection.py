from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tests.viz.make import drawn, names, words

from relprop.errors import InputError
from relprop.viz import colourise
from relprop.viz.detection import BoxMap, DetectionPage, detection_figure, detections_figure
from relprop.viz.detection_frame import Frame, Outline, draw_outlines
from relprop.viz.detection_table import LayerTable

SIZE = (40, 60)
BOX, DEFAULT, OTHER = (10.0, 8.0, 34.0, 30.0), (4.0, 4.0, 22.0, 22.0), (40.0, 2.0, 58.0, 12.0)


def _map(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=SIZE) * 1e-3


def _rows(count: int) -> list[tuple[str, list[float]]]:
    values = np.random.default_rng(0).normal(size=(count, 6))
    return [(f"features.{i}", row.tolist()) for i, row in enumerate(values)]


def _page(**changes: Any) -> DetectionPage:
    fields: dict[str, Any] = {
        "picture": np.random.default_rng(9).random((*SIZE, 3)),
        "boxes": [BOX, OTHER],
        "names": ["0: dog 0.61", "1: sheep 0.50"],
        "chosen": 0,
        "default_box": DEFAULT,
        "localised": BOX,
        "classes": [BoxMap(_map(1), "why dog", ("score 0.61",)), BoxMap(_map(2), "what if sheep")],
        "strongest": _map(1) > 1e-3,
        "masked": "the top 15 %",
        "offsets": [BoxMap(_map(k), name, (f"word {name}",)) for k, name in enumerate("xywh", 3)],
        "tables": [LayerTable("dog", _rows(9)), LayerTable("sheep", _rows(7))],
    }
    return DetectionPage(**(fields | changes))


def _boxes(figure: Figure, panel: str) -> list[tuple[float, ...]]:
    """The boxes over a panel, x0, y0, x1, y1 in its pixels counted from the corner."""
    (axes,) = [a for a in figure.axes if a.get_gid() == panel]
    corners = [p.get_bbox().extents + 0.5 for p in axes.patches]  # type: ignore[attr-defined]
    return [tuple(float(v) for v in c) for c in corners]


def test_every_map_has_its_panel_and_its_boxes() -> None:
    figure = detection_figure(_page(), title="why?")
    assert names(figure) == [
        "picture-0-0", "map-0-1", "map-0-2", "picture-0-3",
        "map-1-0", "map-1-1", "map-1-2", "map-1-3", "colour-bar",
    ]  # fmt: skip
    factor = drawn(figure, "map-0-1").shape[0] / SIZE[0]
    scaled = {box: tuple(v * factor for v in box) for box in (BOX, DEFAULT, OTHER)}
    np.testing.assert_allclose(_boxes(figure, "picture-0-0"), [scaled[OTHER], scaled[BOX]])
    for panel in ("map-0-1", "map-0-2", "picture-0-3"):
        np.testing.assert_allclose(_boxes(figure, panel), [scaled[BOX]])
    for c in range(4):
        np.testing.assert_allclose(_boxes(figure, f"map-1-{c}"), [scaled[DEFAULT], scaled[BOX]])
    (axes,) = [a for a in figure.axes if a.get_gid() == "map-1-0"]
    assert [p.get_linestyle() in ("solid", "-") for p in axes.patches] == [False, True]  # dashed, then solid


def test_maps_share_a_stated_scale_and_keep_their_colours() -> None:
    page = _page(offsets=[BoxMap(_map(3) / 10, name) for name in "xywh"])
    figure = detection_figure(page, title="", clip=None)
    peak = max(float(np.abs(m.heatmap).max()) for m in (*page.classes, *page.offsets))
    text = words(figure).replace("\n", " ")
    assert "One scale for all maps" in text
    flat = np.full((*SIZE, 3), 0.5)  # no outlines in it
    pixels = drawn(
        detection_figure(_page(picture=flat, offsets=page.offsets), title="", clip=None), "map-1-0"
    )
    factor = pixels.shape[0] // SIZE[0]
    away = pixels[35 * factor :, 50 * factor :][::factor, ::factor]  # no box there
    np.testing.assert_array_equal(away, colourise(page.offsets[0].heatmap[35:, 50:], peak))
    own = detection_figure(page, title="", scale="symmetric")
    assert "Each map on its own scale" in words(own).replace("\n", " ")


def test_what_is_weak_is_grey_and_the_rest_the_picture() -> None:
    strongest = np.zeros(SIZE, dtype=bool)
    strongest[32:, 40:] = True
    page = _page(strongest=strongest)
    pixels = drawn(detection_figure(page, title=""), "picture-0-3")
    factor = pixels.shape[0] // SIZE[0]
    small = pixels[::factor, ::factor]
    expected = np.rint(page.picture * 255).astype(np.uint8)
    np.testing.assert_array_equal(small[33:, 41:], expected[33:, 41:])
    assert set(np.unique(small[33:, :8])) == {191}


def test_words_and_tables_stand_on_the_page() -> None:
    page = _page()
    figure = detection_figure(page, title="box 0", notes=["A note."])
    text = words(figure)
    for part in (
        "box 0",
        "why dog",
        "what if sheep",
        "score 0.61",
        "word x",
        "A note.",
        "median",
        "features.8",
    ):
        assert part in text
    assert "layer just crossed" in text
    long = words(detection_figure(_page(tables=[LayerTable("dog", _rows(40))]), title=""))
    assert long.count("layer just crossed") == 2  # broken into two
    assert all(f"features.{i}" in long for i in range(40))
    assert "layer just crossed" not in words(detection_figure(_page(tables=[]), title=""))


def test_no_words_overlap_or_leave_the_page() -> None:
    layers = [
        ("backbone.a.very.long.module.path.that.nobody.wants.to.read", [-1.234e-9] * 5 + [3.7e-9]),
        *_rows(30),
    ]
    for tables in ([LayerTable("dog", layers)], [LayerTable("dog", layers), LayerTable("sheep", layers[:4])]):
        figure = detection_figure(_page(tables=tables), title="t", notes=["Many words. " * 30])
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        boxes = [t.get_window_extent(renderer) for t in figure.texts]
        for i, box in enumerate(boxes):
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.width + 0.5
            assert box.y1 <= figure.bbox.height
            for other in boxes[:i]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                along = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert across <= 1 or along <= 5, figure.texts[i].get_text()


def test_detections_are_named_unless_there_are_too_many() -> None:
    picture = np.zeros((*SIZE, 3))
    figure = detections_figure(picture, [BOX, OTHER], ["0: dog", "1: sheep"], "found")
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.texts] == ["0: dog", "1: sheep"]
    factor = drawn(figure, "picture-0-0").shape[0] / SIZE[0]
    assert factor == 7  # small pictures grow
    assert _boxes(figure, "picture-0-0")[1] == pytest.approx([v * factor for v in OTHER])
    many = detections_figure(picture, [BOX] * 50, [str(i) for i in range(50)], "found")
    assert len(many.axes[0].texts) == 0
    assert len(many.axes[0].patches) == 50
    assert not detections_figure(picture, [], [], "none").axes[0].patches


def test_boxes_need_their_panel() -> None:
    figure = detections_figure(np.zeros((*SIZE, 3)), [], [], "none")
    with pytest.raises(InputError, match="got 'map-7-7'"):
        draw_outlines(figure, "map-7-7", [Outline(BOX)], SIZE)


def test_a_frame_leaves_maps_alone_unless_the_picture_was_squashed() -> None:
    heat = torch.randn(6, 8)
    same = Frame.around((6, 8), (12, 16))
    np.testing.assert_array_equal(same.lay(heat), heat.double().numpy())
    assert same.boxes((2, 2, 16, 12)).tolist() == [1, 1, 8, 6]
    # Padding right and below is cut off.
    padded = Frame.around((5, 7), (50, 70))
    np.testing.assert_array_equal(padded.lay(heat), heat[:5, :7].double().numpy())


@pytest.mark.parametrize(("picture", "size"), [((30, 60), (10, 20)), ((60, 30), (20, 10))])
def test_a_frame_has_the_pictures_proportions(picture: tuple[int, int], size: tuple[int, int]) -> None:
    frame = Frame.around((10, 10), picture)
    assert frame.size == size
    assert frame.boxes((0, 0, picture[1], picture[0])).tolist() == [0, 0, size[1], size[0]]
    np.testing.assert_allclose(frame.lay(torch.full((10, 10), 2.5)), np.full(size, 2.5))
    assert frame.photo(Image.new("RGB", picture[::-1], "red"))[0, 0].tolist() == [1, 0, 0]
    assert frame.photo(Image.new("RGB", picture[::-1])).shape == (*size, 3)
