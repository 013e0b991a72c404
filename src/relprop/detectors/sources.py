"""Detectors by specification: bundled name, `torchvision:NAME` or `file.py:factory`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from relprop.catalogue import DETECTOR_SPECS
from relprop.compat import load_torchvision
from relprop.detectors import bundled
from relprop.detectors.detector import Detector
from relprop.detectors.wrap import wrap
from relprop.errors import InputError, unknown_name
from relprop.models.sources import device_named, factory_of, no_published, read_labels
from relprop.models.state import load_state, read_state
from relprop.own_file import seeded

__all__ = ["LoadedDetector", "load_detector", "names_detector", "torchvision_detectors"]

# torchvision's detectors that have an adapter, by the beginning of their names.
_KINDS = ("ssd", "retinanet", "fcos", "fasterrcnn", "maskrcnn", "keypointrcnn")


@dataclass(frozen=True)
class LoadedDetector:
    """A detector, the specification it was loaded from, and where its weights came from in a word or two."""

    spec: str
    detector: Detector
    weights: str


def load_detector(
    spec: str,
    *,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    threshold: float | None = None,
    random_weights: bool = False,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> LoadedDetector:
    """Load the detector that a specification names.

    Args:
        spec: a bundled name, ``torchvision:NAME`` (SSD300, SSDLite, RetinaNet, FCOS, Faster, Mask and
            Keypoint R-CNN), or ``file.py:factory``: a
            function or class without arguments that returns a `Detector` or what `wrap` takes, or one itself.
            The file is run as it is.
        weights: a state dict of the model, ``.safetensors`` or ``.pth`` (read with ``weights_only=True``).
        labels: a text file with a class name a line, or a JSON list; the background has a name too.
        threshold: least score of a detection, instead of the detector's own.
        random_weights: don't look for published weights; seeded random ones, for trying things out.
        device: where to put it.
        progress: whether a download may show a bar.

    Raises:
        InputError: the specification, a file or an option can't be used.
        RelpropError: the model's own code raised, or published weights can't be had.
    """
    target = device_named(device)
    if weights is not None and random_weights:
        raise InputError("Expected weights from a file or random ones but got both. Leave one out.")
    settings: dict[str, Any] = {}
    if labels is not None:
        settings["classes"] = read_labels(labels)
    if threshold is not None:
        settings["score_threshold"] = threshold
    with seeded():
        made, own, origin = _made(spec, weights is None and not random_weights, progress)
    network = made.raw if isinstance(made, Detector) else made
    if not isinstance(network, nn.Module):
        got = "None" if made is None else type(made).__name__
        raise InputError(
            f"Expected '{spec}' to give a relprop.detectors.Detector or a torch.nn.Module but got {got}."
        )
    if weights is not None:
        load_state(network, read_state(weights), str(weights))
        origin = str(weights)
    elif random_weights and ":" in spec:
        origin = "random (seed 0)"
    network.eval().to(target)
    return LoadedDetector(spec, wrap(made, **own | settings), origin)


def names_detector(spec: str) -> bool:
    """Whether a specification is a detector's by its name; of ``file.py:factory`` nobody knows before it runs.

    >>> [names_detector(s) for s in ("scenes-ssd", "torchvision:ssd300_vgg16", "torchvision:vgg16", "a.py:make")]
    [True, True, False, False]
    """
    kind, _, name = spec.rpartition(":")
    return spec in bundled.models() or (kind == "torchvision" and name.startswith(_KINDS))


def torchvision_detectors() -> list[str]:
    """The names behind ``torchvision:`` that can be explained, sorted."""
    models = load_torchvision().models
    return sorted(n for n in models.list_models(module=models.detection) if n.startswith(_KINDS))


def _made(spec: str, published: bool, progress: bool) -> tuple[Any, dict[str, Any], str]:
    """The detector or model, what else is known about it, and where its weights come from."""
    kind, colon, name = spec.rpartition(":")
    if not colon and spec in bundled.models():
        return bundled.load(spec), {}, "bundled"
    if colon and kind == "torchvision":
        return _from_torchvision(name, published, progress)
    if colon and kind.endswith(".py"):
        return factory_of(Path(kind), name, (nn.Module, Detector))(), {}, "its own"
    raise DETECTOR_SPECS.unknown(spec)


def _from_torchvision(name: str, published: bool, progress: bool) -> tuple[nn.Module, dict[str, Any], str]:
    valid = torchvision_detectors()
    if name not in valid:
        raise unknown_name("torchvision detector", name, valid)
    models = load_torchvision().models
    weights = models.get_model_weights(name).DEFAULT
    known = {"classes": list(weights.meta["categories"]), "name": name}
    if not published:
        return models.get_model(name, weights=None, weights_backbone=None), known, "none"
    try:
        model = models.get_model(name, weights=weights, progress=progress)
    except (OSError, RuntimeError) as error:
        raise no_published(f"torchvision:{name}", weights.url, error) from error
    return model, known, f"published ({weights.name})"
