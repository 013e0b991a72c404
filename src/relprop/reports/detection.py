"""Detections: what is in a picture, and why this class and this box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relprop.checks import parsed_scale
from relprop.detectors import Detection, Detections, Detector, Prepared
from relprop.detectors.parts import Parts, explain_parts
from relprop.detectors.sources import LoadedDetector, load_detector
from relprop.errors import InputError
from relprop.explanation.folder import version
from relprop.explanation.sheet import is_difference
from relprop.explanation.warned import verdict
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.propagate.names import class_index
from relprop.reports.detection_page import detection_name, loss_notes, page_notes, page_of
from relprop.reports.detection_units import call, dropped_document, dropped_lines, picked, tag
from relprop.reports.document import Listed
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import (
    Picture,
    check_places,
    folders,
    heading,
    listed,
    model_facts,
    read_pictures,
)
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Block, Table, Written, percent, remark_lines, signed
from relprop.reports.works import Drawing, Numbers, Work
from relprop.viz.detection import detection_figure, detections_figure
from relprop.viz.detection_frame import Frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DetectorSource", "detection", "loaded_detector"]

#: A loaded detector, a detector, a specification, or a function that loads one.
DetectorSource = LoadedDetector | Detector | str | Callable[[], LoadedDetector]


@dataclass(frozen=True)
class _Seen:
    """What was found in a picture, and what of it was asked for."""

    picture: Picture
    folder: Path
    prepared: Prepared
    found: Detections
    chosen: list[Detection]  # to be explained
    versus: int | None
    explained: tuple[Parts, ...] = ()

    @property
    def drawn(self) -> Path:
        """The picture with all boxes."""
        return self.folder / "detections.png"

    def page(self, one: Parts) -> Path:
        """The page of a detection."""
        return self.folder / f"{tag(one.detection)}.png"

    def numbers(self, one: Parts) -> Path:
        """The folder of its numbers."""
        return self.folder / tag(one.detection)


@full_precision
def detection(
    detector: DetectorSource,
    images: Any,
    *,
    box: int | Sequence[int] | Literal["all"] | None = None,
    versus: str | int | None = None,
    place: Sequence[float] | Sequence[Sequence[float]] = (),
    anchor: int | Sequence[int] = (),
    target: str | int | None = None,
    method: MethodLike = "crp",
    scale: str | float = "shared",
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Detect objects, and explain why this class and why this box: what `relprop detect` draws, prints and writes.

    A page a picture: all boxes (``detections.png``), and for each explained detection a figure (``box-0.png``)
    with the map for its class, the four maps of its box and relevance layer by layer, and its numbers (the folder
    ``box-0``).

    Args:
        detector: what `relprop.detectors.wrap` gives, a specification such as ``"scenes-ssd"``, what
            `relprop.detectors.sources.load_detector` gives, or a function without arguments that does.
        images: one or several of: a file, a PIL picture.
        box: which detections are explained, by their number; None: none of them.
        versus: a class index or name: what would speak for this class instead? Without `box` all are explained.
        place: (x, y) in pixels of the picture, or several: the unit that speaks most strongly there is
            explained, whether it made a detection or not: what of an object that was missed?
        anchor: an anchor's index, or several: likewise.
        target: a class index or name: of which the unit of `place` is taken, and which it and `anchor` are asked
            about; None: the unit's best.
        method: as for `relprop.explain`.
        scale: colours of a page: ``"shared"`` (one scale), ``"symmetric"`` (each map its own), or a number.
        out: a folder to which each picture's files are written once all its explanations are done.
        progress: called with the steps done, their number, and what is being done.

    Raises:
        RelpropError: anything that can't be used. Pictures and method are looked at before the detector is
            loaded, boxes and class before anything is explained.
    """
    pictures = read_pictures(images)
    recipe = resolve(method)  # a typing error shall not wait for the model
    colours = parsed_scale(scale)
    places = folders(out, [picture.source for picture in pictures])
    loaded = loaded_detector(detector)
    spots = [place] if place and not isinstance(place[0], (list, tuple)) else list(place)
    units = (listed(anchor), spots, None if target is None else str(target))
    alone = box is None and (versus is None or bool(units[0] or spots))
    wanted = None if alone else [] if box in (None, "all") else listed(box)
    other = None if versus is None else str(versus)
    seen = [_seen(loaded.detector, p, f, wanted, other, units) for p, f in zip(pictures, places, strict=True)]
    for one in seen:
        numbers = [one.folder / tag(chosen) for chosen in one.chosen]
        check_places(out, [one.drawn, *(path.with_suffix(".png") for path in numbers)], numbers)
    steps = Steps(progress, sum(len(one.chosen) for one in seen))
    pages = (_page(loaded, _explained(loaded.detector, one, recipe, steps), colours) for one in seen)
    head = {"relprop": version(), "model": _about(loaded)}
    return gathered(head, "images", pages, out)


