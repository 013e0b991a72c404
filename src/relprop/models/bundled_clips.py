"""The clip classifier that comes with the package: load it by name, with its card and its preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relprop.catalogue import CLIP_MODELS
from relprop.errors import InputError, unknown_name
from relprop.graph import capture_lock
from relprop.methods.bounds import pixel_bounds
from relprop.methods.facts import Facts, remember
from relprop.models.bundled import read_bundled, read_card
from relprop.models.c3d import C3D
from relprop.models.likeness import Likeness

__all__ = ["BundledClipModel", "load", "models"]


@dataclass(frozen=True, eq=False)
class BundledClipModel:
    """A trained clip classifier and what is needed to use it.

    Attributes:
        name: its name in `models()`.
        module: the network on the CPU, float32, in evaluation mode: (N, 3, T, size, size) to (N, classes) logits.
        classes: class names in the order of the outputs.
        mean: per-channel mean, in 0..255 and RGB order, that `preprocess` subtracts; nothing is divided. For z^B:
            `relprop.pixel_bounds(model.mean, (1, 1, 1), 0, 255)`.
        frames: T.
        input_size: side of the frames in pixels.
        card: how it was trained and what it scores: `card["test"]["accuracy"]`, `["per_class"]`, `["confusion"]`,
            the same under `"shake"`, and accuracies on frozen clips under `"frozen"`.
        likeness: tells clips that are unlike its training clips; an explanation of one warns of it.
    """

    name: str
    module: C3D
    classes: list[str]
    mean: tuple[float, float, float]
    frames: int
    input_size: int
    card: dict[str, Any]
    likeness: Likeness

    @property
    def facts(self) -> Facts:
        """What methods may want to know. relprop remembers them for `module`, so that `explain` knows them too."""
        return Facts(
            box=pixel_bounds(self.mean, (1, 1, 1), 0, 255),
            multi_label=False,
            classes=self.classes,
            unlike=self.likeness,
        )

    def preprocess(self, clip: NDArray[np.uint8]) -> Tensor:
        """Turn RGB frames (T, size, size, 3), uint8, into the input (1, 3, T, size, size): 0..255 less mean.

        Raises:
            InputError: other shape or type.
        """
        wanted = (self.frames, self.input_size, self.input_size, 3)
        if not isinstance(clip, np.ndarray) or clip.dtype != np.uint8 or clip.shape != wanted:
            got = f"{clip.dtype} {clip.shape}" if isinstance(clip, np.ndarray) else type(clip).__name__
            raise InputError(
                f"Expected RGB frames as a uint8 array {wanted} but got {got}; sample and resize the clip first."
            )
        x = torch.from_numpy(clip.copy()).float() - torch.tensor(self.mean)
        return x.permute(3, 0, 1, 2)[None].contiguous()

    def predict(self, clips: Tensor) -> Tensor:
        """Probabilities (N, classes) for model inputs (N, 3, T, size, size)."""
        with capture_lock, torch.no_grad():
            logits: Tensor = self.module(clips)
        return logits.softmax(1)


def models() -> dict[str, str]:
    """Names of the bundled clip classifiers with one line about each.

    >>> sorted(models())
    ['motion-c3d']
    """
    return CLIP_MODELS.summaries()


def load(name: str = "motion-c3d") -> BundledClipModel:
    """Load a bundled clip classifier; the weights are checked against the SHA-256 on its card first.

    Raises:
        UnknownNameError: there is no bundled clip classifier of that name; the text lists them.
        RelpropError: the weights or the card are missing or damaged.

    >>> from relprop.datasets.motion import MotionClips
    >>> model, clip = load(), MotionClips(n=1, seed=2, split="test")[0]
    >>> clip.name, model.classes[int(model.predict(model.preprocess(clip.frames)).argmax())]
    ('ring', 'ring')
    """
    if name not in CLIP_MODELS:
        raise unknown_name("bundled clip classifier", name, CLIP_MODELS)
    card, tensors = read_bundled(name)
    size, frames = int(card["input_size"]), int(card["frames"])
    mean = tuple(float(m) for m in card["mean"])
    # Frames in 0..255 less the mean are inputs: back to 0-1 for the statistics.
    likeness = Likeness.of_card(
        read_card("motion-likeness", name),
        size=(frames, size, size),
        mean=[m / 255 for m in mean],
        std=(1 / 255,) * 3,
        instead="torchvision:r3d_18",
    )
    loaded = BundledClipModel(
        name=name,
        module=C3D.from_state_dict(tensors, frames=frames, size=size).eval(),
        classes=list(card["classes"]),
        mean=tuple(card["mean"]),
        frames=frames,
        input_size=size,
        card=card,
        likeness=likeness,
    )
    remember(loaded.module, loaded.facts)
    return loaded
