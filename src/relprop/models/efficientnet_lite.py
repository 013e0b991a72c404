"""EfficientNet-Lite0 as a plain module, in the layout of the weights that lie on the package index."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["EfficientNetLite0"]

# Blocks, kernel, stride of the first, expansion, channels: stages of EfficientNet-B0 (Tan and Le 2019, table 1),
# which the Lite form keeps.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_EPS = 1e-3  # of the batch norms


class _SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same": the output has ceil(size / stride) pixels.

    Where an odd number of zeros is needed, the one more stands below and to the right.
    """

    def __init__(self, channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        if height or width:
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


class _Block(nn.Module):
    """Inverted bottleneck: widen by 1 × 1, convolve each channel, narrow by 1 × 1 without activation."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self._expanded = expansion != 1
        self._shortcut = stride == 1 and channels == width
        if self._expanded:
            self._expand_conv = _SameConv(channels, inner)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPS)
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPS)
        self._project_conv = _SameConv(inner, width)
        self._bn2 = nn.BatchNorm2d(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expanded else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._shortcut else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 without squeeze-and-excitation, ReLU6 for swish: (N, 3, H, W) to (N, classes) logits.

    Source: Tan and Le 2019 (arXiv 1905.11946) for the stages; the Lite form is TensorFlow's, of 2020.

    >>> import torch
    >>> EfficientNetLite0().eval()(torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 1000])
    """

    def __init__(self, classes: int = 1000) -> None:
        """Build the layers with torch's default initialisation."""
        super().__init__()
        self._conv_stem = _SameConv(3, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPS)
        blocks, channels = [], _STEM
        for count, kernel, stride, expansion, width in _STAGES:
            for i in range(count):
                blocks.append(_Block(channels, width, kernel, 1 if i else stride, expansion))
                channels = width
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _SameConv(channels, _HEAD)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPS)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        out: Tensor = self._fc(self._dropout(x.mean((2, 3))))
        return out
