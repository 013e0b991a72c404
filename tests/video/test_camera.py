"""Moving cameras: their paths found in frames, frames seen along them, and a split that takes them off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.datasets._choreography import cast, generator, views
from relprop.datasets._film import film
from relprop.datasets.motion import MotionClips
from relprop.errors import InputError
from relprop.models.bundled_clips import load
from relprop.video.camera import CameraPath, read_camera
from relprop.video.panorama import Panorama
from relprop.video.separation import MotionSeparation
from relprop.video.tracking import estimated_path

TAYLOR = relprop.DeepTaylor(bounds=(-6.0, 6.0), seed="one")
#: A path out and back, for clips of four frames of 8 x 8.
OFFSETS = [[0, 0], [2, 0], [1, -1], [0, 1]]


def tensor(frames: Any) -> Tensor:
    return torch.from_numpy(np.array(frames)).permute(3, 0, 1, 2).float()


def at_rest(camera: str, index: int = 3) -> Tensor:
    """A scene in which nothing moves but the camera, (3, 16, 48, 48)."""
    _, actors = cast(31, 2, index)
    moves = None if camera == "shake" else views(generator(31, 2, index, 2), 16, camera)
    still = tuple(replace(actor, motion="still") for actor in actors)
    return tensor(film(still, 31, 2, index, 48, 16, camera == "shake", moves)[0])


def corner_error(found: CameraPath, true: Any, side: int = 48) -> float:
    corners = np.array([[x, y, 1.0] for x in (0, side - 1) for y in (0, side - 1)])
    return float(np.linalg.norm((found.maps - CameraPath.of(true).maps) @ corners.T, axis=1).max())


@pytest.mark.parametrize("camera", ["still", "shake", "turn", "zoom"])
def test_the_path_is_the_cameras(camera: str) -> None:
    for clip in MotionClips(n=3, seed=31, split="test", camera=camera):
        found = estimated_path(tensor(clip.frames))
        assert found.estimated
        assert found.still == (camera == "still")
        error = corner_error(found, clip.path)
        assert error < 1e-6 if camera in ("still", "shake") else error < 0.35


def test_the_path_is_the_same_in_any_unit() -> None:
    frames = tensor(MotionClips(n=1, seed=31, split="test", camera="shake")[0].frames)
    paths = [estimated_path(x) for x in (frames, frames / 255, (frames - 97.0) / 57.0, frames.double() * 1e6)]
    assert not paths[0].still
    for other in paths[1:]:
        assert np.array_equal(paths[0].maps, other.maps)


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (1, 5, 3, 40), (3, 4, 16, 16), (3, 6, 24, 36)])
def test_noise_and_blank_clips_have_no_path(shape: tuple[int, ...]) -> None:
    for seed in range(5):
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        assert estimated_path(noise).still
    assert estimated_path(torch.full(shape, 3.0)).still


def test_large_frames_are_followed_further_than_small_ones() -> None:
    scene = torch.nn.functional.avg_pool2d(
        torch.randn(1, 1, 200, 220, generator=torch.Generator().manual_seed(1)), 9, 1, 4
    )
    offsets = [[0, 0], [10, -6], [21, -6], [9, 5]]
    clip = torch.stack([scene[0, :, 40 - y : 168 - y, 40 - x : 168 - x] for x, y in offsets], 1)
    assert np.array_equal(estimated_path(clip).offsets, offsets)


def test_maps_of_paths() -> None:
    path = CameraPath.of(np.array([[5, 5], [7, 4]]))
    assert np.array_equal(path.offsets, [[0, 0], [2, -1]])  # from the first frame on
    assert np.allclose(path.between(1, 0) @ [2.0, 3.0, 1.0], [0.0, 4.0])
    turned = CameraPath.of(MotionClips(n=1, camera="turn")[0].path)
    assert turned.offsets is None
    there_and_back = np.vstack([turned.between(3, 9), [0, 0, 1]]) @ np.vstack(
        [turned.between(9, 3), [0, 0, 1]]
    )
    assert np.allclose(there_and_back, np.eye(3))
    assert CameraPath.of(torch.zeros(4, 2)).words((8, 8)) == "stood still"
    zoomed = np.array([np.eye(2, 3), 1.1 * np.eye(2, 3)])
    assert CameraPath.of(zoomed).words((11, 11)) == (
        "moved by up to 0.5 pixels across and 0.5 down or up and zoomed by up to 10 %"
    )


def test_a_still_scene_frozen_is_the_clip_itself() -> None:
    frames = at_rest("shake")
    panorama = Panorama(frames, estimated_path(frames))
    assert len({tuple(o) for o in panorama.path.offsets.tolist()}) > 4  # type: ignore[union-attr]
    assert all(torch.equal(panorama.frozen(f), frames) for f in range(16))
    before, after = panorama.neighbours()
    assert torch.equal(before, frames)
    assert torch.equal(after, frames)


@pytest.mark.parametrize("camera", ["shake", "turn"])
def test_a_frozen_clip_shows_its_frame_as_it_is(camera: str) -> None:
    clip = MotionClips(n=1, seed=31, split="test", camera=camera)[0]
    frames = tensor(clip.frames)
    panorama = Panorama(frames, CameraPath.of(clip.path))
    for f in (0, 7, 15):
        frozen = panorama.frozen(f)
        assert torch.equal(frozen[:, f], frames[:, f])
        assert not torch.equal(frozen, frames)
        assert float(frozen.min()) >= 0
        assert float(frozen.max()) <= 255


def seen(clip: Tensor, source: int, t: int, offsets: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Frame `source` from where the camera is at t, pixel by pixel, and where it shows something."""
    found, there = torch.zeros_like(clip[0, :, t]), torch.zeros(clip.shape[-2:], dtype=torch.bool)
    for y in range(clip.shape[-2]):
        for x in range(clip.shape[-1]):
            u, v = x + offsets[source][0] - offsets[t][0], y + offsets[source][1] - offsets[t][1]
            if 0 <= u < clip.shape[-1] and 0 <= v < clip.shape[-2]:
                found[:, y, x], there[y, x] = clip[0, :, source, v, u], True
    return found, there


