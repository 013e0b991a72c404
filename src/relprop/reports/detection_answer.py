"""Detection answer: what is said to one question about a picture's detections, ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from relprop.catalogue import SHOWN_METHOD
from relprop.detectors import Detection
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.measured import Measured
from relprop.detectors.parts import Parts
from relprop.reports.detection_document import all_remarks
from relprop.reports.detection_page import layer_pages, loss_notes, page_of, read_notes
from relprop.reports.detection_seen import DetectedPicture
from relprop.reports.detection_units import dropped_lines, unit_lines
from relprop.reports.detection_words import account, check_table, measured_note
from relprop.reports.text import Block, Table
from relprop.viz.detection import DetectionPage
from relprop.viz.detection_table import LayerTable

__all__ = ["DetectionAnswer", "DetectionQuestion"]


@dataclass(frozen=True)
class DetectionQuestion:
    """What is asked about one of a picture's detections.

    Attributes:
        box: its number; None: `place` says which unit.
        place: (x, y) in pixels of the picture: the unit that speaks most strongly there.
        versus: a class index or name: why not that one? None: not asked.
        method: as for `relprop.reports.detection`.
        layers: whether relevance layer by layer is wanted too.
    """

    box: int | None = None
    place: tuple[float, float] | None = None
    versus: str | int | None = None
    method: str = SHOWN_METHOD
    layers: bool = False


@dataclass(frozen=True, eq=False)
class DetectionAnswer:
    """What is said to a question, in maps and words.

    Attributes:
        question: what was asked.
        parts: the maps.
        measured: what hiding and taking cells away did; None before that was asked, and where the box has no pixel
            of the input.
    """

    question: DetectionQuestion
    parts: Parts
    measured: Measured | None
    detector: Detector = field(repr=False)
    seen: DetectedPicture = field(repr=False)

    @property
    def detection(self) -> Detection:
        """What it is about."""
        return self.parts.detection

    @cached_property
    def page(self) -> DetectionPage:
        """The maps as they are drawn, with the words below them."""
        seen = self.seen
        return page_of(
            self.detector, seen.picture.photo, seen.prepared, seen.found, self.parts, self.measured
        )

    @property
    def account(self) -> str:
        """What the class map says and how much of the score arrived in it, in plain sentences."""
        return account(self.parts)

    @property
    def warnings(self) -> Sequence[str]:
        """What makes the maps doubtful."""
        return [*all_remarks(self.parts, "warnings"), *loss_notes(self.parts)]

    @property
    def notes(self) -> Sequence[str]:
        """How the methods' maps are to be read."""
        methods = (self.parts.method, self.parts.box_method)
        said = [m.reading for m in methods if m.reading]
        said += [] if self.measured is None else [measured_note(self.measured)]
        return list(dict.fromkeys([*said, *read_notes(self.parts)]))

    @property
    def edges(self) -> Sequence[str]:
        """What pulled the left, top, right and bottom edge, a sentence each; none before it was measured."""
        if self.measured is None or self.measured.effects is None:
            return []
        return [self.measured.effects.words(edge) for edge in EDGES]

    @property
    def box(self) -> str:
        """What moves the box most; "" before it was measured."""
        if self.measured is None or self.measured.effects is None:
            return ""
        return self.measured.effects.words("box")

    @property
    def holds(self) -> bool | None:
        """Whether the class map holds up; None before it was measured."""
        return None if self.measured is None else self.measured.checks[0].holds

    @property
    def checks(self) -> Sequence[str]:
        """Whether each map holds up where its strongest places are hidden, by the map's name."""
        if self.measured is None:
            return []
        pairs = zip(self.parts.parts, self.measured.checks, strict=True)
        return [f"{part.name}: {check.words}" for part, check in pairs]

    @property
    def check_table(self) -> Table | None:
        """The same in numbers."""
        return None if self.measured is None else check_table(self.parts, self.measured)

    @property
    def what_if(self) -> str:
        """What moves the other class's logit here; "" without one, and before it was measured."""
        if self.measured is None or self.measured.what_if is None:
            return ""
        return self.measured.what_if.words

    @property
    def unit(self) -> Sequence[Block]:
        """Which output unit made the box, and which boxes were dropped for it."""
        found = self.seen.found
        return [*unit_lines(found, self.detector, self.detection), *dropped_lines(found, self.detection)]

    @property
    def layers(self) -> Sequence[LayerTable]:
        """Relevance layer by layer; empty unless asked."""
        return layer_pages(self.parts)
