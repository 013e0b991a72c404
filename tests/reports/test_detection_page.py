"""What stands on the page of a detection, and on the index."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.detectors.nets import tiny_detector
from tests.detectors.nets.yolo_like import yolo_like
from tests.viz.make import words

from relprop.detectors import Detections, Letterbox, Prepared, wrap
from relprop.detectors.hiding import Check, Loss
from relprop.detectors.measured import Measured, measure
from relprop.detectors.parts import Parts, explain_parts
from relprop.reports.detection_index import Indexed, index_html
from relprop.reports.detection_page import page_notes, page_of
from relprop.reports.detection_words import arrows, check_lines, most, pulls
from relprop.viz.detection import DetectionPage, detection_figure

DETECTOR = replace(tiny_detector.detector(), prepare=Letterbox((16, 16), mean=(0.5,) * 3, std=(0.25,) * 3))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture(scope="module")
def made(picture: Image.Image) -> tuple[Prepared, Detections, Parts, Measured]:
    prepared = DETECTOR.prepared(picture)
    found = DETECTOR(prepared)
    d = found[0]
    parts = explain_parts(DETECTOR, prepared, d, versus=next(k for k in (1, 2, 3) if k != d.label))
    return prepared, found, parts, measure(DETECTOR, prepared, parts, found)


@pytest.fixture(scope="module")
def page(picture: Image.Image, made: tuple[Prepared, Detections, Parts, Measured]) -> DetectionPage:
    return page_of(DETECTOR, picture, *made)


def test_maps_fade_with_the_pixels_that_edges_moved(
    page: DetectionPage, made: tuple[Prepared, Detections, Parts, Measured]
) -> None:
    _, _, parts, _ = made
    ways = np.abs([part.moved for part in parts.parts if part.on_box])
    assert [m.share for m in page.edges] == pytest.approx(ways / max(1.0, ways.max()))
    assert [m.share for m in page.classes] == [
        1,
        1,
        1,
    ]  # the label, the what-if class, the one rather than the other
    still = [replace(part, moved=0.25) if part.on_box else part for part in parts.parts]
    prepared, found, _, measured = made
    weak = page_of(DETECTOR, page.picture, prepared, found, replace(parts, parts=tuple(still)), measured)
    assert [m.share for m in weak.edges] == [0.25] * 4  # a quarter of a pixel isn't drawn in full


def test_the_strongest_pixels_are_a_share_of_the_box(
    page: DetectionPage, made: tuple[Prepared, Detections, Parts, Measured]
) -> None:
    prepared, found, parts, _ = made
    x0, y0, x1, y1 = prepared.in_input(found[0].box).tolist()
    heat = parts.heatmaps()[0].numpy()
    count = min(round(0.25 * (x1 - x0) * (y1 - y0)), int((heat > 0).sum()))
    assert int(page.strongest.sum()) == count
    assert heat[page.strongest].min() >= heat[~page.strongest].max()
    assert page.masked == ("where the map is largest: 25 % of the box's area",)


def test_cells_point_where_they_pull(
    page: DetectionPage, made: tuple[Prepared, Detections, Parts, Measured]
) -> None:
    _, _, parts, measured = made
    effects = measured.effects
    assert effects is not None
    for part, cells in zip(parts.parts[2:], page.cells, strict=True):
        found = effects.of(part.of).tolist()
        forward = {"x": "→", "y": "↓"}[part.of[0]]
        backward = {"x": "←", "y": "↑"}[part.of[0]]
        for effect, value, text in zip(found, pulls(part, effects), arrows(part, effects), strict=True):
            assert value == (effect if part.red in ("right", "down") else -effect)
            assert not text or text[0] == (forward if effect > 0 else backward)
        assert cells.texts[int(np.argmax(np.abs(found)))]
        assert cells.boxes.shape == (25, 4)


def test_what_moves_nothing_is_said_to(made: tuple[Prepared, Detections, Parts, Measured]) -> None:
    _, _, parts, measured = made
    effects = measured.effects
    assert effects is not None
    still = replace(
        effects, said=replace(effects.said, edges=effects.said.edges[:1].expand(len(effects.said.edges), 4))
    )
    for part in parts.parts[2:]:
        assert set(arrows(part, still)) == {""}
        assert most(part, still) == "no part alone moves it"
        assert f" px {most(part, effects).rpartition(' ')[2]}" in most(part, effects)


def test_the_page_says_all_of_it(
    page: DetectionPage, made: tuple[Prepared, Detections, Parts, Measured]
) -> None:
    prepared, _, parts, measured = made
    figure = detection_figure(page, title="t", notes=page_notes(prepared, parts, measured))
    text = words(figure).replace("\n", " ")
    label, other = parts.parts[0].name, parts.parts[1].name
    for said in (
        f"Why {label}?",
        f"{label} rather than {other}",
        "The edges by crp",
        "next best: ",
        f"its logit without the {label}:",
        "holds up" if any(c.holds for c in measured.checks) else "doesn't hold up",
        "Hidden was a tenth of the box's area",
    ):
        assert said in text
    assert "…" not in text
    assert "isn't linear" not in text  # of an edge that goes without saying


def _check(red: float | None, blue: float | None, random: float, way: str = "") -> Check:
    loss = Loss("mean", red, blue, (random,) * 8)
    unit = " px" if way else ""
    return Check(
        "x1" if way else "class", "the logit of dog", True, way, unit, 3.0, 0.1, 2, (4, 4), (loss,), 11
    )


def test_a_map_that_does_not_hold_up_is_called_so() -> None:
    good, bad = _check(2.0, -1.0, 0.5), _check(0.25, 1.5, 0.5)
    assert check_lines(good) == (
        "holds up: without its reddest tenth the logit falls by 2.0; without a random one it falls by 0.50",
    )
    first, second = check_lines(bad)
    assert first.startswith("⚠ doesn't hold up: without its reddest tenth")
    assert second == "blue isn't against: its bluest tenth costs 1.5, too"
    assert check_lines(_check(None, None, 0.5)) == ("⚠ doesn't hold up: nothing in the map is red",)
    (edge,) = check_lines(_check(3.0, None, 1.0, "left"))
    assert edge == (
        "holds up: without its reddest tenth the edge goes back by 3.0 px; without a random one it goes back by "
        "1.0 px"
    )
    (against,) = check_lines(_check(-3.0, None, -0.5))
    assert against.endswith("the logit rises by 3.0; without a random one it rises by 0.50")


def test_a_box_without_pixels_has_a_page_and_nothing_measured(
    picture: Image.Image, made: tuple[Prepared, Detections, Parts, Measured]
) -> None:
    """Random networks make such boxes: no width, or between two pixels."""
    prepared, found, parts, _ = made
    empty = replace(parts.detection, box=torch.tensor([20.0, 10.0, 20.0, 22.0], dtype=torch.float64))
    still = replace(parts, detection=empty)
    assert measure(DETECTOR, prepared, still, found) is None
    notes = page_notes(prepared, still)
    assert "The box has no pixel of the input: nothing can be measured." in notes
    detection_figure(page_of(DETECTOR, picture, prepared, found, still), title="", notes=notes)
    assert not any("no pixel" in note for note in page_notes(prepared, parts))


@pytest.mark.parametrize("default", [True, False])
def test_a_page_of_yolo(default: bool, picture: Image.Image) -> None:
    """Distances as means of distributions, with a letterbox; and as if there were no boxes to start from."""
    detector = replace(wrap(yolo_like()), default_boxes=default)
    prepared = detector.prepared(picture)
    found = detector(prepared)
    parts = explain_parts(detector, prepared, found[0])
    page = page_of(detector, picture, prepared, found, parts, measure(detector, prepared, parts, found))
    text = words(detection_figure(page, title="t", notes=page_notes(prepared, parts))).replace("\n", " ")
    assert (page.default_box is not None) == default
    assert ("default box" in text) == default
    assert ("left edge: moved" in text) == default
    assert ("as strongly as their edges moved" in text) == default
    assert "centre" not in text
    assert len(page.cells) == len(page.edges) == 4


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.used: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.used.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_index_is_plain_and_escapes_names() -> None:
    pictures = [
        Indexed(
            "<b>&.png",
            Path('a "b"/detections.png'),
            ["0: <dog> 0.61", "1: cat 0.5"],
            {1: Path("a/box-1.png")},
        ),
        Indexed("none.png", Path("none/detections.png"), [], {}),
    ]
    text = index_html(pictures, "A <title>")
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    assert "script" not in reader.used
    assert "http" not in text
    for part in (
        "&lt;b&gt;&amp;.png",
        "a%20%22b%22/detections.png",
        "0: &lt;dog&gt; 0.61",
        'href="a/box-1.png"',
    ):
        assert part in text
    assert "2 pictures, 2 detections, 1 explained" in text
    assert "Nothing found." in text
