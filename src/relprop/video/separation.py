"""The result of a separation: three films that belong together, and what they were made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation.folder import Format, as_saved, below, jsonable
from relprop.explanation.saved import ledger_document, ledger_of
from relprop.glance import framed
from relprop.propagate.ledger import Ledger
from relprop.video.camera import CameraPath

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMAT", "Curve", "MotionSeparation", "Split", "check_place"]

#: Version 1 held the ledgers' summaries alone, and no checksum.
FORMAT = Format("relprop-separation", "films.safetensors", version=2, reads=(1, 2))
_FILMS = ("original", "spatial", "temporal")


@dataclass(frozen=True, eq=False)
class Split:
    """What a mode makes of one clip.

    Attributes:
        films: "original", "spatial" and "temporal", (T, H, W) or (K, T, H, W).
        relevance: the same before channels were summed, (C, T, H, W) or (K, C, T, H, W), where there is such.
        outputs: scores of the clip, (1, classes).
        targets: explained classes, (1,) or (K, 1).
        frozen_outputs: scores of the frozen clips, (T, classes), or None.
        ledgers: by name.
        warnings, notes: as of `relprop.explanation.Explanation`, about the clip's own explanation.
        path: of the camera, where the mode follows it.
    """

    films: dict[str, Tensor]
    relevance: dict[str, Tensor]
    outputs: Tensor
    targets: Tensor
    frozen_outputs: Tensor | None = None
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    path: CameraPath | None = None


class Curve(NamedTuple):
    """Sums of a film's positive and negative relevance in every frame, (N, T) or (K, N, T) each."""

    positive: Tensor
    negative: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class MotionSeparation:
    """What in a clip is relevant by its looks, and what because it moves.

    Films are summed over channels: (N, T, H, W), or (K, N, T, H, W) where a list of K targets was asked.

    Attributes:
        original: the plain explanation of the clip, divided or rescaled as the mode says.
        spatial: relevance by looks.
        temporal: relevance because something moves.
        relevance: by name ("original", "spatial", "temporal"), before channels were summed: (N, C, T, H, W)
            or (K, N, C, T, H, W), where the mode has it.
        outputs: the model's scores for the clip, (N, classes).
        frozen_outputs: its scores for each frozen clip, (N, T, classes), or None where none were run.
        targets: the explained classes, (N,) or (K, N).
        method: name of the method.
        mode: "naive", "conserving" or "selective".
        settings: what the mode was run with, and the method's settings under "method", as a saved separation
            holds them.
        ledgers: by name, where relevance went: "original" (the clips), "frozen" (all frozen clips together),
            "spatial" and "temporal" (the two streams; what starts at an activation stands in the lost column,
            with a minus). Empty for methods without rules.
        warnings, notes: as of an `Explanation`, about the clips' own explanations; that the camera moved.
        camera: the cameras' paths, (N, T, 2, 3) as of `relprop.video.CameraPath`, where the mode follows them.

    >>> film, score, target = Tensor([[[[3.0]], [[-1.0]]]]), Tensor([[2.0]]), Tensor([0])
    >>> s = MotionSeparation(film, film, film - film, {}, score, None, target, "lrp-0", "naive")
    >>> s.frames["original"].negative.tolist()
    [[0.0, -1.0]]
    """

    original: Tensor
    spatial: Tensor
    temporal: Tensor
    relevance: dict[str, Tensor]
    outputs: Tensor
    frozen_outputs: Tensor | None
    targets: Tensor
    method: str
    mode: str
    settings: dict[str, Any] = field(default_factory=dict)
    ledgers: Mapping[str, Ledger] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    camera: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", jsonable(self.settings))

    @property
    def ledger(self) -> Ledger | None:
        """The ledger of the clip's own explanation, or None."""
        return self.ledgers.get("original")

    @property
    def frozen_targets(self) -> Tensor | None:
        """The class with the highest score for each frozen clip, (N, T), or None where none were run."""
        return None if self.frozen_outputs is None else self.frozen_outputs.argmax(2)

    @property
    def frames(self) -> dict[str, Curve]:
        """The relevance of each frame, for "original", "spatial" and "temporal"."""
        films = {"original": self.original, "spatial": self.spatial, "temporal": self.temporal}
        return {
            name: Curve(film.clamp(min=0).sum((-2, -1)), film.clamp(max=0).sum((-2, -1)))
            for name, film in films.items()
        }

    def save(
        self,
        path: str | Path,
        overwrite: bool = False,
        *,
        frames: NDArray[np.uint8] | None = None,
        **facts: Any,
    ) -> Path:
        """Write a folder: the films (safetensors) and a manifest; it appears whole or not at all.

        Args:
            path: the folder.
            overwrite: replace a folder that this wrote before.
            frames: of the first clip, (T, H, W, 3) uint8, kept so that the films can be shown over them.
            facts: put into the manifest under "facts", as far as JSON can hold them.

        Raises:
            InputError: the folder exists, or holds what this did not write; frames of another size than the films.
        """
        tensors = {name: getattr(self, name) for name in (*_FILMS, "outputs", "targets")}
        tensors |= {f"relevance.{name}": value for name, value in self.relevance.items()}
        if self.frozen_outputs is not None:
            tensors["frozen_outputs"] = self.frozen_outputs
        if self.camera is not None:
            tensors["camera"] = self.camera
        if frames is not None:
            size = (*self.original.shape[-3:], 3)
            if frames.dtype != np.uint8 or frames.shape != size:
                raise InputError(
                    f"Expected frames as a uint8 array of the films' size {size} but got {frames.dtype} "
                    f"{frames.shape}."
                )
            tensors["frames"] = torch.from_numpy(frames)
        manifest = {
            "method": self.method,
            "mode": self.mode,
            "settings": self.settings,
            "shapes": {name: list(t.shape) for name, t in tensors.items()},
            "ledgers": {name: ledger_document(ledger) for name, ledger in self.ledgers.items()},
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "facts": jsonable(facts),
        }
        return FORMAT.write(path, tensors, manifest, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> MotionSeparation:
        """Read what `save` wrote. Of ledgers, older folders hold the summaries alone.

        Raises:
            InputError: no such folder, another format, a file that is missing or was changed.
        """
        manifest, tensors = FORMAT.read(path)
        missing = sorted({*_FILMS, "outputs", "targets"} - set(tensors))
        if missing:
            raise InputError(
                f"Expected {missing[0]!r} in {FORMAT.numbers} of {str(path)!r} but it is not there."
            )
        with as_saved(path):
            found = {name: ledger_of(d, tensors["original"].dtype) for name, d in manifest["ledgers"].items()}
            return cls(
                **{name: tensors[name] for name in _FILMS},
                relevance=below("relevance.", tensors),
                outputs=tensors["outputs"],
                frozen_outputs=tensors.get("frozen_outputs"),
                targets=tensors["targets"],
                method=manifest["method"],
                mode=manifest["mode"],
                settings=manifest["settings"],
                ledgers={name: ledger for name, ledger in found.items() if ledger is not None},
                warnings=tuple(manifest.get("warnings", ())),
                notes=tuple(manifest.get("notes", ())),
                camera=tensors.get("camera"),
            )

    def show(
        self,
        clip: Tensor | NDArray[np.uint8] | None = None,
        *,
        sample: int = 0,
        target: int = 0,
        labels: Sequence[str] | Mapping[int, str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: Literal["shared"] | float = "shared",
        columns: int = 8,
        title: str | None = None,
    ) -> Figure:
        """Draw one clip's frames above its three films, the sums of each frame, and slices over time.

        A notebook shows it at once.

        Args:
            clip: what was explained: the model's input (N, C, T, H, W), or one clip's frames (T, H, W, 3) uint8.
                None: no frames are drawn, as a separation holds none.
            sample: which of the N clips.
            target: which of the K targets.
            labels: class names by index.
            mean, std: what preprocessing subtracted and divided by, to show an input in its own colours.
            scale: "shared" by the three films, or the relevance that takes the strongest colour.
            columns: frames that are drawn at most, evenly spaced.
            title: line on top; by default mode, method and class.

        Returns:
            A matplotlib figure outside pyplot, so nothing stays open.

        Raises:
            InputError: a clip of another shape or type, an index out of range, NaN or infinities.
        """
        from relprop.viz.inline_figure import shown

        return shown(
            self._figure(
                clip, sample, target, mean, std, title=title, names=labels, scale=scale, columns=columns
            )
        )

    def _figure(
        self,
        clip: Tensor | NDArray[np.uint8] | None = None,
        sample: int = 0,
        target: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **how: Any,
    ) -> Figure:
        """What `show` shows."""
        from relprop.video.films import frames_of, reel
        from relprop.viz.motion import motion_figure

        return motion_figure(reel(self, frames_of(self, clip, sample, mean, std), sample, target), **how)

    def _repr_html_(self) -> str:
        """The films of the first clip and target in step, for notebooks."""
        from relprop.video.films import frames_of, reel
        from relprop.viz.motion_player import motion_player

        made = reel(self, frames_of(self, None, 0))
        shares = "" if made.share is None else f" Motion holds {100 * made.share:.0f} % of the relevance."
        more = (
            "" if self.original.ndim == 4 and len(self.original) == 1 else " The first of several is shown."
        )
        said = [*(f"⚠ {text}" for text in self.warnings), *self.notes]
        told = f"{made.said}: class {made.target}.{shares}{more}"
        film = motion_player(
            made, clip_shown=False, caption="show(clip) draws these films below the clip's frames."
        )
        return framed(told[0].upper() + told[1:], film, said)

    def _repr_png_(self) -> bytes:
        """The films of the first clip and target, for notebooks."""
        from relprop.viz.file import png_bytes

        return png_bytes(self._figure())

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.original.shape))
        parts = [self.mode, self.method, f"films {shape}", *(f"WARNING: {text}" for text in self.warnings)]
        return f"MotionSeparation({', '.join(parts)})"


def check_place(method: str, at: str) -> None:
    """Refuse relevance that isn't at the input.

    Raises:
        InputError: names the method.
    """
    if at != "input":
        raise InputError(
            f"Expected a method with relevance at the input, where the frames are, but {method} gives it at "
            f"{at!r}."
        )
