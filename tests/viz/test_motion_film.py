from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from tests.viz.clips import Array, flat, limit_of, overlay_frames, separation
from tests.viz.make import explanation

from relprop.errors import InputError
from relprop.viz import colourise

FILMS = ("original", "spatial", "temporal")


def _found(page: Array, panel: Array, zoom: int) -> list[tuple[int, int]]:
    """Where a panel stands on a page, enlarged by that factor."""
    large = panel.repeat(zoom, 0).repeat(zoom, 1)
    rows, columns = large.shape[:2]
    # One column of the panel is enough to find candidates.
    strips = sliding_window_view(page[..., 0], rows, axis=0)
    at = np.argwhere((strips == large[:, 0, 0]).all(-1))
    return [(x, y) for y, x in at.tolist() if np.array_equal(page[y : y + rows, x : x + columns], large)]


@pytest.mark.parametrize(("size", "zoom"), [((32, 40), 4), ((20, 12), 8), ((100, 60), 2), ((170, 200), 1)])
def test_panels_are_the_colours_of_the_numbers_side_by_side(size: tuple[int, int], zoom: int) -> None:
    s, frames = separation((1, 3, *size)), flat(3, *size)
    frames[:, 0, 0] = 255  # a mark to find the frame by
    pages = overlay_frames(s, frames)
    limit = limit_of(s, *frames.shape[:3])
    films = {name: getattr(s, name)[0].double().numpy() for name in FILMS}
    for t in (0, 2):
        corners = []
        for film in films.values():
            # Flat frames but for their corner: its outline lies in the first few pixels.
            inner = colourise(film[t], limit)[8:, 8:]
            ((x, y),) = _found(pages[t], inner, zoom)
            corners.append((x - 8 * zoom, y - 8 * zoom))
        ((x, y),) = _found(pages[t], frames[t], zoom)
        assert [y] * 3 == [corner[1] for corner in corners]
        steps = np.diff([x, *(corner[0] for corner in corners)])
        assert len(set(steps.tolist())) == 1
        assert steps[0] > size[1] * zoom


def test_the_limit_is_the_figures_unless_one_is_given() -> None:
    s, frames = separation((1, 2, 40, 40)), flat(2, 40, 40)
    pages = overlay_frames(s, frames, limit=9.0, zoom=1)
    assert len(_found(pages[1], colourise(s.temporal[0, 1].double(), 9.0), 1)) == 1
    pages = overlay_frames(s, frames, zoom=2)
    assert len(_found(pages[1], colourise(s.temporal[0, 1].double(), limit_of(s, *frames.shape[:3])), 2)) == 1


def test_all_pages_have_one_even_size_and_say_where_they_are() -> None:
    zeros = {"film": torch.zeros(5, 33, 33)}
    pages = overlay_frames(zeros, np.full((5, 33, 33, 3), 90, dtype=np.uint8), zoom=5)
    assert pages.dtype == np.uint8
    assert pages.shape[0] == 5
    assert pages.shape[1] % 2 == pages.shape[2] % 2 == 0
    dark = [int((page[-20:] < 120).all(-1).any(0).sum()) for page in pages]  # the mark at the foot
    steps = np.diff(dark)
    assert (steps > 0).all()
    assert steps.max() - steps.min() <= 1
    # All else that changes is the frame's number.
    changed = (pages[0] != pages[1]).any(-1)
    assert changed[:33].any()
    assert not changed[33:-20].any()
    # A film of zeros is white.
    ((x, y),) = _found(pages[0], np.full((33, 33, 3), 90, dtype=np.uint8), 5)
    assert (pages[:, y : y + 165, x + 165 + 8 : x + 2 * 165 + 8] == 255).all()


def test_the_class_of_each_frozen_clip_is_written() -> None:
    frames = np.full((3, 40, 40, 3), 90, dtype=np.uint8)
    film = torch.ones(1, 3, 40, 40)
    frozen = torch.eye(3)[torch.tensor([1, 1, 0])][None]
    s = separation(**dict.fromkeys(FILMS, film), frozen_outputs=frozen)
    pages = overlay_frames(s, frames, names=["ring", "box", "knot"])
    words = pages[:, 33 + 160 : -24]
    assert (words[0] == words[1]).all()
    assert (words[1] != words[2]).any()
    more = overlay_frames(separation(**dict.fromkeys(FILMS, film)), frames)
    assert more.shape[1] < pages.shape[1]  # no line for it


def test_long_names_stay_on_the_page() -> None:
    frozen = torch.eye(3)[torch.tensor([0, 1, 2])][None]
    for size in ((32, 32), (100, 20), (20, 100)):
        s = separation((1, 3, *size), frozen_outputs=frozen, settings={"normalise": "maxabs"})
        pages = overlay_frames(s, flat(3, *size), names=["a name of many words " * 12] * 3)
        for edge in (pages[:, :4], pages[:, -4:], pages[:, :, :6], pages[:, :, -6:]):
            assert (edge == 255).all()


def test_explanations_and_films_by_name_are_drawn() -> None:
    e = explanation((1, 3, 4, 40, 40))
    pages = overlay_frames(e, flat(4, 40, 40), zoom=1)
    heat = e.heatmap()[0].double().numpy()
    assert len(_found(pages[3], colourise(heat[3], limit_of(e, 4, 40, 40)), 1)) == 1
    same = overlay_frames({"relevance": e.heatmap()[0]}, flat(4, 40, 40), zoom=1)
    assert same.shape[2] == pages.shape[2]
    many = separation((2, 4, 40, 40), k=2)
    pages = overlay_frames(many, flat(4, 40, 40), sample=1, target=1, limit=3.0, zoom=1)
    assert len(_found(pages[0], colourise(many.spatial[1, 1, 0].double(), 3.0), 1)) == 1


@pytest.mark.parametrize(
    ("films", "arguments", "text"),
    [
        (separation(), {"zoom": 0}, "Expected zoom to be a whole number of at least 1 but got 0"),
        (separation(), {"zoom": 1.5}, "but got 1.5"),
        (separation(), {"limit": 0.0}, "a number > 0 but got 0"),
        (separation(), {"sample": 2}, "Expected sample to be an index from 0 to 0 but got 2"),
        ({}, {}, "Expected at least one film to draw but got none"),
        ({"a": np.zeros((6, 8, 9)), "b": np.zeros((6, 8, 7))}, {}, r"of one size but got .* 'b' \(6, 8, 7\)"),
        ({"a": np.zeros((32, 40))}, {}, r"Expected films \(T, H, W\)"),
        ({"a": np.full((6, 32, 40), np.inf)}, {}, "Expected finite relevance"),
        ([1], {}, "films by name but got list"),
        (separation((1, 5, 32, 40)), {}, r"films' size \(5, 32, 40, 3\) but got uint8 \(6, 32, 40, 3\)"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(films: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        overlay_frames(films, flat(6, 32, 40), **arguments)
