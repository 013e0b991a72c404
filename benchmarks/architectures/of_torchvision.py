"""torchvision: classifiers, video models, segmentation, and detectors with and without what makes boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.case import Case, Entry, NotBuiltError, case, library
from benchmarks.common import HUGE, constructors

__all__ = ["entries"]

SIZES: list[tuple[str, tuple[int, ...]]] = [
    ("inception_v3", (3, 96, 96)),
    ("vit_*", (3, 224, 224)),
    ("maxvit_t", (3, 224, 224)),
    ("s3d", (3, 14, 224, 224)),
    ("mvit_*", (3, 16, 224, 224)),
    ("swin3d_*", (3, 4, 64, 64)),
    ("*3d_18", (3, 8, 64, 64)),
    ("mc3_18", (3, 8, 64, 64)),
    ("r2plus1d_18", (3, 8, 64, 64)),
]
"""(channels, *spatial) where 64² doesn't do."""

SMALLEST = frozenset(
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t "
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d "
    "shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_32 wide_resnet50_2 r3d_18 mc3_18 "
    "r2plus1d_18 mvit_v1_b mvit_v2_s swin3d_t".split()
)
"""The smallest of each family; the others are measured with --all."""

Build = Callable[[], Case]


def entries(every: bool) -> Iterator[Entry]:
    """An entry a constructor, and one a detector's body."""
    try:
        library("torchvision")
    except NotBuiltError as error:
        yield Entry("torchvision", "torchvision", _none(error))
        return
    for name in constructors():
        if name not in HUGE and (every or name in SMALLEST):
            yield Entry("torchvision", name, _classifier(name))
    for name in (*_SEGMENTATION, *_BODIES, *_DETECTORS):
        group = "segmentation" if name in _SEGMENTATION else "detection"
        yield Entry(f"torchvision {group}", name, _of_maps(name))


def _none(error: NotBuiltError) -> Build:
    def build() -> Case:
        raise error

    return build


def _classifier(name: str) -> Build:
    def build() -> Case:
        torch.manual_seed(0)
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model = library("torchvision").models.get_model(name, weights=None, **extra)
        return case(model, next((size for pattern, size in SIZES if fnmatchcase(name, pattern)), (3, 64, 64)))

    return build


class Body(nn.Module):
    """A detector up to the class scores of its anchors, (N, classes, anchors): what is learned of it."""

    def __init__(self, detector: nn.Module, scores: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.detector = detector
        self.scores = scores

    def forward(self, x: Tensor) -> Tensor:
        """The scores of images (N, 3, H, W)."""
        return self.scores(self.detector, x)


def _heads(detector: Any, x: Tensor) -> Tensor:
    maps = list(detector.backbone(x).values())
    scores: Tensor = detector.head(maps)["cls_logits"]
    return scores.transpose(1, 2)


def _proposals(detector: Any, x: Tensor) -> Tensor:
    objectness, _ = detector.rpn.head(list(detector.backbone(x).values()))
    return torch.cat([o.flatten(1) for o in objectness], 1)[:, None]


_SMALL: dict[str, Any] = {"weights": None, "weights_backbone": None}
_SEGMENTATION = (
    "fcn_resnet50",
    "deeplabv3_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
_BODIES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "retinanet_resnet50_fpn heads": _heads,
    "fcos_resnet50_fpn heads": _heads,
    "ssd300_vgg16 heads": _heads,
    "ssdlite320_mobilenet_v3_large heads": _heads,
    "fasterrcnn_mobilenet_v3_large_fpn proposals": _proposals,
}
_DETECTORS = ("retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_fpn")


def _of_maps(name: str) -> Build:
    def build() -> Case:
        torch.manual_seed(0)
        make = library("torchvision").models.get_model
        constructor, _, part = name.partition(" ")
        model = make(constructor, **_SMALL)
        if name in _SEGMENTATION:
            return case(model, (3, 64, 64), read=lambda out: out["out"])
        size = (3, 300, 300) if constructor == "ssd300_vgg16" else (3, 64, 64)
        if part:
            return case(Body(model, _BODIES[name]), size)
        return case(model, size, read=lambda out: out[0]["scores"][None])

    return build
