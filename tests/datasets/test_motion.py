"""`motion` is what it says: same everywhere, exact truth, and no frame gives a motion away."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from relprop.datasets._choreography import SHAKE, cast
from relprop.datasets._film import film
from relprop.datasets.motion import APPEARANCE_CLASSES, CLASSES, MOTION_CLASSES, MotionClip, MotionClips
from relprop.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def clips() -> list[MotionClip]:
    return list(MotionClips(n=60, seed=5, split="val"))


@pytest.fixture(scope="module")
def shaken() -> list[MotionClip]:
    return list(MotionClips(n=20, seed=5, split="val", shake=True))


# Equal with and without AVX2 and AVX-512 (NumPy 2.4) when these were written.
@pytest.mark.parametrize(
    ("split", "shake", "digest"),
    [
        ("train", False, "cd52ffa5c50c2422b419f423f8729468822095584acfd804cce655720c680973"),
        ("val", False, "ac89a1a0b3918bc95a50210ba579a21ac404d46332e7c194d7687408800b6a99"),
        ("test", False, "2c3554ab747ce7191715d946451108074e18372a27b6b5ffe09d7b0fd64e090c"),
        ("test", True, "3678bdeb9d8832d92bcfbfaf71e6e32c54a72db7273a1e88c275b15bd1eeb76f"),
    ],
)
def test_pixels_are_the_same_everywhere(split: str, shake: bool, digest: str) -> None:
    found = hashlib.sha256()
    for clip in MotionClips(n=6, seed=7, split=split, shake=shake):
        found.update(clip.frames.tobytes())
        found.update(clip.masks.tobytes())
    assert found.hexdigest() == digest


def test_a_clip_depends_on_its_identity_alone() -> None:
    many = MotionClips(n=20, seed=3)
    late = many[11]
    for other in (MotionClips(n=12, seed=3)[-1], many[10:13][1]):
        assert np.array_equal(late.frames, other.frames)
        assert np.array_equal(late.masks, other.masks)
        assert other.index == 11
    assert not np.array_equal(late.frames, MotionClips(n=20, seed=4)[11].frames)
    assert not np.array_equal(late.frames, MotionClips(n=20, seed=3, split="test")[11].frames)


def test_a_longer_clip_goes_on_and_a_larger_one_shows_the_same() -> None:
    clip = MotionClips(n=4, seed=1)[3]
    longer = MotionClips(n=4, seed=1, frames=20)[3]
    assert longer.frames.shape == (20, 48, 48, 3)
    assert np.array_equal(longer.frames[:16], clip.frames)
    larger = MotionClips(n=4, seed=1, size=96)[3]
    halved = larger.silhouettes.reshape(3, 16, 48, 2, 48, 2).mean(axis=(3, 5))
    assert np.abs(halved - clip.silhouettes).mean() < 0.02


def test_shapes_and_types(clips: list[MotionClip]) -> None:
    clip = clips[0]
    assert clip.frames.shape == (16, 48, 48, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == clip.silhouettes.shape == (3, 16, 48, 48)
    assert clip.moving.shape == clip.still.shape == clip.deciding.shape == (16, 48, 48)
    assert {array.dtype for array in (clip.masks, clip.silhouettes, clip.moving)} == {np.dtype(bool)}
    assert clip.offsets.shape == (16, 2)
    with pytest.raises(FrozenInstanceError):
        clip.index = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        clip.frames[0] = 0
    tensor = MotionClips(n=1, seed=5, split="val").tensor(0)
    assert tensor.shape == (3, 16, 48, 48)
    assert torch.equal((tensor * 255).round().byte().permute(1, 2, 3, 0), torch.tensor(clip.frames))


def test_the_rule_of_the_label(clips: list[MotionClip]) -> None:
    for clip in clips:
        others = [(clip.looks[k], clip.motions[k]) for k in range(3) if k != clip.decider]
        assert ("pebble", "still") in others
        assert set(others) <= {("pebble", "still"), ("pebble", "circling")}
        assert ("pebble", "circling") in others or clip.kind == "motion"
        assert clip.moving.any()
        assert clip.still.any()
        assert clip.name == CLASSES[clip.label]
        if clip.kind == "motion":
            assert clip.looks[clip.decider] == "pebble"
            assert clip.motions[clip.decider] == clip.name
        else:
            assert clip.looks[clip.decider] == clip.name
            assert clip.motions[clip.decider] == "still"
        assert np.array_equal(clip.deciding, clip.masks[clip.decider])
        assert (clip.kind == "motion") == (clip.deciding & clip.moving).any()
        assert (clip.kind == "appearance") == (clip.deciding & clip.still).any()
    circling = ["circling" in clip.motions for clip in clips if clip.kind == "motion"]
    assert 0.25 < np.mean(circling) < 0.75


def test_masks(clips: list[MotionClip]) -> None:
    for clip in clips:
        assert clip.masks.sum(axis=0).max() == 1
        assert not (clip.masks & ~clip.silhouettes).any()
        # What is hidden of an object is covered by a later one.
        for k in range(3):
            hidden = clip.silhouettes[k] & ~clip.masks[k]
            assert not (hidden & ~clip.silhouettes[k + 1 :].any(axis=0)).any()
        assert not (clip.moving & clip.still).any()
        assert np.array_equal(clip.moving | clip.still, clip.masks.any(axis=0))


def test_only_what_moving_objects_cover_changes(clips: list[MotionClip]) -> None:
    changed_share = []
    for clip in clips:
        moves = [motion != "still" for motion in clip.motions]
        swept = clip.silhouettes[moves].any(axis=(0, 1))
        changed = (clip.frames != clip.frames[:1]).any(axis=(0, 3))
        assert not (changed & ~swept).any()
        changed_share.append(changed[swept].mean())
        still = clip.silhouettes[[not move for move in moves]]
        assert (still == still[:, :1]).all()
        # Each moving object does move.
        for silhouette in clip.silhouettes[moves]:
            assert (silhouette != silhouette[:1]).any()
    assert np.mean(changed_share) > 0.95


def test_each_motion_moves_as_it_says() -> None:
    for index in range(12):
        for label, name in enumerate(MOTION_CLASSES):
            actor = next(actor for actor in cast(0, 2, index, label)[1] if actor.decides)
            x, y, turn, radius = actor.pose(16)
            moving = {
                "left-right": [x],
                "up-down": [y],
                "rotating": [turn],
                "growing-shrinking": [radius],
            }[name]
            for part in (x, y, turn, radius):
                assert (np.ptp(part) > 0) == any(part is other for other in moving)
            assert np.ptp(moving[0]) > {"rotating": np.pi, "growing-shrinking": 0.05}.get(name, 0.2)


def test_no_first_frame_gives_a_motion_away() -> None:
    """With the same random numbers frame 0 is the same picture whichever way the object goes on to move."""
    for index in range(6):
        films = []
        for label in range(len(MOTION_CLASSES)):
            got, actors = cast(1, 0, index, label)
            assert got == label
            films.append(film(actors, 1, 0, index, 48, 16, False)[0])
        for other in films[1:]:
            assert np.array_equal(films[0][0], other[0])
            assert not np.array_equal(films[0][1:], other[1:])


def test_no_later_frame_gives_a_motion_away() -> None:
    """At frame 11 each coordinate of the pose has the same distribution in every motion class."""
    poses = []
    for label in range(len(MOTION_CLASSES)):
        rows = []
        for index in range(600):
            # Other clips for each class: the same ones would agree by construction in what doesn't move.
            actor = next(a for a in cast(7 + label, 0, index, label)[1] if a.decides)
            x, y, turn, radius = (np.broadcast_to(part, 16)[11] for part in actor.pose(16))
            rows.append((x, y, turn % (2 * np.pi), radius))
        poses.append(np.sort(rows, axis=0))
    for a in range(len(poses)):
        for b in range(a):
            for column in range(4):
                # Kolmogorov and Smirnov's greatest distance of two samples of 600: above 0.125 once in 10 000.
                left, right = poses[a][:, column], poses[b][:, column]
                both = np.concatenate([left, right])
                gap = np.searchsorted(left, both, "right") - np.searchsorted(right, both, "right")
                assert np.abs(gap).max() / 600 < 0.125


def test_classes_are_balanced() -> None:
    view = MotionClips(n=2100, seed=11, split="test")
    counts = Counter(view.label(i) for i in range(len(view)))
    # 300 expected of each, standard deviation 16.
    assert set(counts) == set(range(len(CLASSES)))
    assert all(abs(count - 300) < 80 for count in counts.values())
    assert all(view[i].label == view.label(i) for i in range(5))


def test_shake_moves_the_camera_and_nothing_else(clips: list[MotionClip], shaken: list[MotionClip]) -> None:
    assert all((clip.offsets == 0).all() for clip in clips)
    for plain, shaky in zip(clips, shaken, strict=False):
        assert shaky.shake
        assert (plain.label, plain.looks, plain.motions) == (shaky.label, shaky.looks, shaky.motions)
        assert 1 <= np.abs(shaky.offsets).max() <= np.ceil(SHAKE * 48)
        # Moved back by the offset, the clip is the plain one wherever both show the place.
        for t, (dx, dy) in enumerate(shaky.offsets):
            there = (slice(max(dy, 0), 48 + min(dy, 0)), slice(max(dx, 0), 48 + min(dx, 0)))
            here = (slice(max(-dy, 0), 48 + min(-dy, 0)), slice(max(-dx, 0), 48 + min(-dx, 0)))
            difference = shaky.frames[t][there].astype(int) - plain.frames[t][here]
            assert np.abs(difference).max() <= 1
            assert (difference != 0).mean() < 1e-3
            assert np.array_equal(shaky.masks[:, t][:, *there], plain.masks[:, t][:, *here])


@pytest.mark.parametrize("camera", ["turn", "zoom"])
def test_a_camera_that_turns_or_zooms(clips: list[MotionClip], camera: str) -> None:
    """Along its path, objects' masks are those of the resting camera, and still things look alike."""
    moved = list(MotionClips(n=6, seed=5, split="val", camera=camera))
    rows, columns = np.mgrid[:48, :48]
    points = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    same, swept = [], []
    for plain, other in zip(clips, moved, strict=False):
        assert (plain.label, plain.looks, plain.motions) == (other.label, other.looks, other.motions)
        assert (other.camera, other.shake) == (camera, False)
        assert (other.offsets == 0).all()
        sides = np.linalg.norm(other.path[:, :, 0], axis=1)
        assert (np.ptp(sides) > 0.02) == (camera == "zoom")
        assert (np.ptp(other.path[:, 1, 0]) > 0.02) == (camera == "turn")
        centre = other.path @ [23.5, 23.5, 1.0]
        assert np.allclose(centre, 23.5)
        for t in range(16):
            x, y = np.rint(other.path[t] @ points).astype(int)
            inside = (x >= 0) & (x < 48) & (y >= 0) & (y < 48)
            there = other.silhouettes[:, t, y[inside], x[inside]]
            here = plain.silhouettes[:, t].reshape(3, -1)[:, inside]
            same.append((there == here).mean())
            core = plain.still[t].reshape(-1)[inside]
            gap = other.frames[t][y[inside], x[inside]].astype(int) - plain.frames[t].reshape(-1, 3)[inside]
            swept.append(np.abs(gap[core]).mean() if core.any() else 0.0)
    assert np.mean(same) > 0.98
    assert np.mean(swept) < 25


