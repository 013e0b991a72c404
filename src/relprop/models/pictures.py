"""From a picture file to a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from relprop.errors import InputError
from relprop.files import open_picture

__all__ = ["Preprocess", "read_picture"]

_MOST = 2**27  # pixels of a resized picture: more would fill the memory
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read_picture(path: str | Path) -> Image.Image:
    """Read a picture as RGB, turned upright by its EXIF flag; transparency goes over white.

    Raises:
        InputError: no such file, a FIFO or a device, none of `relprop.files.PICTURE_FORMATS`, truncated, or more
            pixels than Pillow's bomb limit (`PIL.Image.MAX_IMAGE_PIXELS`).

    >>> read_picture("nowhere.jpg")
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a picture file but got 'nowhere.jpg', which does not exist.
    """
    try:
        with open_picture(path) as opened:
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened))
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"Expected at most {Image.MAX_IMAGE_PIXELS:,} pixels but '{path}' claims more (a decompression "
            "bomb, or a very large picture: make it smaller first)."
        ) from None
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"Expected a whole picture but '{path}' can't be decoded: {text}.") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow clips 16 bits at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")


@dataclass(frozen=True)
class Preprocess:
    """Resize to cover, crop the centre, scale to 0-1, normalise.

    The picture keeps its proportions: it is made just large enough that `resize` (or `size`, where None)
    fits inside, then the centre of `size` is cut out, as torchvision's and timm's evaluation presets do.

    Attributes:
        size: (H, W) of the result.
        mean: one number a channel, subtracted from values in 0-1; one number means grey pictures.
        std: what is then divided by.
        resize: side of the square to cover before the crop, or None for `size` itself.
        interpolation: nearest, bilinear, bicubic or lanczos.

    >>> white = Image.new("RGB", (300, 200), "white")
    >>> x = Preprocess((64, 64), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))(white)
    >>> x.shape, x.max()
    (torch.Size([1, 3, 64, 64]), tensor(2.))
    """

    size: Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]
    resize: int | None = None
    interpolation: str = "bilinear"

    def __call__(self, image: Image.Image) -> Tensor:
        """(1, C, H, W), float32."""
        return self._normalised(self.cut(image))

    def cut(self, image: Image.Image) -> Image.Image:
        """The part of the picture that the network sees, at its input's size: before it is normalised."""
        scaled, left, top = self.frame(image.size)
        height, width = self.size
        _check_room(image, scaled)
        image = self._coloured(image).resize(scaled, _FILTERS[self.interpolation])
        return image.crop((left, top, left + width, top + height))

    def scaled(self, image: Image.Image, size: Sequence[int]) -> Tensor:
        """The whole picture scaled to (H, W) and normalised, nothing cut off: (1, C, H, W), float32."""
        height, width = size
        _check_room(image, (width, height))
        image = self._coloured(image)
        if image.size != (width, height):
            image = image.resize((width, height), _FILTERS[self.interpolation])
        return self._normalised(image)

    def frame(self, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """Where the crop lies: the scaled picture's (width, height), and the crop's left and top in it."""
        width, height = size
        cover_h, cover_w = self.size if self.resize is None else (self.resize, self.resize)
        if cover_h * width >= cover_w * height:
            scaled = (max(cover_w, cover_h * width // height), cover_h)
        else:
            scaled = (cover_w, max(cover_h, cover_w * height // width))
        return scaled, round((scaled[0] - self.size[1]) / 2), round((scaled[1] - self.size[0]) / 2)

    def _coloured(self, image: Image.Image) -> Image.Image:
        return image.convert("L" if len(self.mean) == 1 else "RGB")

    def _normalised(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, len(self.mean))
        values = pixels.permute(2, 0, 1).float() / 255
        mean, std = (torch.tensor(list(v), dtype=torch.float32)[:, None, None] for v in (self.mean, self.std))
        return ((values - mean) / std)[None]


def _check_room(image: Image.Image, scaled: tuple[int, int]) -> None:
    if scaled[0] * scaled[1] > _MOST:
        raise InputError(
            f"Expected a picture of usual proportions but one of {image.width} x {image.height} would become "
            f"{scaled[0]} x {scaled[1]} for this network. Crop it first, or make the input size smaller."
        )
