"""Clips explained: figures, films and numbers; what is relevant by its looks and what because it moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from relprop.bar import draws_bar
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.explanation.folder import version
from relprop.explanation.saved import FORMAT
from relprop.explanation.warned import all_zero
from relprop.files import FILM, regular_file
from relprop.methods.registry import MethodLike
from relprop.methods.registry import resolve as resolve_method
from relprop.models.classes import Prediction, check_names, predictions, resolve
from relprop.models.loaded import LoadedModel
from relprop.models.sampling import Sampling
from relprop.precision import full_precision
from relprop.propagate.names import class_index
from relprop.registry import slug
from relprop.reports.predictions import predictions_facts, predictions_table
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import Model, check_places, folders, heading, listed, loaded, model_facts
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Block, Table, Written, percent, remark_lines, signed
from relprop.reports.works import Drawing, Film, Numbers, Work
from relprop.video.camera import Camera, CameraPath
from relprop.video.clip import Clip, read_clip
from relprop.video.films import reel
from relprop.video.modes import mode_named
from relprop.video.separate import separation_of
from relprop.video.separation import FORMAT as SEPARATION
from relprop.video.separation import MotionSeparation
from relprop.viz.labels import class_name
from relprop.viz.motion import motion_figure
from relprop.viz.motion_film import overlay_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from relprop.propagate.ledger import Ledger

__all__ = ["clip_size", "video"]

_TOLD = "video.json"
_FILMS = ("original", "spatial", "temporal")
_WORDS = {"figure": "Figure (red: for, blue: against)", "gif": "Film", "mp4": "Film", "numbers": "Numbers"}


@dataclass(frozen=True)
class _Asked:
    target: str
    method: MethodLike
    name: str  # the method's, as asked
    versus: str | None
    mode: str | None
    split: dict[str, Any] | None  # the mode as `relprop.separate_motion` takes it
    chunk: int
    fps: float
    scale: float | None


@dataclass(frozen=True)
class _Found:
    clip: Clip
    predictions: list[Prediction]
    chosen: Prediction
    rival: str | None
    made: MotionSeparation | Explanation

    @property
    def split(self) -> MotionSeparation | None:
        """The separation, if there was one."""
        return self.made if isinstance(self.made, MotionSeparation) else None

    @property
    def path(self) -> CameraPath | None:
        """The camera's, where the films follow it."""
        if self.split is None or self.split.camera is None:
            return None
        return CameraPath.of(self.split.camera[0], estimated=self.split.settings.get("camera") == "auto")

    @property
    def films(self) -> dict[str, torch.Tensor]:
        """The films (T, H, W) by name."""
        if isinstance(self.made, MotionSeparation):
            return {name: getattr(self.made, name)[0] for name in _FILMS}
        return {"relevance": self.made.heatmap()[0]}

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """The ledgers by name."""
        if isinstance(self.made, MotionSeparation):
            return dict(self.made.ledgers)
        return {} if self.made.ledger is None else {"original": self.made.ledger}


