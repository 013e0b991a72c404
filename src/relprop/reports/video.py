"""Clips explained: figures, films and numbers; what is relevant by its looks and what because it moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relprop.bar import draws_bar
from relprop.explanation.folder import version
from relprop.explanation.saved import FORMAT
from relprop.files import FILM, regular_file
from relprop.methods.registry import MethodLike
from relprop.models.sampling import Sampling
from relprop.precision import full_precision
from relprop.reports.clip_found import clip_predictions, clip_sampling, explained
from relprop.reports.clip_page import TOLD, clip_page
from relprop.reports.clip_question import clip_question
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import Model, check_places, folders, listed, loaded, model_facts
from relprop.reports.steps import Progress, Steps
from relprop.video.camera import Camera
from relprop.video.clip import read_clip
from relprop.video.separation import FORMAT as SEPARATION

__all__ = ["clip_size", "video"]


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
    asked = clip_question(
        target=target,
        method=method,
        versus=versus,
        mode=mode,
        camera=camera,
        chunk=chunk,
        fps=fps,
        scale=scale,
    )
    given = dict(sampling or {})
    Sampling(**given)
    paths = [Path(str(path)) for path in listed(clips)]
    for path in paths:
        regular_file(path, FILM)
    places = folders(out, paths)
    for place in places:
        films = [place / file for file in ("figure.png", "film.gif", "film.mp4", TOLD)]
        check_places(out, films, [place / asked.kept], FORMAT if asked.split is None else SEPARATION)
    ready = loaded(model)
    whole = clip_sampling(given, ready)
    read = [read_clip(path, whole) for path in paths]
    steps = Steps(progress, len(read))

    def pages() -> Iterator[Page]:
        for clip, folder in zip(read, places, strict=True):
            steps.doing(clip.path.name)
            seen = clip_predictions(ready, clip)
            yield clip_page(asked, ready, folder, explained(asked, ready, clip, seen, steps))
            steps.done()

    head = {
        "relprop": version(),
        "model": model_facts(ready.spec, ready.weights),
        "sampling": whole.as_dict(),
    }
    return gathered(head, "clips", pages(), out, told=TOLD)


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
