"""What is written as a film reads back as it was: frames, times, colours; and only whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relprop.errors import InputError
from relprop.viz import film as module
from relprop.viz.colour import colourise
from relprop.viz.film import save_gif, save_mp4


def _maps(count: int = 5, height: int = 40, width: int = 60) -> np.ndarray:
    """A red and a blue bump that wander over white, beside a picture of smooth colours."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for k in range(count):
        red = np.exp(-((x - 5 * k - 10) ** 2 + (y - 12) ** 2) / 60)
        blue = np.exp(-((x - 50 + 5 * k) ** 2 + (y - 28) ** 2) / 60)
        shades = np.stack([x * 4 + k, y * 6, 255 - x * 3], axis=-1).astype(np.uint8)
        frames.append(np.concatenate([colourise(red - blue, 1.0)[..., :3], shades], axis=1))
    return np.stack(frames)


def _read_gif(path: Path) -> tuple[np.ndarray, list[int], int]:
    with Image.open(path) as image:
        frames, times = [], []
        for k in range(image.n_frames):
            image.seek(k)
            frames.append(np.asarray(image.convert("RGB")))
            times.append(image.info["duration"])
        return np.stack(frames), times, image.info["loop"]


def _read_mp4(path: Path) -> tuple[np.ndarray, Fraction, list[float]]:
    av = pytest.importorskip("av")
    with av.open(path) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        times = [f.time for f in decoded]
        return np.stack([f.to_ndarray(format="rgb24") for f in decoded]), stream.average_rate, times


def test_gif_keeps_few_colours_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)  # some differ by a level or two only
    colours[1] = colours[0] ^ 1
    frames = colours[rng.integers(0, 256, (6, 20, 30))]
    read, times, loop = _read_gif(save_gif(frames, tmp_path / "a.gif", 10))
    assert np.array_equal(read, frames)
    assert times == [100] * 6
    assert loop == 0  # for ever


def test_gif_of_maps(tmp_path: Path) -> None:
    """256 colours for some thousand: a few levels off on average; white stays white, and peaks keep their hue."""
    frames = _maps()
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 1000
    read, _, _ = _read_gif(save_gif(frames, tmp_path / "a.gif", 4))
    assert read.shape == frames.shape
    distance = np.abs(read.astype(int) - frames)
    # 256 colours evenly in a slab of this gamut lie about 16 levels apart: 4 off on average, 8 at the most,
    # twice that where median cut leaves a wide box.
    assert distance.mean() < 4
    assert distance.max() <= 32
    white = (frames == 255).all(axis=-1)
    assert white.any()
    assert (read[white] >= 250).all()


