"""Labels of boxes stand apart from each other and inside the picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from relprop.viz.label_places import place_labels

ROOM = (720.0, 480.0)
SIZE = (150.0, 19.0)


def _check(places: list[tuple[float, float] | None], sizes: list[tuple[float, float]]) -> None:
    labels = [
        (x, y, x + w, y + h)
        for place, (w, h) in zip(places, sizes, strict=True)
        for x, y in [place or (-9, 0)]
    ]
    for x0, y0, x1, y1 in labels:
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= ROOM[0]
        assert y1 <= ROOM[1]
    for a, b in itertools.combinations(labels, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1]), (a, b)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spread", [1.0, 0.2])  # all over the picture, and all in one corner
def test_fifteen_labels_never_overlap_nor_leave_the_picture(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 1, (15, 2)) * np.array(ROOM) * spread
    sides = rng.uniform(4, 220, (15, 2))
    boxes = np.hstack([centres - sides / 2, centres + sides / 2]).clip(0, np.tile(ROOM, 2))
    sizes = [(float(w), 19.0) for w in rng.uniform(50, 200, 15)]
    _check(place_labels(boxes.tolist(), sizes, ROOM), sizes)


def test_fifteen_labels_of_one_place_stand_around_it() -> None:
    sizes = [SIZE] * 15
    places = place_labels([(300, 200, 320, 220)] * 15, sizes, ROOM)
    _check(places, sizes)
    assert max(abs(x - 300) + abs(y - 200) for x, y in (p for p in places if p)) < 500


def test_a_label_stands_at_its_upper_left_corner_where_it_can() -> None:
    assert place_labels([(100, 100, 300, 200)], [SIZE], ROOM) == [(100, 81)]
    (place,) = place_labels([(100, 5, 300, 200)], [SIZE], ROOM)  # no room above
    assert place is not None
    assert place[1] >= 0
    (place,) = place_labels([(650, 100, 720, 200)], [SIZE], ROOM)  # it would be cut on the right
    assert place == (570, 81)


def test_a_small_box_is_not_hidden_by_the_label_of_a_large_one() -> None:
    small, large = (110, 78, 130, 98), (100, 100, 400, 300)
    places = place_labels([small, large], [SIZE, SIZE], ROOM)
    place = places[1]
    assert place is not None
    x, y = place
    assert x >= 130 or x + SIZE[0] <= 110 or y >= 98 or y + SIZE[1] <= 78


def test_what_has_no_room_is_left_out() -> None:
    assert place_labels([(0, 0, 10, 10)], [(800, 19)], ROOM) == [None]
    places = place_labels([(0, 0, 40, 40)] * 3, [(40, 20)] * 3, (40, 41))
    assert sum(place is None for place in places) == 2  # a gap is kept, too
    assert place_labels([], [], ROOM) == []
