"""Detection document: what `relprop detect --json` prints: plain values of detections and their explanations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from relprop.detectors import Detection, Detections, Detector
from relprop.detectors.measured import Measured
from relprop.detectors.parts import Parts
from relprop.detectors.sources import LoadedDetector
from relprop.explanation.warned import verdict
from relprop.reports.detection_page import class_name, detection_name
from relprop.reports.detection_seen import DetectedPicture
from relprop.reports.detection_units import dropped_document
from relprop.reports.detection_words import measured_document
from relprop.reports.document import Listed
from relprop.reports.sources import model_facts

__all__ = ["about_detector", "all_remarks", "detection_document", "nearly", "sums"]


def about_detector(loaded: LoadedDetector) -> dict[str, Any]:
    """The detector's entry in a document."""
    detector = loaded.detector
    return model_facts(loaded.spec, loaded.weights) | {
        "classes": detector.classes,
        "background": detector.background,
        "threshold": detector.score_threshold,
    }


def detection_document(detector: Detector, seen: DetectedPicture) -> dict[str, Any]:
    """A picture's entry."""
    return {
        "image": str(seen.picture.source),
        "size": list(seen.prepared.size),
        "input_size": list(seen.prepared.x.shape[2:]),
        "detections": [_detected(d, detector) for d in seen.found],
        "below_threshold": [_detected(d, detector) for d in nearly(seen.found)],
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


def _described(seen: DetectedPicture, one: Parts, measured: Measured | None) -> dict[str, Any]:
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
            for part, (total, size, positive) in zip(one.parts, sums(one), strict=True)
        ],
        "measured": None if measured is None else measured_document(measured),
        "warnings": all_remarks(one, "warnings"),
        "notes": all_remarks(one, "notes"),
        "figure": seen.page(one),
        "layers": seen.layers(one) if tables else None,
    }


def nearly(found: Detections) -> list[Detection]:
    """The best below the threshold, where nothing is over it."""
    return [] if len(found) else found.near(3)


def all_remarks(one: Parts, what: str) -> list[str]:
    """The "warnings" or "notes" of all explanations of a detection, each once."""
    return list(dict.fromkeys(text for e in one.explanations for text in getattr(e, what)))


def sums(one: Parts) -> list[tuple[float, float, float]]:
    """Of each part's relevance the sum, the sum of magnitudes and the sum of what is positive."""
    found: list[tuple[float, float, float]] = []
    for e in one.explanations:
        r = e.relevance.double().flatten(1)
        columns = (r.sum(1), r.abs().sum(1), r.clamp(min=0).sum(1))
        found += zip(*(column.tolist() for column in columns), strict=True)
    return found
