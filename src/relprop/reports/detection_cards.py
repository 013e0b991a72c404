"""Cards of detections: the map of each class, and of each edge of its box, with the box over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relprop.errors import InputError
from relprop.explanation.folder import as_saved
from relprop.explanation.sheet import where_drawn
from relprop.reports.card import Card, Listing, ReportSection
from relprop.reports.found import Skipped, Subject
from relprop.reports.opened import Opened, books, made_by
from relprop.reports.picture_cards import DrawnMap, alt, drawn_maps, open_all, section_facts
from relprop.reports.sentence import accounted, sentence
from relprop.viz.scale import Limit
from relprop.viz.slider import slider_html
from relprop.viz.still import folded_html, row_html, still_file

__all__ = ["detection_section"]

_PART = re.compile(r"(?P<tag>(?P<kind>box|anchor)-(?P<number>\d+))(?P<what>-edges|-rather)?")
_AROUND = 0.7  # of a box's sides: what is shown around it of the maps of its edges
_NEAR = 224  # pixels of the longer side of those


def detection_section(subject: Subject, side: int, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a picture with detections; None where nothing of it could be read.

    Args:
        subject: of kind "detection".
        side: the longer side of embedded pictures, in pixels.
        skip: told of what can't be shown.
    """
    several = open_all(subject, skip)
    groups: dict[str, dict[str, Opened]] = {}
    for one in several:
        part = _PART.fullmatch(one.folder.name)
        if part is None:
            skip(
                Skipped(
                    one.folder, "Expected a folder named as relprop detect names it, such as box-1-edges."
                )
            )
            continue
        groups.setdefault(part["tag"], {})[part["what"] or ""] = one
    cards = []
    for tag, group in groups.items():
        try:
            with as_saved(subject.folder / tag):
                cards.append(_card(subject, tag, group, side))
        except InputError as error:
            skip(Skipped(subject.folder / tag, str(error)))
    drawn = subject.folder / "detections.png"
    page = {} if subject.document is None else subject.document.page
    figures = []
    try:
        figures = [still_file(drawn, alt=_all_boxes(page, subject), width=560)] if drawn.is_file() else []
    except InputError as error:
        skip(Skipped(drawn, str(error)))
    if not cards and not figures:
        return None
    image = page.get("image")
    name = Path(str(image)).name if image is not None else subject.name
    tables = [] if not page else [_listed(page)]
    facts = section_facts(subject, several)
    return ReportSection("detection", name, listings=tables, figures=figures, cards=cards, **facts)


def _all_boxes(page: Mapping[str, Any], subject: Subject) -> str:
    found = [
        f"{d.get('name')} {float(d.get('score', 0)):.2f}"
        for d in page.get("detections", ())
        if isinstance(d, dict)
    ]
    words = f": {', '.join(found[:20])}" if found else ""
    return f"{subject.name} with a box around every detection{words}"


def _listed(page: Mapping[str, Any]) -> Listing:
    rows, values = [], {}
    for i, d in enumerate(page["detections"]):
        rows.append(
            [str(d["index"]), str(d["name"]), f"{d['score']:.2f}", " ".join(f"{v:.0f}" for v in d["box"])]
        )
        values[i, 2] = float(d["score"])
    return Listing("", ["box", "class", "score", "x0 y0 x1 y1"], rows, (2,), values, folded=False)


def _card(subject: Subject, tag: str, group: Mapping[str, Opened], side: int) -> Card:
    first = group.get("") or next(iter(group.values()))
    e = first.explanation
    detection = e.extras.get("detection") or {}
    name, score = str(detection.get("name", first.names[0])), detection.get("score")
    parts = _parts(first)
    number = (
        f"Box {detection['index']}"
        if detection.get("index") is not None
        else tag.replace("-", " ").capitalize()
    )
    figures = list(_rows(group, parts, side, name))
    page = subject.folder / f"{tag}.png"
    if page.is_file():
        drawn = still_file(
            page, alt=f"The page that relprop detect drew of {number}, {name}.", width=1000, most=70_000
        )
        figures.append(
            folded_html(drawn, "As relprop detect drew it, with what each part of the picture pulls")
        )
    measured = _measured(first.entry)
    about = [f"score {score:.2f}"] if isinstance(score, float) else []
    if box := detection.get("box"):
        about.append("x0 y0 x1 y1: " + " ".join(f"{v:.0f}" for v in box))
    by = " · ".join(dict.fromkeys(one.explanation.method for one in group.values()))
    warned = dict.fromkeys(text for one in group.values() for text in one.explanation.warnings)
    return Card(
        f"{number}: {name}",
        name,
        by,
        about,
        figures,
        sentence(e, name),
        [*warned, *_unheld(first.entry)],
        list(
            dict.fromkeys(
                text
                for one in group.values()
                for text in (*where_drawn(one.explanation), *one.explanation.notes)
            )
        ),
        [
            *measured,
            *(listing for one in group.values() for listing in _named_books(one, len(group) > 1)),
            made_by(first),
        ],
        float(score) if isinstance(score, float) else None,
        accounted(e),
        wide=True,
    )


