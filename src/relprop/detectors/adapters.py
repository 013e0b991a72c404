"""The detectors that `wrap` knows without being told anything: an adapter each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from relprop.detectors.detector import Detector
from relprop.detectors.detr import from_hugging_face
from relprop.detectors.torchvision_models import from_torchvision
from relprop.detectors.two_stage import from_two_stage
from relprop.detectors.yolo import from_yolo
from relprop.detectors.yolox import from_yolox

__all__ = ["ADAPTERS", "Adapter", "adapted", "known_detectors"]


@dataclass(frozen=True)
class Adapter:
    """A kind of detector.

    Attributes:
        known_as: what texts call it.
        make: model → `Detector`, or None for a model of another kind.
    """

    known_as: str
    make: Callable[[nn.Module], Detector | None]


#: Asked one after the other; the first that knows a model makes its detector.
ADAPTERS: tuple[Adapter, ...] = (
    Adapter("torchvision's SSD, SSDLite, RetinaNet and FCOS", from_torchvision),
    Adapter("torchvision's Faster, Mask and Keypoint R-CNN", from_two_stage),
    Adapter("DETR and RT-DETR in Hugging Face's layout", from_hugging_face),
    Adapter("YOLO in ultralytics' layout", from_yolo),
    Adapter("YOLOX", from_yolox),
)


def adapted(model: nn.Module) -> Detector | None:
    """The detector that a model is; None where no adapter knows it."""
    return next((made for adapter in ADAPTERS if (made := adapter.make(model)) is not None), None)


def known_detectors() -> str:
    """What can be wrapped as it is, for texts."""
    return "; ".join(adapter.known_as for adapter in ADAPTERS)