@draws_bar()
@full_precision
def video(
    model: Model,
    clips: Any,
    *,
    target: str | int = "top",
    method: MethodLike = "deep-taylor",
    versus: str | int | None = None,
    mode: str | None = None,
    camera: Camera = "auto",
    sampling: Mapping[str, Any] | None = None,
    chunk: int = 4,
    fps: float = 6,
    scale: float | None = None,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Explain clips, and say what is relevant by its looks and what because it moves: `relprop video`.

    A page a clip: a figure of its frames and films (``figure.png``), the same as films (``film.gif``,
    ``film.mp4``), and the numbers in a folder named after mode and method.

    Args:
        model: of clips, see `relprop.reports.picture`; a module isn't enough.
        clips: one or several film files.
        target: a class index or name, or ``"top"``.
        method: as for `relprop.explain` (and, where films are separated, `relprop.separate_motion`).
        versus: a class index or name, whose score is taken off that of the target.
        mode: ``"conserving"``, ``"naive"`` or ``"selective"``, with settings behind a colon; None: films
            aren't separated.
        camera: as for `relprop.separate_motion` where the mode is conserving, or the path of a text file of a line
            a frame: two numbers (offsets) or six (a map).
        sampling: what replaces the model's own sampling, by the names of `relprop.models.sampling.Sampling`.
        chunk: frozen clips that run at once.
        fps: frames a second of the films written.
        scale: number that the strongest colour stands for; None: from the films.
        out: a folder to which each clip's files are written once all its numbers are there.
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

    Raises:
        RelpropError: anything that can't be used. Method, mode and all clips are looked at before anything is
            explained.
    """
    split = None if mode is None else mode_named(mode)
    recipe = resolve_method(method)  # a typing error shall not wait for the model
    name = method if isinstance(method, str) else recipe.name
    split = _followed(split, camera)
    rival = None if versus is None else str(versus)
    asked = _Asked(str(target), method, name, rival, mode, split, chunk, fps, scale)
    given = dict(sampling or {})
    Sampling(**given)
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"Expected --scale as a number above 0 but got {scale:g}.")
    paths = [Path(str(path)) for path in listed(clips)]
    for path in paths:
        regular_file(path, FILM)
    places = folders(out, paths)
    for place in places:
        films = [place / file for file in ("figure.png", "film.gif", "film.mp4", _TOLD)]
        check_places(out, films, [place / _kept(asked)], FORMAT if split is None else SEPARATION)
    ready = loaded(model)
    whole = _sampling(given, ready)
    read = [read_clip(path, whole) for path in paths]
    steps = Steps(progress, len(read))

    def pages() -> Iterator[Page]:
        for clip, folder in zip(read, places, strict=True):
            steps.doing(clip.path.name)
            yield _page(asked, ready, folder, _explained(asked, ready, clip, steps))
            steps.done()

    head = {
        "relprop": version(),
        "model": model_facts(ready.spec, ready.weights),
        "sampling": whole.as_dict(),
    }
    return gathered(head, "clips", pages(), out, told=_TOLD)


def _followed(split: dict[str, Any] | None, camera: Camera) -> dict[str, Any] | None:
    """The split with the camera's path in it.

    Raises:
        InputError: a path beside a mode that follows none; a file that can't be read.
    """
    if isinstance(camera, str) and camera == "auto":
        return split
    if split is None or split["mode"] != "conserving":
        got = "films aren't separated" if split is None else f"the mode is {split['mode']}"
        raise InputError(f"Expected --camera beside --separate or --mode conserving but {got}. Leave it out.")
    if isinstance(camera, str) and camera != "still":
        path = regular_file(Path(camera), "a text file of the camera's path")
        try:
            lines = [line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
            if not any(map(str.strip, lines)):
                raise ValueError("it holds no line")
            numbers = np.loadtxt(lines, ndmin=2)
        except ValueError as error:
            raise InputError(
                f"Expected lines of two or six numbers in '{camera}' but it can't be read so: "
                f"{str(error).rstrip('.')}. Write a line a frame."
            ) from None
        if numbers.shape[1:] not in ((2,), (6,)):
            raise InputError(
                f"Expected lines of two or six numbers in '{camera}' but got {numbers.shape[1]} in each. Write a "
                "line a frame: offsets, or a map."
            )
        camera = numbers.reshape(len(numbers), 2, 3) if numbers.shape[1] == 6 else numbers
    return {**split, "camera": camera}


def clip_size(sampling: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """(T, H, W) for networks that are built for one size, where a sampling asks for it; None: their own.

    >>> clip_size({"frames": 8}), clip_size({"crop": None, "resize": 64}), clip_size({"stride": 2})
    ((8, 112, 112), (16, 64, 64), None)
    """
    if not {"frames", "crop"} & set(sampling):
        return None
    side = sampling.get("crop", 112)
    if side is None:  # nothing is cut off what the resize leaves
        side = sampling.get("resize")
    height, width = side[-2:] if isinstance(side, tuple) else (side or 112,) * 2  # Sampling refuses a third
    return sampling.get("frames", 16), height, width


def _sampling(given: dict[str, Any], model: LoadedModel) -> Sampling:
    own = model.sampling
    if own is None and not model.spec.rpartition(":")[0].endswith(".py"):
        raise InputError(
            f"Expected a model of clips but {model.spec} takes pictures (N, C, H, W). Use relprop explain."
        )
    # Nothing is known of a model from a file: 16 frames of 112 x 112 in 0-1, and what the options say.
    return replace(own or Sampling(resize=112, crop=112), **given)


def _explained(asked: _Asked, model: LoadedModel, clip: Clip, steps: Steps) -> _Found:
    x = model.to_device(clip.x)
    outputs = check_names(_scores(model, x), model.classes)
    found = predictions(outputs[0], model.classes, False)
    (target,) = resolve([asked.target], found, model.classes, False)
    chosen = next(p for p in found if p.index == target)
    rival = None if asked.versus is None else class_index(asked.versus, len(found), model.classes)
    facts = replace(model.facts, box=clip.sampling.bounds(), progress=steps.part)
    made: MotionSeparation | Explanation
    if asked.split is None:
        made = explanation_of(model.module, x, target, asked.method, versus=rival, facts=facts)
    else:
        made = separation_of(
            model.module,
            x,
            target,
            asked.method,
            versus=rival,
            chunk=asked.chunk,
            progress=steps.part,
            facts=facts,
            **asked.split,
        )
    against = None if rival is None else class_name(rival, model.classes)
    return _Found(clip, found, chosen, against, made)


def _scores(model: LoadedModel, x: torch.Tensor) -> object:
    try:
        with torch.no_grad():
            return model.module(x)
    except RuntimeError as error:  # of torch's operators, about shapes
        raise InputError(
            f"Expected a model of clips (N, C, T, H, W) but {model.spec} does not take {tuple(x.shape)}: "
            f"{' '.join(str(error).split())[:160]}. Set the size with --frames, --resize and --crop, or explain "
            "pictures with relprop explain."
        ) from error


def _page(asked: _Asked, model: LoadedModel, folder: Path, found: _Found) -> Page:
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
        }  # fmt: skip
        numbers = Numbers(made, frames=clip.frames, **facts)
    else:
        numbers = Numbers(made, labels=names)
    kept = folder / _kept(asked)
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


def _kept(asked: _Asked) -> str:
    """The folder of numbers."""
    return slug(asked.name) if asked.mode is None else f"{slug(asked.mode)}_{slug(asked.name)}"


def _random(model: LoadedModel) -> bool:
    return model.weights.startswith("random")


def _figure(asked: _Asked, model: LoadedModel, found: _Found, names: dict[int, str]) -> Figure:
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


def _text(model: LoadedModel, found: _Found, files: dict[str, Path]) -> tuple[Block, ...]:
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
        text.append(f"The camera {_camera_words(found.path, found)}")
    text += [_verdict(found), *remark_lines({made.method: (made.warnings, made.notes)}), ""]
    text += [Written(_WORDS[kind], path) for kind, path in files.items()]
    return (*text, "")


def _camera_words(path: CameraPath, found: _Found) -> str:
    height, width = found.clip.frames.shape[1:3]
    how = "as estimated from the frames (--camera says otherwise)" if path.estimated else "as given"
    return f"{path.words((height, width))}, {how}"


def _films_table(found: _Found) -> Table:
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


def _verdict(found: _Found) -> str:
    ledgers = found.ledgers
    if all(map(all_zero, found.films.values())) and all(ledger.closes for ledger in ledgers.values()):
        return "all zero: there is nothing to add up"
    if not ledgers:
        return "no ledger: this method has no rules"
    closes = "yes" if all(ledger.closes for ledger in ledgers.values()) else "NO"
    worst = max(ledger.max_error for ledger in ledgers.values())
    return f"adds up at every operator ({', '.join(ledgers)}): {closes} (largest error {worst:.1e})"


def _document(model: LoadedModel, found: _Found, files: dict[str, Path]) -> dict[str, Any]:
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
