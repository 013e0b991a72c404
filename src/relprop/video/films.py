"""Films: what a separation or an explanation of clips gives to draw of one clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from relprop.checks import check_index
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.video.camera import CameraPath
from relprop.viz.picture import display_picture
from relprop.viz.reel import Reel

__all__ = ["Films", "frames_of", "reel"]


@runtime_checkable
class Separated(Protocol):
    """What is drawn of a `MotionSeparation`, which draws itself with what is here."""

    @property
    def original(self) -> Tensor:
        """Relevance of the clip, (N, T, H, W), or (K, N, T, H, W)."""

    @property
    def spatial(self) -> Tensor:
        """Relevance by looks, (N, T, H, W), or (K, N, T, H, W)."""

    @property
    def temporal(self) -> Tensor:
        """Relevance because something moves, (N, T, H, W), or (K, N, T, H, W)."""

    @property
    def relevance(self) -> dict[str, Tensor]:
        """By name, before channels were summed."""

    @property
    def outputs(self) -> Tensor:
        """(N, classes)."""

    @property
    def frozen_targets(self) -> Tensor | None:
        """(N, T)."""

    @property
    def targets(self) -> Tensor:
        """(N,) or (K, N)."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def mode(self) -> str:
        """The split."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it was run with."""

    @property
    def camera(self) -> Tensor | None:
        """(N, T, 2, 3)."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the films."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know besides."""


#: What can be drawn over a clip: a separation, a plain explanation, or films (T, H, W) by name.
Films = Separated | Explanation | Mapping[str, ArrayLike | Tensor]

_SPLIT = {
    "naive": "Naive split: temporal = original − spatial at every pixel",
    "conserving": "Conserving split: spatial + temporal = original in total, not at every pixel",
    "selective": "Selective split: temporal is the original where it {changes} over time, spatial the rest",
}


def reel(s: Films, frames: NDArray[np.uint8], sample: int = 0, target: int = 0) -> Reel:
    """One clip of a separation or an explanation, with its frames: what `relprop.viz.motion` draws.

    Args:
        s: what to draw.
        frames: the clip as the network saw it, (T, H, W, 3) uint8.
        sample: which of N clips.
        target: which of K targets.

    Raises:
        InputError: on frames or films of another shape or type, or an index out of range.
    """
    films = _films(s, sample, target)
    if isinstance(s, Mapping):
        return Reel(frames, films)
    index = int(s.targets.reshape(-1, s.targets.shape[-1])[target, sample])
    remarks = [*_which(s, sample, target), *s.notes]
    if isinstance(s, Explanation):
        if s.at != "input":
            remarks.append(f"Relevance at {s.at}, resized to the input for drawing.")
        return Reel(
            frames,
            films,
            s.method,
            index,
            _score(s, sample, index),
            remarks=tuple(remarks),
            warnings=s.warnings,
        )
    rescaled = s.mode == "selective" and _rescaled(s, sample, target)
    return Reel(
        frames,
        films,
        f"{s.mode} split of {s.method}",
        index,
        _score(s, sample, index),
        None if s.frozen_targets is None else [int(c) for c in s.frozen_targets[sample]],
        _share(s, films),
        "relevance brought to [0, 1]"
        if rescaled
        else "no common unit"
        if s.settings.get("normalise")
        else "",
        (*_about(s, rescaled), *remarks),
        s.warnings,
        _place(s, sample),
    )