def frozen_by_hand(clip: Tensor, f: int, offsets: list[list[int]]) -> Tensor:
    frames = []
    for t in range(clip.shape[2]):
        frame, known = torch.zeros_like(clip[0, :, t]), torch.zeros(clip.shape[-2:], dtype=torch.bool)
        for source in sorted(range(clip.shape[2]), key=lambda s: abs(s - f)):
            values, there = seen(clip, source, t, offsets)
            frame[:, there & ~known] = values[:, there & ~known]
            known |= there
        frames.append(frame)
    return torch.stack(frames, 1)


def test_whole_pixels_by_hand() -> None:
    clip = nets.pictures(1, 3, 4, 8, 8)
    panorama = Panorama(clip[0], CameraPath.of(OFFSETS))
    for f in range(4):
        assert torch.equal(panorama.frozen(f), frozen_by_hand(clip, f, OFFSETS))
    for found, step in zip(panorama.neighbours(), (-1, 1), strict=True):
        for t in range(4):
            values, there = seen(clip, t + step, t, OFFSETS) if 0 <= t + step < 4 else (clip[0, :, t], None)
            expected = values if there is None else torch.where(there, values, clip[0, :, t])
            assert torch.equal(found[:, t], expected)


def test_sampling_at_whole_pixels_is_moving_them() -> None:
    """The general way, on a path that the other way could take as well."""
    clip = nets.pictures(1, 3, 4, 8, 8)
    plain, sampled = (Panorama(clip[0], CameraPath.of(OFFSETS)) for _ in range(2))
    sampled._places = None
    for f in range(4):
        assert torch.allclose(sampled.frozen(f), plain.frozen(f), atol=1e-12)
    for ours, theirs in zip(sampled.neighbours(), plain.neighbours(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_a_still_scene_has_no_motion_whatever_the_camera_does() -> None:
    bundled = load()
    method = relprop.DeepTaylor(bounds=relprop.pixel_bounds(bundled.mean, (1, 1, 1), 0, 255), seed="one")

    def split(scene: str, **settings: Any) -> MotionSeparation:
        x = at_rest(scene)[None] - torch.tensor(bundled.mean).reshape(1, 3, 1, 1, 1)
        return relprop.separate_motion(bundled.module, x, None, method, "conserving", **settings)

    shaken = split("shake")
    assert not bool(shaken.temporal.any())
    assert torch.equal(shaken.spatial, shaken.original)
    assert float(split("shake", camera="still").temporal.sum()) > 0.01
    # Sampling between pixels changes them a little.
    turned, taken_to_rest = split("turn"), split("turn", camera="still")
    assert float(turned.temporal.sum()) < 0.2 * float(taken_to_rest.temporal.sum())
    for s in (shaken, turned, taken_to_rest):
        assert all(ledger.closes for ledger in s.ledgers.values())
        total = s.spatial.double().sum() + s.temporal.double().sum()
        assert float(total) == pytest.approx(float(s.original.double().sum()), rel=1e-6)


def split_along(
    camera: Any, clip: Tensor | None = None, target: Any = 1, model: nn.Module | None = None
) -> MotionSeparation:
    clip = nets.pictures(1, 3, 4, 8, 8) if clip is None else clip
    return relprop.separate_motion(model or nets.video(), clip, target, TAYLOR, "conserving", camera=camera)


def test_paths_of_numbers_and_of_clips_are_told_and_kept(tmp_path: Any) -> None:
    clip = nets.pictures(2, 3, 4, 8, 8)
    both = split_along([np.zeros((4, 2)), np.array(OFFSETS)], clip)
    assert both.notes[-1] == (
        "Clip 1: The camera moved by up to 2 pixels across and 2 down or up, as given; temporal relevance is of "
        "what moves against the scene."
    )
    assert both.camera is not None
    assert both.camera.shape == (2, 4, 2, 3)
    assert torch.equal(both.camera[1, :, :, 2], torch.tensor(OFFSETS).double())
    for i, camera in enumerate(("still", CameraPath.of(OFFSETS))):
        alone = split_along(camera, clip[i : i + 1])
        assert_close_to_rounding(both.temporal[i], alone.temporal[0], nets.video())
        assert_close_to_rounding(both.spatial[i], alone.spatial[0], nets.video())
    assert not any("camera" in note for note in split_along("still", clip).notes)
    read = MotionSeparation.load(both.save(tmp_path / "s"))
    assert torch.equal(read.camera, both.camera)  # type: ignore[arg-type]
    assert read.settings["camera"] == "a path"


class Turned(nn.Module):
    """The network behind a turn of the channels and a change of unit."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nets.video()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flip(1) * 1.0)


def test_what_comes_before_the_first_convolution_is_done_to_neighbours_too() -> None:
    clip = nets.pictures(1, 3, 4, 8, 8)
    plain = split_along(OFFSETS, clip.flip(1))
    turned = split_along(OFFSETS, clip, model=Turned().double().eval())
    assert_close_to_rounding(turned.relevance["temporal"].flip(1), plain.relevance["temporal"], nets.video())


def test_refusals() -> None:
    clip, model = nets.pictures(2, 3, 4, 8, 8), nets.video()

    def asked(camera: Any, mode: Any = "conserving") -> Any:
        return lambda: relprop.separate_motion(model, clip, 1, TAYLOR, mode, camera=camera)

    assert_refused(
        InputError,
        (asked("tripod"), "'auto', 'still' or a path but got 'tripod'"),
        (asked(3), "but got int"),
        (asked(np.zeros((5, 2))), "path of 4 frames, as the clip has, but got one of 5"),
        (asked(np.zeros((3, 4, 2))), "one for each of 2 clips, but got 3"),
        (asked(np.zeros((0, 2))), "a row for each frame"),
        (lambda: CameraPath.of(np.zeros((0, 2))), r"shape \(0, 2\), which has none"),
        (lambda: CameraPath.of(np.zeros((0, 2, 3))), r"shape \(0, 2, 3\), which has none"),
        (asked(np.zeros((4, 3))), r"offsets \(T, 2\) or maps \(T, 2, 3\), .* but got float64 \(4, 3\)"),
        (asked(np.full((4, 2), np.nan)), "holds NaN or infinity"),
        (asked(np.zeros((4, 2, 3))), "squashes the picture"),
        (asked([[0, 0], [1]]), "lists of different lengths"),
        (asked("still", "naive"), "no camera= with mode='naive'"),
    )


def test_one_path_serves_all_clips() -> None:
    paths = read_camera(CameraPath.of(OFFSETS), 3, 4)
    assert len(paths) == 3
    assert len(read_camera([CameraPath.of(OFFSETS), CameraPath.of(OFFSETS)], 2, 4)) == 2
