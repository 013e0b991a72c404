"""Object detectors: raw outputs, anchors and boxes, so that one detection can be explained."""

from __future__ import annotations

from relprop.detectors.boxes import BoxCode, iou, nms
from relprop.detectors.bundled import load
from relprop.detectors.detections import Detection, Detections, Reading
from relprop.detectors.detector import Detector
from relprop.detectors.detr import processed
from relprop.detectors.hiding import Check, check_map, check_maps
from relprop.detectors.prepare import Letterbox, Prepared, Squash, to_tensor
from relprop.detectors.removal import Effects, measured_effects
from relprop.detectors.unit import DetectionUnit
from relprop.detectors.what_if import WhatIf, what_if_effects
from relprop.detectors.wrap import wrap
from relprop.propagate.layout import Layout

__all__ = [
    "BoxCode",
    "Check",
    "Detection",
    "DetectionUnit",
    "Detections",
    "Detector",
    "Effects",
    "Layout",
    "Letterbox",
    "Prepared",
    "Reading",
    "Squash",
    "WhatIf",
    "check_map",
    "check_maps",
    "iou",
    "load",
    "measured_effects",
    "nms",
    "processed",
    "to_tensor",
    "what_if_effects",
    "wrap",
]
