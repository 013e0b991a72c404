"""A picture with boxes that can be clicked, and a detection's maps and cells, as pieces of HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from relprop.errors import InputError
from relprop.viz.clickable import boxes_html
from relprop.viz.detection import BoxMap, CellMap, DetectionPage
from relprop.viz.detection_frame import Frame
from relprop.viz.detection_html import class_maps_html, edges_html, table_html

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8))
CELLS = np.array([[x, y, x + 10, y + 10] for y in (20.0, 30.0) for x in (40.0, 50.0)])


def page(cells: bool = True) -> DetectionPage:
    heat = np.linspace(-1, 1, 60 * 120).reshape(60, 120)
    names = ("left edge", "top edge", "right edge", "bottom edge")
    edges = [BoxMap(heat, name, ("red: up, blue: down", "holds up"), ends=("down", "up")) for name in names]
    grid = [
        CellMap(CELLS, np.array([2.0, -1.0, 0.0, 0.5]), ["→2", "←1", "", "→<"], f"{n}: moved", ("most",))
        for n in names
    ]
    return DetectionPage(
        PICTURE, Frame((60, 120), (60, 120), (0, 0, 120, 60)), [(40, 20, 60, 40), (0, 0, 120, 60)], ["0", "1"], 0,
        (38, 18, 62, 42), (40, 20, 60, 40), [BoxMap(heat, "why a <dog>", ("line",))], heat > 0, ("",), edges,
        grid if cells else [],
    )  # fmt: skip


class Tags(HTMLParser):
    """Counts what is opened and checks that it is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_boxes_are_buttons_twice_and_small_ones_lie_on_top() -> None:
    boxes = [(30, 15, 60, 45), (0, 0, 120, 60), (35, 20, 45, 30)]
    tags = Tags(boxes_html(PICTURE, boxes, ["a", "b", "<c>"], [0.9, 0.8, 0.7], alt="x", chosen=2))
    buttons = [attrs for tag, attrs in tags.found if tag == "button"]
    assert sorted(str(b["data-box"]) for b in buttons) == ["0", "0", "1", "1", "2", "2"]
    assert [b["data-box"] for b in buttons if b["aria-pressed"] == "true"] == ["2", "2"]
    drawn = {b["data-box"]: str(b["style"]) for b in buttons if "aria-label" in b}
    order = {k: int(re.findall(r"z-index:(\d+)", style)[0]) for k, style in drawn.items()}
    assert order["2"] > order["0"] > order["1"]
    assert drawn["0"].startswith("left:25.00%;top:25.00%;width:25.00%;height:50.00%")
    (image,) = [attrs for tag, attrs in tags.found if tag == "img"]
    assert image["alt"] == "x"
    many = boxes_html(PICTURE, boxes * 9, ["a"] * 27, [0.5] * 27, alt="x")
    assert "<i>" not in many  # words would hide the picture: the list has them
    with pytest.raises(InputError, match="each of 3 boxes"):
        boxes_html(PICTURE, boxes, ["a"], [0.5], alt="x")


def test_nothing_found_and_a_place() -> None:
    shown = boxes_html(PICTURE, [], [], [], alt="x", place=(30, 15))
    assert "left:25.00%;top:25.00%" in shown
    assert "<button" not in shown


def test_edges_have_cells_words_and_a_map_each() -> None:
    words = [f"sentence & {k}" for k in range(4)]
    text = edges_html(page(), words)
    tags = Tags(text)
    assert text.count("data-relprop-slider") == text.count("<svg class") == 4
    assert [f"sentence &amp; {k}" in text for k in range(4)] == [True] * 4
    assert "→&lt;" in text
    assert text.count("red: up") == text.count("blue: down") == 4  # the legend's, not once more as a line
    assert text.count("holds up") == 4
    labels = [attrs["aria-label"] for tag, attrs in tags.found if tag == "svg" and "aria-label" in attrs]
    assert labels == [f"{n} edge: moved; most" for n in ("left", "top", "right", "bottom")]
    # The edge in question stands out: where it lies differs from edge to edge.
    lines = [tuple(attrs[k] for k in ("x1", "y1", "x2", "y2")) for tag, attrs in tags.found if tag == "line"]
    assert len(lines) == 16  # white and coloured, on cells and map
    assert len(set(lines)) == 8
    before = edges_html(page(cells=False))
    Tags(before)
    assert "<svg class" not in before
    assert "left edge" in before


def test_cells_have_the_librarys_colours() -> None:
    fills = re.findall(r'fill="rgb\((\d+),(\d+),(\d+)\)"', edges_html(page()))[:4]
    pulls, against, none, weak = [tuple(map(int, rgb)) for rgb in fills]
    assert pulls[0] > pulls[2]
    assert against[2] > against[0]
    assert none == (255, 255, 255)
    assert sum(weak) > sum(pulls)


def test_class_maps_are_near_and_whole() -> None:
    text = class_maps_html(page())
    Tags(text)
    assert text.count("data-relprop-slider") == 2
    assert "why a &lt;dog&gt;" in text
    assert text.count("stroke-dasharray") == 2  # where the box started


def test_tables_are_escaped() -> None:
    text = table_html(["a"], [["<b>"], ["c"]])
    Tags(text)
    assert "&lt;b&gt;" in text
