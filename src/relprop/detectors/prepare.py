"""From a picture to a detector's input, and how the input's pixels lie on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from relprop.errors import InputError
from relprop.models.pictures import read_picture
from relprop.viz.boxes_html import Thumbnail
from relprop.viz.embedded import SIDE
from relprop.viz.picture import display_picture

__all__ = ["Letterbox", "Prepared", "Squash", "as_is", "thumbnail", "to_tensor"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A detector's input, and the picture it was made of.

    The picture fills a window of the input; what lies around it is padding.

    Attributes:
        x: the input (1, C, h, w), normalised.
        scale: (sx, sy), picture pixels per input pixel.
        size: (H, W) of the picture.
        offset: (px, py), input pixels of padding on the left and above: where the picture's corner lies.
    """

    x: Tensor
    scale: tuple[float, float]
    size: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def extent(self) -> tuple[int, int]:
        """(h, w): how much of the input the picture fills, without padding."""
        return round(self.size[0] / self.scale[1]), round(self.size[1] / self.scale[0])

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Where the picture lies in the input: x0, y0, x1, y1 in whole input pixels, x1 and y1 excluded."""
        (height, width), (left, top) = self.extent, (round(v) for v in self.offset)
        return left, top, left + width, top + height

    def on_picture(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) in input pixels as boxes in picture pixels; corners x0, y0, x1, y1."""
        (sx, sy), (px, py) = self.scale, self.offset
        return (boxes - boxes.new_tensor([px, py, px, py])) * boxes.new_tensor([sx, sy, sx, sy])

    def in_input(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) in picture pixels as boxes in input pixels: `on_picture` turned round."""
        (sx, sy), (px, py) = self.scale, self.offset
        return boxes / boxes.new_tensor([sx, sy, sx, sy]) + boxes.new_tensor([px, py, px, py])


@dataclass(frozen=True)
class Squash:
    """Scale a picture to one size, whatever its proportions, and normalise: SSD's own way.

    Attributes:
        size: (h, w) of the input.
        mean: one number a channel, subtracted from values in 0-1.
        std: what is then divided by.

    >>> prepared = Squash((30, 30), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(Image.new("RGB", (60, 90)))
    >>> prepared.x.shape, prepared.scale, prepared.size
    (torch.Size([1, 3, 30, 30]), (2.0, 3.0), (90, 60))
    """

    size: tuple[int, int]
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)

    def __call__(self, image: Any) -> Prepared:
        """Prepare a picture; see `to_tensor` for what it may be."""
        picture = to_tensor(image)
        height, width = picture.shape[-2:]
        scaled = picture[None]
        if (height, width) != tuple(self.size):
            # Antialiased, as Pillow's BILINEAR filter is: a large picture isn't just sampled here and there.
            scaled = F.interpolate(
                scaled, size=tuple(self.size), mode="bilinear", align_corners=False, antialias=True
            )
        mean, std = (scaled.new_tensor(list(v))[:, None, None] for v in (self.mean, self.std))
        return Prepared((scaled - mean) / std, (width / self.size[1], height / self.size[0]), (height, width))


@dataclass(frozen=True)
class Letterbox:
    """Scale a picture to fit, keep its proportions, fill the rest with one colour, and normalise: YOLO's own way.

    Attributes:
        size: (h, w) of the input.
        centred: equal padding on both sides (an odd pixel goes right or below); False: all of it right and below.
        fill: colour of the padding, in 0-1, before it is normalised; 114 of 255 in YOLO.
        mean: one number a channel, subtracted from values in 0-1.
        std: what is then divided by.
        antialias: smooth while shrinking, as Pillow does; False: bilinear samples, as OpenCV takes them and YOLO's
            training saw them.
        enlarge: small pictures grow to fit; False: they only get padding.
        multiple: pad each side only to the next multiple of this many pixels, as YOLO does with single pictures;
            None: to the whole size.

    Raises:
        InputError: a size or a multiple below 1.

    >>> prepared = Letterbox((64, 64))(Image.new("RGB", (200, 100)))
    >>> prepared.x.shape, prepared.scale, prepared.offset, prepared.window
    (torch.Size([1, 3, 64, 64]), (3.125, 3.125), (0, 16), (0, 16, 64, 48))
    >>> Letterbox((64, 64), multiple=16)(Image.new("RGB", (200, 120))).x.shape
    torch.Size([1, 3, 48, 64])
    """

    size: tuple[int, int]
    centred: bool = True
    fill: float = 114 / 255
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)
    antialias: bool = False
    enlarge: bool = True
    multiple: int | None = None

    def __post_init__(self) -> None:
        if self.multiple is not None and self.multiple < 1:
            raise InputError(f"Expected a multiple of 1 or more, or None, but got {self.multiple!r}.")
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"Expected a size (h, w) of 1 or more but got {self.size!r}.")

    def __call__(self, image: Any) -> Prepared:
        """Prepare a picture; see `to_tensor` for what it may be."""
        picture = to_tensor(image)
        (height, width), (rows, columns) = picture.shape[-2:], self.size
        factor = min(rows / height, columns / width)
        if not self.enlarge:
            factor = min(factor, 1.0)
        inner = max(1, round(height * factor)), max(1, round(width * factor))
        scaled = picture[None]
        if inner != (height, width):
            scaled = F.interpolate(
                scaled, size=inner, mode="bilinear", align_corners=False, antialias=self.antialias
            )
        if self.multiple is not None:
            rows, columns = (-(-side // self.multiple) * self.multiple for side in inner)
        down, right = rows - inner[0], columns - inner[1]
        top, left = (down // 2, right // 2) if self.centred else (0, 0)
        padded = F.pad(scaled, (left, right - left, top, down - top), value=self.fill)
        mean, std = (padded.new_tensor(list(v))[:, None, None] for v in (self.mean, self.std))
        scale = (width / inner[1], height / inner[0])
        return Prepared((padded - mean) / std, scale, (height, width), (left, top))


def as_is(image: Any) -> Prepared:
    """Take a normalised tensor (C, H, W) or (1, C, H, W) as the input: boxes are then in its pixels.

    Raises:
        InputError: anything else.

    >>> as_is(torch.zeros(3, 8, 9)).size
    (8, 9)
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        got = f"a tensor of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(
            f"Expected the detector's input, a normalised floating-point tensor (3, H, W), but got {got}. Give "
            "the detector prepare=Squash(size, mean, std), or your own function, to pass pictures."
        )
    x = image[None] if image.ndim == 3 else image
    if x.ndim != 4 or x.shape[0] != 1:
        raise InputError(f"Expected one input (3, H, W) or (1, 3, H, W) but got shape {tuple(image.shape)}.")
    return Prepared(x, (1.0, 1.0), (x.shape[2], x.shape[3]))


