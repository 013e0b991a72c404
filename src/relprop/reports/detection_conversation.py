"""A conversation about the detections of one picture: found once, asked about again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from relprop.detectors import Detection, Detections
from relprop.detectors.measured import Measured, measure
from relprop.errors import InputError
from relprop.methods.registry import resolve
from relprop.precision import full_precision
from relprop.reports.detection import detection_report, picture_page
from relprop.reports.detection_answer import DetectionAnswer, DetectionQuestion
from relprop.reports.detection_document import nearly
from relprop.reports.detection_page import class_name, detection_name
from relprop.reports.detection_seen import (
    DetectedPicture,
    DetectionSettings,
    DetectorSource,
    asked_for,
    detected_picture,
    explained_detection,
    loaded_detector,
)
from relprop.reports.detection_units import call
from relprop.reports.report import Report
from relprop.reports.sources import folders, read_pictures
from relprop.reports.steps import Progress, Steps

__all__ = ["DetectionConversation"]

_KEPT = 24  # answers; the oldest are let go of


@dataclass
class _Made:
    """What was computed for a question so far."""

    seen: DetectedPicture
    settings: DetectionSettings
    measured: tuple[Measured | None] | None = None


class DetectionConversation:
    """Questions about one picture's detections. The detector finds them once; what was answered is kept.

    A question is answered in two steps, the maps (`explained`) and what hiding and taking away does (`measured`).
    `report` is what `relprop.reports.detection` gives for it, of the same numbers. Threads may ask: they wait for
    each other.

    Args:
        detector: as for `relprop.reports.detection`.
        image: one picture, likewise.

    Attributes:
        loaded: the detector.
        picture: the picture.
        found: its detections.

    Raises:
        RelpropError: a picture or detector that can't be used.

    >>> import relprop
    >>> picture = relprop.datasets.demo_image_path()
    >>> with DetectionConversation("scenes-ssd", picture) as talk:
    ...     found = [d.name for d in talk.found]
    ...     answer = talk.explained(DetectionQuestion(box=1))
    ...     report = talk.report(DetectionQuestion(box=1))
    >>> found, answer.account.startswith("Red speaks for dotted star"), list(report.figures)[-1]
    (['dotted ball', 'dotted star', 'striped block'], True, 'demo_scene/box-1.png')
    """

    @full_precision
    def __init__(self, detector: DetectorSource, image: Any) -> None:
        (picture,) = read_pictures(image)
        (folder,) = folders(None, [picture.source])
        self.loaded = loaded_detector(detector)
        self._seen = detected_picture(self.loaded.detector, picture, folder)
        self._lock = threading.RLock()
        self._made: OrderedDict[DetectionQuestion, _Made] = OrderedDict()
        self.picture: Image.Image = picture.photo
        self.found: Detections = self._seen.found

    @property
    def warnings(self) -> Sequence[str]:
        """Why nothing said of this picture may mean much: it is unlike all that the network knows."""
        facts = self.loaded.detector.facts
        said = "" if facts.unlike is None else facts.unlike(self._seen.prepared.x)
        return [said] if said else []

    @property
    def nearly(self) -> Sequence[Detection]:
        """The best below the threshold, where nothing is over it."""
        return nearly(self.found)

    def name(self, d: Detection) -> str:
        """A detection's class in words."""
        return detection_name(d, self.loaded.detector)

    def classes(self, question: DetectionQuestion) -> Sequence[tuple[int, str, float]]:
        """The classes at a detection's output unit, the background left out: index, name and score, best first."""
        detector, d = self.loaded.detector, self._asked(question).chosen[0]
        order = d.scores.argsort(descending=True, stable=True).tolist()
        return [(k, class_name(k, detector), float(d.scores[k])) for k in order if k != detector.background]

    @full_precision
    def explained(self, question: DetectionQuestion, progress: Progress | None = None) -> DetectionAnswer:
        """The maps: why this class, and what moved each edge.

        Raises:
            RelpropError: no such detection, place, class or method, or one that has no answer.
        """
        with self._lock:
            made = self._kept(question, progress)
            measured = None if made.measured is None else made.measured[0]
            return self._answer(question, made, measured)

    @full_precision
    def measured(self, question: DetectionQuestion, progress: Progress | None = None) -> DetectionAnswer:
        """The maps, each held against the network, and which part of the picture pulls each edge.

        Some 60 runs of the network, unless it was asked before.

        Raises:
            RelpropError: as `explained`.
        """
        with self._lock:
            made = self._kept(question, progress)
            if made.measured is None:
                seen, detector = made.seen, self.loaded.detector
                made.measured = (measure(detector, seen.prepared, seen.explained[0], seen.found),)
            return self._answer(question, made, made.measured[0])

    def report(self, question: DetectionQuestion, progress: Progress | None = None) -> Report:
        """What `relprop.reports.detection` gives, and `relprop detect` writes, for this question.

        Raises:
            RelpropError: as `explained`.
        """
        with self._lock:
            self.measured(question, progress)
            made = self._made[question]
        seen = replace(made.seen, measured=made.measured or ())
        return detection_report(self.loaded, [picture_page(self.loaded, seen, made.settings)])

    def close(self) -> None:
        """Let go of what was answered."""
        with self._lock:
            self._made.clear()

    def __enter__(self) -> DetectionConversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, question: DetectionQuestion, made: _Made, measured: Measured | None) -> DetectionAnswer:
        return DetectionAnswer(question, made.seen.explained[0], measured, self.loaded.detector, self._seen)

    def _asked(self, question: DetectionQuestion) -> DetectedPicture:
        if (question.box is None) == (question.place is None):
            raise InputError("Expected a detection's number or a place, one of them. Choose a box.")
        wanted = None if question.box is None else [question.box]
        other = None if question.versus is None else str(question.versus)
        places = [] if question.place is None else [question.place]
        return asked_for(self.loaded.detector, self._seen, wanted, other, ((), places, None))

    def _kept(self, question: DetectionQuestion, progress: Progress | None) -> _Made:
        """What was made for a question, made now if need be."""
        if question in self._made:
            self._made.move_to_end(question)
            return self._made[question]
        settings = DetectionSettings(resolve(question.method), "edges", question.layers, True, "shared")
        seen = self._asked(question)
        if not seen.chosen:
            raise InputError("Expected a detection to ask about but nothing was found. Name a place.")
        (d,) = seen.chosen
        steps = Steps(progress, 1)
        steps.doing(f"{seen.picture.name}: {call(d)}, {d.name}")
        parts = explained_detection(self.loaded.detector, seen, d, settings, steps.part)
        steps.done()
        self._made[question] = _Made(replace(seen, explained=(parts,)), settings)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return self._made[question]
