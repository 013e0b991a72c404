"""A separation draws itself, with its clip or without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relprop.errors import InputError
from relprop.video.films import frames_of
from relprop.video.separation import MotionSeparation


def separation() -> MotionSeparation:
    original = torch.randn(2, 4, 24, 32, generator=torch.Generator().manual_seed(0))
    spatial = original.clamp(min=0)
    outputs, targets = torch.zeros(2, 3), torch.tensor([1, 2])
    return MotionSeparation(
        original, spatial, original - spatial, {}, outputs, None, targets, "lrp-0", "naive"
    )


def test_it_draws_its_films_over_its_clip() -> None:
    s = separation()
    clip = torch.rand(2, 3, 4, 24, 32, generator=torch.Generator().manual_seed(1))
    figure = s.show(clip, sample=1, labels=["a", "b", "jumps"])
    texts = [text.get_text() for text in figure.texts] + [
        t.get_text() for ax in figure.axes for t in ax.texts
    ]
    assert any("jumps" in text for text in texts), texts
    frames = frames_of(s, clip, 1)
    low, high = clip[1].min(), clip[1].max()
    known = (255 * (clip[1].movedim(0, -1) - low) / (high - low)).numpy()
    assert np.abs(frames - known).max() <= 1
    own = frames_of(s, clip, 1, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert np.abs(own - 255 * clip[1].movedim(0, -1).numpy()).max() <= 1
    s.show(frames, sample=1)
    assert (frames_of(s, None, 0) == 255).all()
    assert s._repr_png_()[:4] == b"\x89PNG"


def test_refusals() -> None:
    s = separation()
    with pytest.raises(InputError, match="clips that were explained"):
        s.show(torch.rand(1, 3, 4, 24, 32))
    with pytest.raises(InputError, match="sample to be an index from 0 to 1"):
        s.show(sample=2)
    with pytest.raises(InputError, match="frames have their colours"):
        s.show(mean=[0.0] * 3, std=[1.0] * 3)
    with pytest.raises(InputError, match="frames as a uint8 array"):
        s.show(np.zeros((3, 24, 32, 3), np.uint8))