def test_resting_and_shaking_cameras_have_a_path(clips: list[MotionClip], shaken: list[MotionClip]) -> None:
    assert (clips[0].camera, shaken[0].camera) == ("still", "shake")
    assert np.array_equal(clips[0].path, np.tile(np.eye(2, 3), (16, 1, 1)))
    assert np.array_equal(shaken[0].path[:, :, 2], shaken[0].offsets)
    other = MotionClips(n=1, seed=5, split="val", camera="shake")[0]
    assert np.array_equal(other.frames, shaken[0].frames)


def test_narrowing() -> None:
    view = MotionClips(n=40, seed=2)
    stars = view.with_classes("star", "ring")
    assert {clip.name for clip in stars} == {"star", "ring"}
    assert all(clip.kind == "appearance" for clip in stars)
    assert len(view.with_classes(*MOTION_CLASSES)) + len(view.with_classes(*APPEARANCE_CLASSES)) == 40
    assert np.array_equal(view[stars[1].index].frames, stars[1].frames)
    assert repr(view[:3]) == "MotionClips(size=48, frames=16, n=3, seed=2, split='train', camera='still')"


def test_errors() -> None:
    with pytest.raises(InputError, match=r"size .*32 but got 16"):
        MotionClips(size=16)
    with pytest.raises(InputError, match=r"frames .*1 but got 0"):
        MotionClips(frames=0)
    with pytest.raises(UnknownNameError, match="split but got 'dev'"):
        MotionClips(split="dev")
    with pytest.raises(UnknownNameError, match="camera but got 'tilt'"):
        MotionClips(camera="tilt")
    with pytest.raises(InputError, match="shake=True without camera='turn'"):
        MotionClips(shake=True, camera="turn")
    with pytest.raises(UnknownNameError, match="class but got 'ball'"):
        MotionClips().with_classes("ball")
    with pytest.raises(InputError, match="from 0 to 6 but got 7"):
        MotionClips().with_classes(7)
    with pytest.raises(InputError, match="one class but got none"):
        MotionClips().with_classes()
    with pytest.raises(IndexError, match="below 2 but got 2"):
        MotionClips(n=2)[2]


def test_a_pebble_is_not_nearly_a_circle() -> None:
    """Two- and three-lobed outlines: the greatest reach is at least 1.2 times the least."""
    angle = np.arange(360) * (np.pi / 180)
    radii = np.linspace(0.0, 2.0, 401)
    for index in range(20):
        for actor in cast(3, 0, index, 0)[1]:
            inside = actor.distance(radii[:, None] * np.cos(angle), radii[:, None] * np.sin(angle)) < 0
            reach = radii[inside.sum(axis=0) - 1]
            assert reach.max() / reach.min() > 1.2
            assert replace(actor, look="ring").distance(np.zeros(1), np.zeros(1)) > 0
