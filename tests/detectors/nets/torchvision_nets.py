"""torchvision's detectors with random weights that keep their values in range."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from tests.propagate.test_identities import shaken
from torch import Tensor, nn

from relprop.compat import load_torchvision

load_torchvision()

from torchvision.models import detection  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator  # noqa: E402
from torchvision.models.detection.ssd import SSD  # noqa: E402

__all__ = ["BIG", "SMALL", "big", "small"]

#: The published architectures, and pictures (H, W) that they are shown.
BIG = {
    "ssd300_vgg16": (240, 320),
    "ssdlite320_mobilenet_v3_large": (200, 300),
    "retinanet_resnet50_fpn": (96, 128),
    "fcos_resnet50_fpn": (96, 128),
}
SMALL = ("ssd", "retinanet", "fcos")


class Two(nn.Module):
    """A backbone with two levels: strides 4 and 8."""

    def __init__(self, out: int = 8) -> None:
        super().__init__()
        self.low = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, out, 3, 2, 1), nn.BatchNorm2d(out), nn.ReLU()
        )
        self.high = nn.Sequential(nn.Conv2d(out, out, 3, 2, 1), nn.ReLU())
        self.out_channels: Any = [out, out]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        low = self.low(x)
        return OrderedDict(low=low, high=self.high(low))


def small(name: str) -> nn.Module:
    """torchvision's `SSD`, `RetinaNet` or `FCOS` on a tiny backbone, 5 classes."""
    torch.manual_seed(0)
    two = Two(32 if name == "fcos" else 8)  # FCOS's head has group norms of 32 groups
    if name == "ssd":
        boxes = DefaultBoxGenerator([[2], [2, 3]])
        return lively(SSD(two, boxes, (48, 40), 5, score_thresh=0.3, topk_candidates=20), two)
    two.out_channels = two.out_channels[0]
    if name == "fcos":
        places = AnchorGenerator(((4,), (8,)), ((1.0,), (1.0,)))
        limits = {"min_size": 40, "max_size": 60, "score_thresh": 0.45, "topk_candidates": 30}
        return lively(detection.FCOS(two, 5, anchor_generator=places, **limits), two)
    anchors = AnchorGenerator(((8, 16), (24, 32)), ((0.5, 1.0), (0.5, 1.0)))
    settings = {"min_size": 40, "max_size": 60, "score_thresh": 0.6, "topk_candidates": 30}
    return lively(detection.RetinaNet(two, 5, anchor_generator=anchors, **settings), two)


def big(name: str) -> nn.Module:
    """One of `BIG`, 6 classes, random weights; RetinaNet and FCOS scale pictures to 128 pixels."""
    torch.manual_seed(0)
    extra = (
        {"min_size": 128, "max_size": 192, "score_thresh": 0.8}
        if name.startswith(("retinanet", "fcos"))
        else {"score_thresh": 0.6}
    )
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=6, **extra)
    return lively(model, model.backbone, BIG[name])


def lively(model: nn.Module, backbone: nn.Module, size: tuple[int, int] = (50, 70)) -> nn.Module:
    """Scale each convolution so that its output has deviation 1 on a picture of noise.

    Otherwise the values of deep random networks vanish or explode, all scores are the same, and a test
    on them tests nothing.
    """
    shaken(model)
    done = set()

    def unit(module: Any, inputs: Any, output: Tensor) -> Tensor:
        if module in done:  # RetinaNet's head, at its second level
            return output
        done.add(module)
        size = output.std()
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                tensor.div_(size)
        return output / size

    hooks = [m.register_forward_hook(unit) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model.eval().head(list(backbone(model.transform([torch.rand(3, *size)])[0].tensors).values()))
    for hook in hooks:
        hook.remove()
    return model
