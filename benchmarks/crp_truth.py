"""What is known about a rendered scene: which detections are right, and what stands behind an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relprop.datasets import Scene, SceneWorld
from relprop.detectors import Detection, Detections, iou

__all__ = ["STRIPS", "Mask", "Picture", "correct", "inside_box", "strips", "without", "without_strips"]

STRIPS = ("left", "right", "top", "bottom")

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


def correct(found: Detections, scene: Scene, names: Sequence[str]) -> list[tuple[Detection, int]]:
    """The right detections with their objects, best first.

    Right is the class and an IoU of 0.5 with an object that isn't difficult. An object goes to the first
    detection that finds it.

    Args:
        found: detections, best first.
        scene: where they were found.
        names: the detector's class names.
    """
    pairs: list[tuple[Detection, int]] = []
    if not len(found) or not len(scene):
        return pairs
    overlap = iou(found.boxes, torch.from_numpy(scene.boxes).to(found.boxes))
    for d in found:
        overlaps = overlap[d.index]
        own = [name == names[d.label] for name in scene.names]
        rivals = overlaps.masked_fill(~torch.tensor(own), -1.0)
        k = int(rivals.argmax())
        if rivals[k] >= 0.5 and not scene.difficult[k] and k not in [known for _, known in pairs]:
            pairs.append((d, k))
    return pairs


def without(scene: Scene, *gone: int) -> Picture:
    """The same scene without some objects: what is behind them, and no shadow of theirs; all else as it was."""
    return SceneWorld(scene).without(*gone)


def strips(scene: Scene, k: int) -> Mask:
    """Object k's visible pixels in the left, right, top and bottom quarter of its visible box, (4, H, W).

    With a rim of one pixel, which the object's soft edge shines into.
    """
    mask = torch.from_numpy(scene.masks[k].copy())
    rim = F.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0
    x0, y0, x1, y1 = scene.visible_boxes[k]
    y, x = (torch.arange(n) + 0.5 for n in mask.shape)
    sides = [
        (x < x0 + (x1 - x0) / 4).expand(mask.shape),
        (x > x1 - (x1 - x0) / 4).expand(mask.shape),
        (y < y0 + (y1 - y0) / 4)[:, None].expand(mask.shape),
        (y > y1 - (y1 - y0) / 4)[:, None].expand(mask.shape),
    ]
    return torch.stack([rim & side for side in sides]).numpy()


def without_strips(scene: Scene, k: int) -> list[Picture]:
    """Four pictures: in each, one of object k's `strips` is taken away and what stands behind it is seen."""
    behind = without(scene, k)
    return [np.where(strip[..., None], behind, scene.image) for strip in strips(scene, k)]


def inside_box(box: Sequence[float], shape: tuple[int, int], times: float = 1.0) -> Mask:
    """The pixels whose centres lie in a box (x0, y0, x1, y1) that is first enlarged about its centre, (H, W)."""
    x0, y0, x1, y1 = box
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * times, (y1 - y0) * times
    y, x = (np.arange(n) + 0.5 for n in shape)
    return (np.abs(y - cy) <= h / 2)[:, None] & (np.abs(x - cx) <= w / 2)
