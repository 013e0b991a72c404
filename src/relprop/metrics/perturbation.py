"""Perturbation: how the class's score falls as relevant pixels go, and rises as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import check_choice, check_count
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import as_picture, by_relevance, model_and_input, scores_of
from relprop.precision import full_precision

__all__ = ["Curves", "Fill", "Perturbation", "area", "blurred", "perturbation_curves"]

Fill = Literal["mean", "blur"]
"""0 in normalised units (the mean colour), or the picture itself, blurred."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Probability of the class, (steps + 1,) each: at 0, 1/steps, ... 1 of the pixels.

    Attributes:
        deletion: the most relevant pixels covered.
        insertion: the most relevant pixels shown, the others covered.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


@full_precision
def perturbation_curves(
    model: nn.Module,
    x: Tensor,
    heat: Any,
    target: int,
    *,
    steps: int = 20,
    deletion: Fill = "mean",
    insertion: Fill = "blur",
    multi_label: bool = False,
    chunk: int = 16,
) -> Curves:
    """Both curves of Petsiuk et al. 2018 (RISE).

    At step k the `round(k * n / steps)` pixels of highest (signed) relevance out of n are covered, or shown;
    equals go in reading order. All channels of a pixel go together.

    Args:
        model: (N, C, H, W) to scores (N, classes).
        x: (1, C, H, W), normalised.
        heat: (h, w) of any resolution; resized bilinearly to (H, W).
        target: the class whose probability is read.
        steps: number of steps; the paper takes one for each row of pixels, 224.
        deletion, insertion: what covers pixels in either curve.
        multi_label: sigmoid instead of softmax.
        chunk: pictures per forward run.

    Raises:
        InputError: a map that isn't finite, a target out of range.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
    >>> net[1].weight.data = torch.tensor([[2.0, 0.0]])
    >>> x = torch.tensor([[[[1.0, 1.0]]]])
    >>> c = perturbation_curves(net, x, [[1.0, 0.0]], 0, steps=2, insertion="mean", multi_label=True)
    >>> c.deletion.round(3).tolist(), c.insertion.round(3).tolist()
    ([0.881, 0.5, 0.5], [0.5, 0.881, 0.881])
    """
    ranks = torch.empty(x.shape[2] * x.shape[3], dtype=torch.int64)
    order = by_relevance(as_picture(heat, x))
    ranks[order] = torch.arange(len(order))
    counts = torch.tensor([round(k * len(order) / steps) for k in range(steps + 1)])
    first = (ranks < counts[:, None]).reshape(steps + 1, 1, *x.shape[2:]).to(x.device)
    covers = {fill: blurred(x) if fill == "blur" else torch.zeros_like(x) for fill in (deletion, insertion)}

    def curve(shown: Tensor, cover: Tensor) -> NDArray[np.float64]:
        parts = [
            _probability(scores_of(model, torch.where(part, x, cover)), target, multi_label)
            for part in shown.split(chunk)
        ]
        return torch.cat(parts).numpy()

    return Curves(curve(~first, covers[deletion]), curve(first, covers[insertion]))


def _probability(scores: Tensor, target: int, multi_label: bool) -> Tensor:
    if not 0 <= target < scores.shape[1]:
        raise InputError(f"Expected a target from 0 to {scores.shape[1] - 1} but got {target}.")
    return (scores.sigmoid() if multi_label else scores.softmax(1))[:, target]


def area(curve: Any) -> float:
    """Area under a curve over 0 to 1 at even steps, by the trapezoid rule.

    >>> area([1.0, 0.5, 0.0])
    0.5
    """
    values = np.asarray(curve, dtype=np.float64)
    return float((values[1:] + values[:-1]).sum() / 2 / (len(values) - 1))


def blurred(x: Tensor, size: int = 11, sigma: float = 5.0) -> Tensor:
    """The picture (N, C, H, W) under a Gaussian of `size` pixels, edges repeated.

    Size and sigma are those of RISE's code.

    >>> blurred(torch.ones(1, 3, 4, 4)).allclose(torch.ones(1, 3, 4, 4))
    True
    """
    at = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = F.pad(x, (size // 2,) * 4, mode="replicate")
    flat = padded.reshape(-1, 1, *padded.shape[2:])
    flat = F.conv2d(F.conv2d(flat, weights.reshape(1, 1, 1, -1)), weights.reshape(1, 1, -1, 1))
    return flat.reshape(x.shape)


class Perturbation(Metric):
    """Areas under the deletion and the insertion curve; see `perturbation_curves`.

    Args:
        steps: number of steps.
        deletion: what covers deleted pixels: "mean" or "blur".
        insertion: what covers pixels that aren't shown yet: "mean" or "blur".
        curves: also report each point, as `deletion@07` for step 7 (as many digits as the last step has).
        chunk: pictures per forward run.

    Raises:
        InputError: steps not from 1 to 10,000, chunk not from 1 to 4096, another fill.
    """

    name = "perturbation"
    summary = "Perturbation: areas under the deletion and insertion curves of the class's probability"
    outcomes = (
        Outcome("deletion", "Deletion AUC", better="lower", average="pair"),
        Outcome("insertion", "Insertion AUC", average="pair"),
    )

    def __init__(
        self,
        *,
        steps: int = 20,
        deletion: Fill = "mean",
        insertion: Fill = "blur",
        curves: bool = False,
        chunk: int = 16,
    ) -> None:
        check_count("steps", steps, most=10_000)
        check_count("chunk", chunk, most=4096)
        check_choice("deletion", deletion, ("mean", "blur"))
        check_choice("insertion", insertion, ("mean", "blur"))
        self.steps, self.deletion, self.insertion = steps, deletion, insertion
        self.curves, self.chunk = curves, chunk

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        curves = perturbation_curves(
            model, x, case.map, case.target, steps=self.steps, deletion=self.deletion,
            insertion=self.insertion, multi_label=case.multi_label, chunk=self.chunk,
        )  # fmt: skip
        found = {"deletion": area(curves.deletion), "insertion": area(curves.insertion)}
        if self.curves:
            digits = len(str(self.steps))
            for key, values in (("deletion", curves.deletion), ("insertion", curves.insertion)):
                found |= {f"{key}@{k:0{digits}}": float(v) for k, v in enumerate(values)}
        return found
