"""Detection seen: what a detector found in a picture, what of it was asked for, and how that is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from relprop.detectors import Detection, Detections, Detector, Prepared
from relprop.detectors.measured import Measured, measure
from relprop.detectors.parts import Parts, explain_parts
from relprop.detectors.sources import LoadedDetector, load_detector
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.methods.method import Method
from relprop.propagate.names import class_index
from relprop.reports.detection_units import call, picked, tag
from relprop.reports.sources import Picture
from relprop.reports.steps import Steps

__all__ = [
    "DetectedPicture",
    "DetectionSettings",
    "DetectorSource",
    "asked_for",
    "detected_picture",
    "explained_detection",
    "explained_picture",
    "loaded_detector",
]

#: A loaded detector, a detector, a specification, or a function that loads one.
DetectorSource = LoadedDetector | Detector | str | Callable[[], LoadedDetector]


@dataclass(frozen=True)
class DetectedPicture:
    """What was found in a picture, and what of it was asked for."""

    picture: Picture
    folder: Path
    prepared: Prepared
    found: Detections
    chosen: list[Detection]  # to be explained
    versus: int | None
    explained: tuple[Parts, ...] = ()
    measured: tuple[Measured | None, ...] = ()

    @property
    def drawn(self) -> Path:
        """The picture with all boxes."""
        return self.folder / "detections.png"

    def page(self, one: Parts) -> Path:
        """The page of a detection."""
        return self.folder / f"{tag(one.detection)}.png"

    def layers(self, one: Parts) -> Path:
        """Its relevance layer by layer."""
        return self.folder / f"{tag(one.detection)}-layers.png"

    def numbers(self, one: Parts) -> dict[Path, Explanation]:
        """The folders of its numbers: one, and others for the box by another method and for two classes."""
        name = tag(one.detection)
        found = {self.folder / name: one.explanation}
        if one.box is not None:
            found[self.folder / f"{name}-edges"] = one.box
        if one.pair is not None:
            found[self.folder / f"{name}-rather"] = one.pair
        return found


@dataclass(frozen=True)
class DetectionSettings:
    """How detections are explained and drawn."""

    method: Method
    box: Literal["edges", "offsets"]
    layers: bool
    measured: bool
    scale: Literal["symmetric", "shared"] | float


def loaded_detector(detector: DetectorSource) -> LoadedDetector:
    """A detector with what is known about it."""
    if isinstance(detector, LoadedDetector):
        return detector
    if isinstance(detector, Detector):
        return LoadedDetector(detector.name, detector, "its own")
    return load_detector(detector) if isinstance(detector, str) else detector()


def detected_picture(detector: Detector, picture: Picture, folder: Path) -> DetectedPicture:
    """What is found in a picture; nothing of it is asked for yet.

    Args:
        detector: run once.
        picture: read.
        folder: where its files go, in the report's folder.
    """
    prepared = detector.prepared(picture.photo)
    return DetectedPicture(picture, folder, prepared, detector(prepared), [], None)


def asked_for(
    detector: Detector,
    seen: DetectedPicture,
    wanted: Sequence[int] | None,
    versus: str | None,
    units: tuple[Sequence[int], Sequence[Any], str | None],
) -> DetectedPicture:
    """The same with what of it is asked for.

    Args:
        detector: that found it.
        seen: the picture.
        wanted: numbers of detections; none: all; None: no detection.
        versus: a class index or name, or None.
        units: anchors, places and the class they are asked about, see `picked`.

    Raises:
        InputError: no such detection, class, anchor or place.
    """
    found = seen.found
    other = None
    if versus is not None:
        other = class_index(versus, found.reading.scores.shape[1], detector.classes)
    chosen: list[Detection] = []
    if len(found) and wanted is not None:
        for index in wanted:
            if not 0 <= index < len(found):
                raise InputError(f"Expected --box from 0 to {len(found) - 1} but got {index}.")
        chosen = [found[i] for i in dict.fromkeys(wanted or range(len(found)))]
    anchors, places, label = units
    chosen += picked(found, detector, anchors, places, label, seen.prepared.size)
    return replace(seen, chosen=chosen, versus=other)


def explained_picture(
    detector: Detector, seen: DetectedPicture, settings: DetectionSettings, steps: Steps
) -> DetectedPicture:
    """The same with what explains each of the detections that were asked for."""
    explained, measured = [], []
    for d in seen.chosen:
        steps.doing(f"{seen.picture.name}: {call(d)}, {d.name}")
        made = explained_detection(detector, seen, d, settings, steps.part)
        explained.append(made)
        measured.append(measure(detector, seen.prepared, made, seen.found) if settings.measured else None)
        steps.done()
    return replace(seen, explained=tuple(explained), measured=tuple(measured))


def explained_detection(
    detector: Detector,
    seen: DetectedPicture,
    d: Detection,
    settings: DetectionSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """The maps of one detection."""
    facts = replace(detector.facts.fitting(seen.prepared.x), progress=progress)
    return explain_parts(
        detector, seen.prepared, d, seen.versus, settings.method, box=settings.box, layers=settings.layers,
        facts=facts,
    )  # fmt: skip
