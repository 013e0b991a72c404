"""Learned: what explaining finds out about a detector's network, and keeps for the next detection."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from relprop.detectors.analysis import LayerInput
from relprop.detectors.unit import DetectionUnit

__all__ = ["Heads", "Learned", "Tables"]


@dataclass(frozen=True)
class Heads:
    """What the network's outputs are.

    Attributes:
        classes: K, background included.
        columns: how many numbers an anchor's box is made of.
        objectness: whether there is an objectness logit.
    """

    classes: int
    columns: int
    objectness: bool


@dataclass(frozen=True)
class Tables:
    """The values at which a method's relevance is tabled, and how many bytes a target takes there."""

    inputs: tuple[LayerInput, ...] = ()
    bytes: int = 0


@dataclass(eq=False)
class Learned:
    """Kept with a detector. Threads may write one thing twice; it is the same thing each time.

    Attributes:
        heads: what the outputs are, None before the network was run.
        units: by number of anchors, and what else their graphs depend on, the view that all such are made from.
        tables: by method and shape of the input.
    """

    heads: Heads | None = None
    units: dict[Hashable, DetectionUnit] = field(default_factory=dict)
    tables: dict[tuple[str, tuple[int, ...]], Tables] = field(default_factory=dict)
