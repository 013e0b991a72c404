"""Object detectors: raw outputs, anchors and boxes, so that one detection can be explained."""

from __future__ import annotations

from relprop.detectors.boxes import BoxCode, iou, nms
from relprop.detectors.bundled import load
from relprop.detectors.detections import Detection, Detections, Reading
from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Letterbox, Prepared, Squash, to_tensor
from relprop.detectors.unit import DetectionUnit
from relprop.detectors.wrap import wrap
from relprop.propagate.layout import Layout

__all__ = [
    "BoxCode",
    "Detection",
    "DetectionUnit",
    "Detections",
    "Detector",
    "Layout",
    "Letterbox",
    "Prepared",
    "Reading",
    "Squash",
    "iou",
    "load",
    "nms",
    "to_tensor",
    "wrap",
]
