"""torchvision's one-stage detectors: SSD300, SSDLite, RetinaNet and FCOS."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Prepared, to_tensor
from relprop.errors import InputError

__all__ = ["from_torchvision"]


def from_torchvision(model: nn.Module) -> Detector | None:
    """A torchvision SSD, RetinaNet or FCOS as a detector; None for anything else.

    It detects what `model([picture])` does, with the model's own thresholds.

    Raises:
        InputError: a torchvision detector that this package can't explain.
    """
    if "torchvision" not in sys.modules:
        return None  # then it can't be one of its models
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
    from torchvision.models.detection.ssd import SSD

    if isinstance(model, GeneralizedRCNN):
        raise InputError(
            f"Expected a dense detector with anchors (SSD, SSDLite, RetinaNet) but got {type(model).__name__}. "
            "Its outputs are no logits and offsets at fixed anchors; wrap a module that has them."
        )
    if not isinstance(model, (SSD, RetinaNet, FCOS)):
        return None
    ssd = isinstance(model, SSD)
    kind: dict[str, Any] = {"scores": "softmax", "background": 0} if ssd else {"scores": "sigmoid"}
    coder: Any = model.box_coder
    if isinstance(model, FCOS):
        kind = {"scores": _centred, "offsets": ("left", "top", "right", "bottom")}
    entry = _Entry(model)
    return Detector(
        raw=_Raw(model),
        anchors=entry.anchors,
        decode=coder.decode if isinstance(model, FCOS) else coder.decode_single,
        prepare=entry.prepare,
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
        made = self.get_submodule("head")(_features(self.backbone, x))
        both = made["cls_logits"], made["bbox_regression"]
        return (*both, made["bbox_ctrness"][..., 0]) if "bbox_ctrness" in made else both


def _features(backbone: Any, x: Tensor) -> list[Tensor]:
    features = backbone(x)
    return [features] if isinstance(features, Tensor) else list(features.values())


class _Entry:
    """How a picture gets into the input, and where the anchors lie on it, by the model's own modules."""

    def __init__(self, model: Any) -> None:
        self.model = model
        # A copy: generating anchors writes to the generator.
        self.generator = copy.deepcopy(model.anchor_generator)
        self.sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def prepare(self, image: Any) -> Prepared:
        transform = self.model.transform
        if transform.training:
            raise InputError(
                "Expected a detector in evaluation mode but its 'transform' is in training mode. Call .eval() "
                "on the model first."
            )
        picture = to_tensor(image).to(next(self.model.parameters()))
        batch, _ = transform([picture])
        (height, width), size = batch.image_sizes[0], picture.shape[-2:]
        return Prepared(batch.tensors, (size[1] / width, size[0] / height), (size[0], size[1]))

    def anchors(self, x: Tensor) -> Sequence[Tensor]:
        """The anchors (A_l, 4) of each level."""
        key = (x.shape[2], x.shape[3])
        if key not in self.sizes:
            # The features' sizes depend on the backbone: it has to be run once for each input size.
            self.sizes[key] = [(f.shape[2], f.shape[3]) for f in _features(self.model.backbone, x)]
        maps = [x.new_empty(1, 1, *size) for size in self.sizes[key]]
        # What the generator reads of torchvision's ImageList.
        images = SimpleNamespace(tensors=x[:1], image_sizes=[key])
        (table,) = self.generator(images, maps)
        counts = self.generator.num_anchors_per_location()
        return list(
            torch.split(table, [h * w * n for (h, w), n in zip(self.sizes[key], counts, strict=True)])
        )
