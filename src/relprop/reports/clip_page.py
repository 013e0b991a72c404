"""A clip's page in a report: its figure, film and numbers, and what is printed of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relprop.explanation import Explanation
from relprop.explanation.warned import all_zero
from relprop.models.loaded import LoadedModel
from relprop.reports.clip_found import ClipFound
from relprop.reports.clip_question import ClipQuestion
from relprop.reports.clip_words import camera_words
from relprop.reports.predictions import predictions_facts, predictions_table
from relprop.reports.report import Page
from relprop.reports.sources import heading
from relprop.reports.text import Block, Table, Written, percent, remark_lines, signed
from relprop.reports.works import Drawing, Film, Numbers, Work
from relprop.video.films import reel
from relprop.video.separation import MotionSeparation
from relprop.viz.labels import class_name
from relprop.viz.motion import motion_figure
from relprop.viz.motion_film import overlay_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["TOLD", "clip_page"]

TOLD = "video.json"  # the document, beside each clip's files

_WORDS = {"figure": "Figure (red: for, blue: against)", "gif": "Film", "mp4": "Film", "numbers": "Numbers"}


def clip_page(asked: ClipQuestion, model: LoadedModel, folder: Path, found: ClipFound) -> Page:
    """A clip's figure, film and numbers, what is printed of it, and its part of the document."""
    clip, made, chosen = found.clip, found.made, found.chosen
    names = {p.index: p.name for p in found.predictions}
    # A film may go its own way: it says itself that the weights are random.
    note = " (random weights)" if _random(model) else ""
    said = names | {chosen.index: chosen.name + note}

    def frames() -> NDArray[Any]:
        return overlay_frames(reel(made, clip.frames), names=said, limit=asked.scale)

    if isinstance(made, MotionSeparation):
        facts = {
            "clip": str(clip.path), "sampling": clip.sampling.as_dict(), "indices": clip.indices,
            "model": model.spec, "weights": model.weights, "class": chosen.name,
            **({} if found.rival is None else {"versus": found.rival}),
        }  # fmt: skip
        numbers = Numbers(made, frames=clip.frames, **facts)
    else:
        numbers = Numbers(made, labels=names)
    kept = folder / asked.kept
    files = {
        "figure": folder / "figure.png",
        "gif": folder / "film.gif",
        "mp4": folder / "film.mp4",
        "numbers": kept,
    }
    works: dict[Path, Work] = {
        files["numbers"]: numbers,
        folder / "film": Film(frames, asked.fps),
        files["figure"]: Drawing(lambda: _figure(asked, model, found, names)),
    }
    unclosed = any(not ledger.closes for ledger in found.ledgers.values())
    return Page(works, _document(model, found, files), _text(model, found, files), unclosed)


def _random(model: LoadedModel) -> bool:
    return model.weights.startswith("random")


def _figure(asked: ClipQuestion, model: LoadedModel, found: ClipFound, names: dict[int, str]) -> Figure:
    clip, chosen = found.clip, found.chosen
    rather = "" if found.rival is None else f" rather than {found.rival}"
    title = f"{chosen.name} {100 * chosen.score:.1f} %{rather} · {clip.path.name} · {model.spec}"
    notes = [
        f"Method: {asked.name}.",
        *(f"{line[0].upper()}{line[1:]}." for line in clip.sampling.lines()),
    ]
    if _random(model):
        title += " · RANDOM WEIGHTS"
        notes.insert(
            0,
            "The weights are random: this shows that reading, explaining and drawing work, and nothing else.",
        )
    scale: Literal["shared"] | float = "shared" if asked.scale is None else asked.scale
    return motion_figure(reel(found.made, clip.frames), title=title, notes=notes, names=names, scale=scale)


