from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from relprop.errors import InputError
from relprop.models.pictures import Preprocess, read_picture


def _noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_truncated_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    _noise(80, 60).save(buffer, kind)
    whole = tmp_path / "whole"
    whole.write_bytes(buffer.getvalue())
    assert read_picture(whole).size == (80, 60)
    cut = tmp_path / "cut"
    cut.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(InputError, match="Expected a"):
        read_picture(cut)


def test_decompression_bomb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "bomb.png"
    for side in (10_000, 60_000):  # between Pillow's warning and its error, and beyond
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        )
        for _ in range(2):
            with pytest.raises(InputError, match="decompression bomb"):
                read_picture(path)


def test_a_large_picture_that_was_warned_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python tells a warning once: that the user has seen it must not let the picture in."""
    path = tmp_path / "large.png"
    Image.new("L", (40, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        Image.open(path).close()
        with pytest.raises(InputError, match="decompression bomb"):
            read_picture(path)
    assert [w.category for w in caught] == [Image.DecompressionBombWarning]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_picture(path).size == (40, 40)


def test_not_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_picture(tmp_path)
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(InputError, match="no picture format fits"):
        read_picture(tmp_path / "text.jpg")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match="no picture format fits"):
        read_picture(tmp_path / "empty.png")


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)  # transparent black is paper, not black
    assert read_picture(path).getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(path)
    assert read_picture(path).getpixel((0, 0)) == (128, 128, 128)
    Image.new("L", (4, 4), 7).save(path)
    assert read_picture(path).getpixel((0, 0)) == (7, 7, 7)
    turned = Image.new("RGB", (6, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "p.jpg", exif=exif)
    assert read_picture(tmp_path / "p.jpg").size == (4, 6)


@pytest.mark.parametrize("size", [(32, 32), (20, 48), (48, 20)])
@pytest.mark.parametrize("picture", [(100, 60), (60, 100), (7, 5)])
def test_any_size_is_covered(size: tuple[int, int], picture: tuple[int, int]) -> None:
    white = Image.new("RGB", picture, "white")
    x = Preprocess(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(white)
    assert x.shape == (1, 3, *size)
    assert torch.equal(x, torch.ones_like(x))  # no black bars


def test_grey() -> None:
    x = Preprocess((8, 8), (0.5,), (0.5,))(_noise(16, 16))
    assert x.shape == (1, 1, 8, 8)
