"""Cards of pictures: each map over its picture, with what it says and how far it adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.folder import as_saved
from relprop.explanation.inline import strongest
from relprop.explanation.sheet import maps_of, said_of, where_drawn
from relprop.reports.card import Bar, Card, ReportSection
from relprop.reports.found import Skipped, Subject, brief_place
from relprop.reports.opened import Opened, books, made_by, opened
from relprop.reports.sentence import accounted, sentence
from relprop.viz.picture import display_picture
from relprop.viz.scale import CLIP, limits
from relprop.viz.slider import slider_html

__all__ = [
    "MOST_MAPS",
    "DrawnMap",
    "alt",
    "bars",
    "drawn_maps",
    "open_all",
    "picture_section",
    "said",
    "section_facts",
]

MOST_MAPS = 64  # of one explanation
_BARS = 5


@dataclass(frozen=True)
class DrawnMap:
    """A map that can be drawn.

    Attributes:
        target, sample: which of K and N.
        name: of the class.
        values: (H, W).
        picture: (H, W, 3) uint8.
        remark: how the picture's colours were made, "" where they are its own.
        limit: the colour scale.
    """

    target: int
    sample: int
    name: str
    values: NDArray[np.float64]
    picture: NDArray[np.uint8]
    remark: str
    limit: Any


def open_all(subject: Subject, skip: Callable[[Skipped], None]) -> list[Opened]:
    """The saved explanations of a subject; those that can't be read are told to `skip`."""
    found = []
    for folder in subject.numbers:
        try:
            found.append(opened(folder, subject))
        except InputError as error:
            skip(Skipped(folder, str(error)))
    return found


