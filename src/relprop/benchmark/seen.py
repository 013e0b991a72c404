"""Seen: what a benchmark has to know of its model when it only judges maps that are kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from relprop.benchmark.classes import ClassMap
from relprop.benchmark.keys import model_key
from relprop.benchmark.recipe import Recipe
from relprop.catalogue import MODELS
from relprop.errors import InputError
from relprop.files import LABELS, WEIGHTS, read_bytes
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import Preprocess
from relprop.models.state import weights_digest
from relprop.own_file import code_of

__all__ = ["ModelSeen", "check_same", "identity"]


@dataclass(frozen=True)
class ModelSeen:
    """A model as it was when it was loaded.

    Attributes:
        identity: see `identity`.
        weights: hash of its tensors.
        labels: hash of its class names: they say which output is asked.
        mode: of the geometry.
        preprocess: of the geometry, as plain values.
        outputs: class of the data set -> outputs of the model.
        predicted: when an output counts as predicted.
        multi_label: sigmoid instead of softmax scores.
    """

    identity: str
    weights: str
    labels: str
    mode: str
    preprocess: dict[str, Any]
    outputs: tuple[tuple[int, ...], ...]
    predicted: str
    multi_label: bool

    @classmethod
    def of(cls, recipe: Recipe, model: LoadedModel, geometry: Geometry, classes: ClassMap) -> ModelSeen:
        """What is to be remembered of a loaded model."""
        return cls(
            identity(recipe),
            weights_digest(model.module),
            hashlib.sha256(repr(model.classes).encode()).hexdigest(),
            geometry.mode,
            asdict(geometry.preprocess),
            classes.outputs,
            classes.predicted,
            model.multi_label,
        )

    @classmethod
    def read(cls, text: str) -> ModelSeen | None:
        """From `ModelSeen.text`; None where it can't be read, so that the model is looked at."""
        try:
            told = json.loads(text)
            told["outputs"] = tuple(tuple(own) for own in told["outputs"])
            return cls(**told)
        except (ValueError, TypeError, KeyError):
            return None

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @property
    def geometry(self) -> Geometry:
        """How a picture becomes an input, and a map lies on the picture."""
        return Geometry(self.mode, Preprocess(**self.preprocess))  # type: ignore[arg-type]  # it was one's mode

    @property
    def classes(self) -> ClassMap:
        """Which outputs stand for which classes."""
        return ClassMap(self.outputs, self.predicted)


def identity(recipe: Recipe) -> str:
    """A hash that is the same only for the same model, told without loading it; "" where that can't be told.

    It can for models that come with relprop, and for weights from a file: their content is hashed. What a
    `file.py:factory` or a library loads by itself may be anything.
    """
    entry = recipe.model
    if entry.weights is None and (entry.spec not in MODELS or entry.random_weights):
        return ""
    parts = [model_key(recipe), code_of(recipe.located(entry.spec))]
    if entry.spec in MODELS:  # the card has the hash that its weights must have
        parts.append((files("relprop.models") / "weights" / f"{entry.spec}.json").read_text(encoding="utf-8"))
    parts += [
        "" if path is None else hashlib.sha256(read_bytes(path, what)).hexdigest()
        for path, what in ((entry.weights, WEIGHTS), (entry.labels, LABELS))
    ]
    library = entry.spec.partition(":")[0]
    libraries = ("relprop", "torch", *([library] if library in ("torchvision", "timm") else []))
    parts += [f"{name} {version(name)}" for name in libraries]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_same(seen: ModelSeen, now: ModelSeen, spec: str) -> None:
    """Refuse a model that isn't the one that was seen.

    Raises:
        InputError: it has other weights or class names.
    """
    for what, before, after in (("weights", seen.weights, now.weights), ("labels", seen.labels, now.labels)):
        if before != after:
            raise InputError(
                f"Expected the same {what} as in this benchmark's earlier runs but {spec} has others now "
                f"({before[:12]}…, now {after[:12]}…). Use another --out, or remove the results and maps."
            )
