"""Subject: the model that a recipe asks, as it is asked about the recipe's data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from relprop.benchmark.classes import ClassMap, are_wordnet_ids
from relprop.benchmark.disconnected import disconnected
from relprop.benchmark.recipe import ModelEntry, Recipe
from relprop.datasets.data_set import DataSet, Viewer
from relprop.datasets.grids import Grids
from relprop.datasets.synsets import outputs_of
from relprop.errors import InputError
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import Preprocess
from relprop.models.sources import load_model
from relprop.precision import full_precision

__all__ = [
    "as_asked",
    "as_seen",
    "asks_the_model",
    "check_takes",
    "class_map_of",
    "geometry_of",
    "load_subject",
    "scores_of",
    "threads",
]


def load_subject(recipe: Recipe, device: str) -> LoadedModel:
    """The recipe's model, on a device.

    Raises:
        InputError: it takes clips, or what loading refuses.
    """
    entry = recipe.model
    model = load_model(
        recipe.located(entry.spec),
        weights=entry.weights,
        labels=entry.labels,
        size=entry.size,
        mean=entry.mean,
        std=entry.std,
        multi_label=entry.multi_label,
        random_weights=entry.random_weights,
        device=device,
    )
    if model.takes_clips:
        raise InputError(f"Expected a model of pictures but {entry.spec} takes clips.")
    return model


def geometry_of(entry: ModelEntry, model: LoadedModel) -> Geometry:
    """How a picture becomes the model's input."""
    own = model.preprocess
    if not isinstance(own, Preprocess):
        own = Preprocess(model.input_size, model.mean, model.std)
    return Geometry(entry.geometry, own)  # type: ignore[arg-type]  # checked by the recipe


def class_map_of(recipe: Recipe, model: LoadedModel, data: DataSet) -> ClassMap:
    """Which outputs stand for which classes of the data set, and when a class counts as predicted.

    Raises:
        InputError: classes and outputs have nothing in common.
    """
    rule = recipe.model.predicted
    if rule == "auto":
        rule = "sigmoid" if model.multi_label else "top-1"
    if recipe.targets == "top-1":
        return ClassMap((), rule)  # the likeliest output, whatever the data set calls its classes
    known = len(model.classes) if model.classes is not None else 0
    fits = known == 1000 and data.synsets != ""
    if recipe.model.classes == "synsets" or (recipe.model.classes == "auto" and fits):
        return ClassMap(tuple(outputs_of(data.classes, data.synsets or data.name, model.classes)), rule)
    if recipe.model.classes == "auto" and known in (0, 1000) and are_wordnet_ids(data.classes):
        return ClassMap.by_wordnet(data.classes, model.classes, rule)
    return ClassMap.by_name(data.classes, model.classes, rule)


def asks_the_model(data: DataSet) -> bool:
    """Whether the data set's pictures depend on the model."""
    return data.native or type(data).for_viewer is not DataSet.for_viewer


def as_seen(
    recipe: Recipe, data: DataSet, model: LoadedModel, geometry: Geometry, classes: ClassMap
) -> DataSet:
    """The data set as the model's: its pictures may depend on the model, and may have to be shown as they are.

    Raises:
        InputError: another geometry than the data set needs, or what the data set itself refuses.
    """
    if data.native and geometry.mode != "native":
        raise InputError(
            f'Expected geometry = "native" for the data set {data.name}, whose pictures are made at the size '
            f"that they are shown at, but got {geometry.mode!r}."
        )
    return data.for_viewer(_viewer(recipe, model, geometry, classes))


def as_asked(recipe: Recipe, model: LoadedModel, data: DataSet, geometry: Geometry) -> LoadedModel:
    """The model as it is asked about the data set's pictures.

    Raises:
        InputError: it is to be disconnected, and can't be, or the data set has no grids that ask one cell each.
    """
    how, places = recipe.model.disconnected, recipe.model.places
    if not how:
        if places:
            raise InputError('Expected disconnected = "full" or "part" with places but got places alone.')
        return model
    if not isinstance(data, Grids) or data.asked not in ("first", "last"):
        came = f"grids, asked = {data.asked!r}" if isinstance(data, Grids) else data.name
        raise InputError(
            'Expected the data set grids, asked = "first" or "last", for a disconnected model, whose head sees '
            f"one cell, but got {came}."
        )
    changed = disconnected(
        model.module,
        model.to_device(torch.zeros(1, len(model.mean), *geometry.preprocess.size)),
        how,
        side=data.side,
        cell=0 if data.asked == "first" else data.side**2 - 1,
        places=[place for place in map(str.strip, places.split(",")) if place],
    )
    return replace(model, module=changed)


def check_takes(model: LoadedModel, data: DataSet, geometry: Geometry) -> None:
    """Refuse a model that doesn't take pictures which mustn't be resized."""
    if not data.native:
        return
    picture = data[0].image
    try:
        model.run(model.to_device(geometry.input(picture)))
    except InputError as error:
        height, width = geometry.preprocess.size
        raise InputError(
            f"Expected a model that takes pictures of any size (one that pools over all positions), for those of "
            f"{data.name} have {picture.height} x {picture.width} pixels; but {model.spec} takes no other than "
            f"{height} x {width}."
        ) from error


def _viewer(recipe: Recipe, model: LoadedModel, geometry: Geometry, classes: ClassMap) -> Viewer:
    """What a data set may ask the model, one picture at a time."""
    seen = geometry.preprocess

    @full_precision
    def confidence(picture: Image.Image, label: int) -> float:
        if recipe.targets == "top-1":
            raise InputError(
                'Expected targets = "labels" for a data set whose pictures are chosen by their classes but got '
                f"{recipe.targets!r}."
            )
        x = model.to_device(seen.scaled(picture, (picture.height, picture.width)))
        with torch.no_grad(), threads(recipe.threads):
            scores = scores_of(model.run(x), model.classes)
        return classes.confidence(label, scores, multi_label=model.multi_label)

    return Viewer(seen.cut, confidence)


def scores_of(outputs: Any, classes: Sequence[str] | None) -> Tensor:
    """The scores (classes,) of the first sample, on the CPU.

    Raises:
        InputError: no outputs (N, classes), or another number of them than there are names.
    """
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"Expected a classifier with outputs (N, classes) but got {got}.")
    if classes is not None and len(classes) != outputs.shape[1]:
        raise InputError(
            f"Expected {outputs.shape[1]} class names, one an output, but got {len(classes)}. Pass others."
        )
    return outputs[0].detach().double().cpu()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside the block: how a sum is split decides its last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