def picture_section(subject: Subject, side: int, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a picture; None where nothing of it could be read.

    Args:
        subject: of kind "picture".
        side: the longer side of embedded pictures, in pixels.
        skip: told of what can't be shown.
    """
    several = open_all(subject, skip)
    cards: list[Card] = []
    shown = []
    for one in several:
        try:
            cards += _cards(one, subject, side)
            shown.append(one)
        except InputError as error:
            skip(Skipped(one.folder, str(error)))
    if not shown:
        return None
    return ReportSection(
        "picture",
        _name(subject, shown),
        said=bars(shown[0]) if subject.own else (),
        cards=cards,
        **section_facts(subject, shown),
    )


def section_facts(subject: Subject, several: Sequence[Opened]) -> dict[str, Any]:
    """What is known of where results come from, as arguments of `ReportSection`."""
    told = next((one.told for one in several if one.told is not None), subject.document)
    about = {} if told is None else told.head.get("model") or {}
    facts = []
    if isinstance(about, dict) and "spec" in about:
        facts.append(("model", f"{about['spec']} (weights: {about.get('weights', 'not known')})"))
    source = None if told is None else told.page.get("image", told.page.get("clip"))
    facts += [] if source is None else [("file", Path(str(source)).name)]
    return {
        "facts": [*facts, ("results", brief_place(subject.folder))],
        "model": str(about.get("spec", "")) if isinstance(about, dict) else "",
        "dates": [one.created for one in several if one.created],
        "versions": [one.version for one in several if one.version],
    }


def _name(subject: Subject, several: Sequence[Opened]) -> str:
    told = next((one.told for one in several if one.told is not None), None)
    image = None if told is None else told.page.get("image")
    return Path(str(image)).name if image is not None else subject.name


def _cards(one: Opened, subject: Subject, side: int) -> Iterator[Card]:
    e = one.explanation
    shared: dict[str, Any] = {
        "method": one.asked if one.asked == e.method else f"{one.asked}: {e.method}",
        "warnings": e.warnings,
        "share": accounted(e),
    }
    lead = "" if subject.own else (e.name or one.folder.name)
    try:
        maps = drawn_maps(one)
    except InputError as error:
        if e.relevance.isnan().any() or e.relevance.isinf().any():
            raise
        note = f"No map is drawn: {error}"
        name = ", ".join(dict.fromkeys(one.names))
        yield Card(
            name, name, about=[lead] if lead else [], sentence=sentence(e, name), notes=[*e.notes, note],
            listings=[*books(e.ledger), made_by(one)], score=None, **shared,
        )  # fmt: skip
        return
    total, kept = e.targets.numel(), books(e.ledger)  # one account of all maps
    capped = [f"The first {len(maps)} of {total} maps are drawn."] if len(maps) < total else []
    for m in maps:
        sample = f"sample {m.sample}" if e.targets.shape[-1] > 1 else ""
        figure = slider_html(
            m.values, m.picture, alt=alt(e, m), picture_alt=f"{_what(subject, e, one)}, as the network saw it",
            limit=m.limit, width=_width(m), side=side, script=False,
        )  # fmt: skip
        remark = [f"{m.remark[0].upper()}{m.remark[1:]}."] if m.remark else []
        yield Card(
            m.name,
            m.name,
            about=[text for text in (lead, sample, said(one, m)) if text],
            figures=[figure],
            sentence=sentence(e, m.name),
            notes=[*where_drawn(e), *remark, *capped, *e.notes],
            listings=[*(kept if m is maps[0] else kept[:1]), made_by(one)],
            score=_output(e, m),
            **shared,
        )


def _width(m: DrawnMap) -> int:
    """CSS pixels: of very tall maps fewer, so that they stay on the screen."""
    tall, wide = m.values.shape
    return max(60, min(320, round(480 * wide / tall)))


def _what(subject: Subject, e: Explanation, one: Opened) -> str:
    return e.name or (subject.name if subject.own else one.folder.name)


def alt(e: Explanation, m: DrawnMap) -> str:
    """What a map shows, for those who can't see it."""
    return f"Relevance by {e.method} for {m.name}: {strongest(m.values)}"


def said(one: Opened, m: DrawnMap) -> str:
    """What the model said of a map's class: the probability where a document tells it, and the output."""
    e = one.explanation
    index = int(e.targets.reshape(-1, e.targets.shape[-1])[m.target, m.sample])
    words = said_of(e, m.target, m.sample)
    told = one.told.page.get("predictions", ()) if one.told is not None else ()
    for row in told if isinstance(told, list) else ():
        if isinstance(row, dict) and row.get("index") == index and isinstance(row.get("score"), float):
            return f"p {_probability(row['score'])}, {words}" if words else f"p {_probability(row['score'])}"
    return words


def _probability(p: float) -> str:
    return "> 0.99" if p > 0.99 else f"{p:.2f}" if p >= 0.01 else "< 0.01"


def _output(e: Explanation, m: DrawnMap) -> float | None:
    index = int(e.targets.reshape(-1, e.targets.shape[-1])[m.target, m.sample])
    scores = e.outputs
    if e.asked or not hasattr(scores, "shape") or scores.dim() != 2 or not 0 <= index < scores.shape[1]:
        return None
    return float(scores[m.sample, index])


def drawn_maps(one: Opened) -> list[DrawnMap]:
    """The maps of an explanation of pictures, in the colours of its own picture.

    Raises:
        InputError: there is no map of a picture, or a value is NaN or infinite.
    """
    e = one.explanation
    maps = maps_of(e)
    if maps.ndim != 4:
        raise InputError(f"Expected pictures (N, C, H, W) but got an input of shape {tuple(e.input.shape)}.")
    targets, samples = maps.shape[:2]
    places = [(k, n) for n in range(samples) for k in range(targets)][:MOST_MAPS]
    names = one.names
    with as_saved(one.folder):
        how = one.colours
        mean, std = how.get("mean"), how.get("std")
        found = limits(
            [maps[k, n] for k, n in places], how.get("scale", "symmetric"), how.get("clip", CLIP),
            signed=[e.signed] * len(places),
        )  # fmt: skip
        pictures = {
            n: display_picture(e.input[n].movedim(e.channel_axis - 1, 0), mean, std) for _, n in places
        }
    return [
        DrawnMap(
            k, n, names[k * samples + n], maps[k, n],
            np.asarray(np.rint(255 * pictures[n][0]), dtype=np.uint8), pictures[n][1], limit,
        )
        for (k, n), limit in zip(places, found, strict=True)
    ]  # fmt: skip


def bars(one: Opened) -> list[Bar]:
    """What the model said: its best classes, with probabilities where a document tells them."""
    told = one.told.page.get("predictions", ()) if one.told is not None else ()
    rows = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
    if rows:
        return [
            Bar(
                str(row.get("name")),
                f"{100 * float(row['score']):.1f} %",
                min(1.0, max(0.0, float(row["score"]))),
            )
            for row in rows[:_BARS]
            if isinstance(row.get("score"), float)
        ]
    top = one.manifest.get("top_outputs")
    first = top[0] if isinstance(top, list) and len(top) == 1 and isinstance(top[0], list) else []
    rows = [row for row in first if isinstance(row, dict) and isinstance(row.get("output"), float)]
    best = max((row["output"] for row in rows), default=0.0)
    return [
        Bar(
            str(row["name"]) if row.get("name") is not None else f"class {row.get('index')}",
            f"{row['output']:.3g}".replace("-", "−"),
            max(0.0, row["output"] / best) if best > 0 else None,
        )
        for row in rows[:_BARS]
    ]
