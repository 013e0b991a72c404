from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from tests.viz.make import check_legible, drawn, names, words

from relprop.detectors import Letterbox, Prepared, Squash
from relprop.errors import InputError
from relprop.reports.detection_page import frame_of
from relprop.viz import colourise, render
from relprop.viz.detection import BoxMap, CellMap, DetectionPage, detection_figure
from relprop.viz.detection_frame import Frame, Outline, draw_outlines, margin, window_around
from relprop.viz.detection_table import LayerTable, layers_figure
from relprop.viz.detections import detections_figure

#: The picture is twice as large as the input.
INPUT, PICTURE = (40, 60), (80, 120)
BOX, DEFAULT, OTHER = (20.0, 16.0, 40.0, 36.0), (16.0, 20.0, 36.0, 40.0), (100.0, 4.0, 116.0, 24.0)
FRAME = Frame(PICTURE, INPUT, (0, 0, 60, 40))
WHITE = Image.new("RGB", PICTURE[::-1], "white")


def _map(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=INPUT) * 1e-3


def _flat(value: float) -> NDArray[np.float64]:
    return np.full(INPUT, value)


def _page(**changes: Any) -> DetectionPage:
    fields: dict[str, Any] = {
        "picture": WHITE,
        "frame": FRAME,
        "boxes": [BOX, OTHER],
        "names": ["0: dog 0.61", "1: sheep 0.50"],
        "chosen": 0,
        "default_box": DEFAULT,
        "localised": BOX,
        "classes": [BoxMap(_map(1), "why dog", ("score 0.61",)), BoxMap(_map(2), "what if sheep")],
        "strongest": _map(1) > 1e-3,
        "masked": ("a quarter of the box",),
        "edges": [
            BoxMap(_map(k), name, (f"word {name}",)) for k, name in enumerate(("x1", "y1", "x2", "y2"), 3)
        ],
        "heads": ("Why dog?", "Measured", "Edges by crp"),
    }
    return DetectionPage(**(fields | changes))


def _boxes(figure: Figure, panel: str) -> list[tuple[float, ...]]:
    """The boxes over a panel, x0, y0, x1, y1 in its pixels counted from the corner; no labels."""
    (axes,) = [a for a in figure.axes if a.get_gid() == panel]
    patches = [p for p in axes.patches if p.get_gid() != "label"]
    return [tuple(float(v) for v in p.get_bbox().extents + 0.5) for p in patches]  # type: ignore[attr-defined]


def _middle(figure: Figure, panel: str) -> NDArray[np.uint8]:
    """The colour of a panel of one colour, away from boxes."""
    return np.asarray(drawn(figure, panel)[3, 3])


def test_every_map_is_drawn_near_and_whole() -> None:
    figure = detection_figure(_page(), title="why?")
    rows = [["picture", "map", "map", "picture"]] * 2 + [["map"] * 4] * 2
    expected = [f"{kind}-{r}-{c}" for r, row in enumerate(rows) for c, kind in enumerate(row)]
    assert names(figure) == [*expected, "colour-bar"]
    part = window_around([BOX, DEFAULT], PICTURE)
    assert part is not None
    near, whole = drawn(figure, "map-2-0").shape, drawn(figure, "map-3-0").shape
    assert near[0] / near[1] == pytest.approx((part[3] - part[1]) / (part[2] - part[0]), abs=0.01)
    assert whole[0] / whole[1] == pytest.approx(PICTURE[0] / PICTURE[1], abs=0.01)
    scale = near[1] / (part[2] - part[0])
    shown = [[(v - o) * scale for v, o in zip(box, part[:2] * 2, strict=True)] for box in (DEFAULT, BOX)]
    for panel in ("map-0-1", "picture-0-0", "map-2-3"):
        np.testing.assert_allclose(_boxes(figure, panel), shown, atol=0.6)
    scale = whole[1] / PICTURE[1]
    found = _boxes(figure, "picture-1-0")  # all detections
    np.testing.assert_allclose(found, np.array([OTHER, BOX]) * scale, atol=0.6)
    (axes,) = [a for a in figure.axes if a.get_gid() == "map-2-0"]
    assert [p.get_linestyle() in ("solid", "-") for p in axes.patches] == [False, True]  # dashed, then solid


