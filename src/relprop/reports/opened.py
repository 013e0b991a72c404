"""Opened: a saved explanation, with what its manifest and the documents around it add."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relprop.catalogue import RECOMMENDED
from relprop.explanation import Explanation
from relprop.explanation.folder import as_saved
from relprop.explanation.sheet import target_name
from relprop.files import read_text
from relprop.propagate.ledger import Ledger
from relprop.registry import slug
from relprop.reports.card import Listing
from relprop.reports.found import Subject, brief_place
from relprop.reports.text import percent, signed
from relprop.reports.told import Told
from relprop.viz.labels import number

__all__ = ["Opened", "books", "made_by", "opened", "plain"]

_TOTALS = {
    "input": "arrived at the input",
    "bias": "held by biases",
    "stabiliser": "taken by the stabiliser",
    "lost": "lost on the way",
}


@dataclass(frozen=True, eq=False)
class Opened:
    """A saved explanation.

    Attributes:
        folder: where it lies.
        explanation: all that was saved.
        manifest: what stands beside the numbers.
        told: what a document says of it, or None.
        entry: the document's entry for this folder, or empty.
        asked: the method as it was asked for.
    """

    folder: Path
    explanation: Explanation
    manifest: Mapping[str, Any]
    told: Told | None
    entry: Mapping[str, Any]
    asked: str

    @property
    def names(self) -> list[str]:
        """What the targets are called, row by row of (K, N)."""
        with as_saved(self.folder):
            rows = self.manifest["targets"]
            e = self.explanation
            shape = e.targets.reshape(-1, e.targets.shape[-1]).shape
            found = [
                str(row["name"])
                if row["name"] is not None
                else target_name(e, row["target"], row["sample"], None)
                for row in rows
            ]
            if len(found) != shape.numel():
                raise ValueError("targets")
            return found

    @property
    def colours(self) -> dict[str, Any]:
        """How its picture was drawn: `mean` and `std`, or neither, and `scale` and `clip`."""
        with as_saved(self.folder):
            drawn = self.manifest.get("picture") or {}
            known = ("scale", "clip", "mean", "std")
            return {key: drawn[key] for key in known if key in drawn}

    @property
    def created(self) -> str:
        """When it was saved."""
        return str(self.manifest.get("created", ""))

    @property
    def version(self) -> str:
        """Of relprop that saved it."""
        versions = self.manifest.get("versions")
        return str(versions.get("relprop", "")) if isinstance(versions, dict) else ""


def opened(folder: Path, subject: Subject) -> Opened:
    """Read a saved explanation.

    Raises:
        InputError: it is damaged, of another version, or a part is missing.
    """
    explanation = Explanation.load(folder)
    manifest = json.loads(read_text(folder / "manifest.json", "a manifest"))
    told = subject.of(folder)
    entry: Mapping[str, Any] = {}
    if told is not None:
        entry = next(
            (one for one in _entries(told) if Path(str(one.get("folder", ""))).name == folder.name), {}
        )
    asked = str(entry.get("asked") or explanation.method)
    if not entry and subject.own and folder.name == RECOMMENDED:
        asked = RECOMMENDED
    elif not entry and subject.own and folder.name.startswith(f"{slug(explanation.method)}_"):
        asked = folder.name  # the method with its settings
    return Opened(folder, explanation, manifest, told, entry, asked)


def _entries(told: Told) -> Iterator[Mapping[str, Any]]:
    several = told.page.get("explanations", ())
    for one in several if isinstance(several, Sequence) else ():
        if isinstance(one, Mapping):
            yield one
            yield from (one[key] for key in ("edges", "rather") if isinstance(one.get(key), Mapping))


def books(ledger: Ledger | None) -> list[Listing]:
    """Where the relevance went: in total, and operator by operator, both folded; nothing without a ledger."""
    if ledger is None:
        return []
    summary = ledger.summary()
    start = float(summary["start"])
    total = [["started", signed(start), percent(start, start)]]
    total += [
        [words, signed(float(summary[key])), percent(float(summary[key]), start)]
        for key, words in _TOTALS.items()
    ]
    verdict = "adds up" if ledger.closes else "DOES NOT ADD UP"
    head = f"Where the relevance went: {verdict} (largest error {float(summary['max_error']):.1e})"
    found = [Listing(head, ["", "relevance", "share"], total, (1, 2))]
    return [*found, _by_operator(ledger)] if ledger.rows else found


def _by_operator(ledger: Ledger) -> Listing:
    accounts = [
        (r.operator, r.module or "–", r.rule, r.arrived, r.passed, r.bias, r.stabiliser, r.lost, r.error)
        for r in ledger.rows
    ]
    words = [[cell if isinstance(cell, str) else _short(cell) for cell in row] for row in accounts]
    values = {
        (i, j): cell
        for i, row in enumerate(accounts)
        for j, cell in enumerate(row)
        if isinstance(cell, float)
    }
    headers = ["operator", "module", "rule", "in", "out", "bias", "stabiliser", "lost", "error"]
    return Listing(f"Operator by operator ({len(accounts)})", headers, words, range(3, 9), values)


def _short(value: float) -> str:
    return number(value).replace("-", "−")


def made_by(one: Opened) -> Listing:
    """How an explanation was made: method, settings, versions, and where it lies."""
    e = one.explanation
    rows = [["method", e.method], *([["asked for as", one.asked]] if one.asked != e.method else [])]
    rows += [[f"setting {key}", plain(value)] for key, value in e.settings.items()]
    rows += [["relevance at", e.at]] if e.at != "input" else []
    versions = one.manifest.get("versions")
    rows += [[key, plain(value)] for key, value in versions.items()] if isinstance(versions, dict) else []
    rows += [["saved", one.created], ["folder", brief_place(one.folder)]]
    return Listing("How it was made", ["", ""], rows)


def plain(value: Any) -> str:
    """A value of a manifest in words, cut off where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}…"
