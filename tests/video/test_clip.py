"""Clips from films: the right frames, upright, and an error by name for whatever is no whole film."""

from __future__ import annotations

import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relprop.errors import InputError
from relprop.models.sampling import Sampling
from relprop.video import clip as module
from relprop.video.clip import Clip, read_clip

av = pytest.importorskip("av")

SIZE = (32, 48)  # height, width


def _frame(number: int) -> np.ndarray:
    """Noise that doesn't compress, with the frame's number as the grey level of its left half."""
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    pixels[:, : SIZE[1] // 2] = 5 * number
    return pixels


def _film(path: Path, count: int = 30, codec: str = "ffv1", pix: str = "bgr0", **options: str) -> Path:
    """A film of `_frame`s at 10 frames per second; ffv1 in bgr0 is lossless."""
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.bit_rate = pix, 5_000_000
        container.start_encoding()
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_frame(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def _numbers(clip: Clip) -> list[int]:
    """The film frames that were read, as the pictures themselves tell."""
    return [round(float(f[:, : f.shape[1] // 2 - 4].mean()) / 5) for f in clip.frames]


@pytest.mark.parametrize(
    ("settings", "wanted", "total"),
    [
        (Sampling(frames=4), [0, 1, 2, 3], None),
        (Sampling(frames=5, stride=4, start=3), [3, 7, 11, 15, 19], None),
        (Sampling(frames=2, start=28), [28, 29], None),  # the very last frame needs no look behind it
        (Sampling(frames=4, stride=3, start=25), [25, 28, 1, 4], 30),
        (Sampling(frames=16, stride=5, start=1), [*range(1, 30, 5), *range(1, 30, 5), 1, 6, 11, 16], 30),
        (Sampling(frames=4, start="middle"), [13, 14, 15, 16], 30),
    ],
)
def test_the_right_frames(tmp_path: Path, settings: Sampling, wanted: list[int], total: int | None) -> None:
    clip = read_clip(_film(tmp_path / "a.avi"), settings)
    assert list(clip.indices) == wanted
    assert np.array_equal(clip.frames, np.stack([_frame(i) for i in wanted]))
    assert clip.total == total
    assert clip.looped == (wanted != sorted(set(wanted)))
    assert clip.fps == 10
    assert clip.seconds == pytest.approx([i / 10 for i in wanted])
    assert clip.path == tmp_path / "a.avi"
    assert clip.x.shape == (1, 3, settings.frames, *SIZE)
    assert np.array_equal(clip.x.numpy(), settings.tensor(clip.frames).numpy())


@pytest.mark.parametrize(
    ("name", "codec", "pix"),
    [
        ("a.mkv", "ffv1", "bgr0"),
        ("a.gif", "gif", "rgb8"),
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
    ],
)
def test_other_formats(tmp_path: Path, name: str, codec: str, pix: str) -> None:
    """Frame numbers survive lossy codecs too, but for GIF, whose 8 levels of grey are told apart by time."""
    film = _film(tmp_path / name, codec=codec, pix=pix)
    for settings in (Sampling(frames=4, stride=6, start=2), Sampling(frames=8, stride=6, start=2)):
        clip = read_clip(film, settings)
        wanted = settings.indices(30)
        assert list(clip.indices) == wanted
        if codec != "gif":
            assert _numbers(clip) == wanted
        assert clip.seconds == pytest.approx([i / 10 for i in wanted])


def test_resized_and_cropped_like_a_picture(tmp_path: Path) -> None:
    settings = Sampling(frames=2, stride=3, resize=24, crop=20)
    clip = read_clip(_film(tmp_path / "a.avi"), settings)
    assert np.array_equal(clip.frames, np.stack([settings.picture(_frame(i)) for i in (0, 3)]))
    with pytest.raises(InputError, match=r"crop's 64 x 64 .*32 x 48"):
        read_clip(tmp_path / "a.avi", Sampling(crop=64))
    with pytest.raises(InputError, match=r"start below .*30 frames but got 40"):
        read_clip(tmp_path / "a.avi", Sampling(start=40))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_turned_upright(tmp_path: Path, degrees: int) -> None:
    """A phone's film: stored lying, with the turn in its header (anticlockwise)."""
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(degrees)
        stored = np.zeros((*SIZE, 3), dtype=np.uint8)
        stored[:16, :16] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    seen = read_clip(tmp_path / "a.mp4", Sampling(frames=1)).frames[0]
    wanted = np.asarray(Image.fromarray(stored).rotate(degrees, expand=True))  # Pillow turns anticlockwise
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).mean() < 5  # mpeg4 rings at the edges; a wrong turn is > 50


def test_a_title_in_another_encoding(tmp_path: Path) -> None:
    """Its bytes are no UTF-8: the film is read all the same, whichever PyAV reads it."""
    with av.open(tmp_path / "a.avi", "w") as container:
        container.metadata["title"] = "QQQQ"
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = SIZE
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_frame(number), format="rgb24")))
        container.mux(stream.encode())
    stored = (tmp_path / "a.avi").read_bytes()
    assert stored.count(b"QQQQ") == 1
    (tmp_path / "a.avi").write_bytes(stored.replace(b"QQQQ", b"\xe9\xff\xfe\xc3"))
    assert read_clip(tmp_path / "a.avi", Sampling(frames=3)).frames.shape == (3, *SIZE, 3)


def test_missing_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.avi', which does not exist"):
        read_clip(tmp_path / "nowhere.avi", Sampling())
    with pytest.raises(InputError, match="which is a folder"):
        read_clip(tmp_path, Sampling())
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    (tmp_path / "text.mp4").write_text("hello " * 999)
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InputError, match=r"p\.png' is a still picture \(PNG\): nothing moves in it"):
        read_clip(tmp_path / "p.png", Sampling())
    for name in ("text.mp4", "empty.avi", "list.m3u8"):
        with pytest.raises(InputError, match=f"{name}', which no film format fits"):
            read_clip(tmp_path / name, Sampling())


def test_sound_only(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no pictures"):
        read_clip(tmp_path / "a.mp4", Sampling())
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 1, 8000, 99, "NONE", ""))
        sound.writeframes(bytes(99))
    with pytest.raises(InputError, match="no film format fits"):
        read_clip(tmp_path / "a.wav", Sampling())


