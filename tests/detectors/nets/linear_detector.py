"""A detector that is linear in its pixels: what hiding them does is known without running it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relprop.detectors import Detector, Letterbox, Squash

SIDE = 24
CLASSES = ["nothing", "dog", "cat"]


class Linear(nn.Module):
    """(N, 3, 24, 24) → logits (N, 2, 3), edges' offsets (N, 2, 4): products with fixed weights, two anchors."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(
            torch.randn(2, 7, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        units = torch.einsum("nchw,auchw->nau", x, self.weights) / 20
        return units[..., :3], units[..., 3:]


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Each edge moves by its own offset."""
    return anchors + offsets


def detector(letterbox: bool = False) -> Detector:
    """In float64; boxes [6, 4, 18, 20] and [0, 0, 12, 12]."""
    half = (0.5,) * 3
    size = (SIDE, SIDE)
    return Detector(
        raw=Linear().eval(),
        anchors=torch.tensor([[6.0, 4.0, 18.0, 20.0], [0.0, 0.0, 12.0, 12.0]], dtype=torch.float64),
        decode=decode,
        offsets=("left", "top", "right", "bottom"),
        scores="sigmoid",
        background=0,
        classes=CLASSES,
        prepare=Letterbox(size, mean=half, std=half) if letterbox else Squash(size, half, half),
        mean=half,
        std=half,
        score_threshold=0.0,
        name="linear",
    )


def picture(height: int = SIDE, width: int = SIDE) -> Tensor:
    """Noise, (3, height, width) in 0-1."""
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
