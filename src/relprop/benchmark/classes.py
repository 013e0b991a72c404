"""Classes: which of a model's outputs stand for which class of a data set, and which of them it predicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.models.packaged import imagenet_synsets

__all__ = ["ClassMap", "are_wordnet_ids"]

_OUTPUTS = 1000  # of ImageNet's classifiers
_AGREE = (
    0.98  # of names that are spelt the same in lists of the same classes: "crane" is "crane bird" in some
)


def are_wordnet_ids(classes: Sequence[str]) -> bool:
    """Whether all classes are named by WordNet ids, such as n01440764.

    >>> are_wordnet_ids(["n01440764", "n01443537"]), are_wordnet_ids(["tench"])
    (True, False)
    """
    return bool(classes) and all(re.fullmatch("n[0-9]{8}", name) for name in classes)


@dataclass(frozen=True)
class ClassMap:
    """A data set's classes in terms of a model's outputs.

    Attributes:
        outputs: class -> the model's outputs that mean it; none where the model doesn't know it.
        predicted: "sigmoid", "top-1" or "top-5": when an output counts as predicted.
    """

    outputs: tuple[tuple[int, ...], ...]
    predicted: str

    @classmethod
    def by_name(cls, classes: Sequence[str], model_classes: Sequence[str] | None, predicted: str) -> ClassMap:
        """Match equal names, case ignored; without names of the model, class k is output k.

        Raises:
            InputError: the model knows none of the classes.
        """
        if model_classes is None:
            return cls(tuple((k,) for k in range(len(classes))), predicted)
        places: dict[str, list[int]] = {}
        for k, name in enumerate(model_classes):
            places.setdefault(name.casefold().strip(), []).append(k)
        found = tuple(tuple(places.get(name.casefold().strip(), ())) for name in classes)
        if not any(found):
            raise InputError(
                f"Expected the model to know classes of the data set ({', '.join(classes[:4])}, …) but its own "
                f"are {', '.join(model_classes[:4])}, …. For an ImageNet classifier on VOC or COCO set "
                'classes = "synsets"; else pass the right names with labels.'
            )
        return cls(found, predicted)

    @classmethod
    def by_wordnet(
        cls, classes: Sequence[str], model_classes: Sequence[str] | None, predicted: str
    ) -> ClassMap:
        """Match WordNet ids with an ImageNet classifier's outputs in the usual order (the ids sorted).

        Raises:
            InputError: the model has other classes, or others in this order, or none of the ids.
        """
        known = imagenet_synsets()
        if model_classes is not None:
            same = sum(_agree(a, b) for a, b in zip(known.values(), model_classes, strict=False))
            if len(model_classes) != _OUTPUTS or same < _AGREE * _OUTPUTS:
                raise InputError(
                    f"Expected a model of ImageNet's {_OUTPUTS} classes in the usual order, for the data set "
                    f"names its classes by WordNet ids, but {same} of its {len(model_classes)} classes are "
                    "there. Name the data set's classes as the model does."
                )
        places = {wnid: k for k, wnid in enumerate(known)}
        found = tuple((places[name],) if name in places else () for name in classes)
        if not any(found):
            raise InputError(
                f"Expected WordNet ids of ImageNet's {_OUTPUTS} classes but got others: "
                f"{', '.join(classes[:4])}, …."
            )
        return cls(found, predicted)

    def target(self, label: int, scores: Tensor) -> int | None:
        """The output to explain for a class: the likeliest of those that mean it; None where there is none.

        Args:
            label: the class, -1 for the likeliest output of all.
            scores: (outputs,).

        Raises:
            InputError: the model has fewer outputs than the class needs.
        """
        if label < 0:
            return int(scores.argmax())
        own = self.outputs[label] if label < len(self.outputs) else ()
        if own and max(own) >= len(scores):
            raise InputError(
                f"Expected an output {max(own)} for class {label} of the data set but the model has "
                f"{len(scores)} outputs. Name them with labels."
            )
        return max(own, key=lambda k: (float(scores[k]), -k)) if own else None

    def confidence(self, label: int, scores: Tensor, *, multi_label: bool) -> float:
        """The probability of a picture's only class, 0 to 1; 0 where the model doesn't find it, or more than it.

        Args:
            label: the class.
            scores: (outputs,), logits.
            multi_label: whether several classes may hold at once: then no other may be predicted; else the
                class has to be the likeliest.

        >>> only = ClassMap.by_name(["cat", "dog"], ["cat", "dog"], "sigmoid")
        >>> [only.confidence(0, torch.tensor(z), multi_label=True) for z in ([0.0, -1.0], [3.0, 2.0])]
        [0.5, 0.0]
        >>> round(only.confidence(0, torch.tensor([3.0, 2.0]), multi_label=False), 3)
        0.731
        """
        target = self.target(label, scores)
        if target is None:
            return 0.0
        own = set(self.outputs[label])
        if multi_label:
            found = set(torch.nonzero(scores >= 0).flatten().tolist())
            return float(scores[target].sigmoid()) if found and found <= own else 0.0
        return float(scores.softmax(0)[target]) if int(scores.argmax()) in own else 0.0

    def predicts(self, label: int, scores: Tensor) -> bool:
        """Whether the model predicts the class; -1 (the likeliest output) always is."""
        if label < 0:
            return True
        own = self.outputs[label]
        if self.predicted == "sigmoid":
            return any(float(scores[k]) >= 0 for k in own)  # sigmoid(0) = 0.5
        best = scores.topk(min(int(self.predicted.removeprefix("top-")), len(scores))).indices.tolist()
        return any(k in best for k in own)


def _agree(names: str, name: str) -> bool:
    """Whether one of WordNet's names of a class, or all of them, are the model's name of it."""
    plain = _plain(name)
    return plain == _plain(names) or plain in map(_plain, names.split(","))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