def test_no_frames(tmp_path: Path) -> None:
    film = _film(tmp_path / "a.avi", count=0)
    with pytest.raises(InputError, match="holds no frames"):
        read_clip(film, Sampling())


@pytest.mark.parametrize(
    ("name", "codec", "pix", "text"),
    [
        ("a.avi", "ffv1", "bgr0", "damaged or cut off near frame 1[3-6]"),
        ("a.mkv", "ffv1", "bgr0", "cut off: its header says 3.00 s but its frames end at 1.[3-6]0 s"),
        ("a.mp4", "mpeg4", "yuv420p", "cut off or damaged: its table of contents is missing"),
        ("a.gif", "gif", "rgb8", "damaged or cut off near frame 1[3-6]"),
    ],
)
def test_cut_in_half(tmp_path: Path, name: str, codec: str, pix: str, text: str) -> None:
    """Frames before the cut can be had where the format allows; none behind it, nor a loop that hides it."""
    film = _film(tmp_path / name, codec=codec, pix=pix)
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) // 2])
    behind = [Sampling(frames=2, start=20), Sampling(frames=30), Sampling(frames=2, start="middle")]
    for settings in behind:
        with pytest.raises(InputError, match=text):
            read_clip(film, settings)
    if name in ("a.avi", "a.mkv"):
        assert _numbers(read_clip(film, Sampling(frames=4, stride=2))) == [0, 2, 4, 6]


