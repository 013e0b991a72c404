"""torchvision's two-stage detectors with random weights that keep their values in range."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from tests.propagate.test_identities import shaken
from torch import Tensor, nn

from relprop.compat import load_torchvision

load_torchvision()

from torchvision.models import detection  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor  # noqa: E402
from torchvision.ops import MultiScaleRoIAlign  # noqa: E402

__all__ = ["BIG", "SMALL", "big", "small", "two_stage_lively"]

SMALL = ("faster", "faster-conv", "mask", "keypoint", "one-level")
#: The published architectures.
BIG = (
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
)


#: A side in the midst of each network's proposals, so that both of its maps are read.
_SIDES = {"faster": 18, "faster-conv": 50, "mask": 28, "keypoint": 10, "one-level": 45}


class Pyramid(nn.Module):
    """A backbone with two maps of signed values, strides 4 and 8, the coarse one added to the fine one."""

    def __init__(self) -> None:
        super().__init__()
        # Leaky: where all units of a place are off, places look alike and their scores tie.
        self.low = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
        )
        self.high = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.LeakyReLU(0.2))
        self.out_channels = 8
        self.lateral, self.top = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        low = self.low(x)
        top = self.top(self.high(low))
        coarse = F.interpolate(top, size=low.shape[-2:], mode="nearest")
        return OrderedDict(low=self.lateral(low) + coarse, high=top)


class One(Pyramid):
    """A backbone that returns one map, of stride 4."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)["low"]


def small(name: str) -> nn.Module:
    """One of `SMALL` on a tiny backbone, 5 classes with the background, for pictures of about 50 × 70."""
    torch.manual_seed(0)
    levels = ["low", "high"]
    anchors = AnchorGenerator(((8, 16), (24, 32)), ((0.5, 1.0), (0.5, 1.0)))
    backbone: nn.Module = Pyramid()
    if name == "one-level":
        backbone, levels, anchors = One(), ["0"], AnchorGenerator(((8, 16, 24),), ((0.5, 1.0),))

    def pool(size: int) -> MultiScaleRoIAlign:
        return MultiScaleRoIAlign(
            levels, size, 0 if name == "one-level" else 2, canonical_scale=_SIDES[name], canonical_level=3
        )

    settings: dict[str, Any] = {
        "rpn_anchor_generator": anchors,
        "box_roi_pool": pool(3),
        "min_size": 64,
        "max_size": 96,
        "rpn_pre_nms_top_n_test": 90,
        "rpn_post_nms_top_n_test": 60,
        "box_score_thresh": 0.25,
        "box_detections_per_img": 40,
    }
    if name == "faster-conv":
        settings["box_head"] = FastRCNNConvFCHead((8, 3, 3), [8, 8], [96], norm_layer=nn.BatchNorm2d)
        settings["box_predictor"] = FastRCNNPredictor(96, 5)
    else:
        settings["box_head"] = detection.faster_rcnn.TwoMLPHead(8 * 9, 96)
        settings["box_predictor"] = FastRCNNPredictor(96, 5)
    if name == "mask":
        from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

        heads = {
            "mask_roi_pool": pool(4),
            "mask_head": MaskRCNNHeads(8, (8,), 1),
            "mask_predictor": MaskRCNNPredictor(8, 8, 5),
        }
        return two_stage_lively(detection.MaskRCNN(backbone, **settings, **heads))
    if name == "keypoint":
        from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

        heads = {
            "keypoint_roi_pool": pool(4),
            "keypoint_head": KeypointRCNNHeads(8, (8,)),
            "keypoint_predictor": KeypointRCNNPredictor(8, 3),
        }
        return two_stage_lively(detection.KeypointRCNN(backbone, **settings, **heads))
    return two_stage_lively(detection.FasterRCNN(backbone, **settings))


def big(name: str) -> nn.Module:
    """One of `BIG`, 6 classes, random weights, pictures scaled to 128 pixels."""
    torch.manual_seed(0)
    model = getattr(detection, name)(
        weights=None, weights_backbone=None, num_classes=6, min_size=128, max_size=192, box_score_thresh=0.4
    )
    return two_stage_lively(model, (96, 128))


def two_stage_lively(model: Any, size: tuple[int, int] = (50, 70)) -> nn.Module:
    """Scale each layer so that its output has deviation 1 on a picture of noise.

    Otherwise the values of deep random networks vanish or explode, all scores are the same, and a test
    on them tests nothing.
    """
    shaken(model)
    done = set()

    def unit(module: Any, inputs: Any, output: Tensor) -> Tensor:
        spread = output.std()
        if module in done or not spread > 0:  # a head at its second level
            return output
        done.add(module)
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                tensor.div_(spread)
        return output / spread

    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [m.register_forward_hook(unit) for m in model.modules() if isinstance(m, layers)]
    with torch.no_grad():
        model.eval()([torch.rand(3, *size)])
    for hook in hooks:
        hook.remove()
    return model