def thumbnail(prepared: Prepared, mean: Sequence[float], std: Sequence[float]) -> Thumbnail | None:
    """The picture that an input was made of, small; None where mean and std are of other channels than it has.

    Args:
        prepared: the input.
        mean, std: what was subtracted, and divided by.
    """
    left, top, right, bottom = prepared.window
    part = prepared.x[:, :, max(top, 0) : bottom, max(left, 0) : right].detach().float().cpu()
    if part.shape[1] != len(mean) or not part.numel():
        return None
    factor = min(1.0, SIDE / max(part.shape[2:]))
    size = [max(1, round(n * factor)) for n in part.shape[2:]]
    small = F.interpolate(part, size, mode="area") if factor < 1 else part
    pixels, _ = display_picture(small[0], mean, std)
    return Thumbnail(np.asarray(np.rint(255 * pixels), dtype=np.uint8), prepared.size)


def to_tensor(image: Any) -> Tensor:
    """A picture as a tensor (3, H, W) in 0-1, RGB, float32 (or the float dtype it had).

    Args:
        image: a file's path, a PIL picture, an array (H, W, 3) or a tensor (3, H, W) or (1, 3, H, W); arrays
            and tensors hold uint8, or floating point from 0 to 1.

    Raises:
        InputError: another type or shape, values outside 0-1, NaN.

    >>> to_tensor(np.full((4, 5, 3), 255, np.uint8)).shape
    torch.Size([3, 4, 5])
    """
    if isinstance(image, (str, Path)):
        image = read_picture(image)
    if isinstance(image, Image.Image):
        image = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"Expected an array (H, W, 3) but got shape {image.shape}.")
        image = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise InputError(
            "Expected a picture (a path, a PIL picture, an array (H, W, 3) or a tensor (3, H, W)) but got "
            f"{type(image).__name__}."
        )
    picture = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
        raise InputError(f"Expected a tensor (3, H, W) but got shape {tuple(image.shape)}. Pass one picture.")
    if picture.dtype == torch.uint8:
        return picture.float() / 255
    if not picture.is_floating_point():
        raise InputError(f"Expected uint8 or floating point from 0 to 1 but got {picture.dtype}.")
    low, high = (float(v) for v in torch.aminmax(picture))
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise InputError(
            f"Expected values from 0 to 1 but got {low:.4g} to {high:.4g}. Pass uint8, or divide by 255; the "
            "detector normalises them itself."
        )
    return picture if picture.dtype.itemsize >= 4 else picture.float()
