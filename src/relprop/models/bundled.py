"""The classifiers that come with the package: load one by name, with its card and its preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from relprop.catalogue import MODELS, PACKAGED_MODELS
from relprop.errors import InputError, RelpropError, unknown_name
from relprop.graph import capture_lock
from relprop.methods.bounds import pixel_bounds
from relprop.methods.facts import Facts, remember
from relprop.models.likeness import Likeness
from relprop.precision import full_precision

__all__ = ["BundledModel", "bundled_of", "load", "models", "read_bundled", "read_card", "scenes_likeness"]


@dataclass(frozen=True, eq=False)
class BundledModel:
    """A trained classifier and what is needed to use it.

    Attributes:
        name: its name in `models()`.
        module: the network on the CPU, float32, in evaluation mode: (N, 3, size, size) to (N, classes) logits.
        classes: class names in the order of the outputs.
        mean: per-channel mean that `preprocess` subtracts, for pictures in [0, 1].
        std: per-channel divisor of `preprocess`.
        input_size: side of the input in pixels.
        multi_label: True where each output is its own yes or no (sigmoid), False for one class of many.
        card: how it was trained and what it scores: `card["test"]["mAP"]`, `["AP"]`, `["seed"]`, `["scenes"]`.
        likeness: tells pictures that are unlike its training pictures; an explanation of one warns of it.
    """

    name: str
    module: nn.Module
    classes: list[str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    multi_label: bool
    card: dict[str, Any]
    likeness: Likeness | None = None

    @property
    def facts(self) -> Facts:
        """What methods may want to know. relprop remembers them for `module`, so that `explain` knows them too."""
        return Facts(
            box=pixel_bounds(self.mean, self.std),
            multi_label=self.multi_label,
            classes=self.classes,
            unlike=self.likeness,
        )

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Turn a picture into the model's input, (1, 3, size, size) float32.

        The shorter side is scaled to `input_size` (antialiased, only where it differs) and the middle cut out.

        Raises:
            InputError: not a PIL picture.
        """
        if not isinstance(picture, Image.Image):
            raise InputError(
                f"Expected a PIL picture but got {type(picture).__name__}; open the file with PIL.Image.open, "
                "or pass normalised tensors straight to `module`."
            )
        upright = ImageOps.exif_transpose(picture).convert("RGB")
        if upright.size != (self.input_size, self.input_size):
            upright = ImageOps.fit(upright, (self.input_size, self.input_size), Image.Resampling.BILINEAR)
        return self.normalise(torch.from_numpy(np.array(upright)).permute(2, 0, 1)[None].float() / 255.0)

    def normalise(self, pictures: Tensor) -> Tensor:
        """Subtract `mean` and divide by `std`: (..., 3, H, W) in [0, 1] to the model's input scale."""
        shape = (3, 1, 1)
        return (pictures - pictures.new_tensor(self.mean).view(shape)) / pictures.new_tensor(self.std).view(
            shape
        )

    @full_precision
    def predict(self, pictures: Tensor) -> Tensor:
        """Probabilities (N, classes) for model inputs (N, 3, size, size)."""
        with capture_lock, torch.no_grad():
            logits: Tensor = self.module(pictures)
        return logits.sigmoid() if self.multi_label else logits.softmax(1)


def models() -> dict[str, str]:
    """Names of the bundled models with one line about each.

    >>> sorted(models())
    ['scenes-resnet', 'scenes-vgg', 'scenes-vit']
    """
    return MODELS.summaries()


def load(name: str) -> BundledModel:
    """Load a bundled model; the weights are checked against the SHA-256 on its card first.

    Raises:
        UnknownNameError: there is no bundled model of that name; the text lists them.
        InputError: it is a packaged one, which `relprop.models.sources.load_model` gives.
        RelpropError: the weights or the card are missing or damaged.

    >>> model = load("scenes-vgg")
    >>> model.classes[0], model.input_size, model.card["test"]["mAP"] >= 0.95
    ('striped ball', 112, True)
    """
    if name in PACKAGED_MODELS:
        raise InputError(
            f"Expected a bundled model but got {name!r}, whose weights are a package of their own: load it with "
            "relprop.models.sources.load_model."
        )
    if name not in MODELS:
        raise unknown_name("bundled model", name, MODELS)
    return bundled_of(name, MODELS[name])


def bundled_of(name: str, kind: type[nn.Module]) -> BundledModel:
    """The network of a class with the weights and the card of that name.

    Raises:
        RelpropError: the weights or the card are missing or damaged.
    """
    card, tensors = read_bundled(name)
    module = kind(len(card["classes"]))
    module.load_state_dict(tensors)
    loaded = BundledModel(
        name=name,
        module=module.eval(),
        classes=list(card["classes"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        input_size=int(card["input_size"]),
        multi_label=bool(card["multi_label"]),
        card=card,
        likeness=scenes_likeness(name, int(card["input_size"]), card["mean"], card["std"]),
    )
    remember(loaded.module, loaded.facts)
    return loaded


def scenes_likeness(
    name: str, size: int, mean: Sequence[float], std: Sequence[float], instead: str = "efficientnet-lite0"
) -> Likeness:
    """What tells pictures that are unlike the drawn scenes, for a bundled network with this preprocessing.

    Args:
        name: the network's, for errors.
        size: side of its input in pixels.
        mean, std: how pictures in 0-1 become inputs.
        instead: a network that knows photographs.

    Raises:
        RelpropError: the file is missing.
    """
    return Likeness.of_card(
        read_card("scenes-likeness", name), size=(size, size), mean=mean, std=std, instead=instead
    )


def read_card(file: str, name: str) -> dict[str, Any]:
    """A JSON file beside the weights.

    Args:
        file: its name without the ending.
        name: the network's, for errors.

    Raises:
        RelpropError: it is missing.
    """
    found: dict[str, Any] = json.loads(_read(files("relprop.models") / "weights" / f"{file}.json", name))
    return found


def read_bundled(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the card and the weights of that name, in this order; what is stored as float16 becomes float32.

    Raises:
        RelpropError: one is missing, or the weights' SHA-256 is not the card's.
    """
    card = read_card(name, name)
    data = _read(files("relprop.models") / "weights" / f"{name}.safetensors", name)
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise RelpropError(
            f"Expected weights of {name} with SHA-256 {card['sha256'][:16]}… but got {found[:16]}…; the file is "
            f"damaged or not the one of its card: reinstall relprop or run {card['training']['command']!r}."
        )
    tensors = load_tensors(data)
    return card, {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def _read(file: Traversable, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RelpropError(
            f"Expected the file {file.name} of bundled model {name} but it can't be read ({error.strerror}); "
            "reinstall relprop."
        ) from error
