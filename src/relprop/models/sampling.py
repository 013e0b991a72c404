"""How a clip is cut out of a film and becomes a network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.errors import InputError
from relprop.methods.bounds import pixel_bounds

__all__ = ["Sampling"]

_MOST = 2**27  # pixels of a clip: more would fill the memory
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a film, which part of them, in which units.

    A film that ends before the clip does is looped: frame i of the clip is film frame
    (start + i · stride) modulo the film's number of frames.

    Attributes:
        frames: T, frames in the clip.
        stride: every stride-th frame of the film is taken.
        start: first film frame, counted from 0; "middle" lays the clip's window in the middle of the film.
        resize: length of the shorter side in pixels, proportions kept; (H, W): squashed to that; None: as it is.
        crop: side, or (H, W), of the part cut out of the centre after the resize; None: everything.
        interpolation: nearest, bilinear, bicubic or lanczos, antialiased.
        order: of the colour channels that the network expects, "rgb" or "bgr".
        divisor: what 0..255 is divided by first: 255 gives 0..1, 1 leaves 0..255.
        mean: subtracted after that, a number a channel in the network's order.
        std: divided by last, likewise.

    Raises:
        InputError: a setting out of range.

    >>> print(Sampling.c3d())
    16 frames, every 4th of the film from frame 0 on (a shorter film is looped)
    squashed to 128 x 171 pixels (bilinear), centre 112 x 112; BGR 0..255 less (90, 98, 102), divided by (1, 1, 1)
    """

    frames: int = 16
    stride: int = 1
    start: int | Literal["middle"] = 0
    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    order: Literal["rgb", "bgr"] = "rgb"
    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("frames", "stride"):
            if not _whole(getattr(self, name), 1):
                raise InputError(
                    f"Expected {name} as a whole number of at least 1 but got {getattr(self, name)!r}."
                )
        if self.start != "middle" and not _whole(self.start, 0):
            raise InputError(
                f"Expected start as a film frame counted from 0, or 'middle', but got {self.start!r}."
            )
        for name in ("resize", "crop"):
            object.__setattr__(self, name, _size(name, getattr(self, name)))
        area = _pair(self.crop or self.resize or 1)
        if self.frames * area[0] * area[1] > _MOST:
            raise InputError(
                f"Expected a clip of at most {_MOST:,} pixels but {self.frames} frames of {_times(area)} have "
                "more. Take fewer frames, or a smaller crop or resize."
            )
        for name, valid in (("interpolation", _INTERPOLATIONS), ("order", ("rgb", "bgr"))):
            if getattr(self, name) not in valid:
                raise InputError(f"Expected {name} as one of {valid} but got {getattr(self, name)!r}.")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three(name, getattr(self, name)))
        if not _number(self.divisor) or self.divisor <= 0:
            raise InputError(f"Expected divisor as a number above 0 but got {self.divisor!r}.")
        if min(self.std) <= 0:
            raise InputError(f"Expected std as three numbers above 0 but got {self.std!r}.")

    @classmethod
    def c3d(cls) -> Sampling:
        """What the published PyTorch C3D was trained on: every 4th frame, 112 x 112 of 128 x 171, BGR less a mean.

        Source: the C3D part of jfzhang95's pytorch-video-recognition, dataset and inference scripts.

        >>> Sampling.c3d().indices(100)[:5]
        [0, 4, 8, 12, 16]
        """
        return cls(stride=4, resize=(128, 171), crop=112, order="bgr", divisor=1.0, mean=(90.0, 98.0, 102.0))

    @property
    def span(self) -> int:
        """Film frames from the clip's first to its last, both counted."""
        return (self.frames - 1) * self.stride + 1

    def indices(self, total: int) -> list[int]:
        """Film frame of each frame of the clip, for a film of `total` frames.

        Raises:
            InputError: the film has no frames, or ends before `start`.

        >>> Sampling(frames=4, stride=2).indices(5)
        [0, 2, 4, 1]
        """
        if total < 1:
            raise InputError(f"Expected a film of at least 1 frame but got {total}.")
        start = max(0, (total - self.span) // 2) if self.start == "middle" else self.start
        if start >= total:
            raise InputError(
                f"Expected start below the film's {total} frames but got {start}. Frames are counted from 0."
            )
        return [(start + i * self.stride) % total for i in range(self.frames)]

    def picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One film frame resized and cropped, (H, W, 3) to (h, w, 3), RGB: what the network sees, for display.

        Raises:
            InputError: not a uint8 RGB frame, or smaller than the crop.
        """
        _check(frame, 3, "a uint8 RGB frame (H, W, 3)")
        height, width = self._resized(frame.shape[0], frame.shape[1])
        if height * width > _MOST:
            raise InputError(
                f"Expected frames of at most {_MOST:,} pixels but the resize makes {height} x {width} of "
                f"{frame.shape[0]} x {frame.shape[1]}. Make the resize smaller."
            )
        if (height, width) != frame.shape[:2]:
            kind = Image.Resampling[self.interpolation.upper()]
            frame = np.asarray(Image.fromarray(frame).resize((width, height), kind))
        if self.crop is None:
            return np.array(frame)
        h, w = _pair(self.crop)
        if h > height or w > width:
            raise InputError(
                f"Expected frames of at least the crop's {h} x {w} but they are {height} x {width} after the "
                "resize. Make the crop smaller or the resize larger."
            )
        top, left = round((height - h) / 2), round((width - w) / 2)
        return np.array(frame[top : top + h, left : left + w])

    def tensor(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB pictures (T, h, w, 3), uint8, as the network's input (1, 3, T, h, w), float32.

        Raises:
            InputError: other shape or type, or another number of frames.
        """
        _check(frames, 4, f"{self.frames} RGB frames as a uint8 array (T, h, w, 3)")
        if len(frames) != self.frames:
            raise InputError(f"Expected {self.frames} frames but got {len(frames)}.")
        pixels = torch.from_numpy(np.array(frames if self.order == "rgb" else frames[..., ::-1]))
        x = (pixels.float() / self.divisor - torch.tensor(self.mean)) / torch.tensor(self.std)
        return x.permute(3, 0, 1, 2)[None].contiguous()

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The box of all possible inputs, (3,) and (3,), for ``DeepTaylor(bounds=...)``.

        >>> [b.tolist() for b in Sampling.c3d().bounds()]
        [[-90.0, -98.0, -102.0], [165.0, 157.0, 153.0]]
        """
        return pixel_bounds(self.mean, self.std, 0.0, 255.0 / self.divisor)

    def lines(self) -> list[str]:
        """Every setting in plain words, two lines."""
        some = "every frame" if self.stride == 1 else f"every {_ordinal(self.stride)}"
        where = "around its middle" if self.start == "middle" else f"from frame {self.start} on"
        if self.resize is None:
            size = "not resized"
        elif isinstance(self.resize, int):
            size = f"shorter side resized to {self.resize} pixels ({self.interpolation})"
        else:
            size = f"squashed to {_times(self.resize)} pixels ({self.interpolation})"
        part = "not cropped" if self.crop is None else f"centre {_times(_pair(self.crop))}"
        units = f"{self.order.upper()} 0..{255 / self.divisor:g} less {_three_g(self.mean)}"
        return [
            f"{self.frames} frame{'s'[: self.frames > 1]}, {some} of the film {where} (a shorter film is looped)",
            f"{size}, {part}; {units}, divided by {_three_g(self.std)}",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """Every setting by name, for JSON; ``Sampling(**...)`` reads it back."""
        return asdict(self)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        if not isinstance(self.resize, int):
            return self.resize
        short = min(height, width)
        return self.resize * height // short, self.resize * width // short


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(name: str, value: Any) -> int | tuple[int, int] | None:
    if value is None or _whole(value, 1):
        return value
    if isinstance(value, Sequence) and len(value) == 2 and all(_whole(side, 1) for side in value):
        return value[0], value[1]
    raise InputError(f"Expected {name} as pixels, (height, width) in pixels, or None but got {value!r}.")


def _three(name: str, value: Any) -> tuple[float, float, float]:
    if isinstance(value, Sequence) and len(value) == 3 and all(_number(part) for part in value):
        return float(value[0]), float(value[1]), float(value[2])
    raise InputError(f"Expected {name} as three numbers, one a channel, but got {value!r}.")


def _check(array: object, ndim: int, wanted: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"Expected {wanted} but got {type(array).__name__}.")
    if array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] != 3 or not array.size:
        raise InputError(f"Expected {wanted} but got {array.dtype} {array.shape}.")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _three_g(values: Sequence[float]) -> str:
    return f"({', '.join(f'{v:g}' for v in values)})"


def _ordinal(n: int) -> str:
    tail = "th" if 10 < n % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"
