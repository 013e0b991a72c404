"""What is found out about a clip: its scores, and what makes one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.models.classes import Prediction, check_names, predictions, resolve
from relprop.models.loaded import LoadedModel
from relprop.models.sampling import Sampling
from relprop.propagate.names import class_index
from relprop.reports.clip_question import ClipQuestion
from relprop.reports.steps import Steps
from relprop.video.camera import CameraPath
from relprop.video.clip import Clip
from relprop.video.separate import separation_of
from relprop.video.separation import MotionSeparation
from relprop.viz.labels import class_name

if TYPE_CHECKING:
    from relprop.propagate.ledger import Ledger

__all__ = ["ClipFound", "clip_predictions", "clip_sampling", "explained"]

_FILMS = ("original", "spatial", "temporal")


@dataclass(frozen=True)
class ClipFound:
    """What is found out about a clip.

    Attributes:
        clip: the frames that the network saw.
        predictions: its classes, best first.
        chosen: the class that is explained.
        rival: the name of the class whose score is taken off, or None.
        made: the films, or the plain explanation.
    """

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


def clip_sampling(given: Mapping[str, Any], model: LoadedModel) -> Sampling:
    """How the model makes inputs of films, with what is given in place of its own.

    Raises:
        InputError: a model of pictures.
    """
    own = model.sampling
    if own is None and not model.spec.rpartition(":")[0].endswith(".py"):
        raise InputError(
            f"Expected a model of clips but {model.spec} takes pictures (N, C, H, W). Use relprop explain."
        )
    # Nothing is known of a model from a file: 16 frames of 112 x 112 in 0-1, and what the options say.
    return replace(own or Sampling(resize=112, crop=112), **given)


def clip_predictions(model: LoadedModel, clip: Clip) -> list[Prediction]:
    """What the model says of a clip, best first.

    Raises:
        InputError: a clip that it can't take, or outputs that are no scores of classes.
    """
    outputs = check_names(_scores(model, model.to_device(clip.x)), model.classes)
    return predictions(outputs[0], model.classes, False)


def explained(
    asked: ClipQuestion, model: LoadedModel, clip: Clip, found: list[Prediction], steps: Steps
) -> ClipFound:
    """The answer to a question about a clip.

    Args:
        asked: the question.
        model: of clips.
        clip: which.
        found: its predictions.
        steps: are told how far it is.

    Raises:
        RelpropError: no such class, or a method that can't explain this.
    """
    x = model.to_device(clip.x)
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
    return ClipFound(clip, found, chosen, against, made)


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
