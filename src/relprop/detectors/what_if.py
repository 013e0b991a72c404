"""WhatIf: is another class's logit at a detection's output unit from that other object, or the detected one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relprop.detectors.detections import Detection, Detections
from relprop.detectors.detector import Detector
from relprop.detectors.filling import check_fill, fill_words
from relprop.detectors.variants import ask, inside
from relprop.errors import InputError

__all__ = ["WhatIf", "nearest", "what_if_effects"]

_REST = 0.5  # of the other region: what has to lie outside of the detection's box to be taken away alone


@dataclass(frozen=True)
class WhatIf:
    """What two regions do to two logits at a detection's output unit, measured by taking them away.

    An effect is the logit with the region less the logit without it: a positive one speaks for the class.

    Attributes:
        label, other: names of the detection's class and of the other one, B.
        logits: (label's, B's) at the detection's unit, nothing taken away.
        box: effects of the detected object's box on (label's, B's) logit.
        region: likewise of B's region; None where no B is known.
        place: B's region, x0, y0, x1, y1 in pixels of the picture; None where no B is known.
        apart: whether only what lies outside of the detection's box was taken for B's region. False where less
            than half of it does: then the two effects overlap.
        fill: how they were taken away.
        runs: pictures that the network saw.
    """

    label: str
    other: str
    logits: tuple[float, float]
    box: tuple[float, float]
    region: tuple[float, float] | None
    place: tuple[float, float, float, float] | None
    apart: bool
    fill: str
    runs: int

    @property
    def words(self) -> str:
        """Both effects on B's logit, and what follows."""
        asked = f"{self.other}'s logit here"
        own = f"Taking the detected {self.label} away {_change(self.box[1], asked)}"
        own += f" ({self.label}'s {_moved(-self.box[0])})"
        how = f"(Filled by {fill_words(self.fill)}.)"
        if self.region is None:
            return f"No {self.other} is known in this picture. {own}. {how}"
        b = f"Taking the {self.other}'s region away {_change(self.region[1], 'it')}"
        b += f" ({self.label}'s {_moved(-self.region[0])})"
        if abs(self.region[1]) > abs(self.box[1]):
            end = f"what this place says of {self.other} is rather from the {self.other}"
        else:
            end = f"what this place says of {self.other} is rather from the detected object"
        mixed = "" if self.apart else " The two regions overlap, so this can't be told apart well."
        return f"{own}. {b}: {end}.{mixed} {how}"


def what_if_effects(
    detector: Detector,
    image: Any,
    detection: Detection,
    other: int,
    region: Tensor | Detections | None = None,
    fill: str = "inpaint",
    batch: int = 8,
) -> WhatIf:
    """Take B's region away, then the detected object, and see what either does to both classes' logits.

    On drawn scenes, taking another object away moves its class's logit at a detection's unit a tenth as far as
    taking the detected object away: a map of "what if it were B" isn't expected to lie on B.

    Args:
        detector: what made the detection.
        image: the picture it was found in, or the `Prepared` of it.
        detection: one of ``detector(image)``.
        other: index of class B.
        region: where B is, a box (4,) in pixels of the picture; or detections, of which the nearest B is taken
            (another one than `detection`); None: not known, and only the detected object is taken away.
        fill: see `relprop.detectors.filling`.
        batch: pictures that run at once.

    Raises:
        InputError: no such class, a region that is no box in the picture, the box has no pixel in the picture.
    """
    check_fill("fill", fill)
    classes = len(detection.scores)
    if not 0 <= other < classes or other == detection.label:
        raise InputError(
            f"Expected another class than the detection's, {detection.label}, from 0 to {classes - 1} but got "
            f"{other}."
        )
    prepared = detector.prepared(image)
    place = nearest(detection, region, other) if isinstance(region, Detections) else region
    if place is not None and tuple(place.shape) != (4,):
        raise InputError(f"Expected a region of (4,), x0, y0, x1, y1, but got {tuple(place.shape)}.")
    places = [detection.box.cpu(), *([] if place is None else [place.to(detection.box).cpu()])]
    masks = inside(prepared.in_input(torch.stack(places)), prepared)
    if not bool(masks.any((1, 2)).all()):
        got = [[round(v, 1) for v in p.tolist()] for p in places]
        raise InputError(f"Expected boxes with pixels in the picture but got {got}.")
    apart = True
    if place is not None:
        rest = masks[1] & ~masks[0]
        apart = float(rest.sum()) >= _REST * float(masks[1].sum())
        if apart:
            masks[1] = rest
    said = ask(detector, prepared, detection, masks, [fill], batch)
    logits = torch.stack([said.of("class"), said.of("class", other)], 1)
    effects = [(float(a), float(b)) for a, b in (logits[:1] - logits[1:]).tolist()]
    names = detector.classes

    def name(k: int) -> str:
        return f"class {k}" if names is None else names[k]

    x0, y0, x1, y1 = (0.0,) * 4 if place is None else place.tolist()
    return WhatIf(
        label=name(detection.label),
        other=name(other),
        logits=(float(logits[0, 0]), float(logits[0, 1])),
        box=effects[0],
        region=None if place is None else effects[1],
        place=None if place is None else (x0, y0, x1, y1),
        apart=apart,
        fill=fill,
        runs=len(masks) + 1,
    )


def nearest(detection: Detection, found: Detections, label: int) -> Tensor | None:
    """The box of the detection of a class whose centre is nearest to a detection's; None without one."""
    boxes = [d.box for d in found if d.label == label and d.anchor != detection.anchor]
    if not boxes:
        return None

    def distance(box: Tensor) -> float:
        apart = box[:2] + box[2:] - detection.box[:2].to(box) - detection.box[2:].to(box)
        return float(apart.square().sum())

    return min(boxes, key=distance)


def _change(effect: float, what: str) -> str:
    return f"{'lowers' if effect >= 0 else 'raises'} {what} by {abs(effect):.1f}"


def _moved(change: float) -> str:
    if not round(change, 1):
        return "stays"
    return f"{'rises' if change > 0 else 'falls'} by {abs(change):.1f}"