def test_a_large_box_is_drawn_whole_alone() -> None:
    figure = detection_figure(_page(boxes=[(4, 4, 110, 76)], localised=(4, 4, 110, 76)), title="")
    assert names(figure)[:-1] == [
        "picture-0-0",
        "map-0-1",
        "map-0-2",
        "picture-0-3",
        *(f"map-1-{c}" for c in range(4)),
    ]


def test_a_default_box_that_dwarfs_the_box_leaves_it_large() -> None:
    x0, y0, x1, y1 = BOX
    large = (x0 - 2 * (x1 - x0), y0 - 2 * (y1 - y0), x1, y1)  # nine times its area
    figure = detection_figure(_page(default_box=large), title="")
    part = window_around([BOX], PICTURE)
    assert part is not None
    shape = drawn(figure, "map-2-0").shape
    assert shape[0] / shape[1] == pytest.approx((part[3] - part[1]) / (part[2] - part[0]), abs=0.01)
    assert len(_boxes(figure, "map-2-0")) == 2  # it is drawn all the same


def test_without_a_default_box_none_is_drawn() -> None:
    figure = detection_figure(_page(default_box=None), title="")
    assert len(_boxes(figure, "map-2-0")) == 1


def test_class_maps_share_a_scale_that_edges_do_not_touch() -> None:
    """One scale for both left class maps white where an edge's relevance was ten times as large."""
    page = _page(
        classes=[BoxMap(_flat(1.0), "a"), BoxMap(_flat(-0.5), "b")],
        edges=[BoxMap(_flat(10.0), "x1"), BoxMap(_flat(1.0), "x2")],
    )
    figure = detection_figure(page, title="", clip=None)
    assert _middle(figure, "map-0-1").tolist() == colourise(1.0, 1.0).tolist()
    assert _middle(figure, "map-0-2").tolist() == colourise(-0.5, 1.0).tolist()
    for panel in ("map-2-0", "map-2-1"):  # each on its own
        assert _middle(figure, panel).tolist() == colourise(1.0, 1.0).tolist()
    text = words(figure).replace("\n", " ")
    assert "Class maps share one scale, up to 1:" in text
    assert "drawn each on its own" in text


def test_an_edge_fades_with_the_way_that_it_went() -> None:
    shares = (1.0, 0.5, 0.1, 0.0)
    page = _page(edges=[BoxMap(_flat(-3.0), str(s), share=s) for s in shares])
    figure = detection_figure(page, title="", clip=None)
    for c, share in enumerate(shares):
        for row in (2, 3):
            assert _middle(figure, f"map-{row}-{c}").tolist() == colourise(-share, 1.0).tolist()
    assert "as strongly as their edges moved" in words(figure).replace("\n", " ")
    own = detection_figure(page, title="", scale="symmetric", clip=None)
    assert _middle(own, "map-2-2").tolist() == colourise(-1.0, 1.0).tolist()
    fixed = detection_figure(page, title="", scale=6.0)
    assert _middle(fixed, "map-2-2").tolist() == colourise(-0.5, 1.0).tolist()
    assert "Scale fixed at 6" in words(fixed).replace("\n", " ")


def test_unsigned_maps_have_an_unsigned_scale() -> None:
    page = _page(
        classes=[BoxMap(np.abs(_map(1)), "why dog", signed=False)],
        edges=[BoxMap(np.abs(_map(2)), "x1", signed=False)],
    )
    text = words(detection_figure(page, title="")).replace("\n", " ")
    assert "no negative values" in text
    assert "against" not in text


def test_cells_have_their_colours_and_numbers() -> None:
    boxes = np.array([(20.0, 16, 30, 36), (30, 16, 40, 36)])
    cells = [
        CellMap(boxes, np.array([8.0, -2.0]), ["←8", ""], "left edge", ("red: left",)),
        CellMap(boxes, np.array([0.0, 4.0]), ["", "→4"], "right edge"),
    ]
    figure = detection_figure(_page(cells=cells), title="")
    pixels = drawn(figure, "map-2-0")
    x, y = pixels.shape[1], pixels.shape[0]
    part = margin((20.0, 16.0, 40.0, 36.0), PICTURE)
    at = [round((v - part[0]) / (part[2] - part[0]) * x) for v in (23.0, 37.0)]
    level = round(0.3 * y)
    assert [pixels[level, at[0]].tolist(), pixels[level, at[1]].tolist()] == [
        colourise(8.0, 8.0).tolist(), colourise(-2.0, 8.0).tolist(),
    ]  # fmt: skip
    other = drawn(figure, "map-2-1")  # all edges' cells on one scale
    assert other[level, at[1]].tolist() == colourise(4.0, 8.0).tolist()
    (axes,) = [a for a in figure.axes if a.get_gid() == "map-2-0"]
    assert [t.get_text() for t in axes.texts] == ["←8"]


