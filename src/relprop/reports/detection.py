"""Detections: what is in a picture, and why this class and this box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relprop.bar import draws_bar
from relprop.catalogue import SHOWN_METHOD
from relprop.checks import parsed_scale
from relprop.detectors import Detector
from relprop.detectors.measured import Measured
from relprop.detectors.parts import Parts
from relprop.detectors.sources import LoadedDetector
from relprop.explanation.folder import version
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.reports.detection_document import about_detector, detection_document
from relprop.reports.detection_index import index_html, indexed
from relprop.reports.detection_page import detection_name, layer_pages, page_notes, page_of
from relprop.reports.detection_seen import (
    DetectedPicture,
    DetectionSettings,
    DetectorSource,
    asked_for,
    detected_picture,
    explained_picture,
    loaded_detector,
)
from relprop.reports.detection_text import detection_text
from relprop.reports.detection_units import call, tag
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import check_places, folders, listed, read_pictures
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Written
from relprop.reports.works import Drawing, Numbers, Text, Work
from relprop.viz.detection import detection_figure
from relprop.viz.detection_table import layers_figure
from relprop.viz.detections import detections_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["detection", "detection_report", "picture_page"]

_TOLD = "detect.json"
_LAYERS = ["Over all elements at each layer's input, zeros included, after relevance has crossed the layer."]


@draws_bar()
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
    progress: Progress | bool | None = None,
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
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

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
    seen = [
        asked_for(loaded.detector, detected_picture(loaded.detector, p, f), wanted, other, units)
        for p, f in zip(pictures, places, strict=True)
    ]
    for one in seen:
        names = [tag(chosen) for chosen in one.chosen]
        drawn = [f"{name}{end}.png" for name in names for end in ("", *(["-layers"] if layers else []))]
        numbers = [one.folder / f"{name}{end}" for name in names for end in ("", "-edges", "-rather")]
        check_places(out, [one.drawn, one.folder / _TOLD, *(one.folder / name for name in drawn)], numbers)
    steps = Steps(progress, sum(len(one.chosen) for one in seen))
    asking = DetectionSettings(recipe, "offsets" if offsets else "edges", layers, measured, colours)
    pages = (
        picture_page(loaded, explained_picture(loaded.detector, one, asking, steps), asking) for one in seen
    )
    return detection_report(loaded, pages, out)


def detection_report(loaded: LoadedDetector, pages: Iterable[Page], out: str | Path | None = None) -> Report:
    """The report of pictures' pages."""
    head = {"relprop": version(), "model": about_detector(loaded)}
    return gathered(head, "images", pages, out, partial(_binding_page, loaded), told=_TOLD)


def picture_page(loaded: LoadedDetector, seen: DetectedPicture, asking: DetectionSettings) -> Page:
    """What is drawn, written and printed of a picture."""
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
    return Page(works, detection_document(detector, seen), detection_text(loaded, seen), unclosed)


def _binding_page(loaded: LoadedDetector, pages: Sequence[Page]) -> Page | None:
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


def _boxes(detector: Detector, seen: DetectedPicture, title: str) -> Figure:
    names = [f"{d.index}: {detection_name(d, detector)} {d.score:.2f}" for d in seen.found]
    return detections_figure(seen.picture.photo, seen.found.boxes.cpu().tolist(), names, title)


def _head(detector: Detector, one: Parts) -> str:
    d = one.detection
    return f"{call(d).lower()}: {detection_name(d, detector)} {d.score:.2f}"


def _why(
    detector: Detector,
    seen: DetectedPicture,
    one: Parts,
    measured: Measured | None,
    title: str,
    scale: Literal["symmetric", "shared"] | float,
) -> Figure:
    page = page_of(detector, seen.picture.photo, seen.prepared, seen.found, one, measured)
    head = f"{_head(detector, one)} · {title} · {one.explanation.method}"
    return detection_figure(page, title=head, scale=scale, notes=page_notes(seen.prepared, one, measured))
