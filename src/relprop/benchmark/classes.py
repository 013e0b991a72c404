"""Classes: which of a model's outputs stand for which class of a data set, and which of them it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from relprop.errors import InputError

__all__ = ["ClassMap"]


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

    def predicts(self, label: int, scores: Tensor) -> bool:
        """Whether the model predicts the class; -1 (the likeliest output) always is."""
        if label < 0:
            return True
        own = self.outputs[label]
        if self.predicted == "sigmoid":
            return any(float(scores[k]) >= 0 for k in own)  # sigmoid(0) = 0.5
        best = scores.topk(min(int(self.predicted.removeprefix("top-")), len(scores))).indices.tolist()
        return any(k in best for k in own)
