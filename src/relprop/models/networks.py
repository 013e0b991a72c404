"""Two of the bundled architectures: plain modules, one VGG-like and one ResNet-like, about 0.6 million weights."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResidualBlock", "SceneResNet", "SceneVGG"]


class SceneVGG(nn.Module):
    """Conv, ReLU, max-pool and linear only: (N, 3, 112, 112) to (N, classes) logits.

    >>> import torch
    >>> SceneVGG()(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8) -> None:
        """Build the layers with torch's default initialisation."""
        super().__init__()
        plan: list[tuple[str, int]] = [
            ("conv1_1", 24), ("pool1", 0),
            ("conv2_1", 48), ("pool2", 0),
            ("conv3_1", 64), ("conv3_2", 64), ("pool3", 0),
            ("conv4_1", 96), ("conv4_2", 96), ("pool4", 0),
        ]  # fmt: skip
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for name, width in plan:
            if width:
                layers[name] = nn.Conv2d(channels, width, 3, padding=1)
                layers[name.replace("conv", "relu")] = nn.ReLU()
                channels = width
            else:
                layers[name] = nn.MaxPool2d(2)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(channels * 7 * 7, 96),
                relu1=nn.ReLU(),
                dropout=nn.Dropout(0.3),
                fc2=nn.Linear(96, classes),
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        out: Tensor = self.classifier(self.features(x))
        return out


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input or to its strided 1x1 projection."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Build the block; a projection only where the shape changes."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Identity()
            if stride == 1 and channels == width
            else nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class SceneResNet(nn.Module):
    """Stem and four stages of residual blocks, global mean, linear: (N, 3, H, W) to (N, classes) logits.

    >>> import torch
    >>> SceneResNet().eval()(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8) -> None:
        """Build the layers."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = ResidualBlock(24, 24, 1)
        self.layer2 = ResidualBlock(24, 48, 2)
        self.layer3 = nn.Sequential(ResidualBlock(48, 80, 2), ResidualBlock(80, 80, 1))
        self.layer4 = ResidualBlock(80, 128, 2)
        self.fc = nn.Linear(128, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.fc(x.mean(dim=(2, 3)))
        return out
