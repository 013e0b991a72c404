"""Detections: what is in a picture, and why this class and this box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relprop.catalogue import SHOWN_METHOD
from relprop.checks import parsed_scale
from relprop.detectors import Detection, Detections, Detector, Prepared
from relprop.detectors.detector import EDGES
from relprop.detectors.measured import Measured, measure
from relprop.detectors.parts import Parts, explain_parts
from relprop.detectors.sources import LoadedDetector, load_detector
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.folder import version
from relprop.explanation.sheet import combination
from relprop.explanation.warned import verdict
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.propagate.names import class_index
from relprop.reports.detection_index import index_html, indexed
from relprop.reports.detection_page import (
    class_name,
    detection_name,
    layer_pages,
    loss_notes,
    next_best,
    page_notes,
    page_of,
    read_notes,
)
from relprop.reports.detection_units import call, dropped_document, dropped_lines, picked, tag
from relprop.reports.detection_words import check_table, measured_document
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
from relprop.reports.works import Drawing, Numbers, Text, Work
from relprop.viz.detection import detection_figure
from relprop.viz.detection_table import layers_figure
from relprop.viz.detections import detections_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DetectorSource", "detection", "loaded_detector"]

_LAYERS = ["Over all elements at each layer's input, zeros included, after relevance has crossed the layer."]

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
class _Asking:
    """How detections are explained and drawn."""

    method: Method
    box: Literal["edges", "offsets"]
    layers: bool
    measured: bool
    scale: Literal["symmetric", "shared"] | float


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
    method: MethodLike = SHOWN_METHOD,
    scale: str | float = "shared",
    offsets: bool = False,
    layers: bool = False,
    measured: bool = True,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Detect objects, and explain why this class and why this box: what `relprop detect` draws, prints and writes.

    A page a picture: all boxes (``detections.png``), and for each explained detection a figure (``box-0.png``)
    with the map for its class and those of its box's edges, and its numbers (the folder ``box-0``). Several pages
    are bound by ``index.html``.

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
        scale: colours of a page: ``"shared"`` (one scale for class maps; those of the box as strong as what they
            moved), ``"symmetric"`` (each map its own), or a number.
        offsets: whether the raw offsets are explained in place of the box's edges.
        layers: whether relevance layer by layer is drawn too (``box-0-layers.png``) and put into the document.
        measured: whether each map is held against the network (its strongest places are hidden), and edges are
            measured by taking cells away: some 60 runs of the network a detection.
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
        names = [tag(chosen) for chosen in one.chosen]
        drawn = [f"{name}{end}.png" for name in names for end in ("", *(["-layers"] if layers else []))]
        numbers = [one.folder / f"{name}{end}" for name in names for end in ("", "-edges", "-rather")]
        check_places(out, [one.drawn, *(one.folder / name for name in drawn)], numbers)
    steps = Steps(progress, sum(len(one.chosen) for one in seen))
    asking = _Asking(recipe, "offsets" if offsets else "edges", layers, measured, colours)
    pages = (_page(loaded, _explained(loaded.detector, one, asking, steps), asking) for one in seen)
    head = {"relprop": version(), "model": _about(loaded)}
    return gathered(head, "images", pages, out, partial(_index, loaded))


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


def _explained(detector: Detector, seen: _Seen, asking: _Asking, steps: Steps) -> _Seen:
    explained, measured = [], []
    for d in seen.chosen:
        steps.doing(f"{seen.picture.name}: {call(d)}, {d.name}")
        facts = replace(detector.facts.fitting(seen.prepared.x), progress=steps.part)
        made = explain_parts(
            detector,
            seen.prepared,
            d,
            seen.versus,
            asking.method,
            box=asking.box,
            layers=asking.layers,
            facts=facts,
        )
        explained.append(made)
        measured.append(measure(detector, seen.prepared, made, seen.found) if asking.measured else None)
        steps.done()
    return replace(seen, explained=tuple(explained), measured=tuple(measured))


def _page(loaded: LoadedDetector, seen: _Seen, asking: _Asking) -> Page:
    detector = loaded.detector
    title = f"{seen.picture.name} · {loaded.spec}"
    works: dict[Path, Work] = {}
    for one in seen.explained:
        labels = {
            int(t): part.name for t, part in zip(one.explanation.targets[:, 0], one.parts, strict=False)
        }
        for path, e in seen.numbers(one).items():
            works[path] = Numbers(e, labels=labels, scale=asking.scale, mean=detector.mean, std=detector.std)
    works[seen.drawn] = Drawing(partial(_boxes, detector, seen, title))
    for one, measured in zip(seen.explained, seen.measured, strict=True):
        works[seen.page(one)] = Drawing(partial(_why, detector, seen, one, measured, title, asking.scale))
        if tables := layer_pages(one):
            head = f"{_head(detector, one)} · {title} · {one.explanation.method}"
            works[seen.layers(one)] = Drawing(partial(layers_figure, tables, head, _LAYERS))
    ledgers = [e.ledger for one in seen.explained for e in one.all_explanations]
    unclosed = any(ledger is not None and not ledger.closes for ledger in ledgers)
    return Page(works, _document(detector, seen), _text(loaded, seen), unclosed)


def _index(loaded: LoadedDetector, pages: Sequence[Page]) -> Page | None:
    """The page that binds the others, where there are several."""
    shown = [indexed(page.document) for page in pages]
    if (
        len(shown) + sum(len(one.pages) + len(one.others) for one in shown) < 3
    ):  # one picture and one page of it
        return None
    path = Path("index.html")
    text = ("", Written("Index", path)) if len(shown) > 1 else (Written("Index", path), "")
    return Page(
        {path: Text(partial(index_html, shown, f"Detections by {loaded.spec}"))}, {"index": path}, text
    )


def _boxes(detector: Detector, seen: _Seen, title: str) -> Figure:
    names = [f"{d.index}: {detection_name(d, detector)} {d.score:.2f}" for d in seen.found]
    return detections_figure(seen.picture.photo, seen.found.boxes.cpu().tolist(), names, title)


def _head(detector: Detector, one: Parts) -> str:
    d = one.detection
    return f"{call(d).lower()}: {detection_name(d, detector)} {d.score:.2f}"


def _why(
    detector: Detector,
    seen: _Seen,
    one: Parts,
    measured: Measured | None,
    title: str,
    scale: Literal["symmetric", "shared"] | float,
) -> Figure:
    page = page_of(detector, seen.picture.photo, seen.prepared, seen.found, one, measured)
    head = f"{_head(detector, one)} · {title} · {one.explanation.method}"
    return detection_figure(page, title=head, scale=scale, notes=page_notes(seen.prepared, one, measured))


def _text(loaded: LoadedDetector, seen: _Seen) -> tuple[Block, ...]:
    detector, found = loaded.detector, seen.found
    text: list[Block] = [heading(seen.picture.source, loaded.spec, loaded.weights), ""]
    if not len(found):
        text.append(f"No detection with a score over {detector.score_threshold:g}. The best below:")
    text += [_detections_table(detector, found), ""]
    for one, measured in zip(seen.explained, seen.measured, strict=True):
        if seen.versus == one.detection.label:
            text.append(f"{call(one.detection)} is {one.parts[0].name} already: there is no what-if.")
        text += _explained_text(detector, seen, one, measured)
    if len(found) and not seen.explained:
        text.append("Why? Run it again with --explain, or --box 0 for one of them.")
    return (*text, Written("Detections", seen.drawn), "")


def _detections_table(detector: Detector, found: Detections) -> Table:
    rows = [
        [
            "–" if d.index is None else str(d.index),
            detection_name(d, detector),
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
    """The next best class and its score, in words."""
    found = next_best(d, detector)
    return ("", "") if found is None else (found[0], f"{found[1]:.2f}")


def _explained_text(detector: Detector, seen: _Seen, one: Parts, measured: Measured | None) -> list[Block]:
    d = one.detection
    by = one.explanation.method
    if one.box is not None:
        by += f", its {_kind(one)} by {one.box.method}"
    remarks = {call(d).lower(): (_all(one, "warnings"), read_notes(one))}
    return [
        f"{call(d)}, {detection_name(d, detector)} {d.score:.2f}, by {by}:",
        _parts_table(one),
        *_measured_text(one, measured),
        *dict.fromkeys(map(_adds_up, one.explanations)),
        *remark_lines(remarks),
        *loss_notes(one),
        *dropped_lines(seen.found, d),
        Written("Page (red: for, blue: against)", seen.page(one)),
        *([Written("Layer by layer", seen.layers(one))] if any(part.table for part in one.parts) else []),
        *(Written("Numbers, plan and ledger", path) for path in seen.numbers(one)),
        "",
    ]


def _measured_text(one: Parts, measured: Measured | None) -> list[Block]:
    if measured is None:
        return []
    said: list[Block] = [check_table(one, measured)]
    if measured.what_if is not None:
        said.append(measured.what_if.words)
    if measured.effects is not None:
        said += [measured.effects.words(edge) for edge in EDGES]
    return said


def _kind(one: Parts) -> str:
    return "edges" if one.parts[-1].of in EDGES else "offsets"


def _all(one: Parts, what: str) -> list[str]:
    return list(dict.fromkeys(text for e in one.explanations for text in getattr(e, what)))


def _adds_up(e: Explanation) -> str:
    if e.ledger is None:
        return verdict(None, e.relevance, e.targets)
    word = verdict(e.ledger, e.relevance, e.targets)
    before = f" before the {combination(e)}" if combination(e) else ""
    return f"adds up at every operator{before}: {word} (largest error {e.ledger.max_error:.1e})"


def _parts_table(one: Parts) -> Table:
    rows = [
        [
            part.name if part.of != "class" or k == 0 else f"what if {part.name}",
            f"{part.value:.1f}" if part.of in EDGES else f"{part.value:.3f}".replace("-", "−"),
            part.words,
            part.red,
            percent(part.inside, 1),
            # The sum of a contrast is 0 but for rounding, whose digits say nothing.
            signed(total if abs(total) > 1e-3 * size else 0.0),
            signed(size),
        ]
        for k, (part, (total, size, _)) in enumerate(zip(one.parts, _sums(one), strict=True))
    ]
    headers = ["why", "output", "what it did", "red pulls", "red in the box", "ΣR", "Σ|R|"]
    return Table(headers, rows, (1, 4, 5, 6))


def _sums(one: Parts) -> list[tuple[float, float, float]]:
    """Of each part's relevance the sum, the sum of magnitudes and the sum of what is positive."""
    found: list[tuple[float, float, float]] = []
    for e in one.explanations:
        r = e.relevance.double().flatten(1)
        columns = (r.sum(1), r.abs().sum(1), r.clamp(min=0).sum(1))
        found += zip(*(column.tolist() for column in columns), strict=True)
    return found


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
        "explanations": [
            _described(seen, one, measured)
            for one, measured in zip(seen.explained, seen.measured, strict=True)
        ],
    }


