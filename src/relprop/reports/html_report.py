"""HTML report: results of any command as one file that needs nothing else, to be sent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from relprop.bar import draws_bar
from relprop.errors import InputError, OutputError, RelpropError
from relprop.explanation.folder import as_saved, version
from relprop.files import shown_path
from relprop.paths import named_path, tells_where
from relprop.reports.affine_cards import affine_section, depth_section
from relprop.reports.benchmark_cards import benchmark_section
from relprop.reports.card import ReportSection
from relprop.reports.clip_cards import clip_section
from relprop.reports.detection_cards import detection_section
from relprop.reports.found import Skipped, Subject, brief_place, find_results
from relprop.reports.picture_cards import picture_section
from relprop.reports.sources import listed
from relprop.reports.steps import Progress, Steps
from relprop.reports.template import template
from relprop.storage import check_room, write_file
from relprop.viz.embedded import csp_hash
from relprop.viz.player import PLAYER_SCRIPT
from relprop.viz.slider import SLIDER_SCRIPT

__all__ = ["HtmlReport", "check_report_place", "html_report"]

_GENERATOR = "relprop report"
_MARK = re.compile(rb'<meta name="generator" content="relprop report [^"]*">')
_HEAD = 2000  # bytes in which the mark stands
_SIDES = ((60, 320), (200, 256), (1000, 192))  # up to so many results: the longer side of their pictures
_LEAST_SIDE = 128
KINDS = {
    "picture": "picture",
    "detection": "detections",
    "clip": "clip",
    "affine": "score taken apart",
    "depth": "bias over depth",
    "benchmark": "benchmark",
}


@dataclass(frozen=True, repr=False)
class HtmlReport:
    """A page that holds all that it shows.

    Attributes:
        html: the page.
        title: of the page.
        counts: how many answers of each kind it holds.
        skipped: what was found and isn't shown, and why.
        path: where it was written, or None.
    """

    html: str
    title: str
    counts: dict[str, int]
    skipped: tuple[Skipped, ...]
    path: Path | None = None

    @tells_where
    def save(self, path: str | Path) -> Path:
        """Write the page, in one step; a report of an earlier call is replaced.

        Raises:
            OutputError: another file is there, or it can't be written.
        """
        place = check_report_place(path)
        return write_file(place, self.html.encode())

    @property
    def document(self) -> dict[str, Any]:
        """What the command prints with ``--json``."""
        return {
            "report": None if self.path is None else str(self.path),
            "title": self.title,
            "bytes": len(self.html.encode()),
            "shown": self.counts,
            "skipped": [{"path": str(one.path), "why": one.why} for one in self.skipped],
        }

    def __str__(self) -> str:
        shown = _summary(self.counts)
        size = len(self.html.encode())
        place = "" if self.path is None else f"{self.path}: "
        lines = [f"{place}{shown} in {_size(size)}"]
        return "\n".join([*lines, *(f"LEFT OUT, {one.path}: {one.why}" for one in self.skipped)])

    def __repr__(self) -> str:
        return f"HtmlReport({self.title!r}, {_summary(self.counts)})"


@draws_bar("results")
def html_report(
    results: Any,
    *,
    title: str | None = None,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> HtmlReport:
    """One self-contained page of results of any command: what `relprop report` writes.

    Pictures and maps are embedded, nothing is fetched. Results below a folder are found by themselves; the same
    result is shown once.

    Args:
        results: one or several of: a folder of results or one with many of them below, a document that a command
            printed with ``--json``.
        title: of the page; None: what it is about.
        out: a file that ends in .html, written in one step; None: none is written.
        progress: True draws a bar; a function is called with the results done, their number, and which is read.

    Raises:
        InputError: a place isn't there or holds no results, or nothing of them can be read.
        OutputError: `out` is a file that relprop didn't write, or can't be written.

    >>> import tempfile, relprop
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = relprop.reports.picture("scenes-vgg", relprop.datasets.demo_image_path(), out=folder)
    ...     page = html_report(folder)
    >>> page.title, page.counts, "http:" in page.html.replace("http://www.w3.org", "")
    ('demo_scene.png', {'picture': 1}, False)
    """
    place = None if out is None else check_report_place(out)
    places = listed(results)
    if not places:
        raise InputError("Expected results to report but got none. Name a folder that was given as --out.")
    finds = find_results(places)
    skipped = list(finds.skipped)
    side = _side(sum(max(1, len(one.numbers)) for one in finds.subjects))
    steps = Steps(progress, len(finds.subjects))
    sections: list[ReportSection] = []
    for subject in finds.subjects:
        steps.doing(subject.name)
        try:
            with as_saved(subject.folder):  # documents may have been changed by hand
                section = _section(subject, side, skipped.append)
            sections += [] if section is None else [section]
        except RelpropError as error:
            skipped.append(Skipped(subject.folder, str(error)))
        steps.done()
    if not sections:
        first = skipped[0]
        raise InputError(
            f"Expected results that can be read but none can. {shown_path(first.path)}: {first.why}"
        )
    head = _title(sections) if title is None else title
    counts = _counted(sections)
    page = _page(head, sections, skipped).encode(errors="backslashreplace").decode()  # names that are no text
    report = HtmlReport(page, head, counts, tuple(skipped), place)
    if place is not None:
        report.save(place)
    return report


def _side(results: int) -> int:
    return next((side for most, side in _SIDES if results <= most), _LEAST_SIDE)


def _section(subject: Subject, side: int, skip: Any) -> ReportSection | None:
    if subject.kind == "benchmark":
        return benchmark_section(subject, skip)
    if subject.kind == "depth":
        return depth_section(subject, skip)
    if subject.kind == "clip":
        return clip_section(subject, skip)
    if subject.kind == "detection":
        return detection_section(subject, side, skip)
    if subject.kind == "affine":
        return affine_section(subject, side, skip)
    return picture_section(subject, side, skip)


def check_report_place(path: str | Path) -> Path:
    """Refuse a place for the page before anything is read: it may hold what somebody else wrote.

    Raises:
        OutputError: no .html, a folder, a file of another kind, or a folder that can't be written to.
    """
    place = named_path(path)
    shown = shown_path(path)
    if place.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"Expected a file for the report that ends in .html but got '{shown}'.")
    if place.is_dir():
        raise OutputError(
            f"Expected a file for the report but '{shown}' is a folder. Add a name: {shown}/report.html."
        )
    check_room(place.parent)
    if place.exists():
        if not place.is_file():
            raise OutputError(f"Expected a file for the report but '{shown}' is none. Take another name.")
        try:
            with place.open("rb") as file:
                ours = _MARK.search(file.read(_HEAD)) is not None
        except OSError as error:
            raise OutputError(
                f"Expected a report to replace but '{shown}' can't be read: {error.strerror}."
            ) from None
        if not ours:
            raise OutputError(
                f"Expected a report of relprop report to replace but '{shown}' is another file. Take another "
                "name, or move it away."
            )
    return place


def _title(sections: Sequence[ReportSection]) -> str:
    if len(sections) == 1:
        return sections[0].title
    kinds = Counter(section.kind for section in sections)
    return _summary(kinds, subjects=True) if len(kinds) == 1 else f"{len(sections)} results"


_WORDS = {
    "picture": ("explanation", "explanations", "picture", "pictures"),
    "detection": ("detection", "detections", "picture with detections", "pictures with detections"),
    "clip": ("clip explained", "clips explained", "clip", "clips"),
    "affine": ("score taken apart", "scores taken apart", "picture taken apart", "pictures taken apart"),
    "depth": ("study of biases", "studies of biases", "study of biases", "studies of biases"),
    "benchmark": ("benchmark", "benchmarks", "benchmark", "benchmarks"),
}


def _summary(counts: dict[str, int] | Counter[Any], subjects: bool = False) -> str:
    """How many of what, in words.

    >>> _summary({"picture": 3, "benchmark": 1})
    '3 explanations and 1 benchmark'
    """
    first = 2 if subjects else 0
    parts = [f"{n} {_WORDS[kind][first + (n != 1)]}" for kind, n in counts.items()]
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _counted(sections: Sequence[ReportSection]) -> dict[str, int]:
    """How many answers of each kind; a picture of which nothing was explained has none."""
    found: dict[str, int] = {}
    for section in sections:
        found[section.kind] = found.get(section.kind, 0) + len(section.cards)
    return found


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _page(title: str, sections: Sequence[ReportSection], skipped: Sequence[Skipped]) -> str:
    own = resources.files("relprop.reports").joinpath("templates", "report.js").read_text(encoding="utf-8")
    script = SLIDER_SCRIPT + PLAYER_SCRIPT + own
    cards = [card for section in sections for card in section.cards]
    warned = sum(bool(card.warnings) for card in cards)
    words = (
        f"{warned} of {len(cards)} {'carries' if warned == 1 else 'carry'} a warning: read it before the map."
    )
    made = datetime.now(UTC)
    return template("report.html").render(
        title=title,
        generator=f"{_GENERATOR} {version()}",
        version=version(),
        digest=csp_hash(script),
        script=script,
        summary=_said(sections, len(cards)),
        warned=words if warned else "",
        facts=_facts(sections, made),
        maps=any(section.kind not in ("benchmark", "depth") for section in sections),
        sliders=any(section.kind in ("picture", "detection", "affine") for section in sections),
        sections=sections,
        kinds=KINDS,
        section_kinds=list(dict.fromkeys(section.kind for section in sections)),
        methods=sorted({card.method for card in cards if card.method}),
        classes=sorted({card.name for card in cards if card.name}),
        skipped=[_brief(one) for one in skipped],
        made=f"{made:%Y-%m-%d %H:%M} UTC",
    )


def _brief(one: Skipped) -> tuple[str, str]:
    """Where what is left out lies and why, without the folders above: the page goes to others."""
    place = brief_place(one.path)
    return place, one.why.replace(str(one.path), place)


def _said(sections: Sequence[ReportSection], cards: int) -> str:
    answers = _summary(_counted(sections))
    if len(sections) == 1 or cards == len(sections):
        return f"{answers[0].upper()}{answers[1:]}."
    kinds = Counter(section.kind for section in sections)
    of = f" of {_summary(kinds, subjects=True)}" if len(kinds) == 1 else f", in {len(sections)} sections"
    return f"{answers[0].upper()}{answers[1:]}{of}."


def _facts(sections: Sequence[ReportSection], made: datetime) -> list[tuple[str, str]]:
    models = list(dict.fromkeys(section.model for section in sections if section.model))
    dates = sorted(date[:10] for section in sections for date in section.dates)
    versions = list(dict.fromkeys(one for section in sections for one in section.versions))
    unknown = any(not section.model for section in sections)
    named = ", ".join(models) or "not known: no document names it"
    facts = [
        (
            "model" if len(models) < 2 else "models",
            named + (", others not known" if models and unknown else ""),
        )
    ]
    if dates:
        facts.append(("results saved", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"))
    if versions:
        facts.append(("by relprop", ", ".join(versions)))
    return [*facts, ("report made", f"{made:%Y-%m-%d}")]
