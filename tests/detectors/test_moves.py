"""What edges and offsets did, in pixels and in words."""

from __future__ import annotations

import math

import pytest

from relprop.detectors.moves import direction, moved, moved_words, part_title

BEFORE = (10, 10, 30, 30)


@pytest.mark.parametrize(
    ("of", "after", "pixels", "words"),
    [
        ("x1", (-2, 10, 30, 30), -12, "moved 12 px left"),
        ("x2", (10, 10, 33.2, 30), 3.2, "moved 3.2 px right"),
        ("y1", (10, 25, 30, 30), 15, "moved 15 px down"),
        ("y2", (10, 10, 30, 29.99), -0.01, "stayed"),
        ("left", (4, 10, 30, 30), -6, "moved 6.0 px left"),
        ("bottom", (10, 10, 30, 70), 40, "moved 40 px down"),
        ("cx", (30, 10, 50, 30), 20, "centre moved 20 px right"),
        ("cx", (9.5, 10, 29.5, 30), -0.5, "centre moved 0.5 px left"),
        ("cy", (10, 0, 30, 20), -10, "centre moved 10 px up"),
        ("cy", (0, 10.02, 90, 30.02), 0.02, "centre stayed"),
        ("w", (0, 0, 30, 5), 10, "width 20 → 30 px (× 1.50)"),
        ("h", (0, 0, 30, 5), -15, "height 20 → 5.0 px (× 0.25)"),
    ],
)
def test_moves_in_pixels_and_words(of: str, after: tuple[float, ...], pixels: float, words: str) -> None:
    assert moved(of, BEFORE, after) == pytest.approx(pixels)
    assert moved_words(of, BEFORE, after) == words


def test_of_other_names_nothing_is_said() -> None:
    assert math.isnan(moved("theta", BEFORE, BEFORE))
    assert moved_words("theta", BEFORE, BEFORE) == ""
    assert part_title("theta") == "theta"
    assert direction("theta", more=False) == "smaller"


def test_a_point_has_no_size_to_be_a_multiple_of() -> None:
    assert moved_words("w", (10, 10, 10, 10), (0, 0, 30, 5)) == "width 0.0 → 30 px"


def test_titles_say_what_an_edge_is_and_which_offset() -> None:
    assert [part_title(of) for of in ("y1", "top", "cx")] == [
        "top edge",
        "top edge (top)",
        "centre across (cx)",
    ]
