"""Measured: what was found out about a detection by taking parts of its picture away."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from relprop.detectors.detections import Detections
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.hiding import Check, check_maps
from relprop.detectors.parts import Parts
from relprop.detectors.prepare import Prepared
from relprop.detectors.removal import Effects, measured_effects
from relprop.detectors.variants import inside
from relprop.detectors.what_if import WhatIf, nearest, what_if_effects

__all__ = ["Measured", "has_pixels", "measure"]


@dataclass(frozen=True, eq=False)
class Measured:
    """What `measure` returns.

    Attributes:
        checks: whether each map holds up, one a part.
        effects: what each cell of a grid over the box does to the edges; None where none were explained.
        what_if: what moves the what-if class's logit; None without one.
        runs: pictures that the network saw for all of it.
    """

    checks: tuple[Check, ...]
    effects: Effects | None
    what_if: WhatIf | None
    runs: int


def has_pixels(box: Tensor, prepared: Prepared) -> bool:
    """Whether a box (4,) of the picture holds the centre of a pixel of the input."""
    return bool(inside(prepared.in_input(box.cpu())[None], prepared).any())


def measure(detector: Detector, prepared: Prepared, parts: Parts, found: Detections) -> Measured | None:
    """Hold every map of a detection against the network, and measure where its edges are from.

    Args:
        detector: what made the detection.
        prepared: the input it was found in.
        parts: its maps.
        found: all detections in the picture: where the what-if class may be.

    Returns:
        None where the box has no pixel of the input that could be taken away.
    """
    d = parts.detection
    if not has_pixels(d.box, prepared):
        return None
    checks = check_maps(
        detector,
        prepared,
        d,
        list(parts.heatmaps()),
        [part.of for part in parts.parts],
        [part.target for part in parts.parts],
        up=[part.red_is_more if part.on_box else None for part in parts.parts],
    )
    edges = any(part.of in EDGES for part in parts.parts)
    effects = measured_effects(detector, prepared, d) if edges else None
    other = next((p.target for p in parts.parts[1:] if p.target is not None), None)
    what_if = None
    if other is not None:
        place = nearest(d, found, other)
        region = place if place is not None and has_pixels(place, prepared) else None
        what_if = what_if_effects(detector, prepared, d, other, region)
    runs = checks[0].runs + (effects.runs if effects else 0) + (what_if.runs if what_if else 0)
    return Measured(tuple(checks), effects, what_if, runs)
