"""Synsets: which of ImageNet's 1000 classes show a class of VOC or COCO."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from relprop.errors import InputError, unknown_name

__all__ = ["SYNSET_SOURCES", "Synset", "outputs_of", "synset_map"]

SYNSET_SOURCES = ("voc", "coco")
"""Data sets whose classes the map knows."""

_OUTPUTS = 1000


@dataclass(frozen=True)
class Synset:
    """One class of ImageNet-1k.

    Attributes:
        index: the output of a network in the usual order, 0 to 999.
        wnid: WordNet 3.0 noun, "n" and eight digits.
        name: the first of its names.
    """

    index: int
    wnid: str
    name: str


def synset_map(source: str) -> dict[str, tuple[Synset, ...]]:
    """Class name -> ImageNet classes that show it, by index; none for classes that ImageNet-1k lacks.

    A synset belongs to a class where all its pictures show the whole object as the data set defines it;
    the page "Data sets" lists the judgement calls.

    Args:
        source: "voc" or "coco".

    Raises:
        UnknownNameError: another source.

    >>> found = synset_map("voc")
    >>> found["cat"][0], len(found["dog"]), len(found["bird"])
    (Synset(index=281, wnid='n02123045', name='tabby'), 118, 59)
    >>> synset_map("coco")["giraffe"]
    ()
    """
    if source not in SYNSET_SOURCES:
        raise unknown_name("source of classes", source, SYNSET_SOURCES)
    return dict(_load()[source])


def outputs_of(
    classes: Sequence[str], source: str, model_classes: Sequence[str] | None = None
) -> list[tuple[int, ...]]:
    """The outputs of an ImageNet network that show each class; an empty tuple where there is none.

    Args:
        classes: class names of the data set.
        source: "voc" or "coco".
        model_classes: the network's class names by output. They must be ImageNet's 1000 in the usual order:
            each name of the map has to be a part of the network's own (case, hyphens and underscores
            aside), or the WordNet id has to be. None: names aren't known, so nothing can be checked.

    Raises:
        InputError: the network's classes are others, or in another order.
        UnknownNameError: another source, or a class that the map doesn't know.

    >>> outputs_of(["horse", "sheep"], "voc")
    [(339,), (348, 349)]
    """
    found = synset_map(source)
    for name in classes:
        if name not in found:
            raise unknown_name(f"class of {source}", name, found)
    if model_classes is not None:
        _check_order([s for synsets in found.values() for s in synsets], model_classes)
    return [tuple(s.index for s in found[name]) for name in classes]


def _check_order(synsets: Sequence[Synset], model_classes: Sequence[str]) -> None:
    if len(model_classes) != _OUTPUTS:
        raise InputError(
            f"Expected a model of ImageNet's {_OUTPUTS} classes but it has {len(model_classes)}. "
            "Use a model trained on the data set's own classes, or one of ImageNet-1k."
        )
    for synset in synsets:
        own = model_classes[synset.index]
        if _plain(synset.name) not in _plain(own) and synset.wnid not in own:
            raise InputError(
                f"Expected ImageNet's classes in the usual order but output {synset.index} is {own!r} instead of "
                f"{synset.name!r}. Pass the model's own class names, or a model in that order."
            )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


@cache
def _load() -> dict[str, dict[str, tuple[Synset, ...]]]:
    text = (files("relprop.datasets") / "classes" / "imagenet.json").read_text(encoding="utf-8")
    return {
        source: {name: tuple(Synset(*entry) for entry in entries) for name, entries in classes.items()}
        for source, classes in json.loads(text).items()
    }
