"""explain_detection: why this class, why this box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from relprop.bar import draws_bar
from relprop.catalogue import BOX_METHOD, CLASS_METHOD
from relprop.checks import Progress, layer_names
from relprop.detectors.detections import Detection, Reading
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.detector_method import DetectionRequest, DetectorMethod
from relprop.detectors.prepare import Prepared
from relprop.detectors.unit import DetectionUnit
from relprop.errors import InputError, unknown_name
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.explanation.warned import telling, untold
from relprop.graph import capture_lock
from relprop.methods.facts import Facts
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.propagate.layout import Layout
from relprop.shortage import tells_shortage

__all__ = ["detection_explained", "explain_detection"]


@telling
@draws_bar()
@tells_shortage
@full_precision
def explain_detection(
    detector: Detector,
    image: Any,
    detection: Detection | int | Sequence[Detection | int],
    of: str | Sequence[str] = "class",
    target: int | str | Sequence[int | str | None] | None = None,
    method: MethodLike | None = None,
    layers: Sequence[str] = (),
    *,
    versus: int | str | None = None,
    facts: Facts | None = None,
    progress: Progress | bool | None = None,
) -> Explanation:
    """What in the picture made this detection its class, or put its box there?

    The output units of the detection's own anchor are explained, and no others.

    Args:
        detector: from `relprop.detectors.wrap` or `relprop.detectors.load`.
        image: the picture in which it was found.
        detection: a `Detection`, or an anchor's index; a list of them: their relevance is added.
        of: "class"; an offset, by its name in `Detector.offsets` ("cx", "cy", "w", "h"); an edge of the decoded
            box in pixels of the picture ("x1" left, "y1" top, "x2" right, "y2" bottom), before it is cut at the
            picture's edge; or "objectness" where the network has it. A list of them puts a K axis in front of
            the relevance. Edges, and offsets that `Detector.measure` makes, less what they are at outputs of 0,
            start as slope × output, as a callable of the output units does (`relprop.explain`).
        target: for "class", a class index or name; None: the detection's own (an anchor's best). Another
            asks what would speak for it. With a list, each "class" of `of` stands for as many rows.
        method: as for `relprop.explain`; a setting `at` names a module or node of the raw network. None:
            "margin-rsp" where classes and objectness alone are asked, "crp" where the box is asked too.
        layers: modules or nodes of the raw network at whose output relevance is wanted too.
        versus: another class, for "class": why the target rather than this one. Explained is the target's logit
            less that of this class, at the same anchor.
        facts: what is known of the network; None: `detector.facts`, where the input lies in the box of its pixels.
        progress: True for a bar in a notebook or on a terminal; or a function of (done, total), for methods of
            many runs.

    Returns:
        Relevance at the detector's input, (1, 3, h, w), K in front for a list. `extras` hold "detection" (plain
        values; a list for a list), "of" (the rows, with the class behind "class"), and "picture": its "size"
        (H, W), "scale" (picture pixels per input pixel, x and y) and "offset" (input pixels left of the
        picture and above it). Padding around the picture belongs to the input. `targets` count a
        `DetectionUnit`'s outputs: classes, offsets, objectness; -1 for edges and the like.

    Raises:
        InputError: no such anchor, class or part; a detection from another picture or detector; edges by a method
            that starts from one output.

    Warns:
        RelpropWarning: what is in the result's `warnings`, once a call.

    Source: Tsunakawa et al., Contrastive Relevance Propagation for Interpreting Predictions by a
    Single-Shot Object Detector, IJCNN 2019, for `method="crp"`.
    """
    if not isinstance(detector, Detector):
        raise InputError(
            f"Expected a relprop.detectors.Detector but got {type(detector).__name__}. Pass "
            "relprop.detectors.wrap(model)."
        )
    prepared = detector.prepared(image)
    chosen = _chosen(detection)
    places = detector.places(prepared, chosen)
    unit = detector.unit(prepared, chosen)
    found = _detections(detector, prepared, unit, chosen)
    rows, single = _rows(of, target, found, detector.classes, unit.layout)

    # Several detections: a target each, side by side, and their sum afterwards.
    rival = _rival(versus, rows, detector.classes, unit.layout)
    aim = _Aim(detector, prepared, unit, found, places, rival)
    wanted = [aim.target(part, label[d], d) for part, label in rows for d in range(len(found))]
    asked = {name: f"raw.{name}" if _owns(detector, name) else name for name in layer_names(layers)}
    known = detector.facts.fitting(prepared.x) if facts is None else facts
    if callable(progress):
        known = replace(known, progress=progress)
    if method is None:
        box = any(part not in ("class", "objectness") for part, _ in rows)
        method = BOX_METHOD if box else CLASS_METHOD
    recipe = resolve(method)
    place = recipe.settings().get("at")
    if isinstance(place, str) and _owns(detector, place):
        recipe = recipe.with_(at=f"raw.{place}")
    alone = single and len(found) == 1 and not isinstance(recipe, DetectorMethod)
    if isinstance(recipe, DetectorMethod):
        if rival is not None:
            raise InputError(
                f"Expected no versus= for {recipe.name}, which asks for whole detections of a class. Take another "
                "method, such as margin-rsp."
            )
        e = recipe.explained(
            DetectionRequest(detector, prepared, found, rows, known),
            [-1 if callable(one) else one for one in wanted],
            list(asked),
        )
    else:
        e = explanation_of(
            unit, prepared.x, wanted[0] if alone else wanted, recipe, list(asked.values()), facts=known
        )
    _check_same(found, detector, unit, e)
    if not alone:
        e = _added(e, len(rows), len(found), single)
    named = [_title(part, label, detector.classes, rival) for part, label in rows]
    described = [d.as_dict() for d in found]
    extras = {
        "detection": described if isinstance(detection, (list, tuple)) else described[0],
        "of": named[0] if single else named,
        "picture": {
            "size": list(prepared.size),
            "scale": list(prepared.scale),
            "offset": list(prepared.offset),
        },
    }
    kept = {name: e.layers[inner] for name, inner in asked.items()}
    return replace(e, layers=kept, extras=e.extras | extras, asked=tuple(named) if e.asked else ())


detection_explained = untold(explain_detection)
"""`explain_detection` without its `RelpropWarning`: warnings stand in the result alone."""


def _chosen(detection: Any) -> list[Detection | int]:
    several = list(detection) if isinstance(detection, (list, tuple)) else [detection]
    if not several:
        raise InputError("Expected at least one detection but got an empty list.")
    chosen: list[Detection | int] = []
    for one in several:
        if isinstance(one, Detection):
            chosen.append(one)
        elif hasattr(one, "__index__") and not isinstance(one, bool):
            chosen.append(int(one))
        else:
            raise InputError(
                f"Expected a Detection, an anchor's index, or a list of those, but got {type(one).__name__}."
            )
    return chosen


@dataclass(frozen=True)
class _Aim:
    """From a part of a detection to what is asked of the unit's outputs: an index, or a callable."""

    detector: Detector
    prepared: Prepared
    unit: DetectionUnit
    found: list[Detection]
    places: Tensor
    rival: int | None = None

    def target(self, part: str, label: int | None, d: int) -> int | Callable[[Tensor], Tensor]:
        """What stands for a part at the d-th detection.

        Raises:
            UnknownNameError: no such part.
        """
        layout, names = self.unit.layout, self.detector.offsets
        if part not in EDGES and (self.detector.measure is None or part not in names):
            valid = ["class", *names, *EDGES, *(["objectness"] if layout.objectness else [])]
            if part not in valid:
                raise unknown_name("part of a detection", part, valid)
            own = layout.index(part, label, d)
            return own if part != "class" or self.rival is None else self._less(own, self.rival, d)
        anchor = self.places[[d]]
        first = d * layout.width + layout.classes
        label = self.found[d].label

        def read(columns: Tensor) -> Tensor:
            offsets = self.detector.measured(columns)
            if part in EDGES:
                boxes = self.detector.decoded(offsets, anchor.to(columns).expand(len(columns), 4))
                value, column = self.prepared.on_picture(boxes), EDGES.index(part)
            else:
                value, column = offsets, names.index(part)
            return value[:, label, column] if value.ndim == 3 else value[:, column]

        def moved(output: Tensor) -> Tensor:
            # Where a box lies by itself, by its anchor, belongs to no output.
            columns = output[:, first : first + len(layout.offsets)]
            return read(columns) - read(torch.zeros_like(columns))

        moved.__name__ = f"{part}, less its value at outputs of 0"
        return moved

    def _less(self, own: int, rival: int, d: int) -> Callable[[Tensor], Tensor]:
        other = self.unit.layout.index("class", rival, d)

        def apart(output: Tensor) -> Tensor:
            return output[:, own] - output[:, other]

        return apart


