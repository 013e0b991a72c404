"""Made: a picture of the gallery, by its name and the function that draws it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from relprop.viz import render

NOTE = 0x010E  # EXIF: ImageDescription
Drawn = Image.Image | Figure | NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """One picture of the gallery.

    Attributes:
        name: of the file, without its ending.
        what: what it shows, in a few words.
        draw: gives a picture, a figure, or the frames of a film (T, H, W, 3) uint8.
        widest: pixels; a wider figure is drawn smaller.
        quality: of WebP, 0 to 100.
        lossless: whether every pixel is kept; smaller and sharper for lines and letters.
        fps: frames a second, of a film.
        note: is written into the file, for a test to read.
    """

    name: str
    what: str
    draw: Callable[[], Drawn]
    widest: int = 1400
    quality: int = 80
    lossless: bool = False
    fps: float = 4
    note: str = ""

    @property
    def file(self) -> str:
        """The file's name in docs/gallery."""
        return f"{self.name}.webp"

    def image(self) -> Image.Image | list[Image.Image]:
        """The picture as it is stored, before it is packed; a film is a list."""
        drawn = self.draw()
        if isinstance(drawn, np.ndarray):
            return [self._small(Image.fromarray(frame)) for frame in drawn]
        return self._small(Image.fromarray(render(drawn)) if isinstance(drawn, Figure) else drawn)

    def data(self) -> bytes:
        """The file's bytes."""
        made, buffer, exif = self.image(), io.BytesIO(), Image.Exif()
        if self.note:
            exif[NOTE] = self.note
        if isinstance(made, list):
            step = round(1000 / self.fps)
            made[0].save(
                buffer, "WEBP", save_all=True, append_images=made[1:], duration=step, loop=0,
                quality=self.quality, method=6,
            )  # fmt: skip
        else:
            quality = 100 if self.lossless else self.quality
            made.save(buffer, "WEBP", quality=quality, lossless=self.lossless, method=6, exif=exif)
        return buffer.getvalue()

    def _small(self, image: Image.Image) -> Image.Image:
        if image.width <= self.widest:
            return image
        size = (self.widest, round(image.height * self.widest / image.width))
        return image.resize(size, Image.Resampling.LANCZOS)