def test_cells_of_a_slender_box_are_stretched_for_their_numbers() -> None:
    boxes = np.array([(20.0, 10 * k, 24, 10 * k + 10) for k in range(5)])
    page = _page(cells=[CellMap(boxes, np.arange(5.0), [f"←{k}" for k in range(5)], "left edge")])
    figure = detection_figure(page, title="")
    height, width = drawn(figure, "map-2-0").shape[:2]
    assert width / height == pytest.approx(0.6, abs=0.01)
    (axes,) = [a for a in figure.axes if a.get_gid() == "map-2-0"]
    assert len(axes.texts) == 5


def test_what_is_weak_is_faint_and_the_rest_the_picture() -> None:
    strongest = np.zeros(INPUT, dtype=bool)
    strongest[10:15, 12:18] = True
    picture = Image.new("RGB", PICTURE[::-1], (200, 100, 0))
    pixels = drawn(detection_figure(_page(strongest=strongest, picture=picture), title=""), "picture-0-3")
    near, part = pixels.shape, window_around([BOX, DEFAULT], PICTURE)
    assert part is not None
    scale = near[1] / (part[2] - part[0])
    kept = pixels[round((25 - part[1]) * scale), round((30 - part[0]) * scale)]
    assert kept.tolist() == [200, 100, 0]
    np.testing.assert_allclose(pixels[3, 3], 255 - 0.15 * (255 - np.array([200, 100, 0])), atol=1)


def test_words_stand_on_the_page_apart() -> None:
    long = "⚠ doesn't hold up: without its reddest tenth the log-odds falls by 12.5; without a random one by 11.25"
    page = _page(classes=[BoxMap(_map(1), "why dog", ("score 0.61", long))])
    figure = detection_figure(page, title="box 0", notes=["A note. " * 40])
    text = words(figure)
    for part in (
        "box 0",
        "why dog",
        "score 0.61",
        "word x1",
        "A note.",
        "Why dog?",
        "Edges by crp",
        "a quarter",
    ):
        assert part in text
    assert "Measured" not in text  # no cells, no head
    assert "…" not in text
    check_legible(figure)


@pytest.mark.parametrize("count", [1, 2])
def test_layers_have_a_page_of_their_own(count: int) -> None:
    values = np.random.default_rng(0).normal(size=(40, 6)).tolist()
    rows = [(f"features.{i}", row) for i, row in enumerate(values)]
    rows[0] = ("backbone.a.very.long.module.path.that.nobody.wants.to.read", [-1.234e-9] * 5 + [3.7e-9])
    figure = layers_figure([LayerTable("dog", rows), LayerTable("sheep", rows[:4])][:count], "t", ["A note."])
    text = words(figure)
    assert text.count("layer just crossed") == 2  # a long one alone is broken into two
    assert all(f"features.{i}" in text for i in range(1, 40))
    for box in (t.get_window_extent() for t in figure.texts):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


def _labels(figure: Figure) -> list[tuple[float, ...]]:
    (axes,) = figure.axes
    return [tuple(p.get_window_extent().extents) for p in axes.patches if p.get_gid() == "label"]


def test_labels_of_detections_stand_apart_and_inside() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (15, 2))
    boxes = np.hstack([corners, corners + rng.uniform(10, 150, (15, 2))]).tolist()
    picture = Image.new("RGB", (500, 400))
    figure = detections_figure(picture, boxes, [f"{i}: dining table 0.5{i}" for i in range(15)], "found")
    render(figure)
    labels = _labels(figure)
    (axes,) = figure.axes
    assert len(labels) == len(axes.texts) == 15
    panel = axes.get_window_extent().extents
    for a, b in itertools.combinations(labels, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])
    for label, text in zip(labels, axes.texts, strict=True):
        assert panel[0] - 1 <= label[0]
        assert panel[1] - 1 <= label[1]
        assert label[2] <= panel[2] + 1
        assert label[3] <= panel[3] + 1
        assert text.get_window_extent().x0 >= label[0]
        assert text.get_window_extent().x1 <= label[2]