def _detections(
    detector: Detector, prepared: Prepared, unit: DetectionUnit, chosen: list[Detection | int]
) -> list[Detection]:
    """Anchors given by number become detections, for which the network has to be asked first."""
    if all(isinstance(one, Detection) for one in chosen):
        return [one for one in chosen if isinstance(one, Detection)]
    with capture_lock, torch.no_grad():
        reading = _reading(detector, prepared, unit, unit(prepared.x))
    return [one if isinstance(one, Detection) else reading.detection(d) for d, one in enumerate(chosen)]


def _reading(detector: Detector, prepared: Prepared, unit: DetectionUnit, output: Tensor) -> Reading:
    return detector.reading(prepared, unit.anchors, *_table(unit, output))


def _table(unit: DetectionUnit, output: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits (D, K), columns of the boxes (D, B), objectness (D,) or None of the first sample."""
    layout = unit.layout
    k, b = layout.classes, len(layout.offsets)  # names of the raw columns
    table = output[0].reshape(layout.anchors, layout.width)
    return table[:, :k], table[:, k : k + b], table[:, -1] if layout.objectness else None


def _rows(
    of: Any, target: Any, found: list[Detection], names: list[str] | None, layout: Layout
) -> tuple[list[tuple[str, list[int | None]]], bool]:
    """(part, class of each detection) for each row of relevance, and whether one row was asked."""
    parts = [of] if isinstance(of, str) else list(of)
    if not parts:
        raise InputError("Expected at least one part of the detection to explain but got an empty list.")
    targets = list(target) if isinstance(target, (list, tuple)) else [target]
    if not targets:
        raise InputError("Expected at least one target class but got an empty list.")
    if target is not None and "class" not in parts:
        raise InputError(f"Expected no target with of={of!r} but got {target!r}: only 'class' has targets.")
    rows: list[tuple[str, list[int | None]]] = []
    for part in parts:
        if part == "class":
            for one in targets:
                label = None if one is None else _class_index(one, names, layout.classes)
                rows.append((part, [d.label if label is None else label for d in found]))
        else:
            rows.append((part, [None] * len(found)))
    return rows, isinstance(of, str) and not isinstance(target, (list, tuple))


def _class_index(target: Any, names: list[str] | None, classes: int) -> int:
    if isinstance(target, str):
        if names is None:
            raise InputError(
                f"Expected a class index, since this detector has no class names, but got {target!r}. Give it "
                "names: relprop.detectors.wrap(detector, classes=[...])."
            )
        if target not in names:
            raise unknown_name("class", target, names)
        return names.index(target)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise InputError(f"Expected a class index or name but got {type(target).__name__} {target!r}.")
    if not 0 <= int(target) < classes:
        raise InputError(f"Expected a class from 0 to {classes - 1} but got {int(target)}.")
    return int(target)


def _rival(
    versus: Any, rows: list[tuple[str, list[int | None]]], names: list[str] | None, layout: Layout
) -> int | None:
    """The class that others are held against."""
    if versus is None:
        return None
    rival = _class_index(versus, names, layout.classes)
    classes = [labels for part, labels in rows if part == "class"]
    if not classes:
        raise InputError(
            f"Expected no versus without of='class' but got {versus!r}: only classes have rivals."
        )
    if any(rival in labels for labels in classes):
        raise InputError(
            f"Expected versus to be another class than the target but both are {versus!r}. Name two classes."
        )
    return rival


def _owns(detector: Detector, name: str) -> bool:
    return name in dict(detector.raw.named_modules())


def _check_same(found: list[Detection], detector: Detector, unit: DetectionUnit, e: Explanation) -> None:
    """The detection's offsets are a fingerprint of the picture and the network it came from."""
    offsets = detector.measured(_table(unit, e.outputs)[1])
    here = [row[d.label] if row.ndim == 2 else row for d, row in zip(found, offsets, strict=True)]
    for d, now in zip(found, here, strict=True):
        # Another batch size, device or library version rounds otherwise; another picture differs by far more.
        if not torch.allclose(d.offsets.to(now), now, rtol=1e-2, atol=1e-2):
            raise InputError(
                f"Expected a detection from this picture and detector but anchor {d.anchor} gives the offsets "
                f"{_rounded(now)} here and {_rounded(d.offsets)} in the detection. Detect again, or pass the "
                "anchor's index."
            )


def _rounded(values: Tensor) -> list[float]:
    return [round(v, 3) for v in values.tolist()]


def _added(e: Explanation, rows: int, count: int, single: bool) -> Explanation:
    """Relevance of (rows * count, ...) targets, added over the detections of each row."""

    def add(t: Tensor) -> Tensor:
        total = t.reshape(rows, count, *t.shape[1:]).sum(1)
        return total[0] if single else total

    targets = e.targets.reshape(rows, count, -1)[:, 0]  # the first detection's stand for all
    extras = dict(e.extras)
    if "explained_value" in extras:
        extras["explained_value"] = add(extras["explained_value"])
    return replace(
        e,
        relevance=add(e.relevance),
        targets=targets[0] if single else targets,
        layers={name: add(t) for name, t in e.layers.items()},
        extras=extras,
        asked=e.asked[::count],
    )


def _title(part: str, labels: list[int | None], names: list[str] | None, rival: int | None) -> str:
    if part != "class":
        return part
    said = [str(k) if names is None or k is None else names[k] for k in (*labels, rival)]
    less = "" if rival is None else f" − {said[-1]}"
    return f"class {', '.join(dict.fromkeys(said[:-1]))}{less}"
