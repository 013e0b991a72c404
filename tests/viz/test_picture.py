from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.refusals import assert_refused

from relprop.errors import InputError
from relprop.viz import overlay
from relprop.viz.picture import display_picture, under_layer

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def test_mean_and_std_give_the_colours_back() -> None:
    colours = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    x = (colours - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    picture, note = display_picture(x, MEAN, STD)
    np.testing.assert_allclose(picture, colours.movedim(0, -1), atol=1e-6)
    assert note == ""


def test_without_them_the_picture_is_stretched_and_says_so() -> None:
    picture, note = display_picture(torch.tensor([-3.0, 0.0, 1.0]).reshape(1, 1, 3))
    np.testing.assert_allclose(picture[0, :, 0], [0, 0.75, 1])
    assert note == "input stretched from min to max"


def test_flat_inputs_and_odd_channels_can_be_drawn() -> None:
    picture, _ = display_picture(torch.full((3, 2, 2), 7.0))
    assert (picture == 0.5).all()
    picture, note = display_picture(torch.rand(5, 4, 2, 3))
    assert picture.shape == (4, 2, 3, 3)
    assert "mean of 5 channels" in note


@pytest.mark.parametrize(
    ("shape", "mean", "std", "match"),
    [
        ((3, 4), None, None, r"\(C, H, W\) or \(C, T, H, W\)"),
        ((3, 4, 4), MEAN, None, "both mean and std"),
        ((1, 4, 4), MEAN, STD, "std as 1 finite number, one a channel"),
    ],
)
def test_refuses(shape: tuple[int, ...], mean: object, std: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        display_picture(torch.zeros(shape), mean, std)  # type: ignore[arg-type]


def test_refuses_nan_in_the_input() -> None:
    with pytest.raises(InputError, match="Expected finite input"):
        display_picture(torch.full((1, 2, 2), float("nan")))


def _square() -> np.ndarray:
    picture = np.ones((60, 60, 3))
    picture[20:40, 20:40] = 0.1
    return picture


def test_outlines_are_lines_on_white() -> None:
    layer = under_layer(_square(), "outlines")
    assert layer[30, 30] == 1
    assert layer[5, 5] == 1
    assert layer[20, 30] < 0.8
    assert (layer == 1).mean() > 0.8


def test_flat_pictures_leave_no_trace() -> None:
    for under in ("outlines", "grey", "none"):
        assert (under_layer(np.full((9, 9, 3), 0.3), under) == 1).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("under", ["outlines", "grey", "none"])
def test_trace_never_has_a_hue_and_fades_under_strong_relevance(under: str) -> None:
    picture = _square()
    pixels = overlay(np.zeros((60, 60)), 1.0, picture, under).astype(int)  # type: ignore[arg-type]
    assert (pixels.max(-1) == pixels.min(-1)).all()
    strong = overlay(np.ones((60, 60)), 1.0, picture, under)  # type: ignore[arg-type]
    assert (strong == overlay(np.ones((60, 60)), 1.0)).all()


def test_overlay_refuses() -> None:
    assert_refused(
        InputError,
        (lambda: overlay(np.zeros((3, 3)), 1.0, np.zeros((4, 3, 3))), "map's size"),
        (lambda: overlay(np.zeros(3), 1.0), r"map \(H, W\)"),
        (lambda: overlay(np.zeros((3, 3)), 1.0, np.zeros((3, 3, 3)), "photo"), "'outlines'"),
    )