def test_gif_lasts_as_long_as_it_should(tmp_path: Path) -> None:
    frames = np.arange(30, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    for fps in (30, 24, 50, 7.5, 1):
        _, times, _ = _read_gif(save_gif(frames, tmp_path / "a.gif", fps))
        assert len(times) == 30
        assert abs(sum(times) - 1000 * 30 / fps) <= 5  # ms; GIF counts in 10
        assert max(times) - min(times) <= 10


def test_gif_holds_equal_frames(tmp_path: Path) -> None:
    frames = np.zeros((4, 4, 4, 3), dtype=np.uint8)
    frames[2:] = 255
    read, times, _ = _read_gif(save_gif(frames, tmp_path / "a.gif", 10))
    assert np.array_equal(read, frames[[0, 2]])
    assert times == [200, 200]


def test_gif_does_not_flicker(tmp_path: Path) -> None:
    """The part that stands still reads the same in all frames."""
    frames = _maps()
    frames[:, :, 60:] = frames[0, :, 60:]
    read, _, _ = _read_gif(save_gif(frames, tmp_path / "a.gif", 4))
    assert (read[:, :, 60:] == read[0, :, 60:]).all()


@pytest.mark.parametrize("encoder", ["best", "fallback"])
@pytest.mark.parametrize("fps", [10, 30000 / 1001, 7.5])
def test_mp4(tmp_path: Path, fps: float, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    if encoder == "fallback":
        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    frames = _maps(height=39, width=60)[:, :, :119]
    read, rate, times = _read_mp4(save_mp4(frames, tmp_path / "a.mp4", fps))
    assert read.shape == (5, 40, 120, 3)  # made even
    assert (read[:, 39, :15] >= 250).all()  # by white (farther right the blue bump shares its chroma)
    assert float(rate) == pytest.approx(fps, rel=1e-9)
    assert times == pytest.approx([k / fps for k in range(5)], abs=1e-4)
    # The last row and column share their chroma with the white beside them.
    distance = np.abs(read.astype(int)[:, :38, :118] - frames[:, :38, :118])
    # 8-bit limited range costs 1, chroma at half size some levels on the slopes of the bumps, the codec the rest.
    assert distance.mean() < 3
    assert np.percentile(distance, 99) < 15


def test_mp4_primaries(tmp_path: Path) -> None:
    """Red, blue and white fields keep their colour up to the edges between them."""
    frames = np.full((3, 32, 96, 3), 255, dtype=np.uint8)
    frames[:, :, :32] = (255, 0, 0)
    frames[:, :, 32:64] = (0, 0, 255)
    read, _, _ = _read_mp4(save_mp4(frames, tmp_path / "a.mp4", 10))
    # A hue read back by the wrong matrix (BT.601 for BT.709) is 20 and more off.
    assert np.abs(read.astype(int) - frames).max() <= 4


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    frames = _maps(width=61)  # rows with bytes behind their end
    for save, name in ((save_gif, "a.gif"), (save_mp4, "a.mp4")):
        if save is save_mp4:
            pytest.importorskip("av")
        first = save(frames, tmp_path / name, 6).read_bytes()
        rubbish = [np.random.default_rng(k).bytes(1 << k) for k in range(18)]  # stirs the heap
        assert save(frames.copy(), tmp_path / name, 6).read_bytes() == first
        del rubbish


@pytest.mark.parametrize("save", [save_gif, save_mp4])
def test_one_frame_of_one_pixel(tmp_path: Path, save: object) -> None:
    pytest.importorskip("av")
    frames = np.zeros((1, 1, 1, 3), dtype=np.uint8)
    assert (
        save(frames, tmp_path / ("a" + {"save_gif": ".gif"}.get(save.__name__, ".mp4")), 5).stat().st_size > 0
    )


def test_refused(tmp_path: Path) -> None:
    good = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    for save, ending in ((save_gif, ".gif"), (save_mp4, ".mp4")):
        path = tmp_path / f"a{ending}"
        with pytest.raises(InputError, match=f"{ending} but got 'a.avi'"):
            save(good, tmp_path / "a.avi", 5)
        with pytest.raises(InputError, match="got float64"):
            save(good.astype(float), path, 5)
        with pytest.raises(InputError, match=r"uint8 \(0, 4, 4, 3\)"):
            save(good[:0], path, 5)
        with pytest.raises(InputError, match="but got list"):
            save([good], path, 5)
        for fps in (0, -1, float("nan"), "5"):
            with pytest.raises(InputError, match="per second"):
                save(good, path, fps)
    with pytest.raises(InputError, match=r"50 frames per second .*got 60"):
        save_gif(good, tmp_path / "a.gif", 60)
    assert list(tmp_path.iterdir()) == []


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path = save_mp4(_maps(2), tmp_path / "a.mp4", 5)
    before = path.read_bytes()

    def broken(pixels: np.ndarray) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_yuv420", broken)
    with pytest.raises(KeyboardInterrupt):
        save_mp4(_maps(3), path, 5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'relprop\[video\]'"):
        save_mp4(_maps(2), tmp_path / "a.mp4", 5)
    save_gif(_maps(2), tmp_path / "a.gif", 5)  # needs none