def loaded_detector(detector: DetectorSource) -> LoadedDetector:
    """A detector with what is known about it."""
    if isinstance(detector, LoadedDetector):
        return detector
    if isinstance(detector, Detector):
        return LoadedDetector(detector.name, detector, "its own")
    return load_detector(detector) if isinstance(detector, str) else detector()


def _seen(
    detector: Detector,
    picture: Picture,
    folder: Path,
    wanted: Sequence[int] | None,
    versus: str | None,
    units: tuple[Sequence[int], Sequence[Any], str | None],
) -> _Seen:
    """Detect, and find out what of it was asked for; no numbers: all."""
    prepared = detector.prepared(picture.photo)
    found = detector(prepared)
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
    chosen += picked(found, detector, anchors, places, label, prepared.size)
    return _Seen(picture, folder, prepared, found, chosen, other)


def _explained(detector: Detector, seen: _Seen, method: Method, steps: Steps) -> _Seen:
    explained = []
    for d in seen.chosen:
        steps.doing(f"{seen.picture.name}: {call(d)}, {d.name}")
        facts = replace(detector.facts.fitting(seen.prepared.x), progress=steps.part)
        explained.append(explain_parts(detector, seen.prepared, d, seen.versus, method, facts=facts))
        steps.done()
    return replace(seen, explained=tuple(explained))


def _page(loaded: LoadedDetector, seen: _Seen, scale: Literal["symmetric", "shared"] | float) -> Page:
    detector = loaded.detector
    title = f"{seen.picture.name} · {loaded.spec}"
    works: dict[Path, Work] = {}
    for one in seen.explained:
        labels = {int(t): part.name for t, part in zip(one.explanation.targets[:, 0], one.parts, strict=True)}
        works[seen.numbers(one)] = Numbers(
            one.explanation, labels=labels, scale=scale, mean=detector.mean, std=detector.std
        )
    works[seen.drawn] = Drawing(partial(_boxes, detector, seen, title))
    for one in seen.explained:
        works[seen.page(one)] = Drawing(partial(_why, detector, seen, one, title, scale))
    ledgers = [one.explanation.ledger for one in seen.explained]
    unclosed = any(ledger is not None and not ledger.closes for ledger in ledgers)
    return Page(works, _document(detector, seen), _text(loaded, seen), unclosed)


def _boxes(detector: Detector, seen: _Seen, title: str) -> Figure:
    frame = Frame.around(seen.prepared.extent, seen.prepared.size)
    names = [f"{d.index}: {detection_name(d.name, detector)} {d.score:.2f}" for d in seen.found]
    boxes = frame.boxes(seen.found.boxes.cpu()).tolist()
    return detections_figure(frame.photo(seen.picture.photo), boxes, names, title)


def _why(
    detector: Detector,
    seen: _Seen,
    one: Parts,
    title: str,
    scale: Literal["symmetric", "shared"] | float,
) -> Figure:
    page = page_of(detector, seen.picture.photo, seen.prepared, seen.found, one)
    said = page.names[page.chosen].partition(": ")[2]
    head = f"{call(one.detection).lower()}: {said} · {title} · {one.explanation.method}"
    return detection_figure(page, title=head, scale=scale, notes=page_notes(seen.prepared, one))


def _text(loaded: LoadedDetector, seen: _Seen) -> tuple[Block, ...]:
    detector, found = loaded.detector, seen.found
    text: list[Block] = [heading(seen.picture.source, loaded.spec, loaded.weights), ""]
    if not len(found):
        text.append(f"No detection with a score over {detector.score_threshold:g}. The best below:")
    text += [_detections_table(detector, found), ""]
    for one in seen.explained:
        if seen.versus == one.detection.label:
            text.append(f"{call(one.detection)} is {one.parts[0].name} already: there is no what-if.")
        text += _explained_text(detector, seen, one)
    if len(found) and not seen.explained:
        text.append("Why? Run it again with --explain, or --box 0 for one of them.")
    return (*text, Written("Detections", seen.drawn), "")


def _detections_table(detector: Detector, found: Detections) -> Table:
    rows = [
        [
            "–" if d.index is None else str(d.index),
            detection_name(d.name, detector),
            f"{d.score:.2f}",
            " ".join(f"{v:.0f}" for v in d.box.tolist()),
            *_next(d, detector),
        ]
        for d in [*found, *_nearly(found)]
    ]
    return Table(["box", "class", "score", "x0 y0 x1 y1", "best other", "score"], rows, (0, 2, 3, 5))


