"""One detection explained whole: its class, a what-if class, and its box's edges or offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.catalogue import BOX_METHOD, SHOWN_METHOD
from relprop.checks import check_choice
from relprop.detectors.analysis import LayerRow, layer_inputs, layer_tables, positive_inside, recorded
from relprop.detectors.detections import Detection
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.detector_method import DetectorMethod
from relprop.detectors.explain import detection_explained
from relprop.detectors.learned import Tables
from relprop.detectors.moves import direction, edge_of, moved, moved_words, part_title
from relprop.detectors.prepare import Prepared
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.methods.facts import Facts
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve

__all__ = ["Part", "Parts", "explain_parts"]

_BYTES = 1 << 30  # relevance at all layers that is held at once
_HALF = 0.5  # share of a side's relevance that has to arrive, or the part is faint

_Asked = Sequence[tuple[str, int | None]]


@dataclass(frozen=True)
class Part:
    """One target of a detection.

    Attributes:
        of: as `explain_detection` takes it: "class", "objectness", "x1", "y1", "x2", "y2" or an offset's name.
        target: the class, for "class".
        name: the class's name, or what the part is called: "left edge".
        value: the raw output: logit or offset; of an edge its place on the picture in pixels, not cut at its end.
        score: the class's, 0 to 1; None for other parts.
        moved: how far an edge, the centre or a side went from the default box, in pixels of the picture: right,
            down and larger are positive; NaN for other parts, or without a default box.
        words: the same in words; "" for other parts.
        red: what positive relevance speaks for, such as "left"; "" for other parts.
        blue: likewise of negative relevance.
        red_is_more: whether positive relevance speaks for a larger value; else for a smaller one.
        inside: share of the positive relevance at the input that lies in the detection's box; NaN without any.
        table: relevance layer by layer, from the head to the input; empty unless asked, and for methods without a
            plan.
    """

    of: str
    target: int | None
    name: str
    value: float
    score: float | None
    moved: float
    words: str
    red: str
    blue: str
    red_is_more: bool
    inside: float
    table: tuple[LayerRow, ...]

    @property
    def on_box(self) -> bool:
        """Whether it is about the box: an edge or an offset."""
        return self.of not in ("class", "objectness")


@dataclass(frozen=True, eq=False)
class Parts:
    """What `explain_parts` returns.

    Attributes:
        detection: what was explained.
        localised: its box as decoded, (4,) in picture pixels: not cut at the edge.
        explanation: relevance at the input, a target a part: (K, 1, 3, h, w).
        parts: the label, the what-if class if one was asked, the objectness if any (of methods that explain some
            of these alone, `DetectorMethod.parts`, those), then the edges or offsets.
        method: how it was explained.
        box: the edges' or offsets' own explanation, where `method` can't be asked about them or is made for
            classes; else `explanation` has them too.
        box_method: how edges or offsets were explained.
        pair: of the label's logit less the what-if class's, by methods that can be asked and whose maps are no
            contrasts already; None without a what-if class.
    """

    detection: Detection
    localised: Tensor
    explanation: Explanation
    parts: tuple[Part, ...]
    method: Method
    box: Explanation | None
    box_method: Method
    pair: Explanation | None = None

    @property
    def all_explanations(self) -> tuple[Explanation, ...]:
        """Those of the parts, and that of the pair."""
        return self.explanations if self.pair is None else (*self.explanations, self.pair)

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """One, or two where edges are explained by another method."""
        return (self.explanation,) if self.box is None else (self.explanation, self.box)

    def heatmaps(self) -> Tensor:
        """A map a part: (parts, h, w)."""
        return torch.cat([e.heatmap()[:, 0] for e in self.explanations])

    @property
    def rather(self) -> Tensor | None:
        r"""What spoke for the label rather than for the what-if class, (h, w); None without one.

        By a method of contrasts (`Method.contrasts`)

        .. math:: Q[k] - Q[j] = \frac{K}{K-1} (R[k] - R[j]),

        since the classes that both are contrasted with cancel; by others `pair`, None where they can't be asked.
        """
        if self.pair is not None:
            return self.pair.heatmap()[0]
        heat = self.explanation.heatmap()[:, 0]
        versus = len(self.parts) > 1 and self.parts[1].of == "class"
        return heat[0] - heat[1] if versus and self.method.contrasts else None

    @property
    def faint(self) -> dict[str, float]:
        """The parts of which less than half of the relevance arrived at the input, and how much did.

        Of the two sides of each contrast the one that lost more counts. Empty for methods that don't tell it
        (`extras["survived"]`).
        """
        found: dict[str, float] = {}
        first = 0
        for e in self.explanations:
            count = len(e.relevance)
            if "survived" in e.extras:
                least = e.extras["survived"].amin(-1)[:, 0].tolist()
                names = [part.name for part in self.parts[first : first + count]]
                found |= {name: share for name, share in zip(names, least, strict=True) if share < _HALF}
            first += count
        return found


def explain_parts(
    detector: Detector,
    image: Any,
    detection: Detection,
    versus: int | None = None,
    method: MethodLike = SHOWN_METHOD,
    *,
    box: Literal["edges", "offsets"] = "edges",
    layers: bool = False,
    facts: Facts | None = None,
) -> Parts:
    """Explain everything about a detection.

    Args:
        detector: what made it.
        image: the picture it was found in, or the `Prepared` of it.
        detection: one of `detector(image)`.
        versus: a class index: what would speak for this class instead? None, or the label: not asked.
        method: as for `relprop.explain`. Where it is made for classes, or starts from one output alone, edges are
            explained by `crp`.
        box: what of the box is explained: where its four "edges" lie, or the raw "offsets".
        layers: whether to make the tables of relevance layer by layer.
        facts: as for `relprop.explain_detection`.

    Raises:
        InputError: as `explain_detection`.

    Source:
        H. Tsunakawa et al., "Contrastive Relevance Propagation for Interpreting Predictions by a Single-Shot
        Object Detector", IJCNN 2019: maps of a predicted and a what-if class and of the offsets, and the tables.
    """
    check_choice("box", box, ("edges", "offsets"))
    prepared = detector.prepared(image)
    recipe = resolve(method)
    first: list[tuple[str, int | None]] = [("class", detection.label)]
    if versus not in (None, detection.label):
        first.append(("class", versus))
    if detector.heads(prepared.x).objectness:
        first.append(("objectness", None))
    if isinstance(recipe, DetectorMethod):
        first = [(of, target) for of, target in first if of in recipe.parts]
    of_box: _Asked = [(name, None) for name in (EDGES if box == "edges" else detector.offsets)]
    one_output = box == "offsets" and detector.measure is None
    answers = (one_output or "score" in recipe.takes) and not recipe.for_classes
    if isinstance(recipe, DetectorMethod):
        answers = all(of in recipe.parts for of, _ in of_box)
    box_recipe = recipe if answers else resolve(BOX_METHOD)
    groups: list[tuple[Method, _Asked]] = [(recipe, first), (box_recipe, of_box)]
    if answers:
        groups = [(recipe, [*first, *of_box])]
    localised = detector.localised(prepared, detection)
    explanations, parts = [], []
    for by, asked in groups:
        if layers:
            e, tables = _with_tables(detector, prepared, detection, asked, by, facts)
        else:
            e = _explained(detector, prepared, detection, asked, by, facts)
            tables = [() for _ in asked]
        heat = e.heatmap()[:, 0]
        made = [
            _part(detector, prepared, detection, localised.cpu(), e, by, heat[k], of, target, tables[k])
            for k, (of, target) in enumerate(asked)
        ]
        parts += made
        # Rows asked as scores are named after them; plain indices keep their targets.
        explanations.append(replace(e, asked=tuple(part.name for part in made)) if e.asked else e)
    other = explanations[1] if len(explanations) > 1 else None
    pair = None
    if versus not in (None, detection.label) and "score" in recipe.takes and not recipe.contrasts:
        pair = detection_explained(
            detector, prepared, detection, target=detection.label, method=recipe, versus=versus, facts=facts
        )
    return Parts(detection, localised.cpu(), explanations[0], tuple(parts), recipe, other, box_recipe, pair)


def _explained(
    detector: Detector,
    prepared: Prepared,
    detection: Detection,
    asked: _Asked,
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
    asked: _Asked,
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
    heat: Tensor,
    of: str,
    target: int | None,
    table: tuple[LayerRow, ...],
) -> Part:
    way, words, red, blue, more = math.nan, "", "", "", True
    if target is not None:
        name = f"class {target}" if detector.classes is None else detector.classes[target]
        value = float(e.outputs[0, target])
    elif of == "objectness":
        name, value = of, float(e.outputs[0, -1])
    else:
        name = part_title(of)
        value, onward, says = _of_box(detector, prepared, detection, e.outputs, of)
        if detection.default_box is not None:
            before, after = detection.default_box.tolist(), localised.tolist()
            way, words = moved(of, before, after), moved_words(of, before, after)
        more = onward or not recipe.pushes
        red, blue = says if more else says[::-1]
    score = None if target is None else float(detection.scores[target])
    inside = positive_inside(heat, prepared.in_input(detection.box).tolist())
    return Part(of, target, name, value, score, way, words, red, blue, more, inside, table)


def _of_box(
    detector: Detector, prepared: Prepared, detection: Detection, outputs: Tensor, of: str
) -> tuple[float, bool, tuple[str, str]]:
    """The value of an edge or offset, whether its units made it larger, and where a larger and a smaller one lead.

    What the units made is meant to first order, as `CRP` counts it.
    """
    layout = detector.unit(prepared, [detection.anchor]).layout
    anchors = torch.cat(detector.levels(prepared.x))[[detection.anchor]]
    with torch.enable_grad():
        columns = outputs[:1, layout.classes : layout.classes + len(layout.offsets)].detach().clone()
        columns.requires_grad_()
        offsets = detector.measured(columns)
        edges = prepared.on_picture(detector.decoded(offsets, anchors.to(columns)))
        own = (0, detection.label) if offsets.ndim == 3 else (0,)
        column = None if of in EDGES else detector.offsets.index(of)
        value = edges[own][EDGES.index(of)] if column is None else offsets[own][column]
        says = direction(of, True), direction(of, False)
        if column is not None and (edge := edge_of(of)) is not None:
            # A distance from inside or a coordinate: the decoder knows which way the edge goes.
            (slope,) = torch.autograd.grad(edges[own][EDGES.index(edge)], offsets, retain_graph=True)
            further = float(slope[own][column]) >= 0
            says = direction(edge, further), direction(edge, not further)
        (slopes,) = torch.autograd.grad(value, columns)
    return float(value.detach()), float((slopes * columns.detach()).sum()) >= 0, says
