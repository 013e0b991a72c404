"""One detection explained whole: its class, a what-if class, its four offsets, each with a table a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from relprop.detectors.analysis import (
    LayerRow,
    direction,
    layer_inputs,
    layer_tables,
    offset_words,
    positive_inside,
    recorded,
)
from relprop.detectors.detections import Detection
from relprop.detectors.detector import Detector
from relprop.detectors.detector_method import DetectorMethod
from relprop.detectors.explain import detection_explained
from relprop.detectors.learned import Tables
from relprop.detectors.prepare import Prepared
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.methods.facts import Facts
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve

__all__ = ["Part", "Parts", "explain_parts"]

_BYTES = 1 << 30  # relevance at all layers that is held at once
_HALF = 0.5  # share of a side's relevance that has to arrive, or the part is faint


@dataclass(frozen=True)
class Part:
    """One target of a detection.

    Attributes:
        of: "class", "cx", "cy", "w", "h" or "objectness".
        target: the class, for "class".
        name: the class's name, or `of`.
        value: the raw output: logit or offset.
        score: the class's, 0 to 1; None for other parts.
        words: what the offset did to the default box; "" for other parts.
        red: what positive relevance speaks for, such as "left"; "" for other parts.
        blue: likewise of negative relevance.
        inside: share of the positive relevance at the input that lies in the detection's box; NaN without any.
        table: relevance layer by layer, from the head to the input; empty for methods without a plan.
    """

    of: str
    target: int | None
    name: str
    value: float
    score: float | None
    words: str
    red: str
    blue: str
    inside: float
    table: tuple[LayerRow, ...]


@dataclass(frozen=True, eq=False)
class Parts:
    """What `explain_parts` returns.

    Attributes:
        detection: what was explained.
        localised: its box as decoded, (4,) in picture pixels: not cut at the edge.
        explanation: relevance at the input, a target a part: (K, 1, 3, h, w).
        parts: the K targets: the label, the what-if class if one was asked, the offsets, the objectness if any;
            of methods that explain some of these alone (`DetectorMethod.parts`), those.
        method: how it was explained.
    """

    detection: Detection
    localised: Tensor
    explanation: Explanation
    parts: tuple[Part, ...]
    method: Method

    @property
    def rather(self) -> Tensor | None:
        r"""What spoke for the label rather than for the what-if class, (h, w); None without one.

        By a method of contrasts (`Method.contrasts`); None by others.

        .. math:: Q[k] - Q[j] = \frac{K}{K-1} (R[k] - R[j]),

        since the classes that both are contrasted with cancel.
        """
        heat = self.explanation.heatmap()[:, 0]
        versus = len(self.parts) > 1 and self.parts[1].of == "class"
        return heat[0] - heat[1] if versus and self.method.contrasts else None

    @property
    def faint(self) -> dict[str, float]:
        """The parts of which less than half of the relevance arrived at the input, and how much did.

        Of the two sides of each contrast the one that lost more counts. Empty for methods that don't tell it
        (`extras["survived"]`).
        """
        survived = self.explanation.extras.get("survived")
        if survived is None:
            return {}
        least = survived.amin(-1)[:, 0].tolist()
        return {part.name: share for part, share in zip(self.parts, least, strict=True) if share < _HALF}


def explain_parts(
    detector: Detector,
    image: Any,
    detection: Detection,
    versus: int | None = None,
    method: MethodLike = "crp",
    *,
    facts: Facts | None = None,
) -> Parts:
    """Explain everything about a detection.

    Args:
        detector: what made it.
        image: the picture it was found in, or the `Prepared` of it.
        detection: one of `detector(image)`.
        versus: a class index: what would speak for this class instead? None, or the label: not asked.
        method: as for `relprop.explain`.
        facts: as for `relprop.explain_detection`.

    Raises:
        InputError: as `explain_detection`.

    Source:
        H. Tsunakawa et al., "Contrastive Relevance Propagation for Interpreting Predictions by a Single-Shot
        Object Detector", IJCNN 2019: maps of a predicted and a what-if class and of the offsets, and the tables.
    """
    prepared = detector.prepared(image)
    recipe = resolve(method)
    asked: list[tuple[str, int | None]] = [("class", detection.label)]
    if versus not in (None, detection.label):
        asked.append(("class", versus))
    asked += [(name, None) for name in detector.offsets]
    if detector.heads(prepared.x).objectness:
        asked.append(("objectness", None))
    if isinstance(recipe, DetectorMethod):
        asked = [(of, target) for of, target in asked if of in recipe.parts]
    whole, tables = _with_tables(detector, prepared, detection, asked, recipe, facts)
    localised = detector.localised(prepared, detection).cpu()
    parts = [
        _part(detector, prepared, detection, localised, whole, recipe, k, of, target, tables[k])
        for k, (of, target) in enumerate(asked)
    ]
    return Parts(detection, localised, whole, tuple(parts), recipe)


def _explained(
    detector: Detector,
    prepared: Prepared,
    detection: Detection,
    asked: Sequence[tuple[str, int | None]],
    method: Method,
    facts: Facts | None,
    layers: Sequence[str] = (),
) -> Explanation:
    of = list(dict.fromkeys(part for part, _ in asked))
    classes = [target for part, target in asked if part == "class"]
    return detection_explained(
        detector, prepared, detection, of, classes or None, method, layers, facts=facts
    )


def _with_tables(
    detector: Detector,
    prepared: Prepared,
    detection: Detection,
    asked: Sequence[tuple[str, int | None]],
    method: Method,
    facts: Facts | None,
) -> tuple[Explanation, list[tuple[LayerRow, ...]]]:
    """The explanation without layers, and the table of each target."""
    key = (repr(method), tuple(prepared.x.shape))
    known = detector.learned.tables.get(key, Tables())
    found = known.inputs
    if found and known.bytes * len(asked) <= _BYTES:
        e = _explained(detector, prepared, detection, asked, method, facts, recorded(found))
        return replace(e, layers={}), layer_tables(e, found, "raw.")
    # A detector's first time: its layers are known from a plan, and how much they hold from one target.
    whole = _explained(detector, prepared, detection, asked, method, facts)
    found = layer_inputs(whole.plan)
    if not found:
        return whole, [()] * len(asked)
    tables: list[tuple[LayerRow, ...]] = []
    group, held = 1, 0
    while len(tables) < len(asked):
        some = asked[len(tables) : len(tables) + group]
        try:
            e = _explained(detector, prepared, detection, some, method, facts, recorded(found))
        except InputError:
            # The same was done without layers just now: the method (integrated gradients) gives none.
            return whole, [()] * len(asked)
        tables += layer_tables(e, found, "raw.")
        held = sum(t.numel() * t.element_size() for t in e.layers.values()) // len(some)
        group = max(1, _BYTES // max(1, held))
    detector.learned.tables[key] = Tables(found, held)
    return whole, tables


def _part(
    detector: Detector,
    prepared: Prepared,
    detection: Detection,
    localised: Tensor,
    e: Explanation,
    recipe: Method,
    k: int,
    of: str,
    target: int | None,
    table: tuple[LayerRow, ...],
) -> Part:
    if of in detector.offsets:
        value = float(detection.offsets[detector.offsets.index(of)])
    else:
        value = float(e.outputs[0, e.targets[k, 0]])
    sx, sy = prepared.scale
    box = [v / s for v, s in zip(detection.box.tolist(), (sx, sy, sx, sy), strict=True)]
    words, red, blue = "", "", ""
    if of in detector.offsets:
        if detection.default_box is not None:
            words = offset_words(of, detection.default_box.tolist(), localised.tolist())
        onward = value >= 0 or not recipe.pushes
        red, blue = direction(of, onward), direction(of, not onward)
    name = of
    if target is not None:
        name = f"class {target}" if detector.classes is None else detector.classes[target]
    return Part(
        of,
        target,
        name,
        value,
        None if target is None else float(detection.scores[target]),
        words,
        red,
        blue,
        positive_inside(e.heatmap()[k, 0], box),
        table,
    )