def test_cut_between_two_frames(tmp_path: Path) -> None:
    """No frame is damaged: the header alone tells."""
    film = _film(tmp_path / "a.avi")
    with av.open(film) as container:
        ends = [p.pos + p.size for p in container.demux(video=0) if p.size]
    whole = film.read_bytes()
    film.write_bytes(whole[: ends[12] + 8])  # 13 frames of 30; `pos` is the chunk's header, of 8 bytes
    with pytest.raises(InputError, match=r"3\.00 s .*1\.30 s"):
        read_clip(film, Sampling(frames=16))
    assert _numbers(read_clip(film, Sampling(frames=13))) == list(range(13))


def test_gif_without_its_end(tmp_path: Path) -> None:
    film = _film(tmp_path / "a.gif", codec="gif", pix="rgb8")
    film.write_bytes(film.read_bytes()[:-1])
    with pytest.raises(InputError, match="end mark"):
        read_clip(film, Sampling(frames=2))


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    film = _film(tmp_path / "a.mkv")
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    film.write_bytes(data)
    assert _numbers(read_clip(film, Sampling(frames=3))) == [0, 1, 2]
    with pytest.raises(InputError, match="Expected a whole film"):
        read_clip(film, Sampling(frames=2, start=25))


@pytest.mark.parametrize(("side", "text"), [(10_000, "claim 10000 x 10000"), (60_000, "no frame size")])
def test_decompression_bomb(tmp_path: Path, side: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the header: nothing may be decoded."""
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    (tmp_path / "bomb.gif").write_bytes(screen + image + b";")

    def decoded(*_: object) -> None:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr(module, "_decoded", decoded)
    with pytest.raises(InputError, match=f"{text}.*decompression bomb"):
        read_clip(tmp_path / "bomb.gif", Sampling())


def test_only_wanted_frames_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    picture = Sampling.picture

    def counted(self: Sampling, frame: np.ndarray) -> np.ndarray:
        taken.append(round(frame[0, 0, 0] / 5))
        return picture(self, frame)

    monkeypatch.setattr(Sampling, "picture", counted)
    read_clip(_film(tmp_path / "a.avi"), Sampling(frames=3, stride=9))
    assert taken == [0, 9, 18]
    taken.clear()
    read_clip(tmp_path / "a.avi", Sampling(frames=4, stride=15))  # loops onto what it has already
    assert taken == [0, 15]


def test_nothing_is_printed(tmp_path: Path) -> None:
    """FFmpeg writes to the process's own stderr, so a process of its own."""
    film = _film(tmp_path / "a.mp4", codec="mpeg4", pix="yuv420p")
    data = bytearray(film.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    film.write_bytes(data)
    code = (
        "import sys; from relprop.video.clip import read_clip; from relprop.models.sampling import Sampling\n"
        "try: read_clip(sys.argv[1], Sampling(frames=40))\nexcept ValueError as e: print(type(e).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(film)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("InputError\n", "")


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"PyAV .*'relprop\[video\]'"):
        read_clip("a.avi", Sampling())


def test_real_films(assets: Path) -> None:
    """UCF-101 and a phone-sized .mp4: number of frames, rate, and the frames that a plain decode gives."""
    folder = assets / "ucf101"
    if not folder.is_dir():
        pytest.skip("no ucf101 among the assets")
    known = {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": (164, 25, 240, 320),
        "BaseballPitch/v_BaseballPitch_g01_c01.avi": (107, 30000 / 1001, 240, 320),
        "mmaction2_demo.mp4": (280, 28, 256, 340),
    }
    for name, (total, fps, height, width) in known.items():
        clip = read_clip(folder / name, Sampling(frames=4, stride=5, start="middle"))
        assert clip.total == total
        assert clip.fps == pytest.approx(fps)
        assert clip.frames.shape == (4, height, width, 3)
        start = (total - 16) // 2
        assert list(clip.indices) == [start, start + 5, start + 10, start + 15]
        with av.open(folder / name) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(frames) == total
        assert np.array_equal(clip.frames, np.stack([frames[i] for i in clip.indices]))
    clip = read_clip(folder / "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", Sampling.c3d())
    assert list(clip.indices) == list(range(0, 64, 4))
    assert clip.seconds[-1] == pytest.approx(60 / 25)
    assert clip.x.shape == (1, 3, 16, 112, 112)
