"""Which frames, which pixels and which units a sampling takes, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from tests.refusals import assert_refused

import relprop
from relprop.errors import InputError
from relprop.models.sampling import Sampling


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("settings", "total", "wanted"),
    [
        ({"frames": 4}, 100, [0, 1, 2, 3]),
        ({"frames": 4, "stride": 3, "start": 5}, 15, [5, 8, 11, 14]),
        ({"frames": 4, "stride": 3, "start": 5}, 14, [5, 8, 11, 0]),  # looped: modulo the film's length
        ({"frames": 5, "stride": 2}, 3, [0, 2, 1, 0, 2]),
        ({"frames": 3}, 1, [0, 0, 0]),
        ({"frames": 4, "start": "middle"}, 10, [3, 4, 5, 6]),
        ({"frames": 3, "stride": 4, "start": "middle"}, 11, [1, 5, 9]),
        ({"frames": 3, "stride": 4, "start": "middle"}, 5, [0, 4, 3]),  # too short to have a middle
    ],
)
def test_indices(settings: dict[str, Any], total: int, wanted: list[int]) -> None:
    assert Sampling(**settings).indices(total) == wanted


def test_indices_refuse() -> None:
    with pytest.raises(InputError, match=r"start below .*5 frames but got 5"):
        Sampling(start=5).indices(5)
    with pytest.raises(InputError, match="frame but got 0"):
        Sampling().indices(0)


def test_picture_of_c3d() -> None:
    """The published crop: rows 8:120 and columns 30:142 of 128 x 171."""
    frame = _noise(128, 171)  # already of that size: nothing is interpolated
    assert np.array_equal(Sampling.c3d().picture(frame), frame[8:120, 30:142])
    assert Sampling.c3d().picture(_noise(240, 320)).shape == (112, 112, 3)


def test_picture_keeps_proportions_and_antialiases() -> None:
    assert Sampling(resize=60).picture(_noise(120, 200)).shape == (60, 100, 3)
    assert Sampling(resize=60).picture(_noise(200, 120)).shape == (100, 60, 3)
    assert Sampling(resize=(60, 20)).picture(_noise(120, 200)).shape == (60, 20, 3)
    assert Sampling(resize=60, crop=(50, 70)).picture(_noise(120, 200)).shape == (50, 70, 3)
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = Sampling(resize=16).picture(stripes)[:, 2:-2]
    assert np.abs(small.astype(int) - 127).max() <= 1  # every 4th column alone would be all 255
    whole = _noise(7, 9)
    copy = Sampling().picture(whole)
    assert np.array_equal(copy, whole)
    assert copy is not whole
    with pytest.raises(InputError, match=r"crop's 80 x 80 .*60 x 100 after the resize"):
        Sampling(resize=60, crop=80).picture(_noise(120, 200))


def test_tensor_follows_the_formula() -> None:
    settings = Sampling(frames=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.2))
    frames = _noise(2, 4, 5)
    x = settings.tensor(frames)
    assert x.shape == (1, 3, 2, 4, 5)
    assert x.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.4, 0.2), strict=True)):
        wanted = (frames[..., channel] / 255 - mean) / std
        assert np.allclose(x[0, channel].numpy(), wanted, atol=1e-6)
    x = Sampling(frames=2, order="bgr", divisor=1, mean=(90, 98, 102)).tensor(frames)
    assert np.array_equal(
        x[0, 0].numpy(), frames[..., 2] - np.float32(90)
    )  # blue comes first, and 90 is blue's
    assert np.array_equal(x[0, 2].numpy(), frames[..., 0] - np.float32(102))


@pytest.mark.parametrize("settings", [Sampling.c3d(), Sampling(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))])
def test_bounds_are_reached_and_accepted(settings: Sampling) -> None:
    """Black and white are the box's corners, and a z-box on a 5-D input takes the box."""
    low, high = settings.bounds()
    for value, bound in ((0, low), (255, high)):
        x = settings.tensor(np.full((16, 2, 2, 3), value, dtype=np.uint8))
        assert torch.allclose(x, bound.view(1, 3, 1, 1, 1).expand_as(x), atol=1e-6)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv3d(3, 2, 2), torch.nn.ReLU(), torch.nn.Flatten())
    method = relprop.DeepTaylor(bounds=settings.bounds())
    e = relprop.explain(net.eval(), settings.tensor(_noise(16, 3, 3)), target=0, method=method)
    assert e.relevance.shape == (1, 3, 16, 3, 3)
    assert e.ledger.closes


def test_printed_and_stored() -> None:
    first, second = Sampling(
        frames=8, stride=3, start="middle", resize=64, crop=56, interpolation="bicubic"
    ).lines()
    assert first == "8 frames, every 3rd of the film around its middle (a shorter film is looped)"
    assert second == (
        "shorter side resized to 64 pixels (bicubic), centre 56 x 56; "
        "RGB 0..1 less (0, 0, 0), divided by (1, 1, 1)"
    )
    assert Sampling(frames=1, start=7).lines() == [
        "1 frame, every frame of the film from frame 7 on (a shorter film is looped)",
        "not resized, not cropped; RGB 0..1 less (0, 0, 0), divided by (1, 1, 1)",
    ]
    for stride, word in ((2, "2nd"), (11, "11th"), (21, "21st"), (112, "112th")):
        assert f"every {word} of" in str(Sampling(stride=stride))
    for settings in (Sampling(), Sampling.c3d()):
        assert Sampling(**json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"frames": 0}, "frames as a whole number of at least 1 but got 0"),
        ({"frames": True}, "frames as a whole number"),
        ({"stride": 1.5}, "stride as a whole number of at least 1 but got 1.5"),
        ({"start": -1}, "start as a film frame counted from 0, or 'middle', but got -1"),
        ({"start": "end"}, "start as a film frame"),
        ({"resize": 0}, "resize as pixels"),
        ({"resize": (3, 4, 5)}, "resize as pixels"),
        ({"crop": "8"}, "crop as pixels"),
        ({"interpolation": "cubic"}, "interpolation as one of .* but got 'cubic'"),
        ({"order": "RGB"}, "order as one of"),
        ({"divisor": 0}, "divisor as a number above 0 but got 0"),
        ({"divisor": float("nan")}, "divisor as a number above 0"),
        ({"mean": (1.0,)}, "mean as three numbers"),
        ({"mean": 0.5}, "mean as three numbers"),
        ({"std": (1, 1, 0)}, "std as three numbers above 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=f"Expected {text}"):
        Sampling(**settings)


def test_bad_frames() -> None:
    assert_refused(
        InputError,
        (lambda: Sampling().picture(np.zeros((4, 4, 3))), r"RGB .*float64 \(4, 4, 3\)"),
        (lambda: Sampling().picture([[0]]), "but got list"),
        (lambda: Sampling().tensor(_noise(15, 4, 4)), "16 frames but got 15"),
        (lambda: Sampling().tensor(_noise(4, 4)), r"16 RGB frames .*uint8 \(4, 4, 3\)"),
    )
