"""Small piece-wise affine networks with every operator that makes a bias, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tests.nets import seeded
from torch import Tensor, nn


class Clamped(nn.Module):
    """ReLU6, clamps, a leaky ReLU, a threshold, a maximum with a parameter and added constants."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.bn, self.act = nn.BatchNorm2d(6), nn.ReLU6()
        self.shift, self.floor = nn.Parameter(torch.zeros(8, 1, 1)), nn.Parameter(torch.zeros(8, 1, 1))
        self.slope, self.head = nn.PReLU(8), nn.Linear(8 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(20 * self.bn(self.one(x)))
        x = F.threshold(self.two(x) + self.shift, 0.1, -0.4)
        x = torch.maximum(F.leaky_relu(x, 0.2), self.floor).clamp(-0.3, 1.5)
        x = self.slope(F.avg_pool2d(2 - x, 4).abs() - 1.2)
        return self.head(x.flatten(1)) / 2 + 0.5


class Branching(nn.Module):
    """A branch with a pool, joined with a constant map; padding with a number; batch norm ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.pre, self.stem = nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 3, padding=1)
        self.register_buffer("grid", torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16))
        self.mix, self.head = nn.Conv2d(11, 6, 3), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(self.pre(x)))
        left, right = torch.relu(self.left(x)), F.max_pool2d(self.right(x), 3, 1, 1)
        assert isinstance(self.grid, Tensor)
        x = torch.cat([left, right, self.grid.expand(x.shape[0], -1, -1, -1)], 1)
        x = torch.relu(self.mix(F.pad(x, (1, 1, 1, 1), value=0.7)))
        return self.head(F.adaptive_max_pool2d(x, 3).amax((2, 3)))


def clamped() -> nn.Module:
    return seeded(Clamped(), 5)


def branching() -> nn.Module:
    return seeded(Branching(), 6)


NETS: dict[str, Callable[[], nn.Module]] = {"clamped": clamped, "branching": branching}
