"""Classes of a classifier: what it predicts, and which ones are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.propagate.names import class_index
from relprop.viz.labels import class_name

__all__ = ["Prediction", "check_names", "predictions", "resolve"]


@dataclass(frozen=True)
class Prediction:
    """One class with the model's output and what it amounts to."""

    index: int
    name: str
    output: float
    score: float  # softmax, or sigmoid for multi-label models; NaN where outputs are no scores


def predictions(
    outputs: Tensor, classes: Sequence[str] | None, multi_label: bool, mask: Tensor | None = None
) -> list[Prediction]:
    """All classes of one sample, best first.

    Args:
        outputs: (classes,), before softmax or sigmoid; or a map (classes, *spatial), whose outputs are summed and
            whose scores are averaged over its positions.
        classes: names, one a class.
        multi_label: sigmoid instead of softmax.
        mask: (*spatial), the positions of a map that count; None: all.

    >>> [p.index for p in predictions(torch.tensor([0.0, 2.0, 1.0]), None, False)]
    [1, 2, 0]
    """
    outputs = outputs.detach().double().cpu()
    scores = outputs.sigmoid() if multi_label else outputs.softmax(0)
    if outputs.dim() > 1:
        inside = torch.ones(outputs.shape[1:]) if mask is None else mask
        inside = inside.to(outputs).flatten()
        outputs, scores = outputs.flatten(1) @ inside, scores.flatten(1) @ inside / inside.sum()
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


def check_names(outputs: object, classes: Sequence[str] | None, *, maps: bool = False) -> Tensor:
    """The outputs as (1, classes) with as many names; maps (1, classes, *spatial) too, where they are taken.

    Raises:
        InputError: other outputs, or another number of names.
    """
    if not isinstance(outputs, Tensor) or (outputs.dim() != 2 and not (maps and outputs.dim() > 2)):
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