def _named_books(one: Opened, several: bool) -> list[Listing]:
    lead = f"{one.folder.name}, by {one.explanation.method}: " if several else ""
    return [replace(listing, title=f"{lead}{listing.title}") for listing in books(one.explanation.ledger)]


def _parts(first: Opened) -> Mapping[str, Mapping[str, Any]]:
    """What the document says of each part, by its name."""
    found = first.entry.get("targets", ())
    return {str(part["name"]): part for part in found} if isinstance(found, list) else {}


def _rows(
    group: Mapping[str, Opened], parts: Mapping[str, Mapping[str, Any]], side: int, name: str
) -> Iterator[str]:
    """The maps of classes, then those of the box."""
    classes, edges = [], []
    for what in ("", "-rather", "-edges"):
        one = group.get(what)
        if one is None:
            continue
        box = _in_input(one)
        for m in drawn_maps(one):
            part = parts.get(m.name, {}) if what != "-rather" else {}
            if what == "-edges" or part.get("moved") is not None:
                edges.append(_edge(one, m, box, part, parts))
            else:
                said = ", with the detection's box" if box is not None else ""
                classes.append(
                    slider_html(
                        m.values, m.picture, alt=f"{alt(one.explanation, m)}{said}",
                        picture_alt="what the network saw", caption=_caption(m, part, what), limit=m.limit,
                        width=280, side=side, script=False, boxes=[] if box is None else [box],
                    )
                )  # fmt: skip
    if classes:
        yield row_html(classes, f"Why {name}?")
    if edges:
        yield row_html(edges, "Why this box?")


def _edge(
    one: Opened,
    m: DrawnMap,
    box: tuple[float, float, float, float] | None,
    part: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
) -> str:
    """The map of an edge around the box, as strong as what the edge moved: so is it drawn by the command."""
    ways = [abs(float(p["moved"])) for p in parts.values() if p.get("moved") is not None]
    way = abs(float(part["moved"])) if part.get("moved") is not None else max([1.0, *ways])
    limit = Limit(m.limit.value * min(max([1.0, *ways]) / max(way, 1e-6), 1e6), m.limit.peak, m.limit.signed)
    cut, inner = (m, None) if box is None else _near(m, box)
    return slider_html(
        cut.values, cut.picture, alt=f"{alt(one.explanation, m)}, with the detection's box",
        picture_alt="what the network saw, around the box", caption=_caption(m, part, "-edges"), limit=limit,
        width=255, side=_NEAR, script=False, boxes=[] if inner is None else [inner],
    )  # fmt: skip


def _caption(m: DrawnMap, part: Mapping[str, Any], what: str) -> str:
    if part.get("words"):
        return f"{m.name}: {part['words']} (red: {part['red']}, blue: {part['blue']})"
    if what == "-rather":
        return m.name
    inside = part.get("inside")
    share = f", {100 * float(inside):.0f} % of the red in the box" if isinstance(inside, float) else ""
    return f"why {m.name}{share}" if what == "" and part.get("of", "class") == "class" else m.name


def _in_input(one: Opened) -> tuple[float, float, float, float] | None:
    """The detection's box in pixels of the network's input."""
    extras = one.explanation.extras
    box, frame = (extras.get("detection") or {}).get("box"), extras.get("picture")
    if box is None or frame is None:
        return None
    (sx, sy), (left, top) = frame["scale"], frame["offset"]
    x0, y0, x1, y1 = box
    return left + x0 / sx, top + y0 / sy, left + x1 / sx, top + y1 / sy


def _near(
    m: DrawnMap, box: tuple[float, float, float, float]
) -> tuple[DrawnMap, tuple[float, float, float, float]]:
    """A map cut out around a box, and the box in it."""
    tall, wide = m.values.shape
    x0, y0, x1, y1 = box
    dx, dy = _AROUND * max(x1 - x0, 4), _AROUND * max(y1 - y0, 4)
    left, top = (int(min(max(0, v), n - 1)) for v, n in ((x0 - dx, wide), (y0 - dy, tall)))
    right, low = (
        int(min(max(v + 1, start + 1), n)) for v, start, n in ((x1 + dx, left, wide), (y1 + dy, top, tall))
    )
    cut = replace(m, values=m.values[top:low, left:right], picture=m.picture[top:low, left:right].copy())
    return cut, (x0 - left, y0 - top, x1 - left, y1 - top)


def _checks(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    measured = entry.get("measured")
    found = measured.get("checks", ()) if isinstance(measured, dict) else ()
    return [one for one in found if isinstance(one, dict)]


def _unheld(entry: Mapping[str, Any]) -> list[str]:
    """That the class's map doesn't hold up, where it was measured."""
    return [
        f"The map doesn't hold up against the network. {one.get('words', '')}"
        for one in _checks(entry)
        if one.get("of") == "class" and one.get("holds") is False
    ]


def _measured(entry: Mapping[str, Any]) -> list[Listing]:
    checks: Sequence[Mapping[str, Any]] = _checks(entry)
    rows = [
        [str(one.get("what")), "yes" if one.get("holds") else "NO", str(one.get("words", ""))]
        for one in checks
    ]
    return (
        [
            Listing(
                "Held against the network: its strongest places were hidden",
                ["of", "holds up", "what happened"],
                rows,
            )
        ]
        if rows
        else []
    )