def test_detections_are_drawn_at_the_pictures_resolution() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    figure = detections_figure(Image.fromarray(noise), [], [], "none")
    np.testing.assert_array_equal(drawn(figure, "picture-0-0"), noise)
    small = drawn(
        detections_figure(Image.new("RGB", (90, 60)), [(9, 6, 18, 12)], ["0: dog"], ""), "picture-0-0"
    )
    assert small.shape[:2] == (480, 720)
    large = drawn(detections_figure(Image.new("RGB", (90, 3200)), [], [], ""), "picture-0-0")
    assert large.shape[:2] == (1600, 45)


def test_many_detections_have_numbers_and_words_below() -> None:
    boxes = [(10 * i, 10 * i, 10 * i + 40, 10 * i + 40) for i in range(45)]
    picture = Image.new("RGB", (500, 500))
    figure = detections_figure(picture, boxes[:20], [f"{i}: dog 0.5" for i in range(20)], "found")
    assert {t.get_text() for t in figure.axes[0].texts} == {str(i) for i in range(20)}
    assert "19: dog 0.5" in words(figure)
    figure = detections_figure(picture, boxes, [f"{i}: dog 0.5" for i in range(45)], "found")
    assert {t.get_text() for t in figure.axes[0].texts} == {str(i) for i in range(40)}  # the best ones
    assert len([p for p in figure.axes[0].patches if p.get_gid() != "label"]) == 45


def test_boxes_need_their_panel() -> None:
    figure = detections_figure(WHITE, [], [], "none")
    with pytest.raises(InputError, match="got 'map-7-7'"):
        draw_outlines(figure, "map-7-7", [Outline(BOX)])


def test_a_window_is_twice_the_boxes_and_inside() -> None:
    assert window_around([(100, 100, 140, 130)], (400, 600)) == (80, 85, 160, 145)
    assert window_around([(100, 100, 140, 130), (120, 100, 160, 130)], (400, 600)) == (70, 79, 190, 151)
    assert window_around([(-50, 0, 20, 20)], (400, 600)) == (0, 0, 40, 40)  # what shows of it
    assert window_around([(500, 390, 504, 400)], (400, 600)) == (490, 376, 514, 400)  # no crumbs
    tall = window_around([(100, 100, 110, 200)], (400, 600))
    assert tall == (45, 50, 165, 250)  # no sliver
    assert window_around([(0, 0, 500, 300)], (400, 600)) is None


@pytest.mark.parametrize("picture", [(30, 60), (60, 30), (48, 48)])
@pytest.mark.parametrize(
    "prepare", [Squash((24, 36)), Letterbox((24, 36)), Letterbox((24, 36), centred=False)]
)
def test_a_map_lies_on_the_picture_where_the_network_saw_it(picture: tuple[int, int], prepare: Any) -> None:
    """A bright square of the picture is where the map of the input's own pixels says."""
    photo = np.zeros((*picture, 3), dtype=np.uint8)
    photo[12:24, 6:18] = 255
    prepared: Prepared = prepare(Image.fromarray(photo))
    heat = prepared.x[0].mean(0).double().numpy()
    frame = frame_of(prepared)
    for part in (None, (0.0, 6.0, 24.0, 30.0)):
        view = frame.view((240, 240), part)
        laid, shown = view.lay(heat), view.photo(Image.fromarray(photo)).mean(2)
        assert laid.shape == shown.shape == view.size
        assert float(np.abs((laid > 0.5) ^ (shown > 0.5)).mean()) < 0.05
        x0, y0, x1, y1 = (round(v) for v in view.boxes((6, 12, 18, 24)))
        inside = np.zeros(view.size, dtype=bool)
        inside[y0:y1, x0:x1] = True
        assert float(((shown > 0.5) ^ inside).mean()) < 0.03


def test_a_view_of_another_size_averages_and_keeps_what_is_even() -> None:
    frame = Frame((10, 20), (100, 200), (0, 0, 200, 100))
    view = frame.view((20, 20))
    heat = np.tile([[1e-300, -1e-300], [-1e-300, 1e-300]], (50, 100))
    assert np.abs(view.lay(heat)).max() < 1e-302  # fine patterns cancel, whatever their size
    np.testing.assert_allclose(view.lay(np.full((100, 200), 2.5)), 2.5)
    with pytest.raises(InputError, match="input's size"):
        view.lay(np.zeros((10, 20)))
    assert frame_of(Prepared(torch.zeros(1, 3, 8, 8), (2.0, 4.0), (16, 8), (1.0, 2.0))).window == (1, 2, 5, 6)
