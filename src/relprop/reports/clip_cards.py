"""Cards of clips: the films of a clip in step, and what is relevant by its looks and what because it moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relprop.errors import InputError
from relprop.explanation.folder import as_saved
from relprop.explanation.saved import FORMAT as EXPLANATION
from relprop.files import read_text
from relprop.reports.card import Bar, Card, Listing, ReportSection
from relprop.reports.clip_words import split_sentence
from relprop.reports.found import Skipped, Subject, brief_place
from relprop.reports.opened import Opened, books, made_by, opened, plain
from relprop.reports.picture_cards import bars
from relprop.reports.sentence import accounted, sentence
from relprop.reports.text import percent, signed
from relprop.video.films import frames_of, reel
from relprop.video.separation import FORMAT as SEPARATION
from relprop.video.separation import MotionSeparation
from relprop.viz.motion_player import motion_player
from relprop.viz.picture import display_picture
from relprop.viz.still import folded_html, still_file

__all__ = ["clip_section"]

_FILMS = {"original": "the whole", "spatial": "by its looks", "temporal": "because it moves"}


def clip_section(subject: Subject, skip: Callable[[Skipped], None]) -> ReportSection | None:
    """The section of a clip; None where nothing of it could be read.

    Args:
        subject: of kind "clip".
        skip: told of what can't be shown.
    """
    cards: list[Card] = []
    facts: dict[str, str] = {}
    said: list[Bar] = []
    dates, versions = [], []
    for folder in subject.numbers:
        try:
            manifest = json.loads(read_text(folder / "manifest.json", "a manifest"))
            with as_saved(folder):
                if manifest["format"] == EXPLANATION.name:
                    one = opened(folder, subject)
                    cards.append(_explained(one, subject))
                    said = said or bars(one)
                else:
                    cards.append(_separated(folder, manifest, subject))
                about = manifest.get("facts") or {}
                facts |= {key: str(about[key]) for key in ("model", "weights", "clip") if key in about}
                dates.append(str(manifest.get("created", "")))
                versions.append(str((manifest.get("versions") or {}).get("relprop", "")))
        except (InputError, ValueError, RecursionError) as error:
            skip(Skipped(folder, str(error)))
    if not cards:
        return None
    told = subject.document
    page = {} if told is None else told.page
    model = dict(told.head.get("model") or {}) if told is not None else {}
    spec, weights = model.get("spec", facts.get("model", "")), model.get("weights", facts.get("weights", ""))
    clip = str(page.get("clip", facts.get("clip", "")))
    said = [
        Bar(str(p["name"]), f"{100 * p['score']:.1f} %", p["score"]) for p in page.get("predictions", ())
    ] or said
    known = [("model", f"{spec} (weights: {weights})")] if spec else []
    known += [("file", Path(clip).name)] if clip else []
    return ReportSection(
        "clip", Path(clip).name or subject.name, [*known, ("results", brief_place(subject.folder))], said,
        cards=cards, model=str(spec), dates=[d for d in dates if d], versions=[v for v in versions if v],
    )  # fmt: skip


def _drawn(subject: Subject, folder: Path, alt: str) -> list[str]:
    """The figure of frames and films as the command drew it, where it is of these numbers."""
    file, told = subject.folder / "figure.png", subject.document
    if not subject.own or not file.is_file() or (told is not None and subject.of(folder) is None):
        return []
    drawn = still_file(file, alt=alt, width=1000, most=100_000)
    return [folded_html(drawn, "As relprop video drew it: frames, films, sums and slices over time")]


def _separated(folder: Path, manifest: Mapping[str, Any], subject: Subject) -> Card:
    made = MotionSeparation.load(folder)
    about = manifest.get("facts") or {}
    index = int(made.targets.reshape(-1)[0])
    name = str(about.get("class", f"class {index}"))
    asked = _asked(name, about.get("versus"), made.settings.get("versus"))
    films = {key: getattr(made, key).double() for key in _FILMS}
    whole = float(films["original"].sum())
    rows: list[list[str]] = []
    values: dict[tuple[int, int], float] = {}
    for i, (key, film) in enumerate(films.items()):
        sums = (float(film.clamp(min=0).sum()), float(film.clamp(max=0).sum()), float(film.sum()))
        rows.append([key, _FILMS[key], *map(signed, sums), percent(sums[2], whole)])
        values |= {(i, j): v for j, v in enumerate(sums, 2)}
    sums_of = Listing(
        "",
        ["film", "relevant", "Σ for", "Σ against", "Σ", "of the whole"],
        rows,
        (2, 3, 4, 5),
        values,
        folded=False,
    )
    score = (
        float(made.outputs[0, index])
        if made.outputs.dim() == 2 and 0 <= index < made.outputs.shape[1]
        else None
    )
    kept_frames = SEPARATION.read(folder)[1].get("frames")
    clip = None if kept_frames is None else kept_frames.numpy()
    shown = reel(made, frames_of(made, clip, 0))
    alone = [] if clip is not None else ["The films stand on white: the frames were not saved with them."]
    player = motion_player(shown, names={index: name}, script=False)
    kept = [
        Listing(f"{key}: {listing.title}", listing.headers, listing.rows, listing.right, listing.values)
        for key, ledger in made.ledgers.items() for listing in books(ledger)[:1]
    ]  # fmt: skip
    return Card(
        name, name, f"{made.method}, {made.mode} split",
        [] if score is None else [f"output {signed(score)}"],
        [player, *_drawn(subject, folder, f"Frames of the clip above its films by {made.method} for {name}.")],
        f"Red speaks for {asked}. {split_sentence(made, asked, shown.caution)}", made.warnings,
        [*shown.remarks, *alone], [sums_of, *kept, _facts(folder, manifest)], score,
        wide=True,
    )  # fmt: skip


def _asked(name: str, rival: Any, index: Any) -> str:
    """The class, and the one whose score was taken off, by name where it was saved."""
    if rival is None and index is None:
        return name
    return f"{name} rather than {f'class {index}' if rival is None else rival}"


def _explained(one: Opened, subject: Subject) -> Card:
    e = one.explanation
    name = ", ".join(dict.fromkeys(one.names))
    mean, std = one.colours.get("mean"), one.colours.get("std")
    frames, remark = display_picture(e.input[0].movedim(e.channel_axis - 1, 0), mean, std)
    shown = reel(e, np.asarray(np.rint(255 * frames), dtype=np.uint8))
    labels = {int(t): words for t, words in zip(e.targets.reshape(-1).tolist(), one.names, strict=True)}
    figures = [motion_player(shown, names=labels, script=False)]
    figures += _drawn(subject, one.folder, f"Frames of the clip above its film by {e.method} for {name}.")
    stretched = [f"Frames: {remark}."] if remark else []
    return Card(
        name, name, one.asked if one.asked == e.method else f"{one.asked}: {e.method}", figures=figures,
        sentence=sentence(e, name), warnings=e.warnings, notes=[*shown.remarks, *stretched],
        listings=[*books(e.ledger), made_by(one)], share=accounted(e), wide=True,
    )  # fmt: skip


def _facts(folder: Path, manifest: Mapping[str, Any]) -> Listing:
    about = manifest.get("facts") or {}
    versions = manifest.get("versions") or {}
    told = {**about, **({"clip": Path(str(about["clip"])).name} if "clip" in about else {}), **versions}
    rows = [[key, plain(value)] for key, value in told.items()]
    rows += [
        ["settings", plain(manifest.get("settings"))],
        ["saved", str(manifest.get("created", ""))],
        ["folder", brief_place(folder)],
    ]
    return Listing("How it was made", ["", ""], rows)
