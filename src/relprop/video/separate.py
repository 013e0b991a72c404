"""separate_motion: which relevance comes from how frames look, and which from motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from relprop.bar import draws_bar
from relprop.checks import Progress, check_choice, check_count
from relprop.errors import InputError
from relprop.explanation.explain import explanation_of
from relprop.explanation.warned import telling, untold
from relprop.methods.facts import Facts, facts_of
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve
from relprop.precision import full_precision
from relprop.propagate.ledger import Ledger
from relprop.registry import split_settings
from relprop.shortage import tells_shortage
from relprop.video.camera import Camera, CameraPath, camera_note, read_camera
from relprop.video.conserving import conserving_split
from relprop.video.modes import MODES
from relprop.video.naive import Normalise, Slice, naive_split
from relprop.video.selective import check_selection, selective_split
from relprop.video.separation import MotionSeparation, Split, check_place
from relprop.video.tracking import estimated_path

__all__ = ["separate_motion", "separation_of"]


@telling
@draws_bar("frames")
@tells_shortage
@full_precision
def separate_motion(
    model: nn.Module,
    clip: Tensor,
    target: int | Tensor | Sequence[int | Tensor] | None = None,
    method: MethodLike = "deep-taylor",
    mode: Literal["naive", "conserving", "selective"] = "naive",
    *,
    versus: int | Tensor | None = None,
    slice: Slice = "same",
    normalise: Normalise | None = None,
    clamp: bool = False,
    padding: Literal["replicate", "zero"] = "replicate",
    sigma: float = 1.0,
    absolute: bool = False,
    camera: Camera = "auto",
    chunk: int = 4,
    progress: Progress | bool | None = None,
    facts: Facts | None = None,
) -> MotionSeparation:
    """Split a clip's relevance into what its frames' looks explain and what motion adds.

    Three modes; `docs/video.md` has their mathematics and says what each one's films mean.

    - "naive": each frame is shown alone (repeated T times) and the same class explained; temporal =
      original - spatial. T + 1 explanations.
    - "conserving": one explanation, T forward runs and two walks. Relevance is split by the share of activity
      that freezing takes away, and carried to the input in two streams. The sums of spatial and temporal
      make the sum of original. For methods with the z+ and z-box rules (deep-taylor, lrp-composite).
    - "selective": one explanation; temporal is the relevance at places where it changes over time.

    Clips are taken one at a time and their frozen clips `chunk` at a time, so memory grows with `chunk`
    alone.

    Args:
        model: maps clips (N, C, T, H, W) to scores (N, classes), in evaluation mode. It is left as it came.
        clip: (N, C, T, H, W) with T >= 2, as the model expects it.
        target: as for `relprop.explain`; None explains each clip's top class, in the frozen clips too.
        method: as for `relprop.explain`. A name, with settings or without, stands for the method with seed "one"
            unless it says otherwise (frozen clips score the class differently, and seeds in proportion to
            scores couldn't be compared); a configured method is taken as it is. Bounds "sample" are those of
            the whole clip, in its frozen clips too.
        mode: which split.
        versus: as for `relprop.explain`: another class, whose score is taken off that of the target. Under deep
            Taylor the films show what speaks for the target rather than for that class ("why not B?").
        slice: naive: which slice of a frozen clip's relevance stands for its frame: "same" (slice t for
            frame t), "first" (slice 0), the "mean" or the "sum" of all.
        normalise: naive: "maxabs" divides each explanation by its own largest absolute value first; with
            slice="first" that is what the authors' script does.
        clamp: naive: negative temporal relevance becomes 0.
        padding: selective: "replicate" or "zero" (`relprop.video.selective`).
        sigma: selective: standard deviations a change must have.
        absolute: selective: take rising relevance too.
        camera: conserving: how the camera moves, whose motion is taken off: "auto" estimates it from the frames
            (`relprop.video.estimated_path`; the result's `camera` and `notes` tell), "still" takes it to rest. Or
            a path: a `relprop.video.CameraPath`, offsets (T, 2) by which the picture's content is moved right and
            down in each frame, or maps (T, 2, 3) from the first frame to each; for N clips one, or (N, ...).
        chunk: frozen clips that run at once.
        progress: True for a bar in a notebook or on a terminal; or a function of (frames done, frames).
        facts: as for `relprop.explain`.

    Raises:
        InputError: a clip that isn't (N, C, T, H, W) or has one frame, an unknown mode or setting, a
            setting of another mode, a camera path of another length, a target out of range, a method whose
            relevance isn't at the input.

    Warns:
        RelpropWarning: what is in the result's `warnings`, once a call.

    Source: Hiley et al. 2019 (naive); Hiley et al. 2020 (selective).
    """
    settings = _settings(
        mode,
        {
            "slice": slice, "normalise": normalise, "clamp": clamp,
            "padding": padding, "sigma": sigma, "absolute": absolute,
            "camera": camera if isinstance(camera, str) else "a path",
        },
    )  # fmt: skip
    check_count("chunk", chunk, most=4096)
    _check_clip(clip)
    cameras = read_camera(camera, len(clip), clip.shape[2])
    recipe = _from_one(method)
    n, length = clip.shape[0], clip.shape[2]
    done = 0

    def tick(frames: int) -> None:
        nonlocal done
        done += frames
        if callable(progress):
            progress(done, n * length)

    def path_of(i: int) -> CameraPath:
        if cameras == "auto":
            return estimated_path(clip[i])
        return CameraPath.of(np.zeros((length, 2))) if cameras == "still" else cameras[i]

    def split(i: int, own: Any, rival: Any) -> Split:
        one = clip[i : i + 1]
        known = facts_of(model).fitting(one) if facts is None else facts
        boxed = _with_box(recipe.informed(known), one)
        if mode == "conserving":
            return conserving_split(
                model, one, own, boxed, versus=rival, chunk=chunk, tick=tick, path=path_of(i), facts=known
            )
        e = explanation_of(model, one, own, boxed, versus=rival, facts=known)
        check_place(e.method, e.at)
        if mode == "selective":
            tick(length)
            return selective_split(e, padding=padding, sigma=sigma, absolute=absolute)
        return naive_split(
            model,
            e,
            boxed,
            versus=rival,
            slice=slice,
            normalise=normalise,
            clamp=clamp,
            chunk=chunk,
            tick=tick,
        )

    pairs = zip(_per_sample(target, n), _per_sample(versus, n), strict=True)
    splits = [split(i, own, rival) for i, (own, rival) in enumerate(pairs)]
    known = facts_of(model).fitting(clip) if facts is None else facts
    if versus is not None:
        settings["versus"] = versus.tolist() if isinstance(versus, Tensor) else versus
    return _joined(splits, recipe.informed(known), mode, settings)


separation_of = untold(separate_motion)
"""`separate_motion` without its `RelpropWarning`: warnings stand in the result alone."""


def _joined(splits: list[Split], recipe: Method, mode: str, settings: dict[str, Any]) -> MotionSeparation:
    """The splits of all clips, one after another."""
    first = splits[0]
    lead = first.targets.dim() - 1
    frozen = [s.frozen_outputs for s in splits if s.frozen_outputs is not None]
    paths = [s.path for s in splits if s.path is not None]
    height, width = first.films["original"].shape[-2:]
    moved = _of_clips(
        [() if s.path is None or s.path.still else (camera_note(s.path, (height, width)),) for s in splits]
    )
    return MotionSeparation(
        **{name: torch.stack([s.films[name] for s in splits], lead) for name in first.films},
        relevance={name: torch.stack([s.relevance[name] for s in splits], lead) for name in first.relevance},
        outputs=torch.cat([s.outputs for s in splits]),
        frozen_outputs=torch.stack(frozen) if frozen else None,
        targets=torch.cat([s.targets for s in splits], -1),
        method=recipe.name,
        mode=mode,
        settings={**settings, "method": recipe.settings()},
        ledgers={name: Ledger.merged([s.ledgers[name] for s in splits]) for name in first.ledgers},
        warnings=_of_clips([s.warnings for s in splits]),
        notes=(*dict.fromkeys(note for s in splits for note in s.notes), *moved),
        camera=torch.stack([torch.from_numpy(path.maps) for path in paths]) if paths else None,
    )


def _of_clips(found: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The warnings of all clips, each with its clip where there are several."""
    return tuple(
        f"Clip {i}: {text}" if len(found) > 1 else text for i, several in enumerate(found) for text in several
    )


def _settings(mode: str, given: dict[str, Any]) -> dict[str, Any]:
    """The mode's own settings, checked; those of other modes must be at their defaults."""
    check_choice("mode", mode, tuple(MODES))
    for owner, defaults in MODES.items():
        for name, default in defaults.items():
            if owner != mode and given[name] != default:
                raise InputError(
                    f"Expected no {name}= with mode={mode!r}: it is a setting of mode={owner!r}."
                )
    own = {name: given[name] for name in MODES[mode]}
    if mode == "naive":
        check_choice("slice", own["slice"], ("same", "first", "mean", "sum"))
        if own["normalise"] is not None:
            check_choice("normalise", own["normalise"], ("maxabs",))
        if not isinstance(own["clamp"], bool):
            raise InputError(f"Expected clamp to be True or False but got {own['clamp']!r}.")
    elif mode == "selective":
        check_selection(**own)
    return own


def _check_clip(clip: object) -> None:
    if not isinstance(clip, Tensor):
        raise InputError(f"Expected clip to be a tensor (N, C, T, H, W) but got {type(clip).__name__}.")
    if clip.ndim != 5 or clip.shape[0] == 0:
        raise InputError(
            f"Expected a clip (N, C, T, H, W) with N >= 1 but got shape {tuple(clip.shape)}. A single clip needs "
            "a first axis of 1 (clip[None])."
        )
    if clip.shape[2] < 2:
        raise InputError("Expected a clip of at least 2 frames but got 1: nothing can move in it.")


def _from_one(method: MethodLike) -> Method:
    """The method; one that was named starts from 1, if it can and unless it says otherwise."""
    recipe = resolve(method)
    said = split_settings(method)[1] if isinstance(method, str) else {}
    if not isinstance(method, Method) and "seed" not in said and recipe.settings().get("seed") == "score":
        return recipe.with_(seed="one")
    return recipe


def _with_box(recipe: Method, clip: Tensor) -> Method:
    """The method with the clip's own least and largest value for bounds "sample"."""
    settings = recipe.settings()
    bounds = settings.get("bounds")
    if not isinstance(bounds, str) or bounds != "sample":
        return recipe
    if not bool(torch.isfinite(clip).all()):
        return recipe  # to be refused by name
    least, most = (float(v) for v in torch.aminmax(clip))
    return recipe.with_(bounds=(least, most))


def _per_sample(target: Any, n: int) -> list[Any]:
    """What to explain in each clip: (N,) tensors taken apart, everything else as it is."""
    if isinstance(target, (list, tuple)):
        return [list(own) for own in zip(*(_per_sample(t, n) for t in target), strict=True)] or [[]] * n
    if not isinstance(target, Tensor) or target.ndim == 0:
        return [target] * n
    if target.shape != (n,) or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"Expected a target tensor of integers with shape ({n},) but got {target.dtype} {tuple(target.shape)}."
        )
    return target.tolist()
