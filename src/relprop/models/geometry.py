"""Geometry: how a picture becomes an input, and how a map of the input lies on the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.catalogue import GeometryMode
from relprop.models.pictures import Preprocess

__all__ = ["Geometry"]


@dataclass(frozen=True)
class Geometry:
    """Picture to input and map back to picture.

    Attributes:
        mode: "shorter": the shorter side is scaled to the shorter of `preprocess.size`, proportions kept, nothing
            cut off (the network must take any size); "squash": scaled to `preprocess.size`, proportions
            lost; "crop": as `preprocess` does it, the centre alone is seen; "native": the picture at its own size.
        preprocess: size, mean, std, interpolation.

    >>> seen = Geometry("shorter", Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3))
    >>> picture = Image.new("RGB", (100, 50))
    >>> seen.input(picture).shape, seen.back(torch.ones(8, 16), (50, 100)).shape
    (torch.Size([1, 3, 32, 64]), (50, 100))
    """

    mode: GeometryMode
    preprocess: Preprocess

    def input(self, picture: Image.Image) -> Tensor:
        """The model's input, (1, C, h, w) float32."""
        if self.mode == "crop":
            return self.preprocess(picture)
        if self.mode == "native":
            return self.preprocess.scaled(picture, (picture.height, picture.width))
        height, width = self.preprocess.size
        if self.mode == "shorter":
            side, shorter = min(height, width), min(picture.size)
            height, width = (round(side * length / shorter) for length in (picture.height, picture.width))
        return self.preprocess.scaled(picture, (height, width))

    def seen(self, picture: Image.Image) -> NDArray[np.float64]:
        """The picture as the model's input shows it, before it is normalised: (h, w, 3) float64 from 0 to 1.

        Grey three times where the model takes one channel.
        """
        channels = len(self.preprocess.mean)
        plain = replace(self.preprocess, mean=(0.0,) * channels, std=(1.0,) * channels)
        values = replace(self, preprocess=plain).input(picture)[0].permute(1, 2, 0).double().numpy()
        return np.array(np.broadcast_to(values, (*values.shape[:2], 3)))

    def seen_region(self, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The pixels (h, w) of the input whose place in the picture lies in a region (H, W)."""
        nearest = replace(self, preprocess=replace(self.preprocess, interpolation="nearest"))
        return np.asarray(nearest.seen(Image.fromarray(region.astype(np.uint8) * 255)).mean(2) > 0.5)

    def back(self, heat: Tensor, size: tuple[int, int]) -> NDArray[np.float64]:
        """A map (h, w) of the input, or of a layer's values, laid on the picture: (H, W) float64.

        Resized bilinearly (`align_corners=False`). Where the picture was cropped, what the model didn't see
        gets the least of the map's values and 0: no point and no positive region can lie there.
        """
        values = heat.detach().cpu().double()
        if self.mode != "crop":
            return _resized(values, size)
        scaled, left, top = self.preprocess.frame((size[1], size[0]))
        height, width = self.preprocess.size
        whole = torch.full((scaled[1], scaled[0]), min(0.0, float(values.min())), dtype=torch.float64)
        whole[top : top + height, left : left + width] = torch.from_numpy(_resized(values, (height, width)))
        return _resized(whole, size)


def _resized(values: Tensor, size: tuple[int, int]) -> NDArray[np.float64]:
    if tuple(values.shape) != tuple(size):
        values = F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return np.array(values.numpy(), order="C")  # a copy: the map stays its owner's
