"""A small densely connected network for scenes: trained for one row of a table, and not bundled.

python scripts/train_scenes.py --model benchmarks/dense.py:SceneDense --epochs 6 --out out/dense
relprop benchmark benchmarks/composite_dense.toml --weights out/dense/SceneDense.safetensors
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SceneDense"]

_GROWTH, _LAYERS, _BLOCKS = 24, 4, 3


def _unit(inside: int, out: int, size: int) -> nn.Sequential:
    """Batch norm, ReLU, convolution: the order of DenseNet (Huang et al. 2017)."""
    conv = nn.Conv2d(inside, out, size, padding=size // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(), conv)


class _Block(nn.Module):
    """Layers that each read all values before them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_unit(channels + i * _GROWTH, _GROWTH, 3) for i in range(_LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + layers * growth, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class SceneDense(nn.Module):
    """Three dense blocks with transitions that halve channels and size: (N, 3, 112, 112) to (N, classes)."""

    def __init__(self, classes: int = 8) -> None:
        """Build the layers."""
        super().__init__()
        channels = 48
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, channels, 3, stride=2, padding=1, bias=False),
        )  # fmt: skip
        parts: list[nn.Module] = []
        for i in range(_BLOCKS):
            parts.append(_Block(channels))
            channels += _LAYERS * _GROWTH
            if i < _BLOCKS - 1:
                parts += [_unit(channels, channels // 2, 1), nn.AvgPool2d(2)]
                channels //= 2
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU())
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        out: Tensor = self.head(self.features(self.stem(x)).mean((2, 3)))
        return out
