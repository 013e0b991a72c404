"""Frames to a moving picture: GIF and MP4."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.compat import load_av
from relprop.errors import InputError
from relprop.paths import tells_where
from relprop.storage import write_file

__all__ = ["save_gif", "save_mp4"]

# FFmpeg's AVCOL_SPC_BT709 and AVCOL_RANGE_MPEG. Of an untagged film players guess the colours by its size.
_BT709, _LIMITED = 1, 1


@tells_where
def save_gif(frames: NDArray[np.uint8], path: str | Path, fps: float) -> Path:
    """Write frames (T, H, W, 3), uint8, RGB, as a GIF that loops for ever; atomic: whole or not at all.

    All frames share one palette of 256 colours and none is dithered: what stands still doesn't flicker. Up to 256
    colours are kept as they are. A frame that equals the one before is not stored; that one is held longer
    instead. GIF counts hundredths of a second: frame k is shown from round(100 k / fps) to
    round(100 (k + 1) / fps) of them, so that the whole lasts as long as it should. The same frames give the same
    bytes.

    Args:
        frames: (T, H, W, 3).
        path: ends in .gif.
        fps: frames per second, at most 50, above which browsers slow a GIF down.

    Raises:
        InputError: other frames, another ending, or an fps out of range.
    """
    path = _checked(frames, path, fps, ".gif")
    if fps > 50:
        raise InputError(
            f"Expected at most 50 frames per second in a GIF but got {fps}. Save an .mp4 instead."
        )
    count, height, width, _ = frames.shape
    stack = _quantised(frames.reshape(count * height, width, 3))
    pictures = [stack.crop((0, k * height, width, (k + 1) * height)) for k in range(count)]
    ticks = [round(100 * k / fps) for k in range(count + 1)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[10 * (end - start) for start, end in pairwise(ticks)],  # ms
        loop=0,
        optimize=False,
    )
    return write_file(path, buffer.getvalue())


@tells_where
def save_mp4(frames: NDArray[np.uint8], path: str | Path, fps: float) -> Path:
    """Write frames (T, H, W, 3), uint8, RGB, as an MP4 that every player shows; atomic: whole or not at all.

    H.264 (libx264), or MPEG-4 part 2 where PyAV was built without it; 8-bit 4:2:0, BT.709. An odd height or width
    gets a white row or column at the bottom or right, since 4:2:0 needs even sizes. The same frames give the same
    bytes with the same PyAV.

    Args:
        frames: (T, H, W, 3).
        path: ends in .mp4.
        fps: frames per second.

    Raises:
        InputError: other frames, another ending, an fps out of range, or PyAV is not installed.
    """
    path = _checked(frames, path, fps, ".mp4")
    av = load_av()
    even = np.pad(
        frames,
        ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)),
        constant_values=255,
    )
    if "libx264" in av.codecs_available:
        codec, options = "libx264", {"crf": "10", "preset": "medium"}
    else:
        codec, options = "mpeg4", {"qmin": "1", "qmax": "2"}
    rate = Fraction(fps).limit_denominator(1001)  # 30000 / 1001 and its kin stay exact
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # slices of several threads change the bytes
        stream.colorspace = stream.color_primaries = stream.color_trc = _BT709
        stream.color_range = _LIMITED
        for number, pixels in enumerate(even):
            frame = av.VideoFrame(even.shape[2], even.shape[1], "yuv420p")
            for plane, values in zip(frame.planes, _yuv420(pixels), strict=True):
                # x264 looks at the bytes behind a row's end too: left as they come, the film would vary.
                rows = np.pad(values, ((0, 0), (0, plane.line_size - plane.width)), mode="edge")
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return write_file(path, buffer.getvalue())


def _quantised(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels (H, W, 3) with a palette of 256 colours."""
    packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    colours, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    if len(colours) <= 256:
        image = Image.fromarray(where.reshape(packed.shape).astype(np.uint8))
        image.putpalette(_rgb(colours).tobytes())
        return image
    # Cubes of 8 x 8 x 8 colours, each by its commonest. The root of the counts keeps a place in the palette for
    # colours that few pixels have: a map's peaks.
    colours = colours[np.argsort(-counts, kind="stable")]
    cubes, first = np.unique(colours & 0xF8F8F8, return_index=True)
    number = np.bincount(np.searchsorted(cubes, packed.ravel() & 0xF8F8F8))
    sample = np.repeat(_rgb(colours[first]), np.ceil(np.sqrt(number)).astype(int), axis=0)
    palette = Image.fromarray(sample[None]).quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3)
    return Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)


def _rgb(packed: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def _yuv420(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Luma (H, W) and the two chroma planes (H/2, W/2) of an RGB frame, 8-bit limited range.

    Source: ITU-R BT.709-6, items 3.2 to 3.4 and 4.6; chroma is the mean of 2 x 2 pixels.
    """
    red, green, blue = (pixels[..., k].astype(np.float32) / 255 for k in range(3))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = [16 + 219 * luma]
    for colour, span in ((blue, 1.8556), (red, 1.5748)):
        chroma = 128 + 224 * (colour - luma) / span
        height, width = chroma.shape
        planes.append(chroma.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)))
    return [np.rint(plane).astype(np.uint8) for plane in planes]


def _checked(frames: object, path: str | Path, fps: float, ending: str) -> Path:
    if not isinstance(frames, np.ndarray):
        raise InputError(
            f"Expected RGB frames as a uint8 array (T, H, W, 3) but got {type(frames).__name__}."
        )
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise InputError(
            f"Expected RGB frames as a uint8 array (T, H, W, 3) but got {frames.dtype} {frames.shape}."
        )
    if not (isinstance(fps, int | float) and math.isfinite(fps) and 0.1 <= fps <= 1000):
        raise InputError(f"Expected 0.1 to 1000 frames per second but got {fps!r}.")
    path = Path(path)
    if path.suffix.lower() != ending:
        raise InputError(f"Expected a file name ending in {ending} but got {path.name!r}.")
    return path
