"""torchvision's one-stage detectors: SSD300, SSDLite, RetinaNet and FCOS."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn

from relprop.detectors.detector import Detector
from relprop.detectors.torchvision_entry import Anchors, Transform, feature_maps

__all__ = ["from_torchvision"]


def from_torchvision(model: nn.Module) -> Detector | None:
    """A torchvision SSD, RetinaNet or FCOS as a detector; None for anything else.

    It detects what `model([picture])` does, with the model's own thresholds.
    """
    if "torchvision" not in sys.modules:
        return None  # then it can't be one of its models
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.ssd import SSD

    if not isinstance(model, (SSD, RetinaNet, FCOS)):
        return None
    ssd = isinstance(model, SSD)
    kind: dict[str, Any] = {"scores": "softmax", "background": 0} if ssd else {"scores": "sigmoid"}
    coder: Any = model.box_coder
    if isinstance(model, FCOS):
        kind = {"scores": _centred, "offsets": ("left", "top", "right", "bottom")}
    return Detector(
        raw=_Raw(model),
        anchors=Anchors(model.backbone, model.anchor_generator),
        decode=coder.decode if isinstance(model, FCOS) else coder.decode_single,
        prepare=Transform(model),
        mean=tuple(model.transform.image_mean),
        std=tuple(model.transform.image_std),
        score_threshold=model.score_thresh,
        top_k=model.topk_candidates,
        top_k_per="class" if ssd else "level",
        nms_threshold=model.nms_thresh,
        most=model.detections_per_img,
        name=type(model).__name__,
        **kind,
    )


def _centred(logits: Tensor, centredness: Tensor | None) -> Tensor:
    """FCOS's score: the geometric mean of the class's and of how central the place is in its box.

    Source: Tian et al., FCOS: A Simple and Strong Anchor-Free Object Detector, TPAMI 2022, section 3.
    """
    assert centredness is not None
    return (logits.sigmoid() * centredness.sigmoid()[..., None]).sqrt()


class _Raw(nn.Module):
    """Backbone and head, the model's own modules: nothing is copied, none of their modes is changed."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.training = model.training
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        made = self.get_submodule("head")(list(feature_maps(self.backbone, x).values()))
        both = made["cls_logits"], made["bbox_regression"]
        return (*both, made["bbox_ctrness"][..., 0]) if "bbox_ctrness" in made else both
