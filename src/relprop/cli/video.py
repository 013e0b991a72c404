"""`relprop video`: clips in; figures, films and numbers out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

import relprop
from relprop.cli.explain import picture_folders
from relprop.cli.output import Steps, percent, print_json, print_lines, print_table, progress
from relprop.cli.targets import Prediction, check_names, class_name, predictions, resolve
from relprop.errors import InputError, unknown_name
from relprop.methods.text import method_from, slug, with_settings
from relprop.models.sampling import Sampling
from relprop.models.sources import LoadedModel, load_model
from relprop.video.clip import Clip, read_clip
from relprop.video.separate import MODES
from relprop.video.separation import MotionSeparation
from relprop.viz.scale import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relprop.explanation import Explanation
    from relprop.explanation.saved import SavedLedger
    from relprop.propagate.ledger import Ledger

__all__ = ["Request", "explain_clips"]

_FILMS = ("original", "spatial", "temporal")


@dataclass(frozen=True)
class Request:
    """The options of `relprop video`, parsed.

    Attributes:
        sampling: what replaces the model's own sampling, by the names of `Sampling`.
        mode: as on the command line; None: the films aren't separated.
        scale: number that the strongest colour stands for; None: from the films.
    """

    clips: list[Path]
    model: str
    target: str
    method: str
    mode: str | None
    sampling: dict[str, Any]
    chunk: int
    fps: float
    scale: float | None
    out: Path
    weights: Path | None
    random_weights: bool
    labels: Path | None
    device: str
    json: bool


@dataclass(frozen=True)
class _Result:
    clip: Clip
    folder: Path
    predictions: list[Prediction]
    chosen: Prediction
    made: MotionSeparation | Explanation
    kept: Path  # the folder of numbers

    @property
    def split(self) -> MotionSeparation | None:
        """The separation, if there was one."""
        return self.made if isinstance(self.made, MotionSeparation) else None

    @property
    def films(self) -> dict[str, torch.Tensor]:
        """The films (T, H, W) by name."""
        if isinstance(self.made, MotionSeparation):
            return {name: getattr(self.made, name)[0] for name in _FILMS}
        return {"relevance": self.made.heatmap()[0]}

    @property
    def files(self) -> dict[str, str]:
        """What was written, by kind."""
        names = {"figure": "figure.png", "gif": "film.gif", "mp4": "film.mp4"}
        return {kind: str(self.folder / name) for kind, name in names.items()} | {"numbers": str(self.kept)}


def explain_clips(request: Request) -> None:
    """Do what `relprop video` was asked, and print what came of it.

    Raises:
        RelpropError: anything that can't be used. Method, mode and all clips are looked at before anything is
            explained; a clip's files appear once all its numbers are there.
    """
    mode = None if request.mode is None else _mode(request.mode)
    method_from(_method_text(request))  # a typing error shall not wait for the model
    Sampling(**request.sampling)
    _check_scale(request.scale)
    folders = picture_folders(request.out, request.clips)
    model = load_model(
        request.model,
        weights=request.weights,
        labels=request.labels,
        size=_size(request.sampling),
        random_weights=request.random_weights,
        device=request.device,
        progress=not request.json,
    )
    sampling = _sampling(request, model)
    clips = [read_clip(path, sampling) for path in request.clips]
    results = []
    with progress(len(clips), request.json) as steps:
        for clip, folder in zip(clips, folders, strict=True):
            steps.doing(clip.path.name)
            results.append(_explain(request, model, mode, clip, folder, steps))
            steps.done()
    if request.json:
        print_json(_document(model, sampling, results))
        return
    for result in results:
        _print(model, result)


def _mode(text: str) -> dict[str, Any]:
    """The mode and its settings, as `relprop.separate_motion` takes them."""
    name, settings = with_settings(text, "mode")
    if name not in MODES:
        raise unknown_name("mode", name, MODES)
    for key in settings:
        if key not in MODES[name]:
            valid = ", ".join(MODES[name]) or "none"
            raise InputError(f"Expected a setting of mode {name} but got {key!r}. Valid: {valid}.")
    return {"mode": name, **settings}


def _check_scale(scale: float | None) -> None:
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"Expected --scale as a number above 0 but got {scale:g}.")


def _method_text(request: Request) -> str:
    """The method as asked; where films are separated, started from 1 unless it says otherwise."""
    name, given = with_settings(request.method)
    if request.mode is None or "start" in given or method_from(name).settings().get("start") != "score":
        return request.method
    # Frozen clips score the class differently: starts in proportion to scores couldn't be compared.
    return f"{request.method}{',' if given else ':'}start=one"


def _size(sampling: dict[str, Any]) -> tuple[int, int, int] | None:
    """(T, H, W) for networks that are built for one, where it was asked for."""
    if not {"frames", "crop"} & set(sampling):
        return None
    side = sampling.get("crop", 112)
    if side is None:  # nothing is cut off what the resize leaves
        side = sampling.get("resize")
    height, width = side if isinstance(side, tuple) else (side or 112,) * 2
    return sampling.get("frames", 16), height, width


def _sampling(request: Request, model: LoadedModel) -> Sampling:
    own = model.sampling
    if own is None and not request.model.rpartition(":")[0].endswith(".py"):
        raise InputError(
            f"Expected a model of clips but {model.spec} takes pictures (N, C, H, W). Use relprop explain."
        )
    # Nothing is known of a model from a file: 16 frames of 112 x 112 in 0-1, and what the options say.
    return replace(own or Sampling(resize=112, crop=112), **request.sampling)


def _explain(
    request: Request,
    model: LoadedModel,
    mode: dict[str, Any] | None,
    clip: Clip,
    folder: Path,
    steps: Steps,
) -> _Result:
    x = model.place(clip.x)
    outputs = check_names(_scores(model, x), model.classes)
    found = predictions(outputs[0], model.classes, False)
    (target,) = resolve([request.target], found, model.classes, False)
    chosen = next(p for p in found if p.index == target)
    method = method_from(_method_text(request), clip.sampling.bounds(), steps.part)
    made: MotionSeparation | Explanation
    if mode is None:
        made = relprop.explain(model.module, x, target, method)
        kept = folder / slug(request.method)
    else:
        made = relprop.separate_motion(
            model.module, x, target, method, chunk=request.chunk, progress=steps.part, **mode
        )
        kept = folder / f"{slug(request.mode or made.mode)}_{slug(request.method)}"
    result = _Result(clip, folder, found, chosen, made, kept)
    _write(request, model, result)
    return result


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


def _write(request: Request, model: LoadedModel, result: _Result) -> None:
    from relprop.viz.file import save_figure
    from relprop.viz.film import save_gif, save_mp4
    from relprop.viz.motion_film import overlay_frames

    clip = result.clip
    names = {p.index: p.name for p in result.predictions}
    figure = _figure(request, model, result, names)
    # A film may go its own way: it says itself that the weights are random.
    note = " (random weights)" if model.weights.startswith("random") else ""
    said = names | {result.chosen.index: result.chosen.name + note}
    shown = overlay_frames(result.made, clip.frames, names=said, limit=request.scale)
    if isinstance(result.made, MotionSeparation):
        facts = {
            "clip": str(clip.path), "sampling": clip.sampling.as_dict(), "indices": clip.indices,
            "model": model.spec, "weights": model.weights, "class": result.chosen.name,
        }  # fmt: skip
        result.made.save(result.kept, overwrite=True, **facts)
    else:
        result.made.save(result.kept, overwrite=True, labels=names)
    save_gif(shown, result.folder / "film.gif", request.fps)
    save_mp4(shown, result.folder / "film.mp4", request.fps)
    save_figure(figure, result.folder / "figure.png")


def _figure(request: Request, model: LoadedModel, result: _Result, names: dict[int, str]) -> Figure:
    from relprop.viz.motion import motion_figure, relevance_figure

    clip, chosen = result.clip, result.chosen
    title = f"{chosen.name} {100 * chosen.score:.1f} % · {clip.path.name} · {model.spec}"
    if model.weights.startswith("random"):
        title += " · RANDOM WEIGHTS"
    scale: Literal["shared"] | float = "shared" if request.scale is None else request.scale
    notes = [
        f"Method: {request.method}.",
        *(f"{line[0].upper()}{line[1:]}." for line in clip.sampling.lines()),
    ]
    if model.weights.startswith("random"):
        notes.insert(
            0, "The weights are random: this shows that the way from file to film works, and nothing else."
        )
    if isinstance(result.made, MotionSeparation):
        return motion_figure(result.made, clip.frames, title=title, notes=notes, names=names, scale=scale)
    return relevance_figure(result.made, clip.frames, title=title, notes=notes, names=names, scale=scale)


def _print(model: LoadedModel, result: _Result) -> None:
    clip, chosen, made = result.clip, result.chosen, result.made
    print_lines(f"{clip.path} through {model.spec} (weights: {model.weights})")
    print_lines(*(f"  {line}" for line in clip.sampling.lines()))
    total = "" if clip.total is None else f" of {clip.total}"
    rate = "" if clip.fps is None else f", {clip.fps:g} a second"
    looped = "; looped" if clip.looped else ""
    print_lines(f"  film frames {clip.indices[0]} to {max(clip.indices)}{total}{rate}{looped}", "")
    shown = result.predictions[:5]
    shown += [chosen] if chosen not in shown else []
    rows = [
        [
            "→" if p is chosen else "",
            str(p.index),
            p.name,
            f"{p.output:.3f}".replace("-", "−"),
            f"{100 * p.score:.1f} %",
        ]
        for p in shown
    ]
    print_table(["", "class", "name", "output", "softmax"], rows, right=(1, 3, 4))
    print_lines("")
    films = {name: film.double() for name, film in result.films.items()}
    whole = float(next(iter(films.values())).sum())
    rows = [
        [
            name,
            *(number(float(v)).replace("-", "−") for v in (film.clamp(min=0).sum(), film.clamp(max=0).sum())),
            number(float(film.sum())).replace("-", "−"),
            percent(float(film.sum()), whole),
        ]
        for name, film in films.items()
    ]
    print_table(["film", "Σ for", "Σ against", "Σ", "of the whole"], rows, right=(1, 2, 3, 4))
    if not isinstance(made, MotionSeparation) and made.at != "input":
        print_lines(f"The map lies at {made.at}; film and sums are of the map resized to the clip.")
    if result.split is not None and result.split.frozen_targets is not None:
        counts = Counter(result.split.frozen_targets[0].tolist()).most_common()
        said = ", ".join(f"{class_name(k, model.classes)} {n}" for k, n in counts)
        print_lines(f"Standing still, the {len(clip.indices)} frames are taken for: {said}")
    print_lines(*_verdicts(made), "")
    words = {"figure": "Figure (red: for, blue: against)", "gif": "Film", "mp4": "Film", "numbers": "Numbers"}
    print_lines(*(f"{words[kind]}: {path}" for kind, path in result.files.items()), "")


def _ledgers(made: MotionSeparation | Explanation) -> dict[str, Ledger | SavedLedger]:
    if isinstance(made, MotionSeparation):
        return dict(made.ledgers)
    return {} if made.ledger is None else {"original": made.ledger}


def _verdicts(made: MotionSeparation | Explanation) -> list[str]:
    ledgers = _ledgers(made)
    if not ledgers:
        return ["no ledger: this method has no rules"]
    closes = "yes" if all(ledger.closes for ledger in ledgers.values()) else "NO"
    worst = max(ledger.max_error for ledger in ledgers.values())
    return [f"adds up at every operator ({', '.join(ledgers)}): {closes} (largest error {worst:.1e})"]


def _document(model: LoadedModel, sampling: Sampling, results: list[_Result]) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "relprop": version("relprop"),
        "model": {"spec": model.spec, "weights": model.weights},
        "sampling": sampling.as_dict(),
        "clips": [_described(result, model) for result in results],
    }


def _described(result: _Result, model: LoadedModel) -> dict[str, Any]:
    clip, made, split = result.clip, result.made, result.split
    frozen = None if split is None else split.frozen_targets
    return {
        "clip": str(clip.path),
        "film_frames": list(clip.indices),
        "seconds": list(clip.seconds),
        "frames_in_film": clip.total,
        "fps": clip.fps,
        "looped": clip.looped,
        "predictions": [
            {"index": p.index, "name": p.name, "output": p.output, "score": p.score}
            for p in result.predictions[:5]
        ],
        "target": {"index": result.chosen.index, "name": result.chosen.name, "score": result.chosen.score},
        "method": made.method,
        "mode": None if split is None else split.mode,
        "at": "input" if isinstance(made, MotionSeparation) else made.at,
        "settings": made.settings,
        "films": {
            name: {
                "sum": float(film.double().sum()),
                "positive": film.clamp(min=0).double().sum((1, 2)).tolist(),
                "negative": film.clamp(max=0).double().sum((1, 2)).tolist(),
            }
            for name, film in result.films.items()
        },
        "frozen_classes": None
        if frozen is None
        else [{"index": k, "name": class_name(k, model.classes)} for k in frozen[0].tolist()],
        "ledgers": {name: ledger.summary() for name, ledger in _ledgers(made).items()},
        "files": result.files,
    }
