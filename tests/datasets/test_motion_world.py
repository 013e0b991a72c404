"""Motion worlds: a motion stops, all else goes on."""

from __future__ import annotations

import numpy as np
import pytest

from relprop.datasets import MotionClip, MotionClips, MotionWorld
from relprop.datasets._choreography import CAMERAS


def clip_with(moving: int, camera: str = "still") -> MotionClip:
    clips = MotionClips(n=30, size=32, frames=8, seed=31, split="test", camera=camera)
    return next(
        clip
        for clip in clips
        if clip.kind == "motion" and sum(motion != "still" for motion in clip.motions) == moving
    )


@pytest.mark.parametrize("camera", CAMERAS)
def test_with_every_motion_it_is_the_clip(camera: str) -> None:
    for moving in (1, 2):
        clip = clip_with(moving, camera)
        world = MotionWorld(clip)
        assert len(world) == moving + (camera != "still")
        assert np.array_equal(world.without(), clip.frames)
        covered = sum(part.pixels.astype(int) for part in world.parts)
        assert covered.max() == 1
        assert (covered.min() == 1) == (camera != "still")
        assert [part.label for part in world.parts].count(clip.label) == 1


@pytest.mark.parametrize("camera", CAMERAS)
def test_without_any_motion_nothing_changes_from_frame_to_frame(camera: str) -> None:
    world = MotionWorld(clip_with(2, camera))
    for draw in range(3):
        still = world.draw([], draw)
        assert (still == still[0]).all()


def test_a_stopped_object_stands_as_in_one_of_the_frames() -> None:
    clip = clip_with(2)
    world = MotionWorld(clip)
    moving = [k for k, motion in enumerate(clip.motions) if motion != "still"]
    for draw, frame in enumerate((0, 4, 2, 6)):
        stopped = world.without(0, draw=draw)
        assert np.array_equal(stopped[frame], clip.frames[frame])
        # Where the stopped object never was, all goes on.
        elsewhere = ~clip.silhouettes[moving[0]].any(axis=0)
        assert np.array_equal(stopped[:, elsewhere], clip.frames[:, elsewhere])
        assert (stopped != clip.frames).any()
    assert world.by_chance([1])
    assert not world.by_chance([0, 1])


@pytest.mark.parametrize("camera", ["shake", "turn", "zoom"])
def test_a_stopped_camera_rests(camera: str) -> None:
    clip = clip_with(1, camera)
    world = MotionWorld(clip)
    assert world.parts[-1].name == "camera"
    rested = world.without(1)
    assert not world.by_chance([0])
    moved = (rested != rested[:1]).any(axis=(0, 3))
    # Under a resting camera only the object's way changes.
    assert 0 < moved.mean() < 0.5
    assert (clip.frames != clip.frames[:1]).any(axis=(0, 3)).mean() > 0.8
    if camera == "shake":
        plain = MotionClips(n=30, size=32, frames=8, seed=31, split="test")[clip.index]
        assert np.array_equal(rested, plain.frames)