def _nearly(found: Detections) -> list[Detection]:
    """The best below the threshold, where nothing is over it."""
    return [] if len(found) else found.near(3)


def _next(d: Detection, detector: Detector) -> tuple[str, str]:
    """The anchor's best other class that isn't the background."""
    for k in d.scores.argsort(descending=True, stable=True).tolist():
        if k not in (d.label, detector.background):
            name = f"class {k}" if detector.classes is None else detector.classes[k]
            return name, f"{float(d.scores[k]):.2f}"
    return "", ""


def _explained_text(detector: Detector, seen: _Seen, one: Parts) -> list[Block]:
    d, e = one.detection, one.explanation
    adds = verdict(None, e.relevance, e.targets)
    if e.ledger is not None:
        word = verdict(e.ledger, e.relevance, e.targets)
        before = " before the contrast" if is_difference(e) else ""
        adds = f"adds up at every operator{before}: {word} (largest error {e.ledger.max_error:.1e})"
    return [
        f"{call(d)}, {detection_name(d.name, detector)} {d.score:.2f}, by {e.method}:",
        _parts_table(one),
        adds,
        *remark_lines({call(d).lower(): (e.warnings, e.notes)}),
        *loss_notes(one),
        *dropped_lines(seen.found, d),
        Written("Page (red: for, blue: against)", seen.page(one)),
        Written("Numbers, plan and ledger", seen.numbers(one)),
        "",
    ]


def _parts_table(one: Parts) -> Table:
    relevance = one.explanation.relevance.double().flatten(1)
    totals, sizes = relevance.sum(1).tolist(), relevance.abs().sum(1).tolist()
    rows = [
        [
            part.name if part.of != "class" or k == 0 else f"what if {part.name}",
            f"{part.value:.3f}".replace("-", "−"),
            part.words,
            part.red,
            percent(part.inside, 1),
            # The sum of a contrast is 0 but for rounding, whose digits say nothing.
            signed(total if abs(total) > 1e-3 * size else 0.0),
            signed(size),
        ]
        for k, (part, total, size) in enumerate(zip(one.parts, totals, sizes, strict=True))
    ]
    headers = ["why", "output", "what it did", "red pulls", "red in the box", "ΣR", "Σ|R|"]
    return Table(headers, rows, (1, 4, 5, 6))


def _about(loaded: LoadedDetector) -> dict[str, Any]:
    detector = loaded.detector
    return model_facts(loaded.spec, loaded.weights) | {
        "classes": detector.classes,
        "background": detector.background,
        "threshold": detector.score_threshold,
    }


def _document(detector: Detector, seen: _Seen) -> dict[str, Any]:
    return {
        "image": str(seen.picture.source),
        "size": list(seen.prepared.size),
        "input_size": list(seen.prepared.x.shape[2:]),
        "detections": [_detected(d, detector) for d in seen.found],
        "below_threshold": [_detected(d, detector) for d in _nearly(seen.found)],
        "drawn": seen.drawn,
        "explanations": [_described(seen, one) for one in seen.explained],
    }


def _detected(d: Detection, detector: Detector) -> dict[str, Any]:
    best = d.scores.argsort(descending=True, stable=True)[:5].tolist()
    return d.as_dict() | {
        "name": detection_name(d.name, detector),
        "offsets": dict(zip(detector.offsets, d.offsets.tolist(), strict=True)),
        "scores": [
            {
                "label": k,
                "name": detection_name(str(k) if detector.classes is None else detector.classes[k], detector),
                "score": float(d.scores[k]),
            }
            for k in best
        ],
    }


def _described(seen: _Seen, one: Parts) -> dict[str, Any]:
    e = one.explanation
    totals = e.relevance.double().flatten(1)
    return {
        "box": one.detection.index,
        "anchor": one.detection.anchor,
        "dropped": dropped_document(seen.found, one.detection),
        "method": e.method,
        "settings": e.settings,
        "localised": one.localised.tolist(),
        "faint": one.faint,
        "targets": [
            asdict(part)
            | {
                "relevance_sum": float(totals[k].sum()),
                "relevance_size": float(totals[k].abs().sum()),
                "relevance_positive": float(totals[k].clamp(min=0).sum()),
            }
            for k, part in enumerate(one.parts)
        ],
        "ledger": None if e.ledger is None else e.ledger.summary(),
        "adds_up": verdict(e.ledger, e.relevance, e.targets),
        "warnings": e.warnings,
        "notes": e.notes,
        "figure": seen.page(one),
        "folder": seen.numbers(one),
        "files": Listed(seen.numbers(one)),
    }