def _detected(d: Detection, detector: Detector) -> dict[str, Any]:
    best = d.scores.argsort(descending=True, stable=True)[:5].tolist()
    return d.as_dict() | {
        "name": detection_name(d, detector),
        "offsets": dict(zip(detector.offsets, d.offsets.tolist(), strict=True)),
        "scores": [
            {
                "label": k,
                "name": class_name(k, detector),
                "score": float(d.scores[k]),
            }
            for k in best
        ],
    }


def _described(seen: _Seen, one: Parts, measured: Measured | None) -> dict[str, Any]:
    folders = [
        {
            "method": each.method,
            "settings": each.settings,
            "ledger": None if each.ledger is None else each.ledger.summary(),
            "adds_up": verdict(each.ledger, each.relevance, each.targets),
            "folder": path,
            "files": Listed(path),
        }
        for path, each in seen.numbers(one).items()
    ]
    tables = any(part.table for part in one.parts)
    return {
        "box": one.detection.index,
        "anchor": one.detection.anchor,
        "dropped": dropped_document(seen.found, one.detection),
        **folders[0],
        "edges": None if one.box is None else folders[1],
        "rather": None if one.pair is None else folders[-1],
        "localised": one.localised.tolist(),
        "faint": one.faint,
        "targets": [
            asdict(part)
            | {
                "relevance_sum": total,
                "relevance_size": size,
                "relevance_positive": positive,
            }
            for part, (total, size, positive) in zip(one.parts, _sums(one), strict=True)
        ],
        "measured": None if measured is None else measured_document(measured),
        "warnings": _all(one, "warnings"),
        "notes": _all(one, "notes"),
        "figure": seen.page(one),
        "layers": seen.layers(one) if tables else None,
    }
