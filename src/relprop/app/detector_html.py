"""The parts of the tab Detector as HTML: words and maps of `relprop.reports`, in reading order."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from relprop.app.working import told
from relprop.reports import DetectionAnswer, DetectionConversation, DetectionQuestion, Table
from relprop.viz.clickable import boxes_html
from relprop.viz.detection_html import DETECTION_STYLE, class_maps_html, edges_html, table_html
from relprop.viz.labels import number

__all__ = ["boxes_part", "edges_part", "held_part", "unit_part", "why_part"]

_ALL = "All maps, in numbers"
_LAYERS = ("max", "95 %", "median", "5 %", "min", "Σ|R|")


def boxes_part(talk: DetectionConversation, question: DetectionQuestion | None) -> str:
    """The picture with its boxes and their list, below what makes all of it doubtful."""
    names = [talk.name(d) for d in talk.found]
    said = (
        f"{len(names)} detections by {talk.loaded.spec}" if names else f"nothing found by {talk.loaded.spec}"
    )
    drawn = boxes_html(
        talk.picture, talk.found.boxes.cpu().tolist(), names, talk.found.scores.cpu().tolist(),
        alt=f"the picture, with {said}", chosen=None if question is None else question.box,
        place=None if question is None else question.place,
    )  # fmt: skip
    return _warned(talk.warnings) + _nothing(talk) + drawn


def why_part(talk: DetectionConversation, answer: DetectionAnswer) -> str:
    """Why this class."""
    warned = [text for text in answer.warnings if text not in talk.warnings]
    name, *others = [part.name for part in answer.parts.parts if part.of == "class"]
    head = f"Why {name} rather than {others[0]}?" if others else f"Why {name}?"
    return (
        f"{DETECTION_STYLE}<h3>{html.escape(head)}</h3>{_warned(warned)}<p>{html.escape(answer.account)}</p>"
        + class_maps_html(answer.page)
        + _folded("How the maps are to be read", _lines(answer.notes))
    )


def held_part(answer: DetectionAnswer, whole: bool) -> str:
    """Whether the class map holds up where its reddest places are hidden."""
    head = "<h3>Does the map hold up?</h3>"
    if not whole:
        waits = "Hiding its reddest places, and random ones, to see what the score does …"
        return f'{head}<p role="status">{waits}</p>'
    if not answer.checks:
        return f"{head}<p>The box has no pixel of the input: nothing can be hidden.</p>"
    verdict = "✓ It does." if answer.holds else "⚠ It doesn't."
    said = [answer.checks[0], *([answer.what_if] if answer.what_if else [])]
    table = "" if answer.check_table is None else _table(answer.check_table)
    return (
        f"{head}<p><strong>{verdict}</strong></p>"
        + _lines(said)
        + _folded(_ALL, table + _lines(answer.checks[1:]))
    )


def edges_part(answer: DetectionAnswer, whole: bool) -> str:
    """Why this box: what pulled each edge."""
    said = answer.box or (
        "" if whole else "Taking parts of the picture away, to see which edge each one pulls …"
    )
    status = "" if whole else ' role="status"'
    words = f"<p{status}>{html.escape(said)}</p>" if said else ""
    return f"{DETECTION_STYLE}<h3>Why this box?</h3>{words}{edges_html(answer.page, answer.edges)}"


def unit_part(answer: DetectionAnswer) -> str:
    """What went into the box: its output unit, what was dropped for it, and relevance layer by layer."""
    said = [_table(b) if isinstance(b, Table) else f"<p>{html.escape(str(b))}</p>" for b in answer.unit]
    tables = ""
    for one in answer.layers:
        rows = [[layer, *map(number, values)] for layer, values in one.rows]
        tables += f"<h4>{html.escape(one.title)}</h4>" + table_html(["", *_LAYERS], rows, range(1, 7))
    if answer.question.layers and not tables:
        tables = "<p>This method has no account layer by layer.</p>"
    return f"<h3>What went into the box</h3>{''.join(said)}{tables}"


def _nothing(talk: DetectionConversation) -> str:
    if len(talk.found):
        return ""
    best = ", ".join(f"{talk.name(d)} {d.score:.2g}" for d in talk.nearly)
    return (
        f"<p><strong>No detection with a score over {talk.loaded.detector.score_threshold:g}.</strong> The best "
        f"below: {html.escape(best)}. Click a place of the picture to ask what the network makes of it.</p>"
    )


def _warned(texts: Iterable[str]) -> str:
    return "".join(told(text, wrong=True) for text in texts)


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def _folded(head: str, inside: str) -> str:
    return f"<details><summary>{html.escape(head)}</summary>{inside}</details>" if inside else ""


def _table(table: Table) -> str:
    return table_html(table.headers, table.rows, table.right)