def _text(model: LoadedModel, found: ClipFound, files: dict[str, Path]) -> tuple[Block, ...]:
    clip, made, split = found.clip, found.made, found.split
    total = "" if clip.total is None else f" of {clip.total}"
    rate = "" if clip.fps is None else f", {clip.fps:g} a second"
    looped = "; looped" if clip.looped else ""
    text: list[Block] = [
        heading(clip.path, model.spec, model.weights),
        *(f"  {line}" for line in clip.sampling.lines()),
        f"  film frames {clip.indices[0]} to {max(clip.indices)}{total}{rate}{looped}",
        "",
        predictions_table(found.predictions, 5, [found.chosen.index], "softmax"),
        "",
        *([] if found.rival is None else [f"Explained: {found.chosen.name} rather than {found.rival}", ""]),
        _films_table(found),
    ]
    if isinstance(made, Explanation) and made.at != "input":
        text.append(f"The map lies at {made.at}; film and sums are of the map resized to the clip.")
    if split is not None and split.frozen_targets is not None:
        counts = Counter(split.frozen_targets[0].tolist()).most_common()
        said = ", ".join(f"{class_name(k, model.classes)} {n}" for k, n in counts)
        text.append(f"Standing still, the {len(clip.indices)} frames are taken for: {said}")
    if found.path is not None:
        text.append(f"The camera {camera_words(found, ' (--camera says otherwise)')}")
    text += [_verdict(found), *remark_lines({made.method: (made.warnings, made.notes)}), ""]
    text += [Written(_WORDS[kind], path) for kind, path in files.items()]
    return (*text, "")


def _films_table(found: ClipFound) -> Table:
    films = {name: film.double() for name, film in found.films.items()}
    whole = float(next(iter(films.values())).sum())
    rows = [
        [
            name,
            *(signed(float(v)) for v in (film.clamp(min=0).sum(), film.clamp(max=0).sum(), film.sum())),
            percent(float(film.sum()), whole),
        ]
        for name, film in films.items()
    ]
    return Table(["film", "Σ for", "Σ against", "Σ", "of the whole"], rows, (1, 2, 3, 4))


def _verdict(found: ClipFound) -> str:
    ledgers = found.ledgers
    if all(map(all_zero, found.films.values())) and all(ledger.closes for ledger in ledgers.values()):
        return "all zero: there is nothing to add up"
    if not ledgers:
        return "no ledger: this method has no rules"
    closes = "yes" if all(ledger.closes for ledger in ledgers.values()) else "NO"
    worst = max(ledger.max_error for ledger in ledgers.values())
    return f"adds up at every operator ({', '.join(ledgers)}): {closes} (largest error {worst:.1e})"


def _document(model: LoadedModel, found: ClipFound, files: dict[str, Path]) -> dict[str, Any]:
    clip, made, split = found.clip, found.made, found.split
    frozen = None if split is None else split.frozen_targets
    return {
        "clip": str(clip.path),
        "film_frames": list(clip.indices),
        "seconds": list(clip.seconds),
        "frames_in_film": clip.total,
        "fps": clip.fps,
        "looped": clip.looped,
        "predictions": predictions_facts(found.predictions, 5),
        "target": {"index": found.chosen.index, "name": found.chosen.name, "score": found.chosen.score},
        "versus": found.rival,
        "method": made.method,
        "mode": None if split is None else split.mode,
        "at": made.at if isinstance(made, Explanation) else "input",
        "settings": made.settings,
        "films": {
            name: {
                "sum": float(film.double().sum()),
                "positive": film.clamp(min=0).double().sum((1, 2)).tolist(),
                "negative": film.clamp(max=0).double().sum((1, 2)).tolist(),
            }
            for name, film in found.films.items()
        },
        "frozen_classes": None
        if frozen is None
        else [{"index": k, "name": class_name(k, model.classes)} for k in frozen[0].tolist()],
        "camera": None
        if found.path is None
        else {
            "words": found.path.words((clip.frames.shape[1], clip.frames.shape[2])),
            "estimated": found.path.estimated,
            "maps": found.path.maps.tolist(),
        },
        "ledgers": {name: ledger.summary() for name, ledger in found.ledgers.items()},
        "all_zero": all(map(all_zero, found.films.values())),
        "warnings": made.warnings,
        "notes": made.notes,
        "files": files,
    }
