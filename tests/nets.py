"""Small seeded networks in float64, and the two that the oracle files were computed with."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relprop.methods.registry import METHODS as REGISTERED

METHODS = [name for name, kind in REGISTERED.items() if not kind.needs]
"""Names of the methods that explain any network; tests/methods/test_tokens.py has those that need attention."""


def seeded(model: nn.Module, seed: int) -> nn.Module:
    """Weights, biases and batch-norm statistics from a seed, biases well away from 0; float64, eval."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            if not p.is_floating_point():
                continue
            draw = torch.randn(p.shape, generator=g)
            if "running_var" in name or (name.endswith("weight") and p.ndim == 1):
                p.copy_(0.5 + draw.abs())
            elif p.ndim > 1:
                p.copy_(draw / p[0].numel() ** 0.5 * 1.5)
            else:
                p.copy_(draw * 0.2)
    return model.double().eval()


def vgg() -> nn.Sequential:
    """Conv, ReLU, max-pool, linear, all modules: (N,3,16,16) → (N,5)."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 5),
    )  # fmt: skip
    seeded(model, 0)
    return model


class Residual(nn.Module):
    """A residual block with batch norm, functional ReLUs and a mean: (N,3,16,16) → (N,5)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(x + self.bn2(self.conv2(y)))
        return self.head(x.mean(dim=(2, 3)))


def resnet() -> nn.Module:
    return seeded(Residual(), 1)


def video() -> nn.Module:
    """3-D convolutions, one ReLU module used twice, adaptive pooling: (N,3,4,8,8) → (N,5)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(4, 6, 3, padding=1)
            self.pool, self.relu, self.head = nn.MaxPool3d((1, 2, 2)), nn.ReLU(inplace=True), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.relu(self.conv1(x)))
            x = F.adaptive_avg_pool3d(self.relu(self.conv2(x)), 1)
            return self.head(torch.flatten(x, 1))

    return seeded(Net(), 2)


def pictures(*size: int, seed: int = 3) -> Tensor:
    """Seeded inputs in float64; the default is (3,3,16,16)."""
    shape = size or (3, 3, 16, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class OracleVGG(nn.Module):
    """The network of tinyvgg.safetensors (torchvision's names)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (8, 8, 0, 16, 16, 0, 24, 24, 0):
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(384, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(32, 5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class OracleC3D(nn.Module):
    """The network of tinyc3d.safetensors: C3D with few channels, one ReLU and one dropout reused."""

    def __init__(self, widths: tuple[int, ...] = (4, 6, 8, 8, 10, 10, 12, 12), classes: int = 7) -> None:
        super().__init__()
        names = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
        for name, (before, after) in zip(names, pairwise((3, *widths)), strict=True):
            setattr(self, name, nn.Conv3d(before, after, 3, padding=1))
        self.pool1, self.pool2 = nn.MaxPool3d((1, 2, 2)), nn.MaxPool3d(2)
        self.pool3, self.pool4 = nn.MaxPool3d(2), nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6, self.fc7, self.fc8 = nn.Linear(192, 32), nn.Linear(32, 32), nn.Linear(32, classes)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.pool3(self.relu(self.conv3b(self.relu(self.conv3a(x)))))
        x = self.pool4(self.relu(self.conv4b(self.relu(self.conv4a(x)))))
        x = self.pool5(self.relu(self.conv5b(self.relu(self.conv5a(x)))))
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        return self.fc8(self.dropout(self.relu(self.fc7(x))))
