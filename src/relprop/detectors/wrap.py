"""wrap: from what a user has to a Detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from torch import Tensor, nn

from relprop.detectors.adapters import adapted, known_detectors
from relprop.detectors.detector import Detector
from relprop.errors import InputError, unknown_name

__all__ = ["wrap"]


def wrap(
    model: Detector | nn.Module,
    *,
    anchors: Tensor | Sequence[Tensor] | Callable[[Tensor], Tensor | Sequence[Tensor]] | None = None,
    decode: Callable[[Tensor, Tensor], Tensor] | None = None,
    **settings: Any,
) -> Detector:
    """Make a model a `Detector`, whose detections can be explained.

    Args:
        model: a detector of a kind that `relprop.detectors.adapters` knows (torchvision's SSD300, SSDLite,
            RetinaNet and FCOS, Faster, Mask and Keypoint R-CNN; DETR and RT-DETR in Hugging Face's layout; YOLO in
            ultralytics' layout; YOLOX); or any module that returns (logits (N, A, K), offsets (N, A, 4)) or these
            and objectness (N, A), with `anchors` and `decode`; or a `Detector`.
        anchors, decode: as `Detector` has them.
        settings: any other of `Detector`'s arguments, instead of the model's own or the default.

    Raises:
        InputError: a model that needs `anchors` and `decode`, or a setting that doesn't exist.

    >>> wrap(nn.Identity())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    relprop.errors.InputError: Expected a detector that is known (torchvision's SSD, ...), or a module with its \
anchors and decode, but got Identity. Pass anchors=(A, 4) in pixels of the input and decode=(offsets, anchors) → \
boxes, such as relprop.detectors.BoxCode().decode.
    """
    valid = [f.name for f in fields(Detector) if f.init and f.name != "raw"]
    for name in settings:
        if name not in valid:
            raise unknown_name("setting of a detector", name, valid)
    given = settings | {k: v for k, v in (("anchors", anchors), ("decode", decode)) if v is not None}
    if isinstance(model, Detector):
        return replace(model, **given) if given else model
    if not isinstance(model, nn.Module):
        raise InputError(
            f"Expected a detector or a torch.nn.Module but got {type(model).__name__}. Call a function from the "
            "forward of a module."
        )
    if anchors is not None and decode is not None:
        return Detector(raw=model, **({"name": type(model).__name__} | given))
    known = adapted(model)
    if known is None:
        raise InputError(
            f"Expected a detector that is known ({known_detectors()}), or a module with its anchors and decode, "
            f"but got {type(model).__name__}. Pass anchors=(A, 4) in pixels of the input and decode=(offsets, "
            "anchors) → boxes, such as relprop.detectors.BoxCode().decode."
        )
    return replace(known, **given) if given else known
