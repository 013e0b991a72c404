"""From a film's file to a clip."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from torch import Tensor

from relprop.compat import film_settings, load_av
from relprop.errors import InputError
from relprop.files import FILM, regular_file
from relprop.models.sampling import Sampling
from relprop.watch import passing

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Clip", "film_length", "read_clip"]

# Still pictures, playlists (which open other files) and raw streams are no films.
_FORMATS = "avi,mov,matroska,gif,mpegts,mpeg,flv,asf,ogg"


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a film, cut out as `sampling` says.

    Attributes:
        frames: (T, h, w, 3), uint8, RGB, after resize and crop.
        indices: film frame of each, counted from 0.
        seconds: when the film shows each, counted from its first frame.
        total: number of frames in the film; None where it was not read to its end.
        fps: the film's mean frame rate per second; None where its header doesn't say.
        path: the film.
        sampling: how the clip was cut out.
    """

    frames: NDArray[np.uint8]
    indices: tuple[int, ...]
    seconds: tuple[float, ...]
    total: int | None
    fps: float | None
    path: Path
    sampling: Sampling

    @property
    def looped(self) -> bool:
        """Whether the film was too short, so that the clip starts again from its beginning."""
        return any(after <= before for before, after in pairwise(self.indices))

    @property
    def x(self) -> Tensor:
        """The network's input, (1, 3, T, h, w), float32."""
        return self.sampling.tensor(self.frames)


def read_clip(path: str | Path, sampling: Sampling) -> Clip:
    """Read a clip from a film: .avi, .mp4, .mov, .mkv, .webm, .gif, .mpg, .ts, .flv, .wmv or .ogv.

    The film is decoded up to the last frame that is wanted; only the wanted ones are kept. It is decoded
    again where it proves too short and is looped, and for ``start="middle"``, which asks for its length first.
    Frames are turned upright where the film says how it was held. Pixels are taken as square.

    Damage behind the last wanted frame goes unnoticed, but for a damaged GIF, which is refused as a whole.
    Damage that a format or codec has no means to show (zeroed bytes in a frame without a checksum) can't be
    found, nor that a film was cut between two frames where its header gives no length (.ts, .mpg).

    Args:
        path: the film.
        sampling: which frames, which part of them.

    Raises:
        InputError: no such file, not a film, no pictures in it, damaged or cut off before the clip ends, frames of
            more pixels than Pillow's bomb limit (`PIL.Image.MAX_IMAGE_PIXELS`), a start behind the end, a crop
            larger than the frames, or PyAV is not installed.

    >>> read_clip("nowhere.avi", Sampling())
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a film but got 'nowhere.avi', which does not exist.
    """
    path = Path(path)
    total = None
    if sampling.start == "middle":
        total = _read(path, sampling, ()).total
        wanted = sampling.indices(total or 0)
    else:
        wanted = sampling.indices(sampling.start + sampling.span)
    film = _read(path, sampling, wanted)
    if film.total is not None:  # it ended before the clip did
        total = film.total
        wanted = sampling.indices(total)
        if not set(wanted) <= set(film.pictures):
            film = _read(path, sampling, wanted)
    return Clip(
        frames=np.stack([film.pictures[i] for i in wanted]),
        indices=tuple(wanted),
        seconds=tuple(film.seconds[i] for i in wanted),
        total=total,
        fps=film.fps,
        path=path,
        sampling=sampling,
    )


def film_length(path: str | Path) -> tuple[int, float]:
    """Frames and seconds of a film, as its packets tell them: nothing is decoded, and no header believed.

    Raises:
        InputError: no such file, not a film, frames that are too large, or PyAV is not installed.
    """
    path = Path(path)
    frames, end = 0, 0.0
    with _opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.size:
                    frames += 1
                    end = max(end, float(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base))
        except (load_av().FFmpegError, OSError) as error:
            raise _damaged(path, frames, error.strerror or "it can't be read") from error
    return frames, end


@dataclass
class _Film:
    fps: float | None
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    total: int | None = None


