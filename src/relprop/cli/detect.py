"""`relprop detect`: what is in a picture, and why this class and this box."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import relprop
from relprop.cli.detect_page import detection_name, loss_notes, page_notes, page_of
from relprop.cli.explain import parsed_scale, picture_folders
from relprop.cli.output import print_json, print_lines, print_table, progress
from relprop.detectors.report import Report, report
from relprop.detectors.sources import LoadedDetector, load_detector
from relprop.errors import InputError
from relprop.methods.text import method_from
from relprop.models.classes import class_index
from relprop.models.pictures import read_picture
from relprop.reports.steps import Steps
from relprop.reports.text import percent
from relprop.viz.scale import number

if TYPE_CHECKING:
    from PIL import Image

    from relprop.detectors import Detection, Detections, Prepared
    from relprop.methods.method import Method

__all__ = ["Request", "detect_images"]


@dataclass(frozen=True)
class Request:
    """The options of `relprop detect`, parsed."""

    images: list[Path]
    model: str
    explain: bool
    boxes: list[int]
    versus: str | None
    method: str
    include_background: bool | None
    threshold: float | None
    weights: Path | None
    random_weights: bool
    labels: Path | None
    scale: str
    out: Path
    device: str
    json: bool


@dataclass(frozen=True)
class _Seen:
    prepared: Prepared
    found: Detections
    chosen: list[Detection]  # to be explained
    versus: int | None


@dataclass(frozen=True)
class _Result:
    path: Path
    folder: Path
    prepared: Prepared
    found: Detections
    versus: int | None
    reports: list[Report]


def detect_images(request: Request) -> None:
    """Do what `relprop detect` was asked, and print what came of it.

    Raises:
        RelpropError: anything that can't be used. Pictures and method are looked at before the model is
            loaded, boxes and class before anything is explained; a picture's files appear once all its
            explanations are done.
    """
    pictures = [(path, read_picture(path)) for path in request.images]
    method_from(_method_text(request))  # a typing error shall not wait for the model
    scale = parsed_scale(request.scale)
    folders = picture_folders(request.out, [path for path, _ in pictures])
    loaded = load_detector(
        request.model,
        weights=request.weights,
        labels=request.labels,
        threshold=request.threshold,
        random_weights=request.random_weights,
        device=request.device,
        progress=not request.json,
    )
    seen = [_detect(request, loaded, picture) for _, picture in pictures]
    results = []
    for (path, picture), folder, one in zip(pictures, folders, seen, strict=True):
        result = _explain(request, loaded, path, folder, one)
        _write(loaded, picture, result, scale)
        results.append(result)
    if request.json:
        print_json(_document(loaded, results))
        return
    for result in results:
        _print(loaded, result)


def _detect(request: Request, loaded: LoadedDetector, picture: Image.Image) -> _Seen:
    """Detect, and find out what of it was asked for."""
    prepared = loaded.detector.prepared(picture)
    found = loaded.detector(prepared)
    versus = None
    if request.versus is not None:
        versus = class_index(request.versus, found.reading.scores.shape[1], loaded.detector.classes)
    chosen: list[Detection] = []
    if len(found) and (request.explain or request.boxes or versus is not None):
        for index in request.boxes:
            if not 0 <= index < len(found):
                raise InputError(f"Expected --box from 0 to {len(found) - 1} but got {index}.")
        chosen = [found[i] for i in dict.fromkeys(request.boxes or range(len(found)))]
    return _Seen(prepared, found, chosen, versus)


def _explain(request: Request, loaded: LoadedDetector, path: Path, folder: Path, seen: _Seen) -> _Result:
    reports = []
    with progress(request.json) as bar:
        steps = Steps(bar, len(seen.chosen))
        method = _method(request, loaded, steps)
        for d in seen.chosen:
            steps.doing(f"{path.name}: box {d.index}, {d.name}")
            reports.append(report(loaded.detector, seen.prepared, d, seen.versus, method))
            steps.done()
    return _Result(path, folder, seen.prepared, seen.found, seen.versus, reports)


def _method_text(request: Request) -> str:
    if request.include_background is None:
        return request.method
    joint = "," if ":" in request.method else ":"
    return f"{request.method}{joint}include_background={request.include_background}"


def _method(request: Request, loaded: LoadedDetector, steps: Steps) -> Method:
    detector = loaded.detector
    # CRP's own first layer is w+ on signed products; the box is for methods that can't do without one.
    own = request.method.partition(":")[0] == "crp"
    bounds = None if own else relprop.pixel_bounds(detector.mean, detector.std)
    return method_from(_method_text(request), bounds, steps.part, detector.scores == "sigmoid")


def _write(
    loaded: LoadedDetector,
    picture: Image.Image,
    result: _Result,
    scale: Literal["symmetric", "shared"] | float,
) -> None:
    from relprop.viz import save_figure
    from relprop.viz.detection import detection_figure, detections_figure
    from relprop.viz.detection_frame import Frame

    detector, prepared, found = loaded.detector, result.prepared, result.found
    frame = Frame.around(prepared.extent, prepared.size)
    title = f"{result.path.name} · {loaded.spec}"
    names = [f"{d.index}: {detection_name(d.name, detector)} {d.score:.2f}" for d in found]
    boxes = frame.boxes(found.boxes.cpu()).tolist()
    figures = {_drawn(result): detections_figure(frame.photo(picture), boxes, names, title)}
    for one in result.reports:
        page = page_of(detector, picture, prepared, found, one)
        head = f"{page.names[page.chosen]} · {title} · {one.explanation.method}"
        figures[_figure(result, one)] = detection_figure(
            page, title=f"box {head}", scale=scale, notes=page_notes(prepared, one)
        )
    for one in result.reports:
        labels = {int(t): part.name for t, part in zip(one.explanation.targets[:, 0], one.parts, strict=True)}
        one.explanation.save(
            _folder(result, one),
            labels=labels,
            scale=scale,
            mean=detector.mean,
            std=detector.std,
            overwrite=True,
        )
    for path, figure in figures.items():
        save_figure(figure, path)


def _drawn(result: _Result) -> Path:
    return result.folder / "detections.png"


def _folder(result: _Result, one: Report) -> Path:
    return result.folder / f"box-{one.detection.index}"


def _figure(result: _Result, one: Report) -> Path:
    return result.folder / f"box-{one.detection.index}.png"


def _print(loaded: LoadedDetector, result: _Result) -> None:
    detector, found, versus = loaded.detector, result.found, result.versus
    threshold = f"{detector.score_threshold:g}"
    print_lines(f"{result.path} through {loaded.spec} (weights: {loaded.weights})", "")
    if not len(found):
        print_lines(f"No detection with a score over {threshold}. The best below:")
    rows = [
        [
            "–" if d.index is None else str(d.index),
            detection_name(d.name, detector),
            f"{d.score:.2f}",
            " ".join(f"{v:.0f}" for v in d.box.tolist()),
            *_next(d, loaded),
        ]
        for d in [*found, *_nearly(found)]
    ]
    headers = ["box", "class", "score", "x0 y0 x1 y1", "best other", "score"]
    print_table(headers, rows, right=(0, 2, 3, 5))
    print_lines("")
    for one in result.reports:
        if versus == one.detection.label:
            print_lines(f"Box {one.detection.index} is {one.parts[0].name} already: there is no what-if.")
        _print_report(loaded, result, one)
    if len(found) and not result.reports:
        print_lines("Why? Run it again with --explain, or --box 0 for one of them.")
    print_lines(f"Detections: {_drawn(result)}", "")


def _nearly(found: Detections) -> list[Detection]:
    """The best below the threshold, where nothing is over it."""
    return [] if len(found) else found.near(3)


def _next(d: Detection, loaded: LoadedDetector) -> tuple[str, str]:
    """The anchor's best other class that isn't the background."""
    detector = loaded.detector
    for k in d.scores.argsort(descending=True, stable=True).tolist():
        if k not in (d.label, detector.background):
            name = f"class {k}" if detector.classes is None else detector.classes[k]
            return name, f"{float(d.scores[k]):.2f}"
    return "", ""


def _print_report(loaded: LoadedDetector, result: _Result, one: Report) -> None:
    d, e = one.detection, one.explanation
    print_lines(f"Box {d.index}, {detection_name(d.name, loaded.detector)} {d.score:.2f}, by {e.method}:")
    totals = e.relevance.double().flatten(1).sum(1).tolist()
    sizes = e.relevance.double().abs().flatten(1).sum(1).tolist()
    rows = [
        [
            part.name if part.of != "class" or k == 0 else f"what if {part.name}",
            f"{part.value:.3f}".replace("-", "−"),
            part.words,
            part.red,
            percent(part.inside, 1),
            # The sum of a contrast is 0 but for rounding, whose digits say nothing.
            number(total if abs(total) > 1e-3 * size else 0.0).replace("-", "−"),
            number(size),
        ]
        for k, (part, total, size) in enumerate(zip(one.parts, totals, sizes, strict=True))
    ]
    headers = ["why", "output", "what it did", "red pulls", "red in the box", "ΣR", "Σ|R|"]
    print_table(headers, rows, right=(1, 4, 5, 6))
    verdict = "no ledger"
    if e.ledger is not None:
        closes = "yes" if e.ledger.closes else "NO"
        verdict = f"adds up at every operator: {closes} (largest error {e.ledger.max_error:.1e})"
    print_lines(
        verdict,
        *loss_notes(one),
        f"Page (red: for, blue: against): {_figure(result, one)}",
        f"Numbers, plan and ledger: {_folder(result, one)}",
        "",
    )


def _document(loaded: LoadedDetector, results: list[_Result]) -> dict[str, Any]:
    from importlib.metadata import version

    detector = loaded.detector
    return {
        "relprop": version("relprop"),
        "model": {
            "spec": loaded.spec,
            "weights": loaded.weights,
            "classes": detector.classes,
            "background": detector.background,
            "threshold": detector.score_threshold,
        },
        "images": [
            {
                "image": str(result.path),
                "size": list(result.prepared.size),
                "input_size": list(result.prepared.x.shape[2:]),
                "detections": [_detected(d, loaded) for d in result.found],
                "below_threshold": []
                if len(result.found)
                else [_detected(d, loaded) for d in result.found.near(3)],
                "drawn": str(_drawn(result)),
                "explanations": [_explained(result, one) for one in result.reports],
            }
            for result in results
        ],
    }


def _detected(d: Detection, loaded: LoadedDetector) -> dict[str, Any]:
    detector = loaded.detector
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


def _explained(result: _Result, one: Report) -> dict[str, Any]:
    e = one.explanation
    totals = e.relevance.double().flatten(1)
    return {
        "box": one.detection.index,
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
        "figure": str(_figure(result, one)),
        "folder": str(_folder(result, one)),
        "files": sorted(str(p) for p in _folder(result, one).iterdir()),
    }
