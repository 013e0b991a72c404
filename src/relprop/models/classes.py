"""Classes of a classifier: what it predicts, and which ones are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.errors import InputError, unknown_name
from relprop.viz.labels import class_name

__all__ = ["Prediction", "check_names", "class_index", "predictions", "resolve"]


@dataclass(frozen=True)
class Prediction:
    """One class with the model's output and what it amounts to."""

    index: int
    name: str
    output: float
    score: float  # softmax, or sigmoid for multi-label models


def predictions(outputs: Tensor, classes: Sequence[str] | None, multi_label: bool) -> list[Prediction]:
    """All classes of one sample, best first.

    Args:
        outputs: (classes,), before softmax or sigmoid.
        classes: names, one a class.
        multi_label: sigmoid instead of softmax.

    >>> [p.index for p in predictions(torch.tensor([0.0, 2.0, 1.0]), None, False)]
    [1, 2, 0]
    """
    outputs = outputs.detach().double().cpu()
    scores = outputs.sigmoid() if multi_label else outputs.softmax(0)
    order = outputs.argsort(descending=True, stable=True).tolist()
    return [Prediction(i, class_name(i, classes), float(outputs[i]), float(scores[i])) for i in order]


def resolve(
    wanted: Sequence[str], found: Sequence[Prediction], classes: Sequence[str] | None, multi_label: bool
) -> list[int]:
    """Class indices of the wanted targets, each once, in the order asked.

    Args:
        wanted: indices, names (case ignored; `tench` finds `tench, Tinca tinca`), `top`, or `predicted`: the
            best class, or every class with a score of at least 0.5 of a multi-label model (the best one
            where there is none).
        found: `predictions` of the sample.
        classes: names, one a class.
        multi_label: what `predicted` means.

    Raises:
        InputError: no such class, or a name that fits several.

    >>> found = predictions(torch.tensor([3.0, -2.0, 1.0]), ["cat", "dog", "owl"], True)
    >>> resolve(["predicted", "Dog", "0"], found, ["cat", "dog", "owl"], True)
    [0, 2, 1]
    """
    indices: list[int] = []
    for text in wanted:
        if text == "top":
            indices.append(found[0].index)
        elif text == "predicted":
            passed = [p.index for p in found if p.score >= 0.5] if multi_label else []
            indices += passed or [found[0].index]
        else:
            indices.append(class_index(text, len(found), classes))
    return list(dict.fromkeys(indices))


def class_index(text: str, count: int, classes: Sequence[str] | None) -> int:
    """The index of a class that is given by index or by name.

    Raises:
        InputError: no such class, or a name that fits several.
    """
    if not re.fullmatch("-?[0-9]+", text):
        return _named(text, classes)
    if len(text) > 18 or not 0 <= int(text) < count:
        raise InputError(f"Expected a class index from 0 to {count - 1} but got {text:.40}.")
    return int(text)


def _named(text: str, classes: Sequence[str] | None) -> int:
    if classes is None:
        raise InputError(
            f"Expected a class index but got {text!r}, and the model has no class names. Pass --labels FILE."
        )
    wanted = text.casefold().strip()
    names = [name.casefold() for name in classes]
    for part in (lambda name: name, lambda name: name.split(",")[0].strip()):
        hits = [i for i, name in enumerate(names) if part(name) == wanted]
        if len(hits) == 1:
            return hits[0]
        if hits:
            listed = ", ".join(f"{i} ({classes[i]})" for i in hits)
            raise InputError(f"Expected a name of one class but {text!r} fits {listed}. Pass the index.")
    near = [name for name in classes if wanted in name.casefold()][:8]
    if near:
        raise InputError(f"Expected a class name but got {text!r}. Close ones: {'; '.join(near)}.")
    if len(classes) > 30:
        raise InputError(f"Expected one of the model's {len(classes)} class names but got {text!r}.")
    raise unknown_name("class", text, classes)


def check_names(outputs: object, classes: Sequence[str] | None) -> Tensor:
    """The outputs as (1, classes) with as many names.

    Raises:
        InputError: other outputs, or another number of names.
    """
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"Expected a classifier with outputs (N, classes) but got {got}. "
            "Wrap the model so that it returns the scores alone."
        )
    if classes is not None and len(classes) != outputs.shape[1]:
        raise InputError(
            f"Expected {outputs.shape[1]} class names, one an output, but got {len(classes)}. "
            "Pass the right file with --labels."
        )
    if not bool(torch.isfinite(outputs).all()):
        raise InputError("Expected finite outputs but the model returned NaN or infinity. Check its weights.")
    return outputs