def _read(path: Path, sampling: Sampling, wanted: Collection[int]) -> _Film:
    """Decode up to the last wanted frame, or to the end (then `total` is known) where that comes first."""
    wanted = set(wanted)
    last = max(wanted, default=None)
    with _opened(path) as (container, stream):
        film = _Film(fps=float(stream.average_rate) if stream.average_rate else None)
        fps, timeless = film.fps or 1.0, container.format.name == "avi"  # .avi stores decoding times only
        first, count = 0.0, 0
        for number, frame in enumerate(_decoded(path, container, stream)):
            passing("reading the film", number, (last or 0) + 1)
            seconds = number / fps if timeless or frame.time is None else frame.time
            first = seconds if number == 0 else first
            if number in wanted:
                film.pictures[number] = sampling.picture(_upright(frame))
                film.seconds[number] = seconds - first
            if number == last:
                return film
            count = number + 1
        if not count:
            raise InputError(f"Expected a film but '{path}' holds no frames.")
        film.total = count
        return film


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    av = load_av()
    try:
        handle = regular_file(path, FILM).open("rb")
    except PermissionError:
        raise InputError(f"Expected a film but got '{path}', which may not be read.") from None
    with handle:
        box = handle.read(8)[4:]
        handle.seek(0)
        try:
            container = av.open(handle, options={"format_whitelist": _FORMATS}, **film_settings())
        except (av.FFmpegError, OSError):
            if box == b"ftyp":  # an .mp4 or .mov; its table of contents is mostly written last
                raise InputError(
                    f"Expected a whole film but '{path}' is cut off or damaged: its table of contents is missing."
                ) from None
            still = _still_format(path)
            if still:
                raise InputError(
                    f"Expected a film but '{path}' is a still picture ({still}): nothing moves in it. "
                    "Explain it as a picture."
                ) from None
            raise InputError(f"Expected a film but got '{path}', which no film format fits.") from None
        with container:
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if cover not in s.disposition]
            if not streams:
                raise InputError(f"Expected a film but '{path}' has no pictures, only sound or text.")
            _guard_size(path, streams[0])
            if container.format.name == "gif":
                _check_gif(path)
            yield container, streams[0]


def _still_format(path: Path) -> str:
    """The format of a picture; "" where the file is none."""
    try:
        with Image.open(path) as picture:
            return picture.format or ""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def _guard_size(path: Path, stream: VideoStream) -> None:
    limit, context = Image.MAX_IMAGE_PIXELS, stream.codec_context
    if not context.width * context.height:
        raise InputError(
            f"Expected a film but '{path}' claims no frame size that can be decoded (damaged, or a "
            "decompression bomb)."
        )
    if limit is None:
        return
    if context.width * context.height > limit:
        raise InputError(
            f"Expected frames of at most {limit:,} pixels but those of '{path}' claim {context.width} x "
            f"{context.height} (a decompression bomb, or a very large film: make it smaller first)."
        )
    context.options = {"max_pixels": str(limit)}  # for frames that are larger than the header says


def _decoded(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames; an error at the first damaged one, and at an end that comes too early."""
    number, end = 0, 0.0
    length = 1 / float(stream.average_rate or 25)
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise _damaged(path, number, "a part is missing")
            shown = packet.pts if packet.pts is not None else packet.dts
            if shown is not None:
                end = max(end, float(shown * packet.time_base) + length)
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _damaged(path, number, "the decoder had to fill in")
                yield frame
                number += 1
    except (load_av().FFmpegError, OSError) as error:
        raise _damaged(path, number, error.strerror or "it can't be decoded") from error
    promised = _promised(container, stream)
    if promised is not None and end < promised - length / 2:
        raise InputError(
            f"Expected a whole film but '{path}' is cut off: its header says {promised:.2f} s but its frames "
            f"end at {end:.2f} s. Take the whole film, or a clip that ends before the cut."
        )


def _promised(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of pictures by the header, written when the film was whole; None where it doesn't say."""
    if container.format.name == "avi":  # the stream's duration is guessed from the file's size there
        return float(stream.frames / stream.average_rate) if stream.average_rate else None
    if "DURATION" in stream.metadata:  # Matroska, WebM: hours:minutes:seconds
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _check_gif(path: Path) -> None:
    """Refuse a GIF that is cut off or damaged: it states no length, and FFmpeg fills in silently."""
    with path.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        trailer = handle.read()
    number = 0
    try:
        with Image.open(path, formats=["GIF"]) as film:
            for number, frame in enumerate(ImageSequence.Iterator(film)):  # noqa: B007
                frame.load()
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise _damaged(path, number, " ".join(str(error).split())) from error
    if trailer != b";":
        raise InputError(f"Expected a whole film but '{path}' is cut off: the GIF's end mark is missing.")


def _damaged(path: Path, number: int, what: str) -> InputError:
    return InputError(
        f"Expected a whole film but '{path}' is damaged or cut off near frame {number}: {what}. Take a whole "
        "film, or a clip that ends before the damage."
    )


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """As RGB, turned by the film's display matrix (anticlockwise, in degrees): phones store pictures lying."""
    pixels = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
    return np.rot90(pixels, frame.rotation // 90) if frame.rotation % 90 == 0 else pixels