def frames_of(
    s: Separated,
    clip: Tensor | NDArray[np.uint8] | None,
    sample: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """The frames of one of a separation's clips, (T, H, W, 3) uint8; white where none are given.

    Args:
        s: which says how many there are, and their size.
        clip: the model's input (N, C, T, H, W), or one clip's frames (T, H, W, 3) uint8, or None.
        sample: which of the N.
        mean, std: as for :func:`relprop.viz.display_picture`.

    Raises:
        InputError: an input of another shape, mean and std without an input, no such sample, or as
            `display_picture`.
    """
    size = tuple(s.original.shape[-3:])
    if not isinstance(clip, Tensor):
        if mean is not None or std is not None:
            raise InputError(
                "Expected mean and std beside the model's input alone, as frames have their colours."
            )
        return np.full((*size, 3), 255, np.uint8) if clip is None else clip
    count = s.targets.shape[-1]
    if clip.ndim != 5 or clip.shape[0] != count or tuple(clip.shape[2:]) != size:
        raise InputError(
            f"Expected the clips that were explained, {(count, 'C', *size)}, but got {tuple(clip.shape)}."
        )
    check_index("sample", sample, count)
    picture, _ = display_picture(clip[sample], mean, std)
    return np.asarray(np.rint(255 * picture), dtype=np.uint8)


def _films(s: Films, sample: int, target: int) -> dict[str, NDArray[np.float64]]:
    if isinstance(s, Mapping):
        return {str(name): _array(film) for name, film in s.items()}
    if isinstance(s, Separated):
        films = {"original": s.original, "spatial": s.spatial, "temporal": s.temporal}
    elif isinstance(s, Explanation) and s.input.dim() == 5:
        films = {"relevance": s.heatmap()}
    else:
        got = f"an input of shape {tuple(s.input.shape)}" if isinstance(s, Explanation) else type(s).__name__
        raise InputError(
            f"Expected a MotionSeparation, an explanation of clips (N, C, T, H, W) or films by name but got {got}."
        )
    clips, targets = s.targets.shape[-1], s.targets.reshape(-1, s.targets.shape[-1]).shape[0]
    for name, index, count in (("sample", sample, clips), ("target", target, targets)):
        check_index(name, index, count)
    return {
        name: _array(film.reshape(targets, clips, *film.shape[-3:])[target, sample])
        for name, film in films.items()
    }


def _array(film: ArrayLike | Tensor) -> NDArray[np.float64]:
    if isinstance(film, Tensor):
        return np.asarray(film.detach().to("cpu").double().numpy())
    return np.asarray(film, dtype=np.float64)


def _score(s: Separated | Explanation, sample: int, index: int) -> float | None:
    outputs = s.outputs
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or not 0 <= index < outputs.shape[1]:
        return None
    return float(outputs[sample, index])


def _share(s: Separated, films: Mapping[str, NDArray[np.float64]]) -> float | None:
    # Parts of a whole only where all has one sign and the two streams make the original.
    whole = films["original"].sum()
    signs = {float(np.sign(value)) for film in films.values() for value in (film.min(), film.max())} - {0.0}
    if s.mode != "conserving" or whole == 0 or len(signs) > 1:
        return None
    return float(films["temporal"].sum() / whole)


def _place(s: Separated, sample: int) -> NDArray[np.float64] | None:
    """Where the middle of the first frame lies in each frame, (T, 2), if it moves."""
    if s.camera is None or CameraPath.of(s.camera[sample]).still:
        return None
    height, width = s.original.shape[-2:]
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    return np.asarray(CameraPath.of(s.camera[sample]).maps @ middle)


def _which(s: Separated | Explanation, sample: int, target: int) -> list[str]:
    clips = s.targets.shape[-1]
    targets = s.targets.numel() // clips
    counted = [("Clip", sample, clips), ("Target", target, targets)]
    return [f"{name} {index} of 0 to {count - 1}." for name, index, count in counted if count > 1]


def _about(s: Separated, rescaled: bool) -> list[str]:
    """What the mode's films are, and whether their values have a unit in common."""
    changes = "changes" if s.settings.get("absolute") else "falls"
    said = _SPLIT[s.mode].format(changes=changes)
    if s.settings.get("clamp"):
        said += ", negative values set to 0"
    remarks = [f"{said}."]
    if s.settings.get("normalise") == "maxabs":
        remarks.append(
            "The explanations of the clip and of each frozen clip were divided by their own largest |value| "
            "first: the films have no common unit."
        )
    if rescaled:
        remarks.append(
            "The relevance had negative values and was brought to [0, 1] first: white is the most negative "
            "value, not zero, and red alone doesn't say for the target."
        )
    return remarks


def _rescaled(s: Separated, sample: int, target: int) -> bool:
    before = s.relevance.get("original")
    if before is None:
        return False
    one = before.reshape(-1, s.targets.shape[-1], *before.shape[-4:])[target, sample]
    return bool(one.sum(0).min() < 0)
