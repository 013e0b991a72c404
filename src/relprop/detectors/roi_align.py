"""RoIAlign for boxes that are known: reading between the pixels at fixed places, then averages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RoIAlign", "samples_of"]

_BEYOND = 3.0  # a place so far outside (the map is -1 to 1) that nothing of the map is read there


@dataclass(frozen=True)
class RoIAlign:
    r"""The average of a feature map over each cell of a grid in a box, read at places between its pixels.

    With the pixels' values F and weights that depend on the box alone,

    .. math:: y_{ij} = \frac{1}{n m} \sum_{k=1}^{n} \sum_{l=1}^{m} \sum_{u, v}
        \max(0, 1 - |y_{ik} - u|) \, \max(0, 1 - |x_{jl} - v|) \, F_{uv},

    where (y_ik, x_jl) are n × m places in cell (i, j). For a given box that is linear in F with weights >= 0, so
    that relevance crosses it as it does an average pool. It is written as two operators that relprop knows: one
    that reads between pixels, and an average pool.

    Attributes:
        size: (rows, columns) of cells.
        samples: (n, m), places a cell.
        scale: pixels of the map per pixel of the input.
        aligned: whether a pixel's centre, rather than its corner, has whole coordinates (Detectron2).

    Source: He et al., Mask R-CNN, ICCV 2017, section 3.

    >>> align = RoIAlign(size=(1, 1), samples=(2, 2), scale=1.0)
    >>> rising = torch.arange(5.0).expand(1, 1, 5, 5)  # the value is the column
    >>> align(rising, torch.tensor([1.0, 1.0, 4.0, 4.0]))
    tensor([[[[2.5000]]]])
    """

    size: tuple[int, int]
    samples: tuple[int, int]
    scale: float
    aligned: bool = False

    def __call__(self, features: Tensor, box: Tensor) -> Tensor:
        """The averages (N, C, rows, columns) of a map (N, C, H, W) in a box (4,) of the input, x0, y0, x1, y1."""
        shift = 0.5 if self.aligned else 0.0
        x0, y0, x1, y1 = (box * self.scale - shift).unbind()
        y = self._places(y0, y1, 0, features.shape[2])
        x = self._places(x0, x1, 1, features.shape[3])
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)
        read = F.grid_sample(
            features,
            grid.expand(features.shape[0], -1, -1, -1),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=True,
        )
        return F.avg_pool2d(read, self.samples)

    def _places(self, low: Tensor, high: Tensor, axis: int, length: int) -> Tensor:
        """Where the map is read along an axis, -1 (its first pixel) to 1 (its last)."""
        extent = high - low
        if not self.aligned:
            extent = extent.clamp(min=1.0)
        count = self.size[axis] * self.samples[axis]
        at = low + (torch.arange(count, dtype=low.dtype, device=low.device) + 0.5) * (extent / count)
        # Up to a pixel outside, the map goes on as at its edge; beyond that it is 0.
        outside = (at < -1.0) | (at > length)
        inside = at.clamp(0, length - 1) * (2 / max(length - 1, 1)) - 1
        return torch.where(outside, _BEYOND, inside)


def samples_of(
    box: Tensor, size: tuple[int, int], ratio: int, scale: float, aligned: bool = False
) -> tuple[int, int]:
    """How many places a cell has along y and x: `ratio`; for 0 or less one for each pixel that it spans."""
    if ratio > 0:
        return ratio, ratio
    spans = ((box[3] - box[1]) * scale, (box[2] - box[0]) * scale)
    least = 0.0 if aligned else 1.0
    counts = [float(torch.ceil(span.clamp(min=least) / n)) for span, n in zip(spans, size, strict=True)]
    return max(int(counts[0]), 1), max(int(counts[1]), 1)
