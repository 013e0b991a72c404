"""Detection text: what `relprop detect` prints: what was found, and what explains it, in tables."""

from __future__ import annotations

from relprop.detectors import Detection, Detections, Detector
from relprop.detectors.detector import EDGES
from relprop.detectors.measured import Measured
from relprop.detectors.parts import Parts
from relprop.detectors.sources import LoadedDetector
from relprop.explanation import Explanation
from relprop.explanation.sheet import combination
from relprop.explanation.warned import verdict
from relprop.reports.detection_document import all_remarks, nearly, sums
from relprop.reports.detection_page import detection_name, loss_notes, next_best, read_notes
from relprop.reports.detection_seen import DetectedPicture
from relprop.reports.detection_units import call, dropped_lines
from relprop.reports.detection_words import check_table
from relprop.reports.sources import heading
from relprop.reports.text import Block, Table, Written, percent, remark_lines, signed

__all__ = ["detection_text"]


def detection_text(loaded: LoadedDetector, seen: DetectedPicture) -> tuple[Block, ...]:
    """Lines and tables of a picture."""
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
        for d in [*found, *nearly(found)]
    ]
    return Table(["box", "class", "score", "x0 y0 x1 y1", "best other", "score"], rows, (0, 2, 3, 5))


def _next(d: Detection, detector: Detector) -> tuple[str, str]:
    """The next best class and its score, in words."""
    found = next_best(d, detector)
    return ("", "") if found is None else (found[0], f"{found[1]:.2f}")


def _explained_text(
    detector: Detector, seen: DetectedPicture, one: Parts, measured: Measured | None
) -> list[Block]:
    d = one.detection
    by = one.explanation.method
    if one.box is not None:
        by += f", its {_kind(one)} by {one.box.method}"
    remarks = {call(d).lower(): (all_remarks(one, "warnings"), read_notes(one))}
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
        for k, (part, (total, size, _)) in enumerate(zip(one.parts, sums(one), strict=True))
    ]
    headers = ["why", "output", "what it did", "red pulls", "red in the box", "ΣR", "Σ|R|"]
    return Table(headers, rows, (1, 4, 5, 6))
